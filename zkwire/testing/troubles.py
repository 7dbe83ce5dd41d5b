"""The troubles of a hostile day, as values: how each begins, and by what it is known that a service has felt it.

Owns the table. Must not know pytest, or how anybody waits. Whatever shows that a trouble was felt is taken from what
clients have asked of the server (`EmbeddedServer.requests`): nothing else proves that they have noticed.
"""

from __future__ import annotations

import sys
from typing import Any, Callable, Optional, Sequence, Tuple

from ..embedded import ClientRequest, EmbeddedServer
from ..errors import ThrottledOpError
from ..ops import BY_OPCODE
from ..typed import NamedTuple

#: How late replies are on a slow network, in seconds.
SLOW = 0.2
_WRITES = frozenset(op.__name__ for op in BY_OPCODE.values() if op.writes)


class Sight(NamedTuple):
    """What a server has seen of a service since a moment.

    `victims` are the sessions that were connected when the trouble began, `sessions` those that are alive now, and
    `requests` what was asked for, pings excluded, since the trouble began (for `afterwards`: answered since it ended).
    `asked` are those of the service: neither handshakes nor what `zk_client` has asked for.
    """

    victims: Tuple[int, ...]
    sessions: Tuple[int, ...]
    requests: Sequence[ClientRequest]
    asked: Sequence[ClientRequest]

    def connects(self, outcome: str = "") -> Tuple[int, ...]:
        """The sessions of all handshakes, or of those with this outcome."""
        return tuple(r.session for r in self.requests if r.op == "Connect" and outcome in ("", r.outcome))


class Evidence(NamedTuple):
    """Something that must be seen: `says` completes "expected that ...", `advice` is what to do if it is not."""

    says: str
    seen: Callable[[Sight], object]
    advice: str = "The client of your service has to notice, and to connect again: keep it running."


class Trouble(NamedTuple):
    """One trouble. `begin(server)` begins it, and returns what ends it (with `end()`), or None if nothing lasts.

    `at_once` must be seen before the body of `with trouble` runs, `asked` before the trouble ends, and `afterwards`
    after its end; each may be None, but not all of them.
    """

    name: str
    begin: Callable[[EmbeddedServer], Any]
    at_once: Optional[Evidence] = None
    asked: Optional[Evidence] = None
    afterwards: Optional[Evidence] = None


_ASK = (
    "Have your service ask ZooKeeper for something within `with trouble`, or leave this one out: "
    "@hostile_day(leave_out=[...])."
)
#: Clients are known by their sessions, which they may have lost by then: so many as before are enough.
BACK = Evidence("as many clients as before have a session again",
             lambda sight: len(set(sight.connects("OK"))) >= len(sight.victims))  # fmt: skip
TRIED = Evidence("each client gives up its connection, and connects again",
              lambda sight: set(sight.victims) <= set(sight.connects()))  # fmt: skip
REFUSED = Evidence("each client connects again, in vain",
                lambda sight: set(sight.victims) <= set(sight.connects("ConnectionLoss")))  # fmt: skip
EXPIRED = Evidence("each client is told that its session has expired",
                lambda sight: set(sight.victims) <= set(sight.connects("SessionExpiredError")))  # fmt: skip
OVER = Evidence("the session of each client is over", lambda sight: not set(sight.victims) & set(sight.sessions),
             "Ask for a session timeout of about a second, or leave it to `zk_server`, which grants no longer one.")
LATE = Evidence(f"some answer is {SLOW} s late",
             lambda sight: any(r.took is not None and r.took >= SLOW for r in sight.asked), _ASK)  # fmt: skip
#: Any client may ask next, a registrar besides the code under test: who is to feel it asks while it lasts.
THROTTLED = Evidence("some request is answered with ThrottledOpError",
                  lambda sight: any(r.outcome == "ThrottledOpError" for r in sight.asked), _ASK)  # fmt: skip
UNANSWERED = Evidence("the answer to some write is lost, and its client connects again",
                   lambda sight: any(r.op in _WRITES and r.outcome == "ConnectionLoss" and r.session in sight.connects()
                                     for r in sight.asked), "Have your service write something within `with trouble`.")


def _expire(server: EmbeddedServer) -> None:
    for session in server.connected:
        server.expire(session)


def _throttle(server: EmbeddedServer) -> Any:
    return server.answer(ThrottledOpError.code, times=sys.maxsize)


def _once(switch: Callable[[EmbeddedServer], object]) -> Callable[[EmbeddedServer], None]:
    """A switch that leaves nothing to be ended."""

    def begin(server: EmbeddedServer) -> None:
        switch(server)

    return begin


def _then_cut(switch: Callable[[EmbeddedServer], Any]) -> Callable[[EmbeddedServer], Any]:
    """A switch that only matters to those who connect, and the reason to connect."""

    def begin(server: EmbeddedServer) -> Any:
        fault = switch(server)
        server.cut()
        return fault

    return begin


#: What the fixture `trouble` brings.
TROUBLES: Tuple[Trouble, ...] = (
    Trouble("the session expires", _once(_expire), EXPIRED),
    Trouble("the connection breaks", _once(lambda server: server.cut()), BACK),
    Trouble("the connection is reset", _once(lambda server: server.cut(reset=True)), BACK),
    Trouble("connections break within a frame", lambda server: server.drop_after(9), REFUSED, None, BACK),
    Trouble("the network is silent for a while", lambda server: server.black_hole(), TRIED, None, BACK),
    Trouble("the network is silent for long", lambda server: server.black_hole(), OVER, None, BACK),
    Trouble("answers do not arrive", lambda server: server.black_hole("out"), TRIED, None, BACK),
    Trouble("the network is slow", lambda server: server.delay(SLOW), None, LATE),
    Trouble("the server restarts", _once(lambda server: server.restart()), BACK),
    Trouble("the server is down", lambda server: server.down(), None, None, BACK),
    Trouble("the server loses its disk", _once(lambda server: server.wipe()), BACK),
    Trouble("the server lags behind", _then_cut(lambda server: server.lag_behind(0)), REFUSED, None, BACK),
    Trouble("there is no quorum", _then_cut(lambda server: server.refuse_sessions()), REFUSED, None, BACK),
    Trouble("there is no quorum, but reads", lambda server: server.go_read_only(), TRIED, None, BACK),
    Trouble("the server is overloaded", _throttle, None, THROTTLED),
)
#: For services that write: not among the above, because others cannot feel it.
ANSWER_LOST = Trouble("the answer to a write is lost", lambda server: server.lose_answer(), None, UNANSWERED)
