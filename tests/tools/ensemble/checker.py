"""From the clients' histories and the servers' logs to violations: pure functions, one for each rule.

Owns what is right. Must not know servers, processes or networks. `RULES` is the table: a name, and a function of a `Case`
that yields a `Violation` for everything that is wrong.

lost            what was acknowledged is in the log (unless the logs show that the servers have lost it)
twice           what was asked for once was done once at most
denied          what certainly failed was not done
answer          an answer says what was done: zxid, version, path, owner
fiction         what is read was there, at the zxid that is told with it
stale           no read is older than what this client has seen before
order           a write that began when another had been acknowledged comes behind it
owner           who says that it is connected and owns a node does
watch           a one-shot watch fires once, for a change, and for each change
gap             a recursive watch tells all changes in order, or says that it may have missed some
half            a transaction was done as a whole
registration    one node while it is wanted, none when it is said to be gone, and nobody deletes another's
shown           an instancer shows sets that existed, never goes back, and in the end shows what is there
hang            each call ends within its time
back            each client is connected, and has caught up, when all is well again
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from .history import Record
from .truth import CREATED, DELETED, Moment, Truth

WRITES = frozenset(["set", "create", "multi"])
#: Seconds that a call may take (`hand.PATIENCE`), and what a busy machine adds.
PATIENCE, SLACK = 8.0, 2.0
#: Seconds: the log has milliseconds, and a clock is read a moment before or after what it is read for.
GRAIN = 0.005
SERVICE, WATCHED = "/services/api", "/watched"


class Violation(NamedTuple):
    """What is wrong: by which rule, with which client, and when."""

    rule: str
    client: str
    text: str
    at: float


class Call(NamedTuple):
    """One call; `outcome` is ok, fail, maybe, or '' where none was noted."""

    number: int
    op: str
    arguments: Record
    begun: float
    outcome: str
    result: Record
    ended: Optional[float]


class Client:
    """One history, taken apart."""

    def __init__(self, name: str, records: Sequence[Record]) -> None:
        self.name, self.records = name, records
        self.calls: List[Call] = []
        begun: Dict[int, Record] = {}
        for record in records:
            if record["k"] == "invoke":
                begun[record["n"]] = record
            elif record["k"] in ("ok", "fail", "maybe"):
                first = begun.pop(record["n"])
                self.calls.append(Call(first["n"], first["op"], first, first["t"], record["k"], record, record["t"]))
        self.calls += [Call(n, first["op"], first, first["t"], "", {}, None) for n, first in begun.items()]
        self.calls.sort(key=lambda call: call.begun)
        self.last = records[-1]["t"] if records else 0.0

    def of(self, kind: str) -> List[Record]:
        """All records of a kind."""
        return [record for record in self.records if record["k"] == kind]

    @property
    def rested(self) -> bool:
        """Whether it has seen the end."""
        return bool(self.of("rest"))


class Case:
    """All that a verdict needs.

    `gone` clients were killed; `stopped` has the times at which clients were suspended. What `broken` clients say is no proof
    against others.
    """

    def __init__(
        self, histories: Mapping[str, Sequence[Record]], truth: Truth, gone: Sequence[str] = (),
        stopped: Mapping[str, Sequence[Tuple[float, float]]] = {}, broken: Sequence[str] = (),  # noqa: B006  # read only
    ) -> None:  # fmt: skip
        self.clients = [Client(name, records) for name, records in sorted(histories.items())]
        self.truth, self.gone, self.stopped = truth, frozenset(gone), stopped
        self.broken = frozenset(broken)

    def writes(self) -> Iterator[Tuple[Client, Call, str]]:
        """Each call that was to write a value, and the value."""
        for client in self.clients:
            for call in client.calls:
                if call.op in WRITES:
                    yield client, call, call.arguments["value"]


Rule = Callable[[Case], Iterator[Violation]]


def violations(case: Case) -> List[Violation]:
    """Everything that is wrong."""
    return [found for rule in RULES.values() for found in rule(case)]


# ---------------------------------------------------------------------------------------- writes


def lost(case: Case) -> Iterator[Violation]:
    """What was acknowledged is in the log."""
    for client, call, value in case.writes():
        known = value in case.truth.values or value in case.truth.doubtful or value in case.truth.lost
        if call.outcome == "ok" and not known:
            yield Violation("lost", client.name, f"{_said(call)} was acknowledged, and no log has it", call.begun)


def twice(case: Case) -> Iterator[Violation]:
    """What was asked for once was done once at most."""
    for client, call, value in case.writes():
        done = case.truth.values.get(value, [])
        if call.arguments.get("protect"):
            if any(one.zxid < other.zxid < _end(case.truth, one) for one in done for other in done):
                yield Violation("twice", client.name, f"{_said(call)} is there twice: {_places(done)}", call.begun)
        elif len(done) > len(call.arguments.get("paths", [0])):
            yield Violation("twice", client.name, f"{_said(call)} was done {len(done)} times: {_places(done)}", call.begun)


def denied(case: Case) -> Iterator[Violation]:
    """What certainly failed was not done."""
    for client, call, value in case.writes():
        if call.outcome == "fail" and value in case.truth.values:
            done = _places(case.truth.values[value])
            yield Violation("denied", client.name, f"{_said(call)} is said not to have been done, and was: {done}", call.begun)


def answer(case: Case) -> Iterator[Violation]:
    """An answer says what was done."""
    for client, call, value in case.writes():
        done = case.truth.values.get(value, [])
        if call.outcome != "ok" or not done or call.op == "multi":
            continue
        real, told = done[-1], call.result
        wrong = [
            f"{name} {told[name]}, not {right}"
            for name, right in (("mzxid", real.zxid), ("version", real.version), ("owner", real.owner), ("path", real.path))
            if name in told and told[name] != right
        ]
        # A protected create finds its node again, and that may have another value by then.
        if wrong and not (call.arguments.get("protect") and told["czxid"] == real.zxid):
            yield Violation("answer", client.name, f"{_said(call)} was answered with {', '.join(wrong)}", call.begun)


def half(case: Case) -> Iterator[Violation]:
    """A transaction was done as a whole."""
    for client, call, value in case.writes():
        done = case.truth.values.get(value, [])
        if call.op != "multi" or not done:
            continue
        if len({moment.zxid for moment in done}) > 1 or {m.path for m in done} != set(call.arguments["paths"]):
            yield Violation("half", client.name, f"{_said(call)} was done in parts: {_places(done)}", call.begun)


def order(case: Case) -> Iterator[Violation]:
    """A write that began when another had been acknowledged comes behind it."""
    acknowledged = []
    for client, call, value in case.writes():
        done = case.truth.values.get(value, [])
        if call.outcome == "ok" and done and not call.arguments.get("protect") and client.name not in case.broken:
            acknowledged.append((call.begun, call.ended or 0.0, done[0].zxid, client, call))
    ended = sorted((end, zxid) for _, end, zxid, _, _ in acknowledged)
    newest, so_far = [], 0
    for _, zxid in ended:
        so_far = max(so_far, zxid)
        newest.append(so_far)
    times = [end for end, _ in ended]
    for begun, _, zxid, client, call in acknowledged:
        before = bisect_left(times, begun)
        if before and newest[before - 1] > zxid:
            text = f"{_said(call)} is 0x{zxid:x}, though 0x{newest[before - 1]:x} had been acknowledged before it began"
            yield Violation("order", client.name, text, begun)


# ----------------------------------------------------------------------------------------- reads


def fiction(case: Case) -> Iterator[Violation]:
    """What is read was there."""
    for client in case.clients:
        for call in client.calls:
            if call.outcome != "ok":
                continue
            path, told = call.arguments.get("path", ""), call.result
            if call.op == "get":
                real = case.truth.at(path, told["mzxid"])
                right = real is not None and (real.zxid, real.value, real.version, real.owner) == (
                    told["mzxid"], told["value"], told["version"], told["owner"])  # fmt: skip
            elif call.op == "children":
                right = _names(case.truth, path, told["pzxid"]) == told["names"]
            else:
                continue
            if not right and _newest(told) not in case.truth.lost_zxids:
                yield Violation("fiction", client.name, f"{_said(call)} gave {_brief(told)}, which never was", call.begun)


def stale(case: Case) -> Iterator[Violation]:
    """No read is older than what this client has seen before."""
    for client in case.clients:
        seen = sorted((call.ended or 0.0, _newest(call.result)) for call in client.calls if call.outcome == "ok")
        position, known = 0, 0
        for call in client.calls:
            while position < len(seen) and seen[position][0] < call.begun:
                known = max(known, seen[position][1])
                position += 1
            since = _superseded(case.truth, call)
            if since is not None and since <= known:
                text = f"{_said(call)} gave {_brief(call.result)}, over since 0x{since:x}, and the client had seen 0x{known:x}"
                yield Violation("stale", client.name, text, call.begun)


def _superseded(truth: Truth, call: Call) -> Optional[int]:
    """The zxid from which on this read was not true any more; None: it is no read, or still true."""
    path, told = call.arguments.get("path", ""), call.result
    if call.op == "get" and call.outcome == "ok" or call.op == "exists" and told.get("there"):
        later = truth.after(path, told["mzxid"])
    elif call.op == "children" and call.outcome == "ok":
        later = truth.children_after(path, told["pzxid"])
    elif call.op == "exists" and call.outcome == "ok" or told.get("error") == "NoNodeError" and call.op == "get":
        now = truth.at(path, truth.last)
        return None if now is None else _last_created(truth, path)
    else:
        return None
    return later[0].zxid if later else None


def _last_created(truth: Truth, path: str) -> int:
    return max(moment.zxid for moment in truth.nodes[path] if moment.what == CREATED)


# --------------------------------------------------------------------------------------- sessions


def owner(case: Case) -> Iterator[Violation]:
    """Who says that it is connected and owns a node does."""
    for client in case.clients:
        for claim in client.of("claim"):
            session = case.truth.sessions.get(claim["sid"])
            closed = session.closed if session is not None else None
            if closed is not None and closed[1] < claim["at"] - GRAIN:
                late = claim["at"] - closed[1]
                text = f"says that it is connected and owns {claim['path']}, {late:.3f} s after session 0x{claim['sid']:x} had ended"
                yield Violation("owner", client.name, text, claim["at"])


# ---------------------------------------------------------------------------------------- watches


def watch(case: Case) -> Iterator[Violation]:
    """A one-shot watch fires once, for a change, and for each change."""
    for client in case.clients:
        fired: Dict[str, List[Record]] = defaultdict(list)
        for record in client.of("fired"):
            fired[record["w"]].append(record)
        ended = any(record["state"] == "LOST" for record in client.of("state")) or bool(client.of("end"))
        for armed in client.of("armed"):
            if armed["how"] == "recursive":
                continue
            events, what = fired[armed["w"]], f"the {armed['how']} watch {armed['w']} on {armed['path']}"
            later = _changes_for(case.truth, armed)
            if len(events) > 1:
                yield Violation("watch", client.name, f"{what} has fired {len(events)} times", events[1]["t"])
            for event in events[:1]:
                if event["type"] == "NONE" and not ended or event["type"] != "NONE" and not later:
                    yield Violation("watch", client.name, f"{what} has fired {event['type']}, and nothing had changed", event["t"])
            if not events and client.rested and _due(case.truth, armed, later):
                text = f"{what}, set as of 0x{armed['basis']:x}, was not told of 0x{later[0].zxid:x} ({later[0].what})"
                yield Violation("watch", client.name, text, armed["t"])


def _changes_for(truth: Truth, armed: Record) -> List[Moment]:
    if armed["how"] == "children":
        return truth.children_after(armed["path"], armed["basis"])
    later = truth.after(armed["path"], armed["basis"])
    return [moment for moment in later if moment.what == CREATED] if armed["how"] == "absent" else later


def _due(truth: Truth, armed: Record, later: List[Moment]) -> bool:
    """A watch on a node that is not there may miss one that came and went while there was no connection."""
    return bool(later) and (armed["how"] != "absent" or truth.at(armed["path"], truth.last) is not None)


def gap(case: Case) -> Iterator[Violation]:
    """A recursive watch tells all changes in order, or says that it may have missed some."""
    for client in case.clients:
        for armed in client.of("armed"):
            if armed["how"] == "recursive":
                real = [(m.what, m.path) for m in case.truth.below(armed["path"]) if m.zxid > armed["basis"]]
                yield from _followed(client, armed, real)


def _followed(client: Client, armed: Record, real: List[Tuple[str, str]]) -> Iterator[Violation]:
    """`at` has all places in the real order of changes at which the watch may be.

    From the loss of a connection to the event that says so, order counts for nothing: what one-shot watches of the same
    client are told when they are set again, it is told as well.
    """
    at: Set[int] = set(range(len(real) + 1))
    what, since, away = f"the recursive watch {armed['w']}", client.records.index(armed), 0.0
    for index, record in enumerate(client.records):
        if record["k"] == "state" and record["state"] == "SUSPENDED" and index > since:
            away = record["t"]
        if record["k"] != "fired" or record["w"] != armed["w"]:
            continue
        if record["type"] == "NONE" and record["state"] == "CONNECTED":
            at, away = set(range(min(at), len(real) + 1)), 0.0
        elif record["type"] not in (CREATED, DELETED, "CHANGED"):
            return  # it has ended
        else:
            expected = sorted({f"{real[i][0]} {real[i][1]}" for i in at if i < len(real)})[:3]
            told = (record["type"], record["path"])
            now = {i + 1 for i in (range(min(at), len(real)) if away else at) if i < len(real) and real[i] == told}
            if not now:
                text = f"{what} told {' '.join(told)}, where the log has {' or '.join(expected) or 'nothing'}"
                yield Violation("gap", client.name, text, record["t"])
                return
            at = at if away else now
    if client.rested and away:
        yield Violation("gap", client.name, f"{what} was not told that it may have missed changes", away)
    elif client.rested and len(real) not in at:
        text = f"{what} was not told of the last {len(real) - max(at)} changes"
        yield Violation("gap", client.name, text, client.of("rest")[-1]["t"])


# -------------------------------------------------------------------------------------- discovery


def registration(case: Case) -> Iterator[Violation]:
    """One node while it is wanted, none when it is said to be gone, and nobody deletes another's."""
    for client in case.clients:
        if not client.of("wanted"):
            continue
        own = {record["sid"] for record in client.of("state")}
        lives = case.truth.lives(lambda value, name=client.name: value.startswith(f"{name}#"))
        for (before, end), (after, _) in zip(lives, lives[1:]):
            if end is None or end.zxid > after.zxid:
                yield Violation("registration", client.name, f"is registered twice: {before.path} and {after.path}", after.time)
        for begun, end in lives:
            if end is not None and end.by not in own | {begun.owner, 0}:
                text = f"{begun.path} of session 0x{begun.owner:x} was deleted by 0x{end.by:x}"
                yield Violation("registration", client.name, text, end.time)
        yield from _as_said(client, lives)
        wanted = [record for record in client.records if record["k"] in ("wanted", "registered")][-1]
        live = sum(end is None for _, end in lives)
        if client.rested and live != wanted["wanted"] and "error" not in wanted:
            text = f"{live} nodes at rest, and it is {'' if wanted['wanted'] else 'not '}wanted"
            yield Violation("registration", client.name, text, wanted["t"])


