"""The fault catalogue: every failure zkwire and zkdisco are meant to survive, by id, and how a test says it shows one.

Owns the table, the rows that are left out and why, and `fault`. Knows no test. `make faults` runs the rows and counts
them; tests/house/test_catalogue.py holds the table and the tests to each other.

The means: S simulation on a virtual clock, F a scripted server over a real socket, P the fault proxy, E the embedded
server, Z a real ZooKeeper, U anything else within one process.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, NamedTuple, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., Any])


class Row(NamedTuple):
    """What happens, and the means by which it is to be tested (letters, see above)."""

    means: str
    scenario: str


def fault(*rows: str) -> Callable[[Test], Test]:
    """Say that a test shows what these rows require. Their ids become part of its own: `test_name[T01]`."""
    unknown = set(rows) - set(ROWS)
    if unknown or not rows:
        raise ValueError(f"no such rows in the fault catalogue: {sorted(unknown)}")

    def tag(test: Test) -> Test:
        name = "-".join(rows)
        return pytest.mark.fault(*rows)(pytest.mark.parametrize((), [pytest.param(id=name)])(test))

    return tag


#: Rows without a test here, and why.
LEFT_OUT: Dict[str, str] = {
    "B02": "a day's soak is no part of a test run",
}

ROWS: Dict[str, Row] = {
    # Transport
    "T01": Row("PS", "FIN from server with requests in flight"),
    "T02": Row("P", "RST mid-frame (server to client)"),
    "T03": Row("PS", "Half-open: server machine gone, no FIN, client idle"),
    "T04": Row("P", "Half-open while client is busy sending"),
    "T05": Row("P", "Only client-to-server direction dead (we still get events)"),
    "T06": Row("ZF", "Server stopped (SIGSTOP) and continued after more than the session timeout"),
    "T07": Row("P", "Reply split at every byte boundary; many replies in one segment"),
    "T08": Row("P", "Byte-drip reply (1 byte/s) of a big frame"),
    "T09": Row("P", "Send buffer full (server does not read): 64 KiB+ writes"),
    "T10": Row("E", "Flood of replies/events starves requests & pings"),
    "T11": Row("U", "EINTR / signals during select, recv"),
    "T12": Row("U", "Connect refused on all hosts"),
    "T13": Row("P", "SYN black-holed (first host drops packets)"),
    "T14": Row("U", "Socket errors in odd places: EPIPE on send, ECONNRESET in connect, ENETUNREACH, EMFILE at socket()"),
    "T15": Row("F", "TCP self-connect on a local ephemeral port (connect to own source port)"),
    "T16": Row("U", "fd >= 1024"),
    # Handshake
    "H01": Row("F", "Server accepts TCP, never answers"),
    "H02": Row("F", "ConnectResponse dripped 1 byte / 2 s"),
    "H03": Row("F", "36-byte response without readOnly byte"),
    "H04": Row("F", "timeOut=0, sid=0"),
    "H05": Row("F", "16-byte ReplyHeader instead of ConnectResponse (RO server, -119)"),
    "H06": Row("E", "EOF instead of response (zxid ahead / RO / throttled)"),
    "H07": Row("E", "Ensemble wiped (data lost), same addresses"),
    "H08": Row("F", "Server returns a different session id on resume"),
    "H09": Row("ES", "Negotiated timeout smaller/larger than requested"),
    "H10": Row("F", "Negotiated timeout absurd (1 ms; 2^31-1)"),
    "H11": Row("F", "passwd length 0 / 17 / 1 MiB / null"),
    "H12": Row("F", "Expiry answer then RST at once"),
    "H13": Row("F", "First frame is HTTP / TLS alert / 4lw text"),
    "H14": Row("S", "Response arrives after our deadline"),
    # Session
    "S01": Row("EZ", "Server restart within T"),
    "S02": Row("E", "Outage > T"),
    "S03": Row("PS", "All servers unreachable > 4T/3"),
    "S04": Row("U", "Laptop sleep / SIGSTOP of the client > T"),
    "S05": Row("U", "Wall clock jumps plus or minus 1 day"),
    "S06": Row("E", "Session moved: two sockets with one session"),
    "S07": Row("E", "Stranger presents our id with wrong password"),
    "S08": Row("S", "close() while CONNECTING / handshaking / AUTH / replaying"),
    "S09": Row("P", "close() when server is black-holed"),
    "S10": Row("E", "EOF instead of closeSession reply"),
    "S11": Row("U", "close() twice, concurrently, from a callback, from atexit, from __del__"),
    "S12": Row("E", "Requests queued before close()"),
    "S13": Row("E", "Session leak: N start/stop, failed starts"),
    "S14": Row("EZ", "connect to RO to RW hand-over"),
    "S15": Row("F", "timeOut=0 from an RO server for a real rw session"),
    "S16": Row("F", "isro not whitelisted / hangs / dribbles"),
    "S17": Row("S", "Server clock / T reached between send and reply: write applied after we saw EXPIRED"),
    # Watches
    "W01": Row("EP", "Reconnect with data/exist/child watches, changed meanwhile"),
    "W02": Row("E", "Same, unchanged"),
    "W03": Row("E", "Node deleted+recreated while away (data watch)"),
    "W04": Row("E", "exists-watch node created+deleted while away"),
    "W05": Row("E", "setWatches > 128 KiB / > server maxbuffer"),
    "W06": Row("E", "One watched path alone > chunk limit"),
    "W07": Row("S", "relativeZxid snapshot vs replies racing"),
    "W08": Row("E", "multi fires 3 events, connection cut after the 1st"),
    "W09": Row("ES", "Event for a change arrives before the reply that exposes it"),
    "W10": Row("S", "Watch call times out/cancelled locally, server armed it"),
    "W11": Row("S", "Request with watch lost in flight"),
    "W12": Row("E", "exists: reply no node: exist map, node: data map"),
    "W13": Row("E", "Child watch + node deletion; data+child on same node deletion"),
    "W14": Row("E", "Parent child-watch and node data-watch on delete"),
    "W15": Row("E", "recursive + std child watch below it"),
    "W16": Row("U", 'recursive at "/" ; event at depth 5 ; sibling prefix /a vs /ab'),
    "W17": Row("E", "persistent watch over reconnect"),
    "W18": Row("E", "addWatch / setWatches2 at server < 3.6 (−6 + close)"),
    "W19": Row("E", "removeWatches types 4/5 at 3.8 (−5)"),
    "W20": Row("S", "removeWatches racing the event"),
    "W21": Row("E", "remove one of two local watchers on one path"),
    "W22": Row("U", "Callback raises / blocks 60 s"),
    "W23": Row("U", "Callback makes sync calls / adds watch / closes client"),
    "W24": Row("E", "Event path outside chroot (/zookeeper/config from getConfig; /app1x with chroot /app1)"),
    "W25": Row("F", "Unknown event type 42 / state 99 / null path"),
    "W26": Row("E", "Event storm with slow consumer"),
    "W27": Row("E", "Watches after EXPIRED"),
    # Requests
    "R01": Row("P", "create applied, reply lost"),
    "R02": Row("EP", "protected create (guid in name) after R01"),
    "R03": Row("E", "protected create, session expired in between, old node still visible"),
    "R04": Row("E", "delete/set with version retried after loss to BadVersion/NoNode"),
    "R05": Row("S", "xid wrap at 2^31-1"),
    "R06": Row("F", "reply xid not the head; duplicate reply; unsolicited reply"),
    "R07": Row("EZ", "auth reply overtakes pending writes"),
    "R08": Row("F", "unknown error code in header"),
    "R09": Row("ZU", "Request > 0xfffff (data, multi, ACL, path)"),
    "R10": Row("E", "Response > max_frame (100 k children)"),
    "R11": Row("F", "THROTTLEDOP -127, QuotaExceeded -125"),
    "R12": Row("S", "per-call timeout"),
    "R13": Row("U", "asyncio cancel of an awaiting call (before send, after send)"),
    "R14": Row("SP", "10 k pipelined requests, cut in the middle"),
    "R15": Row("EZ", "multi: empty; first/middle/last op fails; 19/21 ops; nested error -118"),
    "R16": Row("E", "multi with chroot incl. sequential create results"),
    "R17": Row("U", "create mode to opcode"),
    "R18": Row("E", "null vs empty data round trip"),
    "R19": Row("U", "path validation table, unicode, surrogates, .., trailing slash"),
    "R20": Row("S", "Calls in every state × every op"),
    "R21": Row("U", "ops from many threads (64) at once"),
    "R22": Row("F", "reply body shorter/longer than record"),
    "R23": Row("U", "sequence number negative / 11 chars"),
    "R24": Row("Z", "sync is async wrt leader: sync+read"),
    "R25": Row("FZ", "server skips one reply (3.8.0 to a lone check) / FIFO gap"),
    "R26": Row("FZ", "error reply carrying a body (-115 + null token, multiRead -5 + empty multi)"),
    "R27": Row("E", "frames after closeSession was sent (late replies, events)"),
    # Authentication and TLS
    "A01": Row("FZ", "bad digest scheme to -115 + EOF"),
    "A02": Row("F", "server drops during SASL (restart)"),
    "A03": Row("Z", "SASL wrong password: err -115 with body ffffffff"),
    "A04": Row("F", "-124 on first op"),
    "A05": Row("EP", "reconnect re-authenticates before user ops and before CONNECTED"),
    "A06": Row("S", "add_auth while disconnected / same creds twice / during replay"),
    "A07": Row("F", "SASL server lies (bad rspauth), challenge w/o nonce, garbage, huge token"),
    "A08": Row("F", "SASL challenge never comes"),
    "A09": Row("F", "TLS to plain port / plain to TLS port"),
    "A10": Row("F", "cert expired / wrong name / self-signed / wrong CA"),
    "A11": Row("F", "TLS record holds several frames; pending() data without fd readability"),
    "A12": Row("FU", "TLS handshake stalls; renegotiation/KeyUpdate; WANT_WRITE on read"),
    "A13": Row("F", "TLS close without close_notify mid-frame"),
    "A14": Row("U", "Secrets in logs/repr/exceptions/tracebacks"),
    # Hosts and names
    "D01": Row("U", "DNS slow (10 s)"),
    "D02": Row("U", "one name does not resolve"),
    "D03": Row("U", "IP changes (Kubernetes)"),
    "D04": Row("U", "name to many A/AAAA, dead IPv6 first"),
    "D05": Row("S", "shuffle & herd: 1000 clients, 3 hosts, one dies"),
    "D06": Row("S", "update hosts at runtime"),
    "D07": Row("U", "duplicate hosts, empty items, port 0/70000, IPv6 literals, bad chroot"),
    "D08": Row("E", "client lists a server of *another* ensemble"),
    # Threads, forks, callbacks
    "P01": Row("U", "os.fork with a live client (multiprocessing, gunicorn preload, celery)"),
    "P02": Row("U", "fork while locks held"),
    "P03": Row("U", "interpreter shutdown with live client (no close)"),
    "P04": Row("U", "sync API called on the I/O/callback thread"),
    "P05": Row("U", "KeyboardInterrupt/SystemExit inside a waiting call, inside callback"),
    "P06": Row("U", "AsyncResult: spurious wake-ups, get(timeout) in loop, callbacks after set"),
    "P07": Row("U", "asyncio: loop closed while client open; task cancelled in connect; wait_for races; two loops"),
    "P08": Row("U", "blocking callback in asyncio driver"),
    "P09": Row("U", "GC of an unreferenced client"),
    "P10": Row("S", "re-entrancy: completion callback issues next op 1 M deep"),
    # Instancer
    "I01": Row("EP", "Instancer: get_children fails once (loss) after event"),
    "I02": Row("P", "loss in the middle of reading the children's data"),
    "I03": Row("E", "child vanishes between list and get (NoNode)"),
    "I04": Row("E", "child data changed (re-weighting)"),
    "I05": Row("E", "session expired"),
    "I06": Row("E", "path missing / deleted / recreated"),
    "I07": Row("S", "missed change between event and re-read (ABA burst)"),
    "I08": Row("E", "burst of 1000 membership changes"),
    "I09": Row("U", "subscriber slow/full/throws; subscribe in callback; unsubscribe during broadcast"),
    "I10": Row("U", "Stop twice / Stop during retry / after client closed"),
    "I11": Row("P", "quorum loss: ZK down for an hour"),
    # Registrar
    "G01": Row("E", "Registrar: session expired"),
    "G02": Row("P", "create reply lost"),
    "G03": Row("E", "restart within T: old instance's node still there (fixed name)"),
    "G04": Row("E", "node deleted by operator"),
    "G05": Row("EP", "Deregister, incl. reply lost / node already gone"),
    "G06": Row("S", "Deregister while disconnected / Register pending"),
    "G07": Row("E", "update data while disconnected"),
    "G08": Row("E", "parent missing / removed concurrently (container reaped)"),
    "G09": Row("E", "two registrars, same service, same data"),
    "G10": Row("S", "partition > T but process alive"),
    "G11": Row("U", "empty path/name, no leading slash, trailing slash, path injection in name (a/b, ..)"),
    "G12": Row("E", "NoAuth / quota / ephemeral-parent error on register"),
    "G13": Row("E", "client.Stop while Instancer/Registrar live"),
    # Malformed and hostile servers
    "M01": Row("F", "frame length -1, -2^31"),
    "M02": Row("F", "length 2^31-1, then nothing"),
    "M03": Row("F", "frame shorter than 16 bytes; length 0"),
    "M04": Row("FU", "vector count 2^31-1 / -2 / count > remaining"),
    "M05": Row("FU", "string/buffer length beyond frame"),
    "M06": Row("F", "invalid UTF-8 in path/child/scheme"),
    "M07": Row("F", "multi reply never terminated / 10^6 results / type mismatch"),
    "M08": Row("U", "children names with /, empty, .., NUL"),
    "M09": Row("F", "create reply path outside requested parent or chroot"),
    "M10": Row("F", "zxid going backwards / negative / 2^63-1"),
    "M11": Row("P", "slow-loris everywhere (M×H×T)"),
    "M12": Row("U", "random bytes / bit flips / truncations at every layer"),
    "M13": Row("F", "server sends notification before ConnectResponse"),
    "M14": Row("F", "server answers ping never / thrice"),
    "M15": Row("F", "reply to a request we never finished sending"),
    "M16": Row("F", "decompression-bomb-like: 1 GiB of tiny frames"),
    # Bounds, shutdown, clocks
    "B01": Row("U", "unbounded submission while disconnected"),
    "B02": Row("-", "24 h soak with faults"),
    "B03": Row("-", "100 k watches, 10 k children, 1 MiB values"),
    "B04": Row("U", "log storm when ZK is down"),
    "B05": Row("U", "suspended VM: monotonic stops during sleep (CLOCK_MONOTONIC)"),
    "B06": Row("U", "monotonic callbacks late (GIL hog 5 s)"),
    "B07": Row("S", "timers with T=100 ms and T=1 h"),
    # From the field and from outside review
    "X01": Row("FE", "A signal handler calls the client while its thread is anywhere inside the client"),
    "X02": Row("E", "A log handler that uses the client"),
    "X03": Row("E", "A watcher or listener that is unhashable, or whose `__eq__` or `__hash__` raises"),
    "X04": Row("F", "Calls that time out while another thread reads"),
    "X05": Row("EU", "No thread can be started for a while: at start, at a reconnect, at the first callback, in close()"),
    "X06": Row("U", "The name service hangs, asyncio front"),
    "X07": Row("F", "`cancel()` returned True, then the session moves"),
    "X08": Row("E", "A slow watcher, and hundreds of events that wait for it"),
    "X09": Row("F", "A batch of thousands times out with much waiting"),
    "X10": Row("E", "get_many, a recursive delete, any recipe, with a small max_pending or beside other load"),
    "X11": Row("E", "A timer on the dispatch thread while jobs keep coming"),
    "X12": Row("EU", "`add_done_callback` after the client's end"),
    "X13": Row("EU", "Errors raised by calls, closed clients, a callback's arguments: freed at once"),
    "X14": Row("F", "`add_watch` times out after it was sent"),
    "X15": Row("FEU", "The first address of a name is dead, silent, or hangs up after it has accepted"),
    "X16": Row("E", "A watcher that is not callable"),
    "X17": Row("F", "Ten thousand requests of 1 MB waiting"),
    "X18": Row("E", "Event loops other than asyncio's own, eager tasks, an unexpected exception in an attempt to connect"),
    "X19": Row("F", "Compatible servers that hang up on an operation they do not know, or answer it without a body"),
    "X20": Row("F", "A recursive watch whose events carry the watched path instead of the node's"),
    "X21": Row("F", "The server is upgraded in place and the session survives"),
    "X22": Row("U", "Connect strings that are nearly right"),
    "X23": Row("E", "A chroot of several levels that does not exist"),
    "X24": Row("F", "-124, too many connections, a server that starts, a proxy that accepts and resets"),
    "X25": Row("F", "SASL mechanisms that need the server's name"),
    "X26": Row("FE", "read_only on servers before 3.7: one without a quorum resumes a session given away"),
    "X27": Row("EU", "Threads switched at the worst place: what is read while another thread changes it"),
    "X28": Row("EF", "get_config below a chroot"),
    "X29": Row("E", "NoAuth on create"),
    "X30": Row("EU", "A frozen program, an empty sys.executable, Client(zk=...) during a reconnect or of another copy"),
    "X31": Row("F", "A verb of several steps fails at a later step that was never sent, after an earlier write was"),
    "X32": Row("FS", "The process was stopped for longer than its lease, and asks before any of its threads has run"),
    # Discovery under any weather
    "Y01": Row("EZS", "The directory changes steadily, faster than the round trip: membership, data and what is called stale"),
    "Y02": Row("EZS", "One child cannot be read (ACL), is too large, is not decodable, or there are several such"),
    "Y03": Row("EU", "An answer or a list beyond max_frame: trouble of our own that ends the connection"),
    "Y04": Row("ES", "The client is at its end for good: AUTH_FAILED, closed, credentials refused after a reconnect"),
    "Y05": Row("ES", "A create in doubt when `Client.stop()` or `deregister()` ends, on a shared ZooKeeper"),
    "Y06": Row("E", "`client.register` beside `client.deregister` of an equal service"),
    "Y07": Row("U", "Fork: any public call or property in the child"),
    "Y08": Row("EZS", "Watches at the server after many losses and expiries of our node"),
    "Y09": Row("E", "An observer that raises anything, is cancelled, or whose thread cannot start"),
    "Y10": Row("E", "Many instancers reload while a registrar registers; max_pending"),
    "Y11": Row("E", "After stop(); two tasks on one instancer; a second stop(); failed services"),
    "Y12": Row("E", "Registration lost, back, refused, in doubt, while no caller asks: log lines"),
    "Y13": Row("E", "SIGTERM or SIGINT at any moment of the command line, twice; SIGHUP, SIGQUIT"),
    "Y14": Row("E", "`with Registrar(...)` left by an exception while ZooKeeper is away"),
    "Y15": Row("E", "Boot while ZooKeeper is down"),
    "Y16": Row("E", "Data with newline, escape codes, separators; stdout not UTF-8, closed, a pipe that ends"),
    "Y17": Row("E", "A path that does not exist, one level too high or too low, a missing chroot"),
    "Y18": Row("ES", "A read-only server below"),
    "Y19": Row("EU", "Children that are no instances, busy grandchildren"),
    "Y20": Row("ES", "A thousand instances: first load and reconnect cost few requests; a thousand observers, few threads"),
    "Y21": Row("U", "A process ends without stop()"),
}
