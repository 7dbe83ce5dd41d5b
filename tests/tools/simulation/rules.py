"""The invariants: their names, and the ledger that holds what was submitted against what reached the server.

Owns `Violation` and the counts of requests. Must not know networks or clocks.

I1 each call ends once, in time; I2 answers in the order of calls; I3 what succeeded was done once, what "was not sent"
was not; I4 nothing is sent twice; I5 what a session sees of a node never goes back, and it tells the server how far it
has seen; I6 the event comes before the data; I7 a watch fires once, and no change is missed for good; I8 no event
without a change and a watch; I9 states follow their graph; I10 both sides know the same watches; I11 frames are legal
where they stand; I12 nothing is left over; I13 a session is called expired only if it is, or after long silence; I14 when its time is over at the server, its
client is connected no more, but to a read-only server, which is no proof; I15 while a client announces CONNECTED,
CONNECTED_RO or SUSPENDED with a session that a read-write server has made or resumed, the majority has not given that
session away longer ago than four thirds of the time-out, counted from the last answer of a server of the majority if that
came later (what a read-only server says is no sign of life); I16 zxids of answers never go back, and what an answer shows was true at a
moment between all that the session has seen before, has written, or has asked for with `sync`, and now.
D1 every replica is true in the end; D2 no set is shown that never was, nor one older than the one shown before; D3 one node for each registration, or for each
identity that is wanted, in the end, and who has it is told to all others of that identity;
D4 none once its removal is confirmed; D5 nobody else's node is deleted, though it may have our name; D6 while nodes change steadily and nothing is
broken, what is shown is at most X seconds old, whatever changes how fast, and membership no older than data; D7 in the
end the watches below directories are the ones wanted: one on each node of ours, and those of instancers; D8 in the end
nothing is left of registrations of a client of discovery that has stopped, though it stopped in doubt, and what its users
still hold says so from the moment `stop` returns; D9 `stale_since`, as the user reads it, is set while nothing is known,
while there is no connection, whenever a change was heard X seconds ago and nothing newer is shown, and behind a stop, and
is not set at rest; D10 everybody who waits, or looks, is told the cause when there will never be a session again: Y seconds
after it, each caller, each registrar's and instancer's error, and soon each observer and iteration, has the cause, never a
symptom, and nothing of discovery runs any more; D11 children that cannot be read cost only themselves, and in the end each
of them is named, and nothing else; D12 each call returns or raises within the time it was given, or that its client gives
every call, and Z on top; `stop` takes 2 s while there is no connection; nothing waits in a signal handler; an exception of a
block is not replaced; D13 what an observer, or an iteration, is given is what was published, in order, with gaps but for the
last one, which is `state` in the end; and nothing once it is deregistered, or the instancer or its client is stopped; D14 a
registration stands in the end exactly if somebody was told so since it was last not wanted: none is left by callers that
were cancelled, or told of a failure, and none is taken from a caller that was told of success.

X is a second (`zkdisco.membership.LATE`), and what messages need on their way: more than a round trip between any two
places on earth with a sweep on top, and no more than the shortest session timeout, which the instances of a dead process
have anyway. Y is a second (`zkdisco.runner.LOOK_AGAIN`: a client that let a request wait in vain is asked again so much later).
Z is a second (`zkdisco.front.GRACE`), and some turns of a thread or an event loop that is behind. A call inside which other
calls were made (a thread that the system has put aside) may end behind these.
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from zkwire.wire.operation import Op

Key = Tuple[int, bytes]
#: exists, getData, getChildren, getChildren2: they end with the flag, which is not sent where a lasting watch of ours tells as much.
READS = (3, 4, 8, 12)
_SUBMITTED, _UNSENT, _WIRE, _APPLIED, _OK = range(5)


class Violation(AssertionError):
    """An invariant does not hold; `rule` is its name."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
        raised.append(self)


#: All of this run: a front may take one for an error of its user's, and only log it.
raised: List[Violation] = []


def require(condition: object, rule: str, text: str, *values: Any) -> None:
    """`Violation` unless the condition holds."""
    if not condition:
        raise Violation(rule, text.format(*values))


def key_of(op: Op[Any], scope: Any) -> Key:
    """What tells a request from others."""
    return wire_key(op.opcode, op.frame(0, scope)[12:])


def wire_key(opcode: int, body: bytes) -> Key:
    """As `key_of`, of a request on the wire: its bytes, without xid, and without the flag that asks for a watch."""
    return opcode, body[:-1] if opcode in READS else body


class Ledger:
    """Counts for each request: submitted, said not to be sent, seen on the wire, applied, said to have succeeded."""

    def __init__(self) -> None:
        self._counts: Dict[Key, List[int]] = {}
        self.frames = self.applications = 0

    def submitted(self, key: Key) -> None:
        """A user asks for it (once more)."""
        self._counts.setdefault(key, [0, 0, 0, 0, 0])[_SUBMITTED] += 1

    def refused(self, key: Key) -> None:
        """The core would not take it."""
        self._counts[key][_SUBMITTED] -= 1
        self._check_sent(key)

    def unsent(self, key: Key) -> None:
        """The core says that it was never sent."""
        self._counts[key][_UNSENT] += 1
        self._check_sent(key, "I3")

    def wired(self, key: Key) -> None:
        """Its last byte has left."""
        require(key in self._counts, "I11", "a request that nobody asked for: {!r}", key)
        self.frames += 1
        self._counts[key][_WIRE] += 1
        self._check_sent(key)

    def applied(self, key: Key) -> None:
        """The server has done it."""
        counts = self._counts.get(key)
        if counts is not None:  # the surroundings write, too
            self.applications += 1
            counts[_APPLIED] += 1
            require(counts[_APPLIED] <= counts[_WIRE], "I3", "applied more often than sent: {!r} {}", key, counts)

    def succeeded(self, key: Key) -> None:
        """The core says that it was done."""
        counts = self._counts[key]
        counts[_OK] += 1
        require(counts[_OK] <= counts[_APPLIED], "I3", "a success that was none: {!r} {}", key, counts)

    def _check_sent(self, key: Key, rule: str = "I4") -> None:
        counts = self._counts[key]
        sent = counts[_WIRE] <= counts[_SUBMITTED] - counts[_UNSENT]
        require(sent, rule, "sent more often than asked for: {!r} {}", key, counts)