def _as_said(client: Client, lives: List[Tuple[Moment, Optional[Moment]]]) -> Iterator[Violation]:
    asked = 0.0
    for record in client.records:
        if record["k"] == "wanted":
            asked = record["t"]
        elif record["k"] == "registered":
            at = record["t"]
            there = [begun for begun, end in lives if begun.time <= at + GRAIN and (end is None or end.time > asked - GRAIN)]
            stays = [begun for begun, end in lives if begun.time < at - GRAIN and (end is None or end.time > at + GRAIN)]
            if record["wanted"] and not there:
                yield Violation("registration", client.name, "was told that it is registered, and is not", at)
            elif not record["wanted"] and stays:
                yield Violation("registration", client.name, f"was told that it is gone, and {stays[0].path} is there", at)


def shown(case: Case) -> Iterator[Violation]:
    """An instancer shows sets that existed, never goes back, and in the end shows what is there."""
    sets = case.truth.sets(SERVICE)
    known: Dict[Tuple[str, ...], List[int]] = defaultdict(list)
    for index, (_, instances) in enumerate(sets):
        known[instances].append(index)
    for client in case.clients:
        at = 0
        for record in client.of("shown"):
            instances = tuple(record["instances"])
            places = known.get(instances)
            if not places:
                yield Violation("shown", client.name, f"shows a set that never was: {list(instances)}", record["t"])
                continue
            later = bisect_left(places, at)
            if later == len(places):
                text = f"goes back from 0x{sets[at][0]:x} to 0x{sets[places[-1]][0]:x}: {list(instances)}"
                yield Violation("shown", client.name, text, record["t"])
            else:
                at = places[later]
            if record.get("at_rest") and client.rested and instances != sets[-1][1]:
                text = f"shows {list(instances)} at rest, where {list(sets[-1][1])} is true ({record['error']})"
                yield Violation("shown", client.name, text, record["t"])


