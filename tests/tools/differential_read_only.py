"""What a server says that has lost its quorum: the same questions to real servers and to the embedded one.

`interview` asks, and gives every answer as a line of text in which nothing differs from run to run: no ids, no zxids but
how far they are from the last transaction. tests/live/test_read_only_live.py compares real ensembles with the embedded
server, tests/embedded/test_read_only_versions.py the embedded server with what was recorded of versions that are hard to
get.

    python -m tests.tools.differential_read_only [3.4.13 3.5.9 ...]

prints the answers of a real ensemble and those of the embedded server side by side, for each version at hand or those named.
"""

from __future__ import annotations

import struct
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from tests.kit.harness import packages
from tests.kit.harness.servers import Ensemble
from tests.tools.differences import Wire
from zkwire.embedded import EmbeddedServer
from zkwire.ops import (
    AddWatch, Auth, CloseSession, Create, Delete, Exists, GetChildren, GetData, Multi, MultiRead, Ping, RemoveWatches, SetACL,
    SetData, SetWatches, Sync,
)  # fmt: skip
from zkwire.values import ACL, Id
from zkwire.wire.jute import decode, encode
from zkwire.wire.messages import CONNECT_REQUEST, CONNECT_RESPONSE, ConnectRequest
from zkwire.wire.operation import armed

OPEN = (ACL(31, Id("world", "anyone")),)
LONG, SHORT = 20000, 1000
#: Seconds in which a server with ticks of half a second has ended a session with the time-out SHORT.
OVER = 3.5
_NEW = (0, bytes(16))
_SESSIONS = ("mine", "closer", "closed", "silent")
#: What a session is asked to do. The answers to Sync and to all that writes need a quorum.
_OPERATIONS: Dict[str, Any] = {
    "ping": Ping(), "getData": GetData("/node"), "getData with a watch": GetData("/node", armed), "exists, no node": Exists("/nope"),
    "getChildren": GetChildren("/node"), "create": Create("/x", b"", OPEN), "ephemeral": Create("/x", b"", OPEN, True),
    "setData": SetData("/node", b"y"), "delete": Delete("/node"), "setACL": SetACL("/node", OPEN), "sync": Sync("/"),
    "multi": Multi([SetData("/node", b"y")]), "multiRead": MultiRead([GetData("/node")]), "addWatch": AddWatch("/node", armed, True),
    "removeWatches": RemoveWatches("/node", 3), "setWatches": SetWatches(1 << 62, ["/node"], [], []), "auth": Auth("digest", b"a:b"),
    "auth, unknown scheme": Auth("nope", b"a:b"),
}  # fmt: skip


class _Peer(Wire):
    """A raw connection; `answer` is what its handshake was answered with, in words."""

    def __init__(self, address: Tuple[str, int], session: Tuple[int, bytes], read_only: Optional[bool], timeout_ms: int,
                 zxid: int = 0) -> None:  # fmt: skip
        self._asked = session
        super().__init__(address, greeting=encode(CONNECT_REQUEST, ConnectRequest(0, zxid, timeout_ms, *session, read_only)))

    def frame(self) -> Optional[bytes]:
        frame = super().frame()
        if not hasattr(self, "answer"):  # the first one
            self.answer, frame = self._handshake(frame)
        return frame

    def _handshake(self, frame: Optional[bytes]) -> Tuple[str, Optional[bytes]]:
        self.session = (0, b"")
        if frame is None:
            return "hangs up", None
        if len(frame) == 16:
            return f"a reply header with {struct.unpack('>iqi', frame)[2]}", None
        response = decode(CONNECT_RESPONSE, frame)
        self.session = response.session_id, response.passwd or b""
        if response.timeout_ms <= 0:
            return f"{response.timeout_ms} ms, read-only {response.read_only}", frame
        kind = "the same" if self.session == self._asked else "a new session" if self._asked == _NEW else "another session"
        return f"{kind}, {response.timeout_ms} ms, read-only {response.read_only}", frame

    def ask(self, op: Any, base: int) -> str:
        """The answer to an operation: its error code, with what is unusual about its zxid."""
        self.xid += op.fixed_xid is None
        self.sock.sendall(op.frame(self.xid if op.fixed_xid is None else op.fixed_xid, None))
        while True:
            frame = self.frame()
            if frame is None:
                return "hangs up"
            xid, zxid, code = struct.unpack_from(">iqi", frame)
            if xid != -1:
                return str(code) + ("" if zxid in (base, -1) or xid == -4 else f", zxid {zxid - base:+}")

    def event(self) -> str:
        """The next frame, which should be a notification."""
        frame = self.frame()
        if frame is None:
            return "hangs up"
        type_, state, _ = struct.unpack_from(">iii", frame, 16)
        return f"event {type_} {frame[28:].decode()}"


