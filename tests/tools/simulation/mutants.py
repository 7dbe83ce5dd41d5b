"""Proof that the simulation can see: bugs that clients have really had, put back one at a time.

Owns the bugs, as patches of classes while a run lasts. Each is seen within a bounded number of seeds, or the proof fails.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple
from unittest.mock import patch

from zkdisco import aio as aio_module
from zkdisco import identity as identity_module
from zkdisco import membership as membership_module
from zkdisco import threads as threads_module
from zkdisco.crew import Post
from zkdisco.following import Following
from zkdisco.front import ClientBase, InstancerBase, RegistrarBase
from zkdisco.membership import Membership
from zkdisco.registration import Registration
from zkdisco.registry import Registry
from zkdisco.runner import EndWatch, Reads, Runner
from zkdisco.steps import delete_quietly, ours
from zkdisco.timeline import Timeline
from zkdisco.values import ClientClosedError, left_out
from zkwire.wire import connection as connection_module
from zkwire.wire.connection import Connection
from zkwire.session.link import Internal, Link
from zkwire.session.requests import Requests, Waiting
from zkwire.session.heartbeat import Heartbeat
from zkwire.session.watch_modes import WatchModes
from zkwire.ops import Exists, SetData, SetWatches2
from zkwire.wire.operation import CHILD, DATA
from zkwire.values import WatchedEvent
from zkwire.session.session import DIALING, HANDSHAKE, OPEN, PAUSING, Session
from zkwire.session.actions import Fired, Replied
from zkwire.session.watches import Watches

from .ensemble_mutants import OF_ENSEMBLES
from .run import Failure, run_seed

Patch = Tuple[Any, str, Any]


def last_zxid_from_events() -> List[Patch]:
    """Events share zxids; a connection that ends between them loses the rest (zookeeper-client-rust before 0.11.1)."""
    take = Connection._out_of_order

    def wrong(self: Connection, xid: int, err: int, frame: bytes, body: int, incoming: Any) -> None:
        take(self, xid, err, frame, body, incoming)
        if xid == -1:
            self.last_zxid = max(self.last_zxid, connection_module._HEAD.unpack_from(frame, body - 20)[2])

    return [(Connection, "_out_of_order", wrong)]


def auth_reply_pops_the_head() -> List[Patch]:
    """The answer to auth is taken for that of the oldest request (kazoo)."""
    take = Connection._out_of_order

    def wrong(self: Connection, xid: int, err: int, frame: bytes, body: int, incoming: Any) -> None:
        if xid == -4 and self.replies:
            self.auth_replies.popleft()
            slot = self.replies.popleft()
            incoming.append((slot.op, slot.token, 0, True))
        else:
            take(self, xid, err, frame, body, incoming)

    return [(Connection, "_out_of_order", wrong)]


def relative_zxid_read_live() -> List[Patch]:
    """Watches are set again as of whatever was seen last, though an earlier replay was not through (go-zookeeper)."""
    disconnected = Requests.disconnected

    def wrong(self: Requests, failure: Any, told: bool) -> None:
        disconnected(self, failure, told)
        self._told_zxid = self.last_zxid

    return [(Requests, "disconnected", wrong)]


def no_receive_deadline_while_sending() -> List[Patch]:
    """The only clock of liveness starts anew with each send (kazoo)."""
    return [(Heartbeat, "silent_at", lambda self: max(self.replied_at, self.sent_at) + self.timeout * 2 / 3)]


def sent_write_sent_again() -> List[Patch]:
    """What was under way is put into the queue again (aiozk)."""
    disconnected = Requests.disconnected

    def wrong(self: Requests, failure: Any, told: bool) -> None:
        if self.connection is not None:
            for slot in self.connection.replies:
                if type(slot.token) is not Internal:
                    self.waiting[slot.token] = Waiting(slot.op, 1e9, 0)
            self.connection.replies.clear()
        disconnected(self, failure, told)

    return [(Requests, "disconnected", wrong)]


def sent_is_called_unsent() -> List[Patch]:
    """What has left is said not to have."""
    return [(Connection, "was_sent", lambda self, slot: False)]


def partial_set_published() -> List[Patch]:
    """Sets are shown while values of them are not known."""

    def wrong(self: Timeline) -> bool:
        self._batch += 1
        self._show(self._batch - 1)
        return True

    return [(Timeline, "answered", wrong)]


def missed_values_taken_for_known() -> List[Patch]:
    """A node that has changed before its answer came is taken to have had that value since its first change (Y01)."""

    def wrong(self: Timeline, name: str) -> bool:
        return name in self._open

    return [(Timeline, "_miss", wrong)]




def shown_only_at_rest() -> List[Patch]:
    """A set is shown only while no read is under way: under steady changes, never (ours, until it was found; Y01)."""
    answered = Timeline.answered

    def wrong(self: Timeline) -> bool:
        if self._open:
            self._batch += 1
            return False
        return answered(self)

    return [(Timeline, "answered", wrong)]


def no_sweeps() -> List[Patch]:
    """Nodes that outrun their answers are read one by one for ever (Y01)."""
    return [(Membership, "_sweep_at", lambda self: None)]


def silent_changes_taken_for_one() -> List[Patch]:
    """Before 3.6, a watch that has fired once is taken to have told of all changes since (Y01)."""
    return [(Membership, "_changed_once", lambda self, name, before, version: True)]


def watch_left_on_a_dead_node() -> List[Patch]:
    """A node that somebody has deleted is watched, should it come back (ours, until it was found; Y08)."""

    def wrong(self: Registration, node: str) -> Any:
        return (yield Exists(node, self._watcher))

    return [(Registration, "_look_at", wrong)]


def answer_to_an_update_taken_for_done() -> List[Patch]:
    """Data whose setting was lost are taken to be set."""

    def wrong(self: Registration, node: str, stat: Any) -> Any:
        if self._owed:
            self._owed = False
            yield SetData(node, self.data)
        return True

    return [(Registration, "_write", wrong)]


def doubt_forgotten_at_the_stop() -> List[Patch]:
    """What is in doubt when the client of discovery stops is of no interest any more (ours, until it was found; Y05)."""

    def wrong(self: Registry, token: Any, now: float) -> None:
        self._leaving = True
        for registration in list(self._all):
            registration.ended(ClientClosedError(), now)
            self._look(registration)

    return [(Registry, "leave", wrong)]


def stale_only_with_trouble() -> List[Patch]:
    """Without an error, what is shown is called fresh (ours, until it was found; Y01)."""
    return [(Membership, "stale_since", lambda self, now: self._trouble_since)]


def stale_for_ever() -> List[Patch]:
    """Once there was trouble, what is shown is called stale."""
    trouble = Membership._trouble

    def wrong(self: Membership, error: Exception, now: float) -> None:
        trouble(self, error, now)
        self.__dict__["was_stale"] = True

    def stale(self: Membership, now: float) -> Optional[float]:
        return 0.0 if "was_stale" in self.__dict__ else None

    return [(Membership, "_trouble", wrong), (Membership, "stale_since", stale)]


def end_told_to_nobody() -> List[Patch]:
    """The client is closed, or refused for good, and is taken to be without a connection (ours, until it was found; Y04)."""
    return [(EndWatch, "_judge", lambda self, error: None)]


def callers_forgotten_at_the_end() -> List[Patch]:
    """Those who wait when there will never be a session again wait for ever."""

    def wrong(self: Registration, error: Exception, now: float) -> None:
        self._waiting.clear()
        ended(self, error, now)

    ended = Registration.ended
    return [(Registration, "ended", wrong)]


def one_bad_child_spoils_all() -> List[Patch]:
    """A child that may not be read is trouble of the whole directory (ours, until it was found; Y02)."""
    return [(Membership, "_unreadable", lambda self, name, cause, now: self._failed(cause, now))]


def one_of_several_is_named() -> List[Patch]:
    """Of several children that cannot be read, the first is named (ours, until it was found; Y02)."""

    def wrong(causes: Dict[str, Exception]) -> Any:
        return left_out(dict(sorted(causes.items())[:1]))

    return [(membership_module, "left_out", wrong)]


def deregister_deletes_the_parent() -> List[Patch]:
    """Go kit's `Deregister` deletes the directory of the service."""

    def wrong(self: Registration) -> Any:
        yield from delete_quietly(self._directory)
        self.node, self._in_doubt = None, False

    return [(Registration, "_remove", wrong)]