# ------------------------------------------------------------------------------------------- time


def hang(case: Case) -> Iterator[Violation]:
    """Each call ends within its time."""
    for client in case.clients:
        for call in client.calls:
            end = client.last if call.ended is None else call.ended
            stood = sum(max(0.0, min(b, end) - max(a, call.begun)) for a, b in case.stopped.get(client.name, ()))
            if end - call.begun - stood > PATIENCE + SLACK:
                text = f"{_said(call)} took {end - call.begun:.1f} s" + (", and has not ended" if call.ended is None else "")
                yield Violation("hang", client.name, text, call.begun)


def back(case: Case) -> Iterator[Violation]:
    """Each client is connected, and has caught up, when all is well again."""
    for client in case.clients:
        if client.name not in case.gone and not client.rested:
            yield Violation("back", client.name, f"did not come back: {_brief(client.records[-1])}", client.last)


RULES: Dict[str, Rule] = {
    "lost": lost, "twice": twice, "denied": denied, "answer": answer, "half": half, "order": order, "fiction": fiction,
    "stale": stale, "owner": owner, "watch": watch, "gap": gap, "registration": registration, "shown": shown,
    "hang": hang, "back": back,
}  # fmt: skip


def _end(truth: Truth, moment: Moment) -> float:
    """The zxid at which a node that was created then has gone."""
    return next((m.zxid for m in truth.after(moment.path, moment.zxid) if m.what == DELETED), float("inf"))


def _names(truth: Truth, path: str, zxid: int) -> List[str]:
    """The names of the children of a node when this was its last change of children."""
    live: Set[str] = set()
    for moment in truth.children.get(path, []):
        if moment.zxid <= zxid:
            (live.add if moment.what == CREATED else live.discard)(moment.path.rpartition("/")[2])
    return sorted(live)


def _newest(result: Record) -> int:
    return max(result.get(name, 0) for name in ("mzxid", "czxid", "pzxid"))


def _said(call: Call) -> str:
    arguments = {key: value for key, value in call.arguments.items() if key not in ("t", "k", "n", "op")}
    return f"{call.op}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def _brief(record: Mapping[str, Any]) -> str:
    return str({key: value for key, value in record.items() if key not in ("t", "k", "n", "op")})


def _places(moments: Sequence[Moment]) -> str:
    return ", ".join(f"{moment.path} at 0x{moment.zxid:x}" for moment in moments)
