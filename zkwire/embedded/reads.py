"""Reads: the replies of all operations that change nothing, and the watches they set.

Owns the order of checks of reads, as FinalRequestProcessor has it. Must not know connections (a watcher is opaque),
replies or zxids of the server.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Hashable, List, Optional, Sequence, Tuple

from ..errors import BadArgumentsError, MarshallingError, NoNodeError, NoWatcherError, ZookeeperError
from ..typed import NamedTuple
from ..values import Id, Permissions
from .identity import Identities
from .requests import Part, Request
from .tree import CHANGED, CHILD, CREATED, DELETED, Znode, Tree
from .versions import Profile
from .watches import PERSISTENT, RECURSIVE, STANDARD, ServerWatches

_MODES = {0: PERSISTENT, 1: RECURSIVE}


class Reader(NamedTuple):
    """The origin of a read: the watcher is the connection; `catch_up(type, path)` sends it a notification."""

    tree: Tree
    watches: ServerWatches
    identities: Identities
    profile: Profile
    session: int
    ids: Sequence[Id]
    watcher: Hashable
    catch_up: Callable[[int, str], None]

    def find(self, path: Optional[str]) -> Znode:
        """The node; `NoNodeError`, or `MarshallingError` for a null path."""
        if path is None:
            raise MarshallingError("a read without a path")
        node = self.tree.get(path)
        if node is None:
            raise NoNodeError(path=path)
        return node

    def readable(self, path: Optional[str]) -> Znode:
        """As `find`, with a check of the READ permission."""
        node = self.find(path)
        self.identities.check(node.acl, Permissions.READ, self.ids)
        return node


def _exists(reader: Reader, request: Request) -> Any:
    path = request.path
    if path is None:
        raise MarshallingError("exists without a path")
    if "\0" in path:
        raise BadArgumentsError(path=path)
    if reader.profile.exists_needs_read and reader.tree.get(path) is not None:
        reader.readable(path)
    if request.watch:
        reader.watches.data.add(path, reader.watcher, STANDARD)
    return reader.find(path).stat()


def _get_data(reader: Reader, request: Request) -> Any:
    node = reader.readable(request.path)
    if request.watch:
        reader.watches.data.add(request.path, reader.watcher, STANDARD)
    return node.data, node.stat()


def _get_children(reader: Reader, request: Request) -> Any:
    node = reader.readable(request.path)
    if request.watch:
        reader.watches.child.add(request.path, reader.watcher, STANDARD)
    return list(node.children)


def _get_children2(reader: Reader, request: Request) -> Any:
    names = _get_children(reader, request)
    return names, reader.find(request.path).stat()


def _get_acl(reader: Reader, request: Request) -> Any:
    node = reader.find(request.path)
    # ZOOKEEPER-1392: since 3.4.14, and in Debian's 3.4.13.
    reader.identities.check(node.acl, Permissions.READ | Permissions.ADMIN, reader.ids)
    full = reader.identities.grants(node.acl, Permissions.ADMIN, reader.ids)
    return (node.acl if full else reader.identities.mask(node.acl)), node.stat()


def _sync(reader: Reader, request: Request) -> Any:
    return request.path


def _count(reader: Reader, request: Request) -> Any:
    reader.readable(request.path)
    return reader.tree.below(request.path)


def _ephemerals(reader: Reader, request: Request) -> Any:
    mine = list(reader.tree.ephemerals.get(reader.session, ()))
    prefix = request.path
    if prefix is None or prefix.strip() in ("", "/"):
        return mine
    return [path for path in mine if path.startswith(prefix)]


def _who_am_i(reader: Reader, request: Request) -> Any:
    return reader.identities.users(reader.ids)


def _check_watches(reader: Reader, request: Request) -> Any:
    if not reader.watches.has(request.path, reader.watcher, request.kind):
        raise NoWatcherError(path=request.path)


def _remove_watches(reader: Reader, request: Request) -> Any:
    if not reader.watches.drop(request.path, reader.watcher, request.kind):
        raise NoWatcherError(path=request.path)


def _add_watch(reader: Reader, request: Request) -> Any:
    if request.mode not in _MODES or request.path is None:
        raise MarshallingError(f"watch mode {request.mode}")
    reader.watches.add(request.path, reader.watcher, _MODES[request.mode])
    return 0


def _set_watches(reader: Reader, request: Request) -> Any:
    """Set watches again, or notify at once of changes since; there are no missed events for persistent watches."""
    since = request.relative_zxid
    data, child = reader.watches.data, reader.watches.child
    for path in _present(request.data):
        node = reader.tree.get(path)
        if node is None:
            reader.catch_up(DELETED, path)
        elif node.mzxid > since:
            reader.catch_up(CHANGED, path)
        else:
            data.add(path, reader.watcher, STANDARD)
    for path in _present(request.exist):
        if reader.tree.get(path) is not None:
            reader.catch_up(CREATED, path)
        else:
            data.add(path, reader.watcher, STANDARD)
    for path in _present(request.child):
        node = reader.tree.get(path)
        if node is None:
            reader.catch_up(DELETED, path)
        elif node.pzxid > since:
            reader.catch_up(CHILD, path)
        else:
            child.add(path, reader.watcher, STANDARD)
    for path in _present(getattr(request, "persistent", [])):
        reader.watches.add(path, reader.watcher, PERSISTENT)
    for path in _present(getattr(request, "recursive", [])):
        reader.watches.add(path, reader.watcher, RECURSIVE)


def _present(paths: Optional[List[Optional[str]]]) -> Any:
    """The paths of a list, up to the first null one, which is an error, as is a null list."""
    if paths is None:
        raise MarshallingError("setWatches without a list")
    for path in paths:
        if path is None:
            raise MarshallingError("setWatches with a null path")
        yield path


READS: Dict[int, Callable[[Reader, Request], Any]] = {
    3: _exists, 4: _get_data, 6: _get_acl, 8: _get_children, 9: _sync, 12: _get_children2, 17: _check_watches,
    18: _remove_watches, 101: _set_watches, 103: _ephemerals, 104: _count, 105: _set_watches, 106: _add_watch,
    107: _who_am_i,
}  # fmt: skip


def multi_read(reader: Reader, parts: Sequence[Part]) -> Tuple[List[Tuple[int, Any]], bool]:
    """The results of a multiRead so far, and whether it is complete: a write among the reads ends it."""
    results: List[Tuple[int, Any]] = []
    for part in parts:
        if part.opcode not in (4, 8):
            return results, False
        part.request.watch = None
        try:
            results.append((part.opcode, READS[part.opcode](reader, part.request)))
        except MarshallingError:
            return results, False
        except ZookeeperError as error:
            results.append((-1, error.code))
    return results, True
