"""Steps of discovery over zkwire's operations, as generators; see `zkwire.recipes` for how they run.

Owns how directories are made and read once, and how the nodes of one registration are recognised. Must not know
threads, asyncio or intents.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Generator, List, Optional, Sequence, Tuple, TypeVar

from ._zkwire import ACL, Stat, WatchedEvent, errors, ops, paths, recipes
from .values import Entries, NodeNotFoundError, UndecodableDataError, left_out

T = TypeVar("T")
Recipe = Generator[Any, Any, T]
#: Parents may vanish while nodes are made below them: it is tried so many times.
ATTEMPTS = 10


def create_parents(path: str, acl: Sequence[ACL], payload: Sequence[bytes]) -> Recipe[None]:
    """Create what is missing of `path`, itself included: persistent, with `payload` by depth.

    What exists is left alone, and need not be writable, nor its parents readable. "/" is the chroot, if there is one.
    """
    prefixes, data = ["/", *paths.prefixes(path)], (b"", *payload)
    for _ in range(ATTEMPTS):
        found = yield [ops.Exists(p) for p in prefixes]
        known = [i for i, stat in enumerate(found) if isinstance(stat, (Stat, errors.NoAuthError))]
        if not known:
            yield from recipes.make_chroot(acl)
        first = known[-1] + 1 if known else 1
        missing = [ops.Create(p, data[i] if i < len(data) else b"", acl) for i, p in enumerate(prefixes)][first:]
        outcomes = yield missing
        failed = [o for o in outcomes if isinstance(o, errors.ZookeeperError)]
        failed = [o for o in failed if not isinstance(o, errors.NodeExistsError)]
        if not failed:
            return
        if not isinstance(failed[0], errors.NoNodeError):
            raise failed[0]
    raise failed[0]


def ours(directory: str, prefixes: Tuple[str, ...], whole: bool = False) -> Recipe[Optional[List[Tuple[str, Stat]]]]:
    """The nodes in `directory` whose names start with one of `prefixes`, with Stat, as the leader knows them.

    If it is to be the `whole` set, None if one of them has gone meanwhile: there may be another one instead.
    """
    synced, names = yield [ops.Sync(directory), ops.GetChildren(directory)]
    for outcome in (synced, names):
        if isinstance(outcome, errors.NoNodeError):
            return []
        if isinstance(outcome, errors.ZookeeperError):
            raise outcome
    found = [paths.join(directory, name) for name in names if name.startswith(prefixes) and paths.is_name(name)]
    stats = yield [ops.Exists(path) for path in found]
    for stat in stats:
        if isinstance(stat, errors.ZookeeperError):
            raise stat
    return None if whole and None in stats else [(path, stat) for path, stat in zip(found, stats) if stat is not None]


def delete_quietly(path: str) -> Recipe[None]:
    """Delete a node; that it is gone already is as good."""
    try:
        yield ops.Delete(path)
    except errors.NoNodeError:
        pass


def entries_of(directory: str, watcher: Callable[[WatchedEvent], object]) -> Recipe[Entries]:
    """The data of all children; `watcher` hears of the next change of the list. What cannot be read is left out."""
    try:
        names = yield ops.GetChildren(directory, watcher)
    except errors.NoNodeError:
        raise NodeNotFoundError(None, directory) from None
    entries = Entries()
    causes: Dict[str, Exception] = {}
    missing = [paths.join(directory, name) for name in names if paths.is_name(name)]
    while missing:
        outcomes = yield [ops.GetData(path) for path in missing]
        lost, ours = [], False
        for path, outcome in zip(missing, outcomes):
            if isinstance(outcome, errors.NoNodeError):
                continue  # gone between list and read
            if isinstance(outcome, (errors.NoAuthError, errors.ProtocolError)):
                ours = ours or isinstance(outcome, errors.ProtocolError)
                causes[path] = outcome
            elif isinstance(outcome, errors.ConnectionLoss):
                lost.append((path, outcome))
            elif isinstance(outcome, errors.ZookeeperError):
                raise outcome
            else:
                _decode(path, outcome[0], entries, causes)
        if lost and not ours:
            raise lost[0][1]
        missing = [path for path, _ in lost]  # the answer that could not be taken has ended the connection
    entries.sort()
    entries.error = left_out(causes) if causes else None
    return entries


def _decode(path: str, data: Any, entries: Entries, causes: Dict[str, Exception]) -> None:
    try:
        entries.append((data or b"").decode())
    except UnicodeDecodeError:
        causes[path] = UndecodableDataError()
