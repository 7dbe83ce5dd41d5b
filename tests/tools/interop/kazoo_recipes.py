"""kazoo's recipes: what they do to each other on one server and on the other."""

from __future__ import annotations

import contextlib
import datetime
from typing import Any

from kazoo.exceptions import LockTimeout
from kazoo.protocol.states import KazooState
from kazoo.recipe.cache import TreeCache, TreeEvent
from kazoo.recipe.watchers import PatientChildrenWatch

from .kazoo_client import attempt, connected
from .place import PATIENCE
from .scenario import Book, Trial

book = Book("kazoo")


@book
def lock(trial: Trial) -> None:
    path = f"{trial.root}/lock"
    with connected(trial) as one, connected(trial) as two:
        first, second = one.Lock(path, "one"), two.Lock(path, "two")
        trial.note("acquired", first.acquire(), second.acquire(blocking=False))
        attempt(trial, "in time", lambda: second.acquire(timeout=0.2))
        waiting = trial.in_background(lambda: second.acquire(timeout=PATIENCE))
        trial.place.wait(lambda: len(trial.place.other.get_children(path)) == 2, "two contenders")
        trial.note("contenders", second.contenders())
        trial.note("handed on", first.release(), waiting.result(), second.is_acquired, first.is_acquired)
        trial.note("given back", second.release(), one.get_children(path))
        with first:
            trial.note("as a context", two.Lock(path).contenders())


@book
def lock_of_a_dead_holder(trial: Trial) -> None:
    path = f"{trial.root}/lock"
    with connected(trial, timeout=1.0) as one, connected(trial, direct=True) as two:
        first, second = one.Lock(path, "one"), two.Lock(path, "two")
        lost = trial.events()
        first.acquire()
        one.add_listener(lambda state: lost.put(state) if state == KazooState.LOST else None)
        node = f"{path}/{one.get_children(path)[0]}"
        waiting = trial.in_background(lambda: second.acquire(timeout=PATIENCE))
        trial.place.silence(node)
        trial.note("handed on", waiting.result(), second.contenders())
        lost.note("the first knows")
        second.release()


@book
def lock_over_a_restart(trial: Trial) -> None:
    path = f"{trial.root}/lock"
    with connected(trial) as one, connected(trial) as two:
        first, second = one.Lock(path, "one"), two.Lock(path, "two")
        back = [trial.events(), trial.events()]
        first.acquire()
        for client, events in zip((one, two), back):
            client.add_listener(events.put)
        trial.place.restart()
        for events in back:
            events.note("states", 2)
        trial.note("still held", second.acquire(blocking=False), second.contenders())
        waiting = trial.in_background(lambda: second.acquire(timeout=PATIENCE))
        trial.place.wait(lambda: len(trial.place.other.get_children(path)) == 2, "two contenders")
        trial.note("handed on", one.retry(first.release), waiting.result())
        second.release()


@book
def lock_cancelled(trial: Trial) -> None:
    path = f"{trial.root}/lock"
    with connected(trial) as one, connected(trial) as two:
        first, second = one.Lock(path, "one"), two.Lock(path, "two")
        first.acquire()
        waiting = trial.in_background(lambda: second.acquire(timeout=PATIENCE))
        trial.place.wait(lambda: len(trial.place.other.get_children(path)) == 2, "two contenders")
        second.cancel()
        attempt(trial, "cancelled", waiting.result)
        trial.place.wait(lambda: len(trial.place.other.get_children(path)) == 1, "the end of the second")
        trial.note("left", first.contenders())


