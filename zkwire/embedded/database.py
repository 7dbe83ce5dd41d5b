"""The data of a server and the effects of requests on it: the tree, the zxids, the watches.

Owns which requests consume zxids, the result of a transaction, and the notifications of its events. Must not know the
life of sessions, handshakes or bytes beyond the bodies of requests and replies.
"""

from __future__ import annotations

from typing import Any, Callable, Hashable, List, Optional, Sequence, Tuple

from ..errors import MarshallingError, ZookeeperError
from ..typed import NamedTuple
from ..wire.jute import encode
from ..ops import Multi
from ..values import Id, Permissions
from . import reads, requests, writes
from .identity import Identities
from .settings import Settings
from .transactions import Effect, Step, TreeTransaction, apply
from .tree import Change, Tree
from .watches import ServerWatches

CHECK, MULTI, MULTI_READ, RECONFIG = 13, 14, 22, 16
_MULTI_REPLY = Multi.reply


class Caller(NamedTuple):
    """The origin of a request: the session, the connection's identities when it arrived, and the connection."""

    session: int
    ids: Sequence[Id]
    watcher: Hashable


#: Sends a notification: watcher, type, path, zxid, and the ACL that the watcher's session must pass (None: no check).
Deliver = Callable[[Any, int, str, int, Optional[Sequence[Any]]], None]


class Database:
    """One server's data. `applied` is the last zxid visible to clients; `issued` the last one assigned."""

    def __init__(self, settings: Settings, identities: Identities, deliver: Deliver) -> None:
        self._deliver = deliver
        #: Is given each new transaction, after it was applied here.
        self.journal: Callable[[TreeTransaction], None] = _keep_none
        self.tree = Tree(settings.profile.config_node)
        self.issued = self.applied = 0
        self.serve(settings, identities)

    def serve(self, settings: Settings, identities: Identities) -> None:
        """Use these settings; existing nodes stay, watches go."""
        self.profile, self._settings, self.identities = settings.profile, settings, identities
        self.watches = ServerWatches(self.profile)
        if self.profile.config_node:
            self.tree.add_config()

    def record(self, time: int, steps: Sequence[Step] = ()) -> List[Effect]:
        """Apply a new transaction with the next zxid; the effects of its steps."""
        self.issued += 1
        return self._record(time, steps)

    def replay(self, transaction: TreeTransaction) -> List[Effect]:
        """Apply a transaction, and notify the watchers of its events; the effects of its steps."""
        self.applied = transaction.zxid
        effects = apply(self.tree, transaction)
        for effect in effects:
            self._tell(effect.events, transaction.zxid)
        return effects

    def begin(self, zxid: int) -> None:
        """Continue from this zxid: that of a new epoch, or of a leader that is followed."""
        self.issued = self.applied = zxid

    def _record(self, time: int, steps: Sequence[Step] = ()) -> List[Effect]:
        """As `record`, with the last zxid that was issued."""
        transaction = TreeTransaction(self.issued, time, tuple(steps))
        effects = self.replay(transaction)
        self.journal(transaction)
        return effects

    def answer(self, opcode: int, body: bytes, caller: Caller, time: int) -> Optional[Tuple[int, bytes]]:
        """Carry out a request: error code and body of the reply, or None where the real server sends no reply."""
        try:
            if opcode == MULTI:
                return self._multi(body, caller, time)
            if opcode == MULTI_READ:
                return self._multi_read(body, caller)
            if opcode in writes.WRITES:
                value = self._write(opcode, body, caller, time)
                return None if opcode == CHECK else (0, encode(requests.REPLIES[opcode], value))
            value = reads.READS[opcode](self._reader(caller), requests.read(opcode, body))
            return 0, encode(requests.REPLIES[opcode], value)
        except ZookeeperError as error:
            return error.code, b""

    def allows(self, acl: Sequence[Any], ids: Sequence[Id]) -> bool:
        """Whether these identities may get events of a node with this ACL."""
        return not self.profile.events_need_read or self.identities.grants(acl, Permissions.READ, ids)

    # ------------------------------------------------------------------------------ writes

    def _draft(self, caller: Caller) -> writes.Draft:
        return writes.Draft(self.tree, self.identities, writes.Context(caller.session, caller.ids), self._settings)

    def _write(self, opcode: int, body: bytes, caller: Caller, time: int) -> Any:
        """The value of the reply to a single write. A refused write has a zxid of its own, too."""
        if self.profile.decodes_first or opcode == RECONFIG:
            request = requests.read(opcode, body)
        self.issued += 1
        draft = self._draft(caller)
        try:
            if not self.profile.decodes_first:
                request = requests.read(opcode, body)
            draft.add(requests.Part(opcode, request))
        except ZookeeperError:
            self._record(time)
            raise
        ((_, value),) = draft.results(self._record(time, draft.steps))
        return value

    def _multi(self, body: bytes, caller: Caller, time: int) -> Tuple[int, bytes]:
        """The results of a transaction: of all operations, or an error for each."""
        try:
            parts = requests.read_multi(body, 0, self.profile)
        except requests.NullACL:
            raise  # a bug of the real server: this one has no zxid
        except MarshallingError:
            self.record(time)
            raise
        self.issued += 1
        if any(part.request.path is None for part in parts):
            if self.profile.decodes_first:
                self._record(time)
                raise MarshallingError("a null path in a transaction")
            return MarshallingError.code, encode(_MULTI_REPLY, [])
        return 0, encode(_MULTI_REPLY, self._outcomes(parts, self._draft(caller), time))

    def _outcomes(self, parts: Sequence[requests.Part], draft: writes.Draft, time: int) -> List[Tuple[int, Any]]:
        for index, part in enumerate(parts):
            try:
                draft.add(part)
            except ZookeeperError as error:
                self._record(time)
                if isinstance(error, MarshallingError):
                    raise
                return [(-1, 0)] * index + [(-1, error.code)] + [(-1, -2)] * (len(parts) - index - 1)
        return draft.results(self._record(time, draft.steps))

    # ------------------------------------------------------------------------------- reads

    def _multi_read(self, body: bytes, caller: Caller) -> Tuple[int, bytes]:
        parts = requests.read_multi(body, 0, self.profile)
        results, complete = reads.multi_read(self._reader(caller), parts)
        return 0 if complete else MarshallingError.code, encode(_MULTI_REPLY, results)

    def _reader(self, caller: Caller) -> reads.Reader:
        def catch_up(type_: int, path: str) -> None:
            self._deliver(caller.watcher, type_, path, -1, None)

        return reads.Reader(
            self.tree, self.watches, self.identities, self.profile, caller.session, caller.ids, caller.watcher, catch_up
        )

    def _tell(self, changes: Sequence[Change], zxid: int) -> None:
        """Notify the watchers of these changes."""
        if not self.profile.events_carry_zxid:
            zxid = -1
        for change in changes:
            for watcher, watched in self.watches.trigger(change).items():
                path = watched if self._settings.watched_path_in_events else change.path
                self._deliver(watcher, change.type, path, zxid, change.acl)


def _keep_none(transaction: TreeTransaction) -> None:
    """The journal of a server by itself: none, because it keeps all data in memory."""