def resume_with_zxid_zero() -> List[Patch]:
    """The server is not told how far this session has seen: it may go back in time."""
    connected = Session.connected

    def wrong(self: Session, link: Any, now: float, address: Any = None) -> None:
        seen, self._requests.last_zxid = self._requests.last_zxid, 0
        connected(self, link, now, address)
        self._requests.last_zxid = seen

    return [(Session, "connected", wrong)]


def watch_set_at_call_time() -> List[Patch]:
    """A watch stands from the call on, not from the answer."""
    submit = Session.submit

    def wrong(self: Session, op: Any, token: Any, now: float, force: bool = False) -> None:
        submit(self, op, token, now, force)
        if op.watches is not None and op.watch is not None:
            self._requests.watches.armed(op, 0)

    return [(Session, "submit", wrong)]


def exists_watch_in_the_wrong_list() -> List[Patch]:
    """A watch on a node that is not there is kept with those on data, or the other way round."""
    armed = Watches.armed

    def wrong(self: Watches, op: Any, err: int) -> None:
        armed(self, op, 0 if err == -101 and op.opcode == 3 else err)

    return [(Watches, "armed", wrong)]


def watches_not_set_again() -> List[Patch]:
    """A new connection knows no watches."""
    return [(Watches, "replay", lambda self, zxid, limit=0: iter(()))]


