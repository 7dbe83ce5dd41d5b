// What Go kit's sd/zk does, and the client library below it; a program of its own.
//
//	main HOSTS DIRECT ROOT SCENARIO
//
// It notes down results and asks for things to be done by lines of JSON: see program.py.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/go-kit/kit/sd"
	kit "github.com/go-kit/kit/sd/zk"
	"github.com/go-kit/log"
	"github.com/go-zookeeper/zk"
)

const patience = 20 * time.Second

var (
	hosts, direct, root string
	input               = bufio.NewReader(os.Stdin)
	output              = json.NewEncoder(os.Stdout)
	guid                = regexp.MustCompile(`[0-9a-f]{32}`)
)

type list []interface{}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// note writes down values that are compared.
func note(what string, values ...interface{}) {
	told := list{}
	for _, value := range values {
		told = append(told, plain(value))
	}
	check(output.Encode(map[string]interface{}{"note": what, "values": told}))
}

func plain(value interface{}) interface{} {
	switch v := value.(type) {
	case nil:
		return nil
	case error:
		return "error: " + v.Error()
	case []byte:
		return string(v)
	case string:
		return guid.ReplaceAllString(v, "GUID")
	case *zk.Stat:
		if v == nil {
			return nil
		}
		return map[string]interface{}{
			"czxid": v.Czxid, "mzxid": v.Mzxid, "pzxid": v.Pzxid, "ctime": v.Ctime, "mtime": v.Mtime,
			"version": v.Version, "cversion": v.Cversion, "aversion": v.Aversion, "ephemeralOwner": v.EphemeralOwner,
			"dataLength": v.DataLength, "numChildren": v.NumChildren,
		}
	case zk.Event:
		return list{v.Type.String(), v.State.String(), v.Path, plain(v.Err)}
	case sd.Event:
		return list{v.Instances, plain(v.Err)}
	case []string:
		told := []string{}
		for _, one := range v {
			told = append(told, guid.ReplaceAllString(one, "GUID"))
		}
		sort.Strings(told)
		return told
	}
	return value
}

// do has something done to the server, and returns the answer.
func do(what string, with ...interface{}) interface{} {
	check(output.Encode(map[string]interface{}{"do": what, "with": append(list{}, with...)}))
	line, err := input.ReadBytes('\n')
	check(err)
	var answer interface{}
	check(json.Unmarshal(line, &answer))
	return answer
}

func client(options ...kit.Option) kit.Client {
	options = append([]kit.Option{kit.SessionTimeout(10 * time.Second)}, options...)
	one, err := kit.NewClient([]string{hosts}, log.NewNopLogger(), append(options, kit.EventHandler(func(zk.Event) {}))...)
	check(err)
	return one
}

type quiet struct{}

func (quiet) Printf(string, ...interface{}) {}

// conn is a connection of the library below, and its session's events.
func conn(timeout time.Duration, where string) (*zk.Conn, <-chan zk.Event) {
	one, events, err := zk.Connect([]string{where}, timeout, zk.WithLogger(quiet{}))
	check(err)
	return one, events
}

func next(events <-chan zk.Event) zk.Event {
	select {
	case event := <-events:
		return event
	case <-time.After(patience):
		panic("no event")
	}
}

// state passes over a session's events up to the one with a state.
func state(events <-chan zk.Event, wanted zk.State) {
	for next(events).State != wanted {
	}
}

