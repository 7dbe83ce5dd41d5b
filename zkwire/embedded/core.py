"""The server without I/O: received bytes of each connection in, bytes to send out, the clock as an argument.

Owns the order of events: handshakes, which replies overtake others, zxids, the order of notifications. Must not know
sockets, threads or the time.

    link = core.accept(("127.0.0.1", 4711), now)      # a client has connected
    core.receive(link, data, now)                     # bytes from it
    data = core.data_to_send(link, now)               # bytes for it; look at `core.stirred` after each call
    link.over                                         # close its connection
    core.lost(link, now)                              # the client has closed its connection
    core.tick(now); core.deadline()                   # time: expiry, reaping, delayed answers

Requests are carried out when they arrive, so replies come in order. The reply to auth is sent at once, before the
replies to earlier requests in the same bytes, as by the I/O threads of the real server.
"""

from __future__ import annotations

import dataclasses
import struct
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple

from ..errors import MarshallingError
from ..typed import NamedTuple
from ..wire.jute import BUFFER, decode, encode
from ..wire.messages import CONNECT_REQUEST, CONNECT_RESPONSE, ConnectRequest, ConnectResponse
from ..values import Id
from . import requests
from .alarms import Alarms
from .conditions import Conditions
from .database import MULTI, Caller, Database
from .identity import Identities, hashed
from .link import ServerLink
from .sasl import DigestServer, SaslRefused
from .sessions import ServerSession, Sessions
from .settings import Settings
from .transactions import NodeDeleted, SessionEnded, Step, TreeTransaction
from .writes import WRITES

if TYPE_CHECKING:
    from random import Random

_HEADER = struct.Struct(">ii")
_REPLY = struct.Struct(">iqi")
_EVENT = struct.Struct(">iqiiii")
PING, AUTH, SASL, CLOSE_SESSION = 11, 100, 102, -11
NOT_READ_ONLY, AUTH_FAILED, UNIMPLEMENTED, REQUIRES_SASL = -119, -115, -6, -124
_CONNECTED = 3  # the state in a notification
#: The operations that a read-only server refuses (ReadOnlyRequestProcessor), and for which others ask the leader.
_REFUSED_READ_ONLY = WRITES | {9, MULTI}
#: The time limit of a connection for its handshake, in seconds (zookeeper.nio.sessionlessCnxnTimeout).
HANDSHAKE_TIME = 10.0


class _Queued(NamedTuple):
    """A request that waits, with the identities that the connection had when it arrived."""

    link: ServerLink
    xid: int
    opcode: int
    body: bytes
    ids: Sequence[Id]