def watches_set_again_behind_operations() -> List[Patch]:
    """User requests overtake the replay of watches (go-zookeeper)."""
    opened = Requests.opened

    def wrong(self: Requests, link: Link) -> None:
        queue, self.waiting = self.waiting, type(self.waiting)()
        for token, waiting in queue.items():
            link.connection.send(waiting.op, token)  # type: ignore[union-attr]
        opened(self, link)

    return [(Requests, "opened", wrong)]


def set_watches_2_for_all() -> List[Patch]:
    """Servers before 3.6 hang up on it, for ever."""
    replay = Watches.replay

    def wrong(self: Watches, zxid: int, *limit: int) -> Iterator[Any]:
        for op in replay(self, zxid, *limit):
            yield SetWatches2(op.relative_zxid, op.data, op.exist, op.child)

    return [(Watches, "replay", wrong)]


def one_shot_watch_fires_again() -> List[Patch]:
    """A watch that has fired stays."""
    fire = Watches.fire

    def wrong(self: Watches, event_type: str, path: str) -> Any:
        found = fire(self, event_type, path)
        for watcher, _ in found:
            self.add(DATA, path, watcher)
        return found

    return [(Watches, "fire", wrong)]


def deletion_leaves_the_child_watch() -> List[Patch]:
    """A deleted node takes its data watches along only."""
    return [(Watches, "fire", _fire_without(CHILD))]


def _fire_without(kind: str) -> Callable[..., Any]:
    fire = Watches.fire

    def wrong(self: Watches, event_type: str, path: str) -> Any:
        kept = self._lists[kind].pop(path, ()) if event_type == "DELETED" else ()
        found = fire(self, event_type, path)
        if kept:
            self._lists[kind][path] = kept
        return found

    return wrong