class Place:
    """Where the questions are asked: `address` of the server that will lose its quorum, and how to do it to it.

    `over` is how many seconds later a session with the time-out SHORT has ended.
    """

    def __init__(
        self, address: Tuple[str, int], lose: Callable[[], object], find: Callable[[], object],
        over: float = OVER,
    ) -> None:  # fmt: skip
        self.lose, self.find, self.over = lose, find, over
        self._address = address
        self._peers: List[_Peer] = []

    def meet(
        self, session: Tuple[int, bytes], read_only: Optional[bool] = True, timeout_ms: int = LONG, zxid: int = 0
    ) -> _Peer:
        """A handshake."""
        self._peers.append(_Peer(self._address, session, read_only, timeout_ms, zxid))
        return self._peers[-1]

    def leave(self) -> None:
        """Close what is still open."""
        for peer in self._peers:
            peer.close()


def embedded(version: str, local_sessions: bool) -> List[str]:
    """What the embedded server says as this version."""
    with EmbeddedServer(version=version, local_sessions=local_sessions, tick=0.1) as server:
        place = Place(("127.0.0.1", server.port), server.go_read_only, lambda: server.go_read_only(False), over=1.5)
        return interview(place)


#: What makes a server have no local sessions; 3.4 never has any.
WITHOUT = {"localSessionsEnabled": None, "localSessionsUpgradingEnabled": None}
RACE = ("the quorum is back, silent", "the quorum is back, the node of silent")


def certain(said: List[str]) -> List[str]:
    """Without what a race decides: a session of one second, silent for long, gets another second from a new leader."""
    return [line for line in said if not line.startswith(RACE)]


def real_one(members: Sequence[Any]) -> List[str]:
    """What the first of three real servers says, when the others are killed, and once they are back."""
    survivor, *others = members

    def lose() -> None:
        for server in others:
            server.kill()
        survivor.wait_mode("read-only", timeout=20)

    def find() -> None:
        survivor.suspend()  # it must not lead: what it did alone would be true then
        for server in others:
            server.start(wait=False)
        for server in others:
            server.wait_ready()
        survivor.resume()
        survivor.wait_ready()

    return interview(Place((survivor.host, survivor.port), lose, find))


def interview(place: Place) -> List[str]:
    """All questions and answers."""
    try:
        return _interview(place)
    finally:
        place.leave()


def _interview(place: Place) -> List[str]:
    said: List[str] = []
    sessions, base = _before(place)

    def meet(who: str, session: Tuple[int, bytes] = _NEW, read_only: Optional[bool] = True, timeout_ms: int = LONG, zxid: int = 0) -> _Peer:
        peer = place.meet(session, read_only, timeout_ms, zxid)
        said.append(f"{who}: {peer.answer}")
        return peer

    place.lose()
    for read_only in (True, False, None):
        meet(f"a new session, readOnly {read_only}", _NEW, read_only).close()
    for timeout_ms in (0, 50, 7000, 1 << 30):
        meet(f"a new session of {timeout_ms} ms", _NEW, True, timeout_ms).close()
    mine = sessions["mine"]
    for read_only in (True, False, None):
        meet(f"a session of before, readOnly {read_only}", mine, read_only).close()
    meet("one of before, for 7000 ms", mine, True, 7000).close()
    meet("one of before, with a later zxid", mine, True, LONG, base + 1000).close()
    meet("one of before, with another password", (mine[0], b"x" * 16)).close()
    meet("one of before, once more", mine).close()
    meet("one that was closed before", sessions["closed"]).close()
    meet("one nobody knows", (12345, b"x" * 16)).close()
    for who, session in (("a new one", _NEW), ("one of before", mine)):
        said += _work(place, who, session, base)
    said += _ends(place, sessions, base)
    made = meet("one more", _NEW)
    place.find()
    if made.session[0]:
        meet("the quorum is back, one made without it", made.session, False).close()
    for name in ("closer", "silent"):  # 3.5.9 and 3.6.2 with local sessions resume them, and never answer them again
        meet(f"the quorum is back, {name}", sessions[name], False).close()
    peer = meet("the quorum is back, mine", mine, False)
    for name in ("closer", "silent", "mine"):
        code = peer.ask(Exists("/" + name), base).partition(",")[0]  # other transactions come in between
        said.append(f"the quorum is back, the node of {name}: {code}")
    peer.close()
    return said