class BareCore:
    """One server with its data; it knows no four-letter words, and no faults but those that are switched on.

    `now` is seconds of any steady clock; `epoch` is added to it for times in Stats. `random` makes session ids,
    passwords and nonces: with a seed, runs are repeatable.
    """

    def __init__(
        self, settings: Optional[Settings] = None, *, random: Random, now: float = 0.0, epoch: float = 0.0
    ) -> None:
        self._take_on(settings or Settings())
        self.epoch, self.started = epoch, now
        self.conditions = Conditions()
        self.links: Dict[ServerLink, None] = {}
        #: Connections with something to send, or at their end, in the order in which it came up.
        self.stirred: Dict[ServerLink, None] = {}
        #: When each connection has been silent for too long.
        self._silences: Alarms[ServerLink] = Alarms()
        #: Closed connections whose clients have not been informed yet.
        self.ghosts: List[ServerLink] = []
        self.read_only = False
        #: Whether clients may connect; a member of an ensemble without a leader lets none in.
        self.serving = True
        self.role = "standalone"
        #: The data of the leader that this server follows.
        self.leading: Optional[Database] = None
        #: The listening address, for four-letter words.
        self.port = 0
        self._received = self._sent = 0
        self._random = random
        self._reaped = self._now = now
        self._reset()

    def _take_on(self, settings: Settings) -> None:
        self.settings, self.profile = settings, settings.profile
        addresses = self.profile.networks_in_acl, self.profile.ipv6_in_acl
        self.identities = Identities(settings.super_password, bool(settings.sasl), *addresses)

    def _reset(self) -> None:
        settings = self.settings
        self.data = Database(settings, self.identities, self._deliver)
        #: Sessions that the ensemble has expired while this server had no quorum, so that it does not know it.
        self.given_away: Dict[int, ServerSession[ServerLink]] = {}
        #: Sessions that this server has expired without a quorum; for the ensemble they are alive.
        self._ended_alone: Dict[int, ServerSession[ServerLink]] = {}
        self.sessions: Sessions[ServerLink] = Sessions(
            self._random.getrandbits(56), settings.tick, settings.min_session_timeout, settings.max_session_timeout
        )

    # ------------------------------------------------------------------------- connections

    def accept(self, address: Tuple[str, int], now: float) -> ServerLink:
        """A client has connected."""
        link = ServerLink(address, self.conditions.weather_for_new(), now, self.stirred)
        self.links[link] = None
        self._listen_to(link)
        link.stir()
        return link

    def receive(self, link: ServerLink, data: bytes, now: float) -> None:
        """Bytes have arrived from a client."""
        if link.feed(data):
            self._work(link, now)

    def data_to_send(self, link: ServerLink, now: float) -> bytes:
        """The bytes to send to a client now. Check `link.over` afterwards."""
        data = link.take(now)
        if link.dead:
            self.drop(link)
        link.settle()
        return data

    def lost(self, link: ServerLink, now: float) -> None:
        """The client has closed the connection. Its session continues."""
        link.weather.hold_out = False
        self.drop(link)

    def drop(self, link: ServerLink) -> None:
        """Close a client's connection at once; in a black hole the client notices it when that ends."""
        link.kill()
        if link.weather.hold_out and link in self.links:
            self.ghosts.append(link)
        if link in self.links:
            del self.links[link]
            self._silences.drop(link)
            self._received += link.received
            self._sent += link.sent
        self.data.watches.forget(link)
        session = self.sessions.get(link.session_id)
        if session is not None and session.link is link:
            session.link = None

    def tick(self, now: float) -> None:
        """The time has advanced: expire sessions, close silent connections, reap containers and TTL nodes."""
        self.close_silent(now)
        for session in self.sessions.expired(now, self.judges_local_only):
            self.end_session(session, now)
        if not self.read_only and now >= self._reaped + self.settings.reap_interval:
            self._reaped = now
            self._reap(now)

    def close_silent(self, now: float) -> None:
        """Close the connections that have been silent for too long."""
        for link in self._silences.due(now):
            self.drop(link)

    def deadline(self) -> Optional[float]:
        """The latest time to call `tick` or `data_to_send` again; None for no need."""
        return min((moment for moment in self.moments() if moment is not None), default=None)

    def moments_of_links(self) -> List[Optional[float]]:
        """When something is to be done for connections."""
        return [*(link.ready_at() for link in self.stirred), self._silences.next()]

    def moments(self) -> List[Optional[float]]:
        """When something is to be done."""
        moments = self.moments_of_links()
        moments.append(self.sessions.deadline(self.judges_local_only))
        if self.data.tree.mortal and not self.read_only:
            moments.append(self._reaped + self.settings.reap_interval)
        return moments

    @property
    def judges_local_only(self) -> bool:
        """Whether this server must not expire the sessions of the ensemble."""
        return self.read_only and not self.profile.resumes_without_quorum

    def alive(self) -> Dict[int, ServerSession[ServerLink]]:
        """The sessions that are alive for the ensemble, by id."""
        sessions = {session.id: session for session in self.sessions.all()}
        sessions.update(self._ended_alone)
        return {id_: session for id_, session in sessions.items() if id_ not in self.given_away}

    def traffic(self) -> Tuple[int, int]:
        """The numbers of frames received and sent so far."""
        received = self._received + sum(link.received for link in self.links)
        return received, self._sent + sum(link.sent for link in self.links)

    def wall_ms(self, now: float) -> int:
        """The time in Stats: ms since the epoch."""
        return int((now + self.epoch) * 1000)

    # ------------------------------------------------------------------------------- input

    def _work(self, link: ServerLink, now: float) -> None:
        """Read the received bytes, then carry out the requests; auth and SASL are answered while reading."""
        link.heard = now
        if link.knows_read_only is None and self._is_word(link, now):
            return
        queue: List[_Queued] = []
        for frame in link.frames(self.settings.max_buffer):
            if link.knows_read_only is None:
                self._handshake(link, frame, now)
            else:
                self._read_request(link, frame, queue, now)
        link.backlog += queue
        self.proceed(link, now)
        if link.dead:
            self.drop(link)
        elif link in self.links:
            self._listen_to(link)

    def _listen_to(self, link: ServerLink) -> None:
        """Wait for bytes of this connection as long as it may be silent."""
        patience = link.timeout_ms / 1000 if link.session_id else HANDSHAKE_TIME
        self._silences.set(link, link.heard + patience + self.settings.tick)

    def _is_word(self, link: ServerLink, now: float) -> bool:
        word = link.word()
        text = None if word is None else self.answer_word(word, link, now)
        if text is None:
            return False
        link.received += 1
        link.send_raw(text.encode(), now)
        link.close()
        return True

    def answer_word(self, word: bytes, link: ServerLink, now: float) -> Optional[str]:
        """The text for a connection that starts with these four bytes; None if they are a length. Here, always."""
        return None

    def _read_request(self, link: ServerLink, frame: bytes, queue: List[_Queued], now: float) -> None:
        if len(frame) < 8:
            link.kill()
            return
        xid, opcode = _HEADER.unpack_from(frame)
        body = frame[8:]
        if opcode in (AUTH, SASL):
            try:
                request = requests.read(opcode, body)
            except MarshallingError:
                link.kill()
                return
            (self._auth if opcode == AUTH else self._sasl)(link, xid, request, now)
        elif self.settings.sasl_required and not any(one.scheme == "sasl" for one in link.ids):
            self._reply(link, xid, 0, REQUIRES_SASL, b"", now)
            link.close()
        else:
            queue.append(_Queued(link, xid, opcode, body, tuple(link.ids)))

    def _auth(self, link: ServerLink, xid: int, request: requests.Request, now: float) -> None:
        ids = self.identities.authenticate(request.scheme, request.credential, link.address[0])
        self._add_identities(link, ids)
        self._reply(link, xid, 0, 0 if ids else AUTH_FAILED, b"", now)
        if not ids:
            link.close()

    def _add_identities(self, link: ServerLink, ids: Sequence[Id]) -> None:
        link.ids += [one for one in ids if one not in link.ids]
        if self.profile.hashes_identities:
            link.ids = hashed(link.ids)

    def _sasl(self, link: ServerLink, xid: int, request: requests.Request, now: float) -> None:
        """One step of the exchange. A server without SASL answers with a null token."""
        token: Optional[bytes] = None
        if request.token is None:
            if not self.profile.silent_about_sasl:
                link.kill()
            return
        if self.settings.sasl:
            link.sasl = link.sasl or DigestServer(self.settings.sasl, f"{self._random.getrandbits(160):040x}")
            try:
                token = link.sasl.step(request.token)
            except SaslRefused:
                if self.profile.silent_about_sasl:
                    link.kill()
                    return
                code = REQUIRES_SASL if self.settings.sasl_required else AUTH_FAILED
                self._reply(link, xid, 0, code, encode(BUFFER, None), now)
                link.close()
                return
            if link.sasl.user is not None:
                self._add_identities(link, [Id("sasl", link.sasl.user)])
        self._reply(link, xid, 0, 0, encode(BUFFER, token), now)

    # --------------------------------------------------------------------------- handshake

    def _handshake(self, link: ServerLink, frame: bytes, now: float) -> None:
        try:
            request = decode(CONNECT_REQUEST, frame)
        except MarshallingError:
            link.kill()
            return
        session = self.sessions.get(request.session_id)
        behind = request.last_zxid_seen > self.conditions.visible_zxid(self.data.applied)
        global_here = self.judges_local_only and session is not None and not session.local
        closed = not self.serving or self.conditions.refuses_sessions or (self.read_only and not request.read_only)
        if closed or behind or global_here:
            link.kill()
            return
        link.knows_read_only = request.read_only is not None
        link.timeout_ms = self.sessions.negotiate(request.timeout_ms)
        if request.session_id == 0:
            self._new_session(link, now)
        else:
            self._resume(link, request, session, now)

    def _new_session(self, link: ServerLink, now: float) -> None:
        if self._makes_no_sessions:
            self._reply(link, 0, self.data.applied, NOT_READ_ONLY, b"", now)
            return
        session = self.sessions.create(link.timeout_ms, now, self.read_only)
        if not self.read_only:
            self.authority.record(self.wall_ms(now))
        link.session_id = session.id  # it may end before it is welcomed here
        self._when(link, self.authority.applied, lambda then: self._welcome(link, session, then), now)

    def _resume(
        self, link: ServerLink, request: ConnectRequest, session: Optional[ServerSession[ServerLink]], now: float
    ) -> None:
        """Move a session here. A request with its id closes the session's old connection, even with a wrong password.

        A connection to another member of an ensemble, too: real members close it when it next writes (SessionMoved).

        Without a quorum and local sessions, a server since 3.7 does not know which sessions exist. It closes the
        connection for the ensemble's sessions it knows, and accepts any other with a right password, even if it
        was closed long ago.
        """
        if session is not None and session.link is not None:
            self.drop(session.link)
        fits = request.passwd == self.sessions.password(request.session_id)
        if session is None and fits and self._makes_no_sessions:
            session = self.sessions.create(link.timeout_ms, now, True, request.session_id)
        if session is None or not fits:
            self._answer_handshake(link, ConnectResponse(0, 0, 0, bytes(16), self.read_only), now)
            link.close()
            return
        session.timeout_ms = link.timeout_ms
        self.sessions.touch(session, now)
        self._welcome(link, session, now)

    @property
    def _makes_no_sessions(self) -> bool:
        return self.judges_local_only and not self.settings.local_sessions

    def _welcome(self, link: ServerLink, session: ServerSession[ServerLink], now: float) -> None:
        session.link, link.session_id = link, session.id
        link.last_operation, link.last_zxid = "SESS", self.data.applied
        password = self.sessions.password(session.id)
        self._answer_handshake(link, ConnectResponse(0, link.timeout_ms, session.id, password, self.read_only), now)

    def _answer_handshake(self, link: ServerLink, response: ConnectResponse, now: float) -> None:
        if not link.knows_read_only:
            response = response._replace(read_only=None)
        link.send(encode(CONNECT_RESPONSE, response), now)

    # ---------------------------------------------------------------------------- requests

    def _carry_out(self, request: _Queued, now: float) -> None:
        link, opcode = request.link, request.opcode
        session = self.sessions.get(link.session_id)
        if session is None or session.link is not link:
            return  # the session ended, or moved, while the request was under way
        self.sessions.touch(session, now)
        rule = self.conditions.rule_for(opcode, request.body)
        if rule is not None and rule.code is None:
            link.lose_answers()
        elif rule is not None and not rule.applied:
            self._reply(link, request.xid, self.data.applied, rule.code or 0, b"", now)
            return
        unknown = opcode not in _KNOWN or opcode in self.profile.lacks
        if opcode in self.settings.hangs_up_on:
            self.drop(link)
        elif unknown or (opcode == 13 and self.profile.refuses_lone_check):
            self._reply(link, request.xid, -1, UNIMPLEMENTED, b"", now)
            link.close()
        elif self._refuses(opcode):
            self._reply(link, request.xid, self.data.applied, NOT_READ_ONLY, b"", now)
        elif opcode == PING:
            self._reply(link, -2, self.data.applied, 0, b"", now)
        elif opcode == CLOSE_SESSION:
            self.end_session(session, now, request)
        else:
            self._answer(request, None if rule is None else rule.code, now)
        link.last_operation, link.last_xid, link.last_zxid = _KNOWN.get(opcode, "NA"), request.xid, self.data.applied

    def _refuses(self, opcode: int) -> bool:
        """Whether the operation needs a quorum. A server that cannot create sessions cannot close any either."""
        return self.read_only and (
            opcode in _REFUSED_READ_ONLY or (opcode == CLOSE_SESSION and self._makes_no_sessions)
        )

    def _answer(self, request: _Queued, forced: Optional[int], now: float) -> None:
        """Carry out an ordinary request and reply, with the error `forced` instead of the result if it is given."""
        link, opcode = request.link, request.opcode
        self._now = now
        caller = Caller(link.session_id, request.ids, link)
        data = self.authority if opcode in _REFUSED_READ_ONLY else self.data
        answer = data.answer(opcode, request.body, caller, self.wall_ms(now))
        if forced is not None:
            answer = forced, b""
        if answer is not None:
            code, body = answer
            if opcode in self.settings.answers_without_body:
                body = b""
            xid = request.xid
            self._when(link, data.applied, lambda now: self._reply(link, xid, self.data.applied, code, body, now), now)

    # ------------------------------------------------------------------------------- order

    @property
    def authority(self) -> Database:
        """The data that writes go to: the leader's, or this server's own."""
        return self.leading or self.data

    def _when(self, link: ServerLink, zxid: int, then: Callable[[float], None], now: float) -> None:
        """Do something for a connection once this server has applied a transaction; its later requests wait as well."""
        if not link.parked and self.data.applied >= zxid:
            then(now)
        else:
            link.parked.append((zxid, then))

    def proceed(self, link: ServerLink, now: float) -> None:
        """Carry out the requests of a connection that wait, as far as this server has applied what they wait for."""
        while link in self.links:
            if link.parked and link.parked[0][0] > self.data.applied:
                return
            if link.parked:
                link.parked.popleft()[1](now)
            elif link.backlog:
                self._carry_out(link.backlog.popleft(), now)
            else:
                return

    # ------------------------------------------------------------------------------ output

    def _reply(self, link: ServerLink, xid: int, zxid: int, code: int, body: bytes, now: float) -> None:
        link.send(_REPLY.pack(xid, zxid, code) + body, now)

    def _deliver(self, link: ServerLink, type_: int, path: str, zxid: int, acl: Optional[Sequence[Any]]) -> None:
        """Send a notification, unless the session may not read the node."""
        if acl is None or self.data.allows(acl, link.ids):
            raw = requests.to_java(path)
            link.send(_EVENT.pack(-1, zxid, 0, type_, _CONNECTED, len(raw)) + raw, self._now)

    # ------------------------------------------------------------------------- ends of things

    def end_session(self, session: ServerSession[ServerLink], now: float, request: Optional[_Queued] = None) -> None:
        """End a session, with a reply to a close request: delete its ephemeral nodes and close its connection."""
        link, self._now = session.link, now
        if link is not None:
            link.leaving = request is not None
        alone = self.read_only or session.local
        data = self.data if alone else self.authority
        steps: List[Step] = [NodeDeleted(path) for path in data.tree.ephemerals.get(session.id, ())]
        steps.append(SessionEnded(session.id))
        if alone:
            data.replay(TreeTransaction(data.applied, self.wall_ms(now), tuple(steps)))
        else:
            data.record(self.wall_ms(now), steps)
        self.sessions.remove(session)
        if self.read_only and not session.local:
            self._ended_alone[session.id] = session
        if request is not None:
            self._when(request.link, data.applied, partial(self._say_goodbye, request), now)
        elif link is not None and link in self.links:
            self.drop(link)

    def _say_goodbye(self, request: _Queued, now: float) -> None:
        self._reply(request.link, request.xid, self.data.applied, 0, b"", now)
        request.link.close()

    def expire(self, session_id: int, now: float) -> bool:
        """Expire a session now; returns whether it existed.

        A session of the ensemble is expired by the ensemble: a server without a quorum learns it afterwards.
        """
        session = self.alive().get(session_id)
        if session is None:
            return False
        if self.read_only and not session.local:
            self.given_away[session_id] = session
        else:
            self.end_session(session, now)
        return True

    def _reap(self, now: float) -> None:
        self._now = now
        for path in self.data.tree.overdue(self.wall_ms(now)):
            self.data.record(self.wall_ms(now), [NodeDeleted(path)])

    def hang_up(self) -> None:
        """Close all connections at once."""
        for link in list(self.links):
            self.drop(link)

    def restart(self, now: float) -> None:
        """Act as after a restart: connections and watches end, data and sessions stay, time-outs restart."""
        self.hang_up()
        self.started = now
        for session in self.sessions.all():
            if session.local:
                self.sessions.remove(session)
            else:
                self.sessions.touch(session, now)
        for session in self._ended_alone.values():
            self.sessions.put(session, now)
        self._ended_alone.clear()

    def upgrade(self, version: str, now: float) -> None:
        """Act as after a restart as another version: connections and watches end, data and sessions stay."""
        self._take_on(dataclasses.replace(self.settings, version=version))
        self.restart(now)
        self.data.serve(self.settings, self.identities)

    def wipe(self, now: float) -> None:
        """Act as after a restart with an empty disk: no data, no sessions, zxids from the start."""
        self.hang_up()
        self._reset()

    def go_read_only(self, now: float, read_only: bool = True) -> None:
        """Lose the quorum, or regain it: all connections close, sessions made in between are forgotten.

        Sessions that the ensemble has expired in between end then. Those that this server has expired alone continue,
        but the ephemeral nodes it deleted stay deleted here, as on real servers before 3.7.
        """
        self.restart(now)
        self.read_only = read_only
        if not read_only:
            for session in self.given_away.values():
                self.end_session(session, now)
            self.given_away.clear()


_KNOWN: Dict[int, str] = {
    1: "CREA", 15: "CREA", 19: "CREA", 21: "CREA", 2: "DELE", 20: "DELE", 3: "EXIS", 4: "GETD", 5: "SETD", 6: "GETA",
    7: "SETA", 8: "GETC", 9: "SYNC", 11: "PING", 12: "GETC", 13: "CHEC", 14: "MULT", 16: "RECO", 17: "CHKW",
    18: "REMW", 22: "MLTR", 101: "SETW", 103: "GETE", 104: "GETACN", 105: "STW2", 106: "ADDW", 107: "HOMI",
    -11: "CLOS",
}  # fmt: skip