def data_before_the_event() -> List[Patch]:
    """Two queues, one for answers, one for events (kazoo's two threads)."""
    actions = Session.actions

    def wrong(self: Session) -> List[Any]:
        found = actions(self)
        return [e for e in found if type(e) is Replied] + [e for e in found if type(e) is not Replied]

    return [(Session, "actions", wrong)]


def watches_outlive_the_session() -> List[Patch]:
    """Expiry tells nobody, and forgets nothing."""
    return [(Requests, "end_watches", lambda self, state: None)]


def never_expires_by_itself() -> List[Patch]:
    """A wiped ensemble refuses the old zxid for ever (kazoo #42, aiozk)."""
    return [(Heartbeat, "expires_at", lambda self: float("inf"))]


def expires_too_soon() -> List[Patch]:
    """A lost connection is taken for a lost session."""
    return [(Heartbeat, "expires_at", lambda self: self.contact_at + self.timeout / 2)]


def read_only_answer_taken_for_proof() -> List[Patch]:
    """Whatever a read-only server says counts as a sign of life; before 3.7 it resumes what was given away (all clients)."""
    granted, received = Heartbeat.granted, Session.received

    def proven(self: Heartbeat, timeout: float, now: float, _: bool) -> None:
        granted(self, timeout, now, True)

    def heard(self: Session, link: Any, data: bytes, now: float) -> None:
        received(self, link, data, now)
        if link is self.link and self.phase == OPEN:
            self._heartbeat.contact_at = now

    def may_expire(self: Session) -> bool:
        return self.client_id is not None and self.phase in (PAUSING, DIALING, HANDSHAKE)

    return [(Heartbeat, "granted", proven), (Session, "received", heard), (Session, "_may_expire", may_expire)]


def zxid_kept_by_a_new_session() -> List[Patch]:
    """After expiry the last zxid is not forgotten: a wiped ensemble is never joined again."""
    expired = Requests.expired

    def wrong(self: Requests, failure: Any) -> None:
        seen = self.last_zxid
        expired(self, failure)
        self.last_zxid = seen

    return [(Requests, "expired", wrong)]


def identities_forgotten_on_reconnect() -> List[Patch]:
    """Identities are proven once only."""
    opened = Requests.opened

    def wrong(self: Requests, link: Link) -> None:
        kept, self.auth_infos._all = self.auth_infos._all, []
        opened(self, link)
        self.auth_infos._all = kept

    return [(Requests, "opened", wrong)]


def partial_send_forgotten() -> List[Patch]:
    """The rest of a request the socket took in part is never sent."""
    sent = Connection.sent

    def wrong(self: Connection, count: int) -> None:
        sent(self, count)
        self._head = None

    return [(Connection, "sent", wrong)]


def outcome_forgotten_on_disconnect() -> List[Patch]:
    """Who waits for an answer when the connection ends waits for ever."""
    disconnected = Requests.disconnected

    def wrong(self: Requests, failure: Any, told: bool) -> None:
        if self.connection is not None:
            self.connection.replies.clear()
        disconnected(self, failure, told)

    return [(Requests, "disconnected", wrong)]


def read_succeeds_without_its_watch() -> List[Patch]:
    """A read answered behind the end of its connection succeeds, but its watch stands nowhere (ours, until it was found)."""
    replied = Requests.replied

    def wrong(self: Requests, reply: Any, state: str) -> None:
        op, token, _, outcome = reply
        if self.connection is None:
            self._report.append(Replied(token, outcome))
        else:
            replied(self, reply, state)

    return [(Requests, "replied", wrong)]


def watch_modes_displace_one_another() -> List[Patch]:
    """A read with a watch ends the lasting one on its path, with servers before 3.9 (ZOOKEEPER-4466; all clients)."""
    return [(WatchModes, "is_quiet", lambda self, op, path: False)]


def recursive_watch_silences_children() -> List[Patch]:
    """A recursive watch ends the one on children on its path, with servers before 3.9 (ZOOKEEPER-4466; all clients)."""
    return [(WatchModes, "silenced", lambda self, op, path, zxid: iter(()))]


