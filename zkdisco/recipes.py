"""Steps of discovery over zkwire's operations, as generators; see `zkwire.recipes` for how they run.

Owns how directories are made, and how the nodes of one registration are recognised. Must not know threads, asyncio or
intents.
"""

from __future__ import annotations

from typing import Any, Generator, List, Sequence, Tuple, TypeVar

from ._zkwire import ACL, Stat, errors, ops, paths, recipes

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


def ours(directory: str, prefix: str) -> Recipe[List[Tuple[str, Stat]]]:
    """The nodes in `directory` whose names start with `prefix`, with Stat, as the leader knows them."""
    synced, names = yield [ops.Sync(directory), ops.GetChildren(directory)]
    for outcome in (synced, names):
        if isinstance(outcome, errors.NoNodeError):
            return []
        if isinstance(outcome, errors.ZookeeperError):
            raise outcome
    found = [paths.join(directory, name) for name in names if name.startswith(prefix) and paths.is_name(name)]
    stats = yield [ops.Exists(path) for path in found]
    for stat in stats:
        if isinstance(stat, errors.ZookeeperError):
            raise stat
    return [(path, stat) for path, stat in zip(found, stats) if stat is not None]


def delete_quietly(path: str) -> Recipe[None]:
    """Delete a node; that it is gone already is as good."""
    try:
        yield ops.Delete(path)
    except errors.NoNodeError:
        pass