// again repeats what fell into the gap between two connections.
func again(call func() error) error {
	for {
		err := call()
		if err != zk.ErrConnectionClosed && err != zk.ErrNoServer {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func register() {
	one := client()
	service := &kit.Service{Path: root, Name: "api", Data: []byte("10.0.0.1:80")}
	note("registered", one.Register(service))
	note("nodes", do("children", root+"/api"))
	note("discovered", do("entries", root+"/api"))
	second := &kit.Service{Path: root + "/", Name: "api", Data: []byte("")}
	note("a second, without data", one.Register(second))
	note("discovered", do("entries", root+"/api"))
	note("deregistered", one.Deregister(service), one.Deregister(&kit.Service{Path: root, Name: "api"}))
	note("still there", do("entries", root+"/api"))
	one.Stop()
	note("stopped", do("entries", root+"/api"), one.CreateParentNodes(root+"/x"))
	two := client()
	for _, path := range []string{"", "relative", root + "//double"} {
		if path != "" {
			note("path "+path, two.CreateParentNodes(path))
		}
	}
	_, _, err := two.GetEntries(root + "/nowhere")
	note("entries of nothing", err)
	two.Stop()
}

func parents() {
	one := client(kit.Payload([][]byte{[]byte("a"), []byte("b"), []byte("c")}), kit.Credentials("bob", "secret"),
		kit.ACL(zk.DigestACL(zk.PermAll, "bob", "secret")))
	note("made", one.CreateParentNodes(root+"/first/second/third"))
	note("again", one.CreateParentNodes(root+"/first/second"))
	entries, _, err := one.GetEntries(root + "/first")
	note("entries", entries, err)
	other := client()
	_, _, err = other.GetEntries(root + "/first")
	note("a stranger", err, other.CreateParentNodes(root+"/first/mine"), other.Register(&kit.Service{Path: root, Name: "first"}))
	one.Stop()
	other.Stop()
}

// settle notes down the last of an instancer's events, once it has so many instances.
func settle(what string, events <-chan sd.Event, count int) {
	for {
		select {
		case event := <-events:
			if event.Err != nil || len(event.Instances) == count {
				note(what, event)
				return
			}
		case <-time.After(patience):
			panic("no event: " + what)
		}
	}
}

func instancer() {
	one := client()
	watcher, err := kit.NewInstancer(one, root+"/api", log.NewNopLogger())
	check(err)
	events := make(chan sd.Event, 100)
	watcher.Register(events)
	settle("nobody", events, 0)
	do("register", root, "api", "10.0.0.1:80")
	settle("one of ours", events, 1)
	do("register", root, "api", "10.0.0.2:80")
	settle("two", events, 2)
	note("mine", one.Register(&kit.Service{Path: root, Name: "api", Data: []byte("10.0.0.3:80")}))
	settle("three", events, 3)
	do("deregister", "10.0.0.1:80")
	settle("one gone", events, 2)
	do("cut")
	do("register", root, "api", "10.0.0.4:80")
	settle("after a cut", events, 3)
	do("restart")
	do("register", root, "api", "10.0.0.5:80")
	settle("after a restart", events, 4)
	do("deregister", "10.0.0.2:80")
	do("deregister", "10.0.0.4:80")
	do("deregister", "10.0.0.5:80")
	settle("alone", events, 1)
	note("discovered", do("entries", root+"/api"))
	watcher.Stop()
	one.Stop()
}

func entries() {
	one := client()
	check(one.Register(&kit.Service{Path: root, Name: "api", Data: []byte("a")}))
	found, events, err := one.GetEntries(root + "/api")
	note("entries", found, err)
	do("register", root, "api", "b")
	note("told", next(events))
	found, events, err = one.GetEntries(root + "/api")
	note("entries", found, err)
	do("restart")
	do("deregister", "b")
	note("told after a restart", next(events))
	one.Stop()
	note("watched", do("entries", root+"/api"))
}

func crash() {
	short := client(kit.SessionTimeout(time.Second))
	check(short.Register(&kit.Service{Path: root, Name: "api", Data: []byte("a")}))
	note("registered", do("entries", root+"/api"))
	do("watch it go", root+"/api")
	do("kill")
}

func expiry() {
	one, session := conn(time.Second, hosts)
	state(session, zk.StateHasSession)
	before := one.SessionID()
	node, err := one.CreateProtectedEphemeralSequential(root+"/", []byte("x"), zk.WorldACL(zk.PermAll))
	note("made", node, err)
	_, _, events, err := one.ExistsW(node)
	check(err)
	do("silence", node)
	state(session, zk.StateExpired)
	note("told", next(events))
	state(session, zk.StateHasSession)
	note("another session", one.SessionID() != before)
	found, _, err := one.Exists(node)
	note("gone", found, err)
	one.Close()
}

func nodes() {
	one, _ := conn(10*time.Second, hosts)
	open := zk.WorldACL(zk.PermAll)
	for _, made := range []struct {
		name  string
		flags int32
		acl   []zk.ACL
	}{
		{"a", 0, open}, {"e", zk.FlagEphemeral, open}, {"s-", zk.FlagSequence, open}, {"es-", 3, open}, {"a", 0, open},
		{"none/child", 0, open}, {"e/child", 0, open}, {"no-acl", 0, nil}, {"bad-acl", 0, []zk.ACL{{Perms: 31, Scheme: "nobody", ID: "x"}}},
		{"flags", 9, open}, {"digest", 0, zk.DigestACL(zk.PermAll, "bob", "secret")}, {"mine", 0, zk.AuthACL(zk.PermAll)},
	} {
		path, err := one.Create(root+"/"+made.name, []byte("data"), made.flags, made.acl)
		note("create "+made.name, path, err)
	}
	path, err := one.CreateContainer(root+"/container", nil, zk.FlagTTL, open)
	note("container", path, err)
	path, err = one.CreateTTL(root+"/ttl", nil, zk.FlagTTL|zk.FlagEphemeral, open, time.Minute)
	note("ttl", path, err)
	path, err = one.CreateProtectedEphemeralSequential(root+"/p", nil, open)
	note("protected", path, err)
	data, stat, err := one.Get(root + "/a")
	note("get", data, stat, err)
	stat, err = one.Set(root+"/a", []byte("new"), 0)
	note("set", stat, err)
	_, err = one.Set(root+"/a", []byte("new"), 0)
	note("set, bad version", err)
	for _, name := range []string{"/a", "/digest", "/none"} {
		acl, stat, err := one.GetACL(root + name)
		note("acl", acl, stat, err)
	}
	_, _, err = one.Get(root + "/digest")
	note("no right", err, one.AddAuth("digest", []byte("bob:secret")))
	_, stat, err = one.Get(root + "/digest")
	note("bob", stat, err)
	stat, err = one.SetACL(root+"/a", zk.WorldACL(zk.PermRead), 0)
	note("set acl", stat, err)
	_, err = one.Set(root+"/a", []byte("x"), -1)
	note("no right", err)
	names, stat, err := one.Children(root)
	note("children", names, stat, err)
	synced, err := one.Sync(root + "/none")
	note("sync", synced, err)
	note("delete", one.Delete(root+"/none", -1), one.Delete(root+"/a", 7), one.Delete(root+"/a", -1), one.Delete(root, -1))
	_, err = one.IncrementalReconfig(nil, []string{"9"}, -1)
	note("reconfig", err)
	one.Close()
}

func transactions() {
	one, _ := conn(10*time.Second, hosts)
	open := zk.WorldACL(zk.PermAll)
	create := &zk.CreateRequest{Path: root + "/t", Data: []byte("1"), Acl: open}
	results, err := one.Multi(create, &zk.SetDataRequest{Path: root + "/t", Data: []byte("2"), Version: 0},
		&zk.CheckVersionRequest{Path: root + "/t", Version: 1}, &zk.DeleteRequest{Path: root + "/t", Version: -1})
	for _, result := range results {
		note("result", result.Stat, result.String, result.Error)
	}
	note("error", err)
	results, err = one.Multi(create, &zk.CheckVersionRequest{Path: root + "/t", Version: 7}, create)
	for _, result := range results {
		note("result", result.Stat, result.String, result.Error)
	}
	note("error", err)
	found, _, err := one.Exists(root + "/t")
	note("there", found, err)
	one.Close()
}

func watches() {
	one, session := conn(10*time.Second, hosts)
	state(session, zk.StateHasSession)
	before := one.SessionID()
	_, err := one.Create(root+"/a", nil, 0, zk.WorldACL(zk.PermAll))
	check(err)
	arm := func() (<-chan zk.Event, <-chan zk.Event, <-chan zk.Event) {
		_, _, data, err := one.GetW(root + "/a")
		check(err)
		_, _, exists, err := one.ExistsW(root + "/new")
		check(err)
		_, _, children, err := one.ChildrenW(root)
		check(err)
		return data, exists, children
	}
	data, exists, children := arm()
	do("change", list{"set", root + "/a", "1"}, list{"create", root + "/new"})
	note("told", next(data), next(exists), next(children))
	do("change", list{"delete", root + "/new"})
	data, exists, children = arm()
	do("away", list{"set", root + "/a", "2"}, list{"create", root + "/new"})
	note("told after a cut", next(data), next(exists), next(children))
	data, exists, children = arm()
	do("restart")
	note("after a restart", again(func() error { _, err := one.Set(root+"/a", nil, -1); return err }))
	note("told", next(data), one.SessionID() == before)
	do("change", list{"delete", root + "/new"})
	note("told", next(exists), next(children))
	one.Close()
	state(session, zk.StateDisconnected)
}

func lock() {
	one, _ := conn(10*time.Second, hosts)
	two, _ := conn(10*time.Second, direct)
	first, second := zk.NewLock(one, root+"/lock", zk.WorldACL(zk.PermAll)), zk.NewLock(two, root+"/lock", zk.WorldACL(zk.PermAll))
	note("locked", first.Lock(), first.Lock())
	done := make(chan error)
	go func() { done <- second.Lock() }()
	for len(do("children", root+"/lock").([]interface{})) != 2 {
		time.Sleep(10 * time.Millisecond)
	}
	note("handed on", first.Unlock(), <-done, second.Unlock(), second.Unlock())
	one.Close()
	two.Close()
}

// the library's parsers of four-letter words
func words() {
	note("ruok", zk.FLWRuok([]string{direct}, patience))
	one, session := conn(10*time.Second, direct)
	state(session, zk.StateHasSession)
	_, err := one.Create(root+"/e", nil, zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
	check(err)
	stats, ok := zk.FLWSrvr([]string{direct}, patience)
	note("srvr", ok, stats[0].Mode.String(), stats[0].Error, strings.HasPrefix(stats[0].Version, "3."), stats[0].NodeCount > 4, stats[0].Connections > 0)
	clients, ok := zk.FLWCons([]string{direct}, patience)
	note("cons", ok, clients[0].Error)
	for _, client := range clients[0].Clients {
		if client.SessionID == one.SessionID() {
			note("mine", client.Queued, client.Received, client.Sent, client.Lcxid, client.Timeout, client.LastOperation)
		}
	}
	one.Close()
}

func main() {
	hosts, direct, root = os.Args[1], os.Args[2], os.Args[3]
	scenarios := map[string]func(){
		"register": register, "parents": parents, "instancer": instancer, "entries": entries, "crash": crash, "expiry": expiry,
		"nodes": nodes, "transactions": transactions, "watches": watches, "lock": lock, "words": words,
	}
	run, known := scenarios[os.Args[4]]
	if !known {
		panic(fmt.Sprintf("no such scenario: %s", os.Args[4]))
	}
	run()
}