def resync_of_a_lasting_watch_kept_quiet() -> List[Patch]:
    """After a reconnect nobody is told that a lasting watch may have missed something (the Java client)."""
    return [(Watches, "replayed", lambda self, op: iter(()))]


def chroot_without_its_slash() -> List[Patch]:
    """The chroot is put before a path, and events keep it (kazoo strips by length, whatever the path)."""
    return [(Watches, "_tell", _tell_unstripped)]


def _tell_unstripped(self: Watches, watchers: Any, kind: str, state: str, path: str) -> Any:
    return (Fired(watchers, WatchedEvent(kind, state, path)),) if watchers else ()


def operations_before_the_identities() -> List[Patch]:
    """What waited is sent before the identities are proven again: no rights, now and then (kazoo #594)."""
    opened = Requests.opened

    def wrong(self: Requests, link: Link) -> None:
        self._send_queue(link, True)
        opened(self, link)

    return [(Requests, "opened", wrong)]


def instancer_gives_up_after_an_error() -> List[Patch]:
    """The first error is the end of discovery (Go kit's nil channel)."""
    return [(Membership, "_later", lambda self, pause, now: None)]


def resync_not_heard() -> List[Patch]:
    """A recursive watch set again is taken for one that missed nothing; so is a new connection."""
    session = Membership.session
    known: Dict[int, int] = {}  # of each core, the session it has read everything in

    def wrong(self: Membership, session_id: Optional[int], now: float, read_only: bool = False) -> None:
        if session_id is not None and session_id == known.get(id(self)):
            self._connected = True
        elif session_id is None:
            self._connected = False
        else:
            known[id(self)] = session_id
            session(self, session_id, now, read_only)

    return [(Membership, "session", wrong), (Watches, "replayed", lambda self, op: iter(()))]


def registration_not_renewed() -> List[Patch]:
    """A new session is none of its business."""
    session, watched = Registration.session, Registration.watched

    def wrong(self: Registration, session_id: Optional[int], now: float, read_only: bool = False) -> None:
        if session_id is not None:
            self._owner = session_id
        session(self, session_id, now, read_only)

    def deaf(self: Registration, event: Any, now: float) -> None:
        if event.type != "NONE":
            watched(self, event, now)

    return [(Registration, "session", wrong), (Registration, "watched", deaf)]


def create_repeated_without_looking() -> List[Patch]:
    """After a lost answer the node is created once more: two of them."""
    create = Registration._create

    def wrong(self: Registration, old: Any, careful: bool) -> Any:
        try:
            return (yield from create(self, old, careful))
        finally:
            self._in_doubt = False

    return [(Registration, "_create", wrong)]


def stranger_taken_for_ours() -> List[Patch]:
    """Whatever is in the directory is cleaned away as an orphan."""
    return [(identity_module, "ours", lambda directory, prefixes, whole=False: ours(directory, ("",), whole))]


def stranger_of_our_name_replaced() -> List[Patch]:
    """Whatever has our identity is taken for what a predecessor has left, be it persistent and of anybody."""
    return [(Registration, "_precedes", lambda self, found, standing: True)]


def fights_for_its_identity() -> List[Patch]:
    """Who has lost the identity to a newer process takes it back at once."""

    def wrong(self: Registration, found: Any, standing: Any) -> bool:
        return bool(found.stat.ephemeralOwner) and self._identity.precedes(found, self.data)

    return [(Registration, "_precedes", wrong)]


def read_together_and_mixed_up() -> List[Patch]:
    """What was read together is given to the wrong nodes."""
    answered = Reads.answered

    def wrong(self: Reads, outcome: Any, count: int) -> List[Any]:
        return answered(self, outcome, count)[::-1]

    return [(Reads, "answered", wrong)]