@book
def read_and_write_locks(trial: Trial) -> None:
    path = f"{trial.root}/lock"
    with connected(trial) as one, connected(trial) as two:
        readers = [client.ReadLock(path, name) for client, name in ((one, "r1"), (two, "r2"))]
        writer = two.WriteLock(path, "w")
        trial.note("readers", [reader.acquire(timeout=PATIENCE) for reader in readers])
        trial.note("no writer", writer.acquire(blocking=False))
        waiting = trial.in_background(lambda: writer.acquire(timeout=PATIENCE))
        trial.place.wait(lambda: len(trial.place.other.get_children(path)) == 3, "three contenders")
        trial.note("readers go", [reader.release() for reader in readers], waiting.result())
        trial.note("no reader", one.ReadLock(path, "r3").acquire(blocking=False))
        writer.release()


@book
def semaphore(trial: Trial) -> None:
    path = f"{trial.root}/semaphore"
    with connected(trial) as one, connected(trial) as two:
        holders = [one.Semaphore(path, name, max_leases=2) for name in ("a", "b")]
        third = two.Semaphore(path, "c", max_leases=2)
        trial.note("two", [holder.acquire() for holder in holders], third.acquire(blocking=False))
        trial.note("held by", sorted(third.lease_holders()))
        waiting = trial.in_background(lambda: third.acquire(timeout=PATIENCE))
        holders[0].release()
        trial.note("handed on", waiting.result(), sorted(third.lease_holders()))
        trial.attempt("another number", two.Semaphore(path, "d", max_leases=3).acquire, ValueError)


@book
def election(trial: Trial) -> None:
    path, led = f"{trial.root}/election", trial.events()
    with connected(trial) as one, connected(trial) as two:
        go_on = trial.events()
        candidates = [one.Election(path, "one"), two.Election(path, "two")]

        def lead(name: str) -> None:
            led.put(name)
            go_on.next()

        terms = [trial.in_background(lambda: candidates[0].run(lead, "one"))]
        led.note("leads first")
        terms.append(trial.in_background(lambda: candidates[1].run(lead, "two")))
        trial.place.wait(lambda: len(trial.place.other.get_children(path)) == 2, "two candidates")
        trial.note("contenders", candidates[0].contenders())
        go_on.put("enough")
        led.note("leads then")
        go_on.put("enough")
        trial.note("over", [term.result() for term in terms], candidates[0].contenders())


@book
def election_after_the_death_of_the_leader(trial: Trial) -> None:
    path, led, go_on = f"{trial.root}/election", trial.events(), trial.events()
    with connected(trial, timeout=1.0) as one, connected(trial, direct=True) as two:

        def lead(name: str) -> None:
            led.put(name)
            go_on.next()

        terms = [trial.in_background(lambda: one.Election(path, "one").run(lead, "one"))]
        led.note("leads first")
        node = f"{path}/{trial.place.other.get_children(path)[0]}"
        terms.append(trial.in_background(lambda: two.Election(path, "two").run(lead, "two")))
        trial.place.silence(node)
        led.note("leads then")
        trial.note("contenders", two.Election(path).contenders())
        for _ in terms:
            go_on.put("enough")
        terms[1].result()


@book
def counter(trial: Trial) -> None:
    with connected(trial) as one, connected(trial) as two:
        counters = [client.Counter(f"{trial.root}/counter", default=7) for client in (one, two)]

        def count(which: int) -> None:
            for _ in range(25):
                counters[which] += 2

        for job in [trial.in_background(lambda i=i: count(i)) for i in (0, 1)]:
            job.result()
        counters[0] -= 50
        trial.note("value", counters[0].value, counters[1].value)
        trial.note("last change", (counters[0].pre_value, counters[0].post_value))
        half = one.Counter(f"{trial.root}/float", default=0.0)
        half += 0.5
        trial.note("float", half.value, one.get(f"{trial.root}/float")[0])


@book
def queue(trial: Trial) -> None:
    with connected(trial) as one, connected(trial) as two:
        source, sink = one.Queue(f"{trial.root}/queue"), two.Queue(f"{trial.root}/queue")
        trial.note("nothing yet", sink.get(), len(sink))
        for value, priority in ((b"late", 200), (b"first", 100), (b"second", 100), (b"urgent", 1)):
            source.put(value, priority)
        trial.note("all", len(sink), [sink.get() for _ in range(5)], len(source))