def _before(place: Place) -> Tuple[Dict[str, Tuple[int, bytes]], int]:
    """With the quorum: sessions, each with a node of its own, and the last zxid."""
    sessions = {}
    for name in _SESSIONS:
        peer = place.meet(_NEW, False, SHORT if name == "silent" else LONG)
        assert peer.ask(Create("/" + name, b"", OPEN, True), 0).startswith("0"), name
        sessions[name] = peer.session
        if name == "closed":
            peer.ask(CloseSession(), 0)
        peer.close()
    peer = place.meet(_NEW, False)
    peer.ask(Create("/node", b"x", OPEN), 0)
    peer.ask(Sync("/"), 0)
    peer.sock.sendall(Ping().frame(-2, None))  # type: ignore[arg-type]  # it has no path
    frame = peer.frame()
    peer.close()
    assert frame is not None
    return sessions, struct.unpack_from(">iqi", frame)[1]


def _work(place: Place, who: str, session: Tuple[int, bytes], base: int) -> List[str]:
    """What a session may do, and how it moves."""
    said = []
    peer = place.meet(session)
    if not peer.session[0]:
        return []
    for name, op in _OPERATIONS.items():
        answer = peer.ask(op, base)
        said.append(f"{who}, {name}: {answer}")
        if answer in ("-6", "-115", "hangs up"):  # after which servers hang up
            peer = place.meet(peer.session)
    moved = place.meet(peer.session)
    said.append(f"{who}, moved to another connection: {moved.answer}; the old one {peer.event()}")
    moved.close()
    return said


def _ends(place: Place, sessions: Dict[str, Tuple[int, bytes]], base: int) -> List[str]:
    """Sessions that are closed, and those that are silent for their time."""
    watcher = place.meet(_NEW)
    if not watcher.session[0]:
        time.sleep(place.over)
        late = place.meet(sessions["silent"], True, SHORT)
        return [f"silent for its time, one of before: {late.answer}"]
    said = []
    new = place.meet(_NEW)
    for who, session in (("a new one", new.session), ("one of before", sessions["closer"])):
        peer = place.meet(session)
        if peer.session[0]:
            if who == "one of before":
                said.append(f"its node: {watcher.ask(Exists('/closer', armed), base)}")
            said.append(f"{who}, closed: {peer.ask(CloseSession(), base)}, then {peer.event()}")
            if who == "one of before":
                said.append(f"its node: {watcher.event()}, {watcher.ask(Exists('/closer'), base)}")
        again = place.meet(session)
        said.append(f"{who}, back after its close: {again.answer}")
        again.close()
    short = place.meet(_NEW, True, SHORT)
    said.append(f"silent, a new one: {short.event()}")
    time.sleep(place.over)
    for who, session in (("a new one", short.session), ("one of before", sessions["silent"])):
        late = place.meet(session, True, SHORT)
        said.append(f"silent for its time, {who}: {late.answer}")
    said.append(f"its node: {watcher.ask(Exists('/silent'), base)}")
    watcher.close()
    return said


def differences(left: Sequence[str], right: Sequence[str]) -> List[Tuple[str, str]]:
    """The pairs of answers that are not equal."""
    width = max(len(left), len(right))
    padded = ([*said, *[""] * (width - len(said))] for said in (left, right))
    return [pair for pair in zip(*padded) if pair[0] != pair[1]]


def side_by_side(version: str) -> int:
    """Print what a real server and the embedded one say; the number of differences, but for what a race decides."""
    with Ensemble(3, version, readonly=True) as members:
        real = real_one(list(members))
    own = embedded(version, True)
    differ = differences(certain(real), certain(own))
    width = max(map(len, real))
    print(f"\n{version}: {len(real)} answers, {len(differ)} differences\n{'real':<{width}} | embedded")
    for ours, theirs in zip(real, own):
        print(f"{ours:<{width}} | {'the same' if ours == theirs else theirs}")
    return len(differ)


def main() -> int:
    """All versions at hand, or those named; 1 if there is a difference."""
    at_hand = [version for version in packages.EXTRA if packages.cached(version)]
    versions = sys.argv[1:] or sorted({*packages.versions(), *at_hand})
    return int(any([side_by_side(version) for version in versions]))


if __name__ == "__main__":
    sys.exit(main())