def unread_together_left_out() -> List[Patch]:
    """Nodes of which one could not be read together with the others are all left out."""

    def wrong(self: Reads, outcome: Any, count: int) -> List[Any]:
        if count > 1 and not isinstance(outcome, Exception):
            failed = next((one for one in outcome if isinstance(one, Exception)), None)
            return [failed if failed is not None else one for one in outcome]
        return answered(self, outcome, count)

    answered = Reads.answered
    return [(Reads, "answered", wrong)]


def name_taken_for_the_node_it_was() -> List[Patch]:
    """A name in the list is taken for the node that was found there, whatever the list has become (ours, until it was found; Y01)."""
    return [(Timeline, "listed_once", lambda self, name: True)]


def update_waits_behind_a_failure() -> List[Patch]:
    """An update waits for ever behind a registration that has failed (ours, until it was found)."""

    def wrong(self: Registration, error: Exception) -> None:
        if self.wanted == self._intent:
            waited = bool(self._waiting)
            self._tell(self.wanted, error)
            if self._owed and waited and not self._fresh:
                self.data, self._owed = self._written, False
            if self.wanted and waited and not self._promised:
                self.wanted = False

    return [(Registration, "_failed", wrong)]


def lost_request_taken_for_the_cause() -> List[Patch]:
    """The request that asks for the end is lost on its way there, and that is told as the cause (ours, until it was found; Y04)."""
    return [(EndWatch, "_cause", lambda self: None)]


def sent_request_taken_back() -> List[Patch]:
    """What was sent when a lost connection is heard of late is called unsent (ours, until it was found)."""
    state = Runner._state

    def wrong(self: Runner, told: str) -> None:
        state(self, told)
        self._sent.clear()

    return [(Runner, "_state", wrong)]


def trouble_of_what_is_not_wanted() -> List[Patch]:
    """A registration that was given up is without a connection for ever (ours, until it was found)."""

    def wrong(self: Registration) -> None:
        if self.at_rest:
            self._dirty = False
            self._tell(False, None)

    return [(Registration, "_rest", wrong)]


def call_without_a_limit() -> List[Patch]:
    """A call that awaits the registry's word does so as long as it takes."""

    async def wrong(self: aio_module.Client, future: Any, timeout: Optional[float]) -> Any:
        await asyncio.wait([future])
        return future.result()

    return [(aio_module.Client, "wait", wrong)]


def time_out_kept_to_oneself() -> List[Patch]:
    """A caller that waits no longer does not say so: what it had asked for is done later."""

    def wrong(self: threads_module.Client, future: Any, timeout: Optional[float]) -> Any:
        return future.result(self.options.timeout if timeout is None else timeout)

    return [(threads_module.Client, "wait", wrong)]


def cancellation_kept_to_oneself() -> List[Patch]:
    """A task that is cancelled does not say so: what it had asked for is done later."""

    async def wrong(self: aio_module.Client, what: Any, future: Any, release: Any, timeout: Optional[float]) -> Any:
        return await asyncio.shield(asyncio.ensure_future(self.wait(future, timeout)))

    return [(aio_module.Client, "claim", wrong)]


def success_of_the_cancelled_stands() -> List[Patch]:
    """A register that is cancelled at the moment of success leaves a registration (ours, until it was found)."""

    async def wrong(self: aio_module.Client, what: Any, future: Any, release: Any, timeout: Optional[float]) -> Any:
        return await self.wait(future, timeout)

    return [(aio_module.Client, "claim", wrong)]


def stop_waits_without_a_connection() -> List[Patch]:
    """`stop` waits for registrations to be taken back, though there is no connection."""
    return [(threads_module, "LEAVE", 60.0), (aio_module, "LEAVE", 60.0)]


def stop_gives_up_for_good() -> List[Patch]:
    """What could not be taken back when `stop` waits no longer is forgotten."""
    give_up = ClientBase._give_up

    def wrong(self: ClientBase, left: Any) -> None:
        give_up(self, left)
        self._runner.stop()
        self._running = False

    return [(ClientBase, "_give_up", wrong)]


