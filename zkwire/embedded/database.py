"""The data of a server and the effects of requests on it: the tree, the zxids, the watches.

Owns which requests consume zxids, the result of a transaction, and the notifications of its events. Must not know the
life of sessions, handshakes or bytes beyond the bodies of requests and replies.
"""

from __future__ import annotations

from typing import Any, Callable, Hashable, Iterable, List, Optional, Sequence, Tuple

from ..errors import MarshallingError, ZookeeperError
from ..typed import NamedTuple
from ..wire.jute import encode
from ..ops import Multi
from ..values import Id, Permissions
from . import reads, requests, writes
from .identity import Identities
from .settings import Settings
from .tree import Change, Tree
from .watches import Watches

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
        self.tree = Tree(settings.profile.config_node)
        self.issued = self.applied = 0
        self.serve(settings, identities)

    def serve(self, settings: Settings, identities: Identities) -> None:
        """Use these settings; existing nodes stay, watches go."""
        self.profile, self._settings, self.identities = settings.profile, settings, identities
        self.watches = Watches(self.profile)
        if self.profile.config_node:
            self.tree.add_config()

    def next_zxid(self) -> int:
        """Start a transaction, which is applied at once."""
        self.issued += 1
        self.applied = self.issued
        return self.applied

    def delete(self, paths: Iterable[str], zxid: int) -> None:
        """Delete nodes by a transaction of the server itself."""
        for path in list(paths):
            self._tell(self.tree.delete(path, zxid))

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

    def _draft(self, caller: Caller, time: int) -> writes.Draft:
        context = writes.Context(caller.session, caller.ids, self.issued, time)
        return writes.Draft(self.tree, self.identities, context, self._settings)

    def _write(self, opcode: int, body: bytes, caller: Caller, time: int) -> Any:
        """The value of the reply to a single write. A refused write has a zxid of its own, too."""
        if self.profile.decodes_first or opcode == RECONFIG:
            request = requests.read(opcode, body)
        self.next_zxid()
        if not self.profile.decodes_first:
            request = requests.read(opcode, body)
        draft = self._draft(caller, time)
        draft.add(requests.Part(opcode, request))
        ((_, value, changes),) = draft.apply()
        self._tell(changes)
        return value

    def _multi(self, body: bytes, caller: Caller, time: int) -> Tuple[int, bytes]:
        """The results of a transaction: of all operations, or an error for each."""
        try:
            parts = requests.read_multi(body, 0, self.profile)
        except requests.NullACL:
            raise  # a bug of the real server: this one has no zxid
        except MarshallingError:
            self.next_zxid()
            raise
        self.issued += 1
        if any(part.request.path is None for part in parts):
            if self.profile.decodes_first:
                self.applied = self.issued
                raise MarshallingError("a null path in a transaction")
            return MarshallingError.code, encode(_MULTI_REPLY, [])
        self.applied = self.issued
        return 0, encode(_MULTI_REPLY, self._outcomes(parts, self._draft(caller, time)))

    def _outcomes(self, parts: Sequence[requests.Part], draft: writes.Draft) -> List[Tuple[int, Any]]:
        for index, part in enumerate(parts):
            try:
                draft.add(part)
            except MarshallingError:
                raise
            except ZookeeperError as error:
                return [(-1, 0)] * index + [(-1, error.code)] + [(-1, -2)] * (len(parts) - index - 1)
        results = []
        for kind, value, changes in draft.apply():
            self._tell(changes)
            results.append((kind, value))
        return results

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

    def _tell(self, changes: Sequence[Change]) -> None:
        """Notify the watchers of these changes."""
        zxid = self.issued if self.profile.events_carry_zxid else -1
        for change in changes:
            for watcher, watched in self.watches.trigger(change).items():
                path = watched if self._settings.watched_path_in_events else change.path
                self._deliver(watcher, change.type, path, zxid, change.acl)