@book
def locking_queue(trial: Trial) -> None:
    with connected(trial) as one, connected(trial) as two:
        source, sink = one.LockingQueue(f"{trial.root}/queue"), two.LockingQueue(f"{trial.root}/queue")
        waiting = trial.in_background(lambda: sink.get(timeout=PATIENCE))
        source.put(b"one")
        trial.note("got", waiting.result(), sink.holds_lock(), source.get(timeout=0))
        trial.note("consumed", sink.consume(), len(source))
        source.put_all([b"two", b"three"], priority=5)
        trial.note("next", sink.get(timeout=PATIENCE), sink.release(), source.get(timeout=PATIENCE), source.consume())
        trial.note("left", len(sink), sink.get(timeout=PATIENCE), sink.consume(), len(sink))


@book
def parties(trial: Trial) -> None:
    with connected(trial) as one, connected(trial) as two:
        for kind in ("Party", "ShallowParty"):
            path = f"{trial.root}/{kind}"
            guests = [getattr(client, kind)(path, name) for client, name in ((one, "ann"), (two, "bob"))]
            trial.note("nobody", len(guests[0]), list(guests[0]))
            for guest in guests:
                guest.join()
            trial.note("both", len(guests[0]), sorted(guests[1]))
            trial.note("one leaves", guests[0].leave(), guests[0].leave(), list(guests[1]))
            trial.place.steal(*two.client_id) if kind == "ShallowParty" else guests[1].leave()
            trial.place.wait(lambda path=path: not trial.place.other.get_children(path), "an empty room")
            trial.note("nobody left", list(guests[0]))


@book
def barriers(trial: Trial) -> None:
    path = f"{trial.root}/barrier"
    with connected(trial) as one, connected(trial) as two:
        first, second = one.Barrier(path), two.Barrier(path)
        trial.note("no barrier", first.wait(0), first.create(), second.create())
        trial.note("held up", second.wait(0.1))
        waiting = trial.in_background(lambda: second.wait(PATIENCE))
        trial.note("lifted", first.remove(), waiting.result(), second.remove())
        doubles = [client.DoubleBarrier(f"{trial.root}/double", 2, name) for client, name in ((one, "a"), (two, "b"))]
        entering = [trial.in_background(double.enter) for double in doubles]
        trial.note("entered", [one.result() for one in entering], [double.participating for double in doubles])
        leaving = [trial.in_background(double.leave) for double in doubles]
        trial.note("left", [one.result() for one in leaving], one.get_children(f"{trial.root}/double"))


@book
def leases(trial: Trial) -> None:
    hour = datetime.timedelta(hours=1)
    clock = datetime.datetime(2020, 1, 1)
    with connected(trial) as one, connected(trial) as two:

        def lease(client: Any, name: str, hours: int) -> bool:
            return bool(client.NonBlockingLease(f"{trial.root}/lease", hour, name, lambda: clock + hours * hour))

        trial.note("lease", lease(one, "a", 0), lease(two, "b", 0), lease(one, "a", 0), lease(two, "b", 2))
        trial.note("written", one.get(f"{trial.root}/lease/lease_holder")[0])
        many = [bool(two.MultiNonBlockingLease(2, f"{trial.root}/many", hour, name)) for name in "abc"]
        trial.note("two of three", many)


@book
def data_watch(trial: Trial) -> None:
    events, path = trial.events(), f"{trial.root}/watched"
    with connected(trial) as client:
        client.DataWatch(path, lambda data, stat, event: events.put((data, stat and stat.version, event and event.type)))
        events.note("before it is there")
        for change in (
            lambda: trial.place.other.create(path, b"1"), lambda: trial.place.other.set(path, b"2"),
            lambda: trial.place.other.delete(path), lambda: client.create(path, b"3"),
        ):  # fmt: skip
            change()
            events.note("told")
        trial.place.away(lambda: trial.place.other.set(path, b"4"))
        events.note("after a cut")
        trial.place.restart()
        client.retry(client.set, path, b"5")
        events.note("after a restart")
        client.sync(trial.root)
        events.rest()