def stopped_client_deaf_to_the_end() -> List[Patch]:
    """A client that has stopped in doubt never hears that there is nothing left to do (ours, until it was found)."""
    begin = ClientBase._begin_to_stop

    def wrong(self: ClientBase) -> Any:
        self._end_watch.stop()
        return begin(self)

    return [(ClientBase, "_begin_to_stop", wrong)]


def waiting_calls_outlive_stop() -> List[Patch]:
    """Who waits when the client stops waits for ever."""

    def wrong(self: ClientBase, future: Any, outcome: Any) -> None:
        if self._closed and isinstance(outcome, ClientClosedError):
            self._pending.discard(future)
        else:
            conclude(self, future, outcome)

    conclude = ClientBase._conclude
    return [(ClientBase, "_conclude", wrong)]


def end_told_to_registrations_only() -> List[Patch]:
    """Instancers never hear that there will be no session again."""
    return [(InstancerBase, "told_end", lambda self, error: None)]


def registrar_without_the_end() -> List[Patch]:
    """A registrar of which nothing is wanted says that all is well, when nothing ever will be."""
    return [(RegistrarBase, "error", property(lambda self: ClientClosedError() if self._owner.closed else self._core.error))]


def unknown_called_fresh() -> List[Patch]:
    """The front says of a set what its core does: nothing is known yet, and nothing ever will be, and both are called fresh."""
    return [(InstancerBase, "stale_since", property(lambda self: self._core.stale_since(0.0)))]


def watch_left_by_a_lost_removal() -> List[Patch]:
    """An instancer that stops without a connection leaves a watch that is set again (ours, until it was found)."""
    say_goodbye = Following._say_goodbye

    def wrong(self: Following) -> None:
        if self._owner.zk.connected:
            say_goodbye(self)

    return [(Following, "_say_goodbye", wrong)]


def observer_gets_the_oldest() -> List[Patch]:
    """Of events for a slow observer the first is kept, not the newest."""
    threaded, awaited = Post.offer, aio_module._TaskDelivery.offer

    def by_thread(self: Post, event: Any) -> None:
        if not self._waiting:
            threaded(self, event)

    def by_task(self: Any, event: Any) -> None:
        if self._next is None:
            awaited(self, event)

    return [(Post, "offer", by_thread), (aio_module._TaskDelivery, "offer", by_task)]


def observer_hears_on() -> List[Patch]:
    """An event that waits for its observer is delivered, though that was deregistered meanwhile."""
    return [(Post, "stop", lambda self: None), (aio_module._TaskDelivery, "stop", lambda self: None)]


def one_bad_observer_is_dropped() -> List[Patch]:
    """An observer that has raised hears no more."""

    def wrong(self: Post) -> None:
        waiting, self._waiting = list(self._waiting), type(self._waiting)(maxlen=1)
        if waiting and self.__dict__.setdefault("hears", True):
            try:
                self._target(waiting[0])
            except BaseException:
                self.__dict__["hears"] = False

    return [(Post, "deliver", wrong)]


def iteration_without_the_cause() -> List[Patch]:
    """An iteration that is busy at the end misses the last event (ours, until it was found)."""
    return [(aio_module, "_delivery", aio_module._TaskDelivery)]


def last_starter_holds_the_instancer() -> List[Patch]:
    """An instancer whose start has failed goes on."""
    return [(aio_module.Instancer, "leave", lambda self: None if self._starters == 0 and not self._told else InstancerBase.leave(self))]


def exception_of_a_block_replaced() -> List[Patch]:
    """What fails at the end of a block hides the exception of the block."""

    async def wrong(self: aio_module.Registrar, *exc_info: object) -> None:
        if self._core.wanted and not self._client.closed:
            await self.deregister()

    return [(aio_module.Registrar, "__aexit__", wrong)]


def signal_handler_waits() -> List[Patch]:
    """A call in a signal handler waits for the call that it has interrupted."""
    return [(threads_module.Client, "check_may_wait", lambda self: self.check())]


MUTANTS: Dict[str, Callable[[], List[Patch]]] = {
    f.__name__: f
    for f in (
        read_together_and_mixed_up, unread_together_left_out,
        last_zxid_from_events, auth_reply_pops_the_head, relative_zxid_read_live, no_receive_deadline_while_sending,
        sent_write_sent_again, sent_is_called_unsent, partial_set_published, missed_values_taken_for_known,
        shown_only_at_rest, no_sweeps, silent_changes_taken_for_one, watch_left_on_a_dead_node, doubt_forgotten_at_the_stop,
        answer_to_an_update_taken_for_done, stale_only_with_trouble, stale_for_ever, end_told_to_nobody, callers_forgotten_at_the_end, one_bad_child_spoils_all,
        one_of_several_is_named, deregister_deletes_the_parent,
        resume_with_zxid_zero, watch_set_at_call_time, exists_watch_in_the_wrong_list, watches_not_set_again,
        watches_set_again_behind_operations, set_watches_2_for_all, one_shot_watch_fires_again,
        deletion_leaves_the_child_watch, data_before_the_event, watches_outlive_the_session, never_expires_by_itself,
        expires_too_soon, read_only_answer_taken_for_proof, zxid_kept_by_a_new_session, identities_forgotten_on_reconnect, partial_send_forgotten,
        outcome_forgotten_on_disconnect, watch_modes_displace_one_another, recursive_watch_silences_children,
        resync_of_a_lasting_watch_kept_quiet, chroot_without_its_slash, operations_before_the_identities, read_succeeds_without_its_watch, instancer_gives_up_after_an_error,
        resync_not_heard, registration_not_renewed, create_repeated_without_looking, stranger_taken_for_ours,
        stranger_of_our_name_replaced, fights_for_its_identity,
        name_taken_for_the_node_it_was, update_waits_behind_a_failure, lost_request_taken_for_the_cause,
        sent_request_taken_back, trouble_of_what_is_not_wanted, call_without_a_limit, time_out_kept_to_oneself,
        cancellation_kept_to_oneself, success_of_the_cancelled_stands, stop_waits_without_a_connection, stop_gives_up_for_good,
        stopped_client_deaf_to_the_end, waiting_calls_outlive_stop, end_told_to_registrations_only, registrar_without_the_end,
        unknown_called_fresh, watch_left_by_a_lost_removal, observer_gets_the_oldest, observer_hears_on,
        one_bad_observer_is_dropped, iteration_without_the_cause, last_starter_holds_the_instancer,
        exception_of_a_block_replaced, signal_handler_waits,
    )
}  # fmt: skip
MUTANTS.update(OF_ENSEMBLES)


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """While it lasts, the bug is back."""
    with ExitStack() as stack:
        for owner, attribute, wrong in MUTANTS[name]():
            stack.enter_context(patch.object(owner, attribute, wrong))
        yield


def catch(name: str, seeds: int, steps: int) -> Optional[Failure]:
    """The first seed that sees the bug: with an ensemble in every seed if that takes one, else with one server."""
    with mutated(name):
        for seed in range(1, seeds + 1):
            failure = run_seed(seed, steps, name in OF_ENSEMBLES)[0]
            if failure is not None:
                return failure
    return None


def prove(seeds: int, steps: int) -> int:
    """All of them; 0 if each was seen."""
    caught = 0
    for name in MUTANTS:
        began = time.perf_counter()
        failure = catch(name, seeds, steps)
        caught += failure is not None
        seen = "NOT CAUGHT" if failure is None else f"seed {failure.seed:3}  {failure.text[:90]}"
        print(f"{name:38} {time.perf_counter() - began:5.1f} s  {seen}", flush=True)
    print(f"{caught} of {len(MUTANTS)} caught")
    return 0 if caught == len(MUTANTS) else 1