@book
def children_watch(trial: Trial) -> None:
    events, path = trial.events(), f"{trial.root}/watched"
    with connected(trial) as client:
        client.create(path)
        client.ChildrenWatch(path, lambda children: events.put(sorted(children)))
        events.note("none")
        trial.place.other.create(f"{path}/a")
        events.note("one")
        trial.place.away(lambda: trial.place.other.create(f"{path}/b"))
        events.note("after a cut")
        trial.place.other.delete(f"{path}/a")
        events.note("one again")
        ends = trial.events()
        client.ChildrenWatch(path, lambda children: ends.put(sorted(children)) or bool(children))
        trial.place.other.delete(f"{path}/b")
        events.note("none again")
        ends.until([])
        trial.place.other.create(f"{path}/c")
        events.note("the other goes on")
        client.sync(path)
        ends.rest()


@book
def patient_children_watch(trial: Trial) -> None:
    with connected(trial) as client:
        client.create(f"{trial.root}/a")
        children, changed = PatientChildrenWatch(client, trial.root, time_boundary=0.1).start().get(timeout=PATIENCE)
        trial.note("settled", children, changed.ready())
        client.create(f"{trial.root}/b")
        trial.note("changed", changed.get(timeout=PATIENCE) >= 0)


@book
def tree_cache(trial: Trial) -> None:
    names = {value: name for name, value in vars(TreeEvent).items() if isinstance(value, int)}
    events = trial.events()
    with connected(trial) as client:
        client.ensure_path(f"{trial.root}/tree/a/b")
        cache = TreeCache(client, f"{trial.root}/tree")
        cache.listen(lambda event: events.put((names[event.event_type], event.event_data and event.event_data.path)))
        with contextlib.closing(cache):
            cache.start()
            events.note("at first", 4)
            trial.place.other.create(f"{trial.root}/tree/c", b"c")
            events.note("added")
            trial.place.other.set(f"{trial.root}/tree/a/b", b"x")
            events.note("updated")
            trial.place.other.delete(f"{trial.root}/tree/a", recursive=True)
            events.note("removed", 2)
            trial.note("cached", cache.get_children(f"{trial.root}/tree"), cache.get_data(f"{trial.root}/tree/c").data)
            trial.place.cut()
            events.note("suspended, reconnected", 2)
            trial.place.other.set(f"{trial.root}/tree/c", b"d")
            events.until(("NODE_UPDATED", f"{trial.root}/tree/c"))


@book
def set_partitioner(trial: Trial) -> None:
    path, parts = f"{trial.root}/parts", ("a", "b", "c")
    with connected(trial) as one, connected(trial) as two:
        options = {"time_boundary": 0.2, "max_reaction_time": 0.1}
        first = one.SetPartitioner(path, parts, identifier="one", **options)
        first.wait_for_acquire(PATIENCE)
        trial.note("alone", first.state, sorted(first))
        second = two.SetPartitioner(path, parts, identifier="two", **options)
        trial.place.wait(lambda: first.release, "a reason to partition again")
        first.release_set()
        both = [trial.in_background(lambda p=p: _settle(p)) for p in (first, second)]
        shares = [one.result() for one in both]
        trial.note("shared", shares, sorted(sum(shares, [])))
        second.finish()
        first.finish()


def _settle(partitioner: Any) -> list[str]:
    """Go on until the set is divided and stays so for the moment."""
    while not partitioner.acquired:
        if partitioner.release:
            partitioner.release_set()
        elif partitioner.failed:
            raise LockTimeout("the partitioner has failed")
        else:
            partitioner.wait_for_acquire(1)
    return sorted(partitioner)
