"""What the node of a registration is called, and how nodes of that name are found, made and replaced.

Owns the three kinds of names: with a random guid, with a guid that was given, exactly as given. Must not know intents,
nor which of the nodes that it finds are ours.

A sequential node never comes back under its path. A node of an exact name may be another one a moment later, and the
version of its data, with which a delete can be guarded, is 0 for every new node. But a directory numbers the nodes made
in it: where a sequential node gets the number that was next when we looked, nothing was made in between, and the node
of our name is the one we saw. So `Name.replace` makes such a node and deletes it under the expected path, within the
transaction: nobody ever sees it, and if the number is another one, the transaction fails and nothing was done.
"""

from __future__ import annotations

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from ._zkwire import ACL, Stat, errors, ops, paths
from .steps import ATTEMPTS, Recipe, ours
from .values import is_guid


class Found(NamedTuple):
    """A node of our name; `data` is None if it may not be read, `made` the number of nodes ever made beside it."""

    path: str
    stat: Stat
    data: Optional[bytes] = None
    made: int = 0


class Random:
    """A guid of 32 hex digits that nobody else has: each node of this name is ours."""

    #: Whether another process, or a predecessor of ours, may have it.
    stable = False
    #: Whether only a look shows that two were made at the same time.
    ambiguous = False
    #: Whether another node may stand under the path of our node.
    exact = False

    def __init__(self, guid: str) -> None:
        self._prefixes: Tuple[str, ...] = (f"_c_{guid}-",)

    def create(self, directory: str, data: bytes, acl: Sequence[ACL]) -> ops.Create:
        """What makes our node."""
        return ops.Create(f"{directory}/{self._prefixes[0]}", data, acl, True, True)

    def made(self, path: str, create: ops.Create) -> bool:
        """Whether `path` can be what the server has made of `create`."""
        return path.startswith(create.path) and "/" not in path[len(create.path) :]

    def find(self, directory: str) -> Recipe[List[Found]]:
        """All nodes of this name, as the leader knows them."""
        return [Found(path, stat) for path, stat in (yield from ours(directory, self._prefixes)) or ()]

    def precedes(self, found: Found, data: bytes) -> bool:
        """Whether an ephemeral node may be what a predecessor has left of us, who are to hold `data`."""
        return True

    def replace(self, found: Sequence[Found], acl: Sequence[ACL], careful: bool) -> List[Any]:
        """What deletes these, as the first operations of a transaction."""
        return [ops.Delete(one.path) for one in found]


class Guid(Random):
    """A guid that was given; Apache Curator writes it with dashes."""

    stable = ambiguous = True

    def __init__(self, guid: str) -> None:
        super().__init__(guid)
        dashed = "-".join((guid[:8], guid[8:12], guid[12:16], guid[16:20], guid[20:]))
        self._prefixes += (f"_c_{dashed}-",)

    def find(self, directory: str) -> Recipe[List[Found]]:
        """All nodes of this name, as the leader knows them.

        One that has gone since the list was read may have been replaced, and then not be missed: the list is read anew.
        """
        for _ in range(ATTEMPTS):
            found = yield from ours(directory, self._prefixes, True)
            if found is not None:
                return [Found(path, stat) for path, stat in found]
        raise errors.NoNodeError(f"{directory}: others make nodes with our guid, again and again", directory)


class Name(Random):
    """An exact name."""

    stable = exact = True

    def __init__(self, name: str) -> None:
        self._name = name

    def create(self, directory: str, data: bytes, acl: Sequence[ACL]) -> ops.Create:
        """What makes our node."""
        return ops.Create(f"{directory}/{self._name}", data, acl, True)

    def made(self, path: str, create: ops.Create) -> bool:
        """Whether `path` can be what the server has made of `create`."""
        return path == create.path

    def find(self, directory: str) -> Recipe[List[Found]]:
        """The node of this name, as the leader knows it, if there is one."""
        path = paths.join(directory, self._name)
        # The directory comes first: a node that was made after it was looked at is too many for `replace`, not too few.
        synced, parent, held = yield [ops.Sync(directory), ops.Exists(directory), ops.GetData(path)]
        if isinstance(held, errors.NoAuthError):
            held = (None, (yield ops.Exists(path)))  # which needs no right
        elif isinstance(held, tuple):
            held = (held[0] or b"", held[1])
        for outcome in (synced, parent, held):
            if isinstance(outcome, errors.NoNodeError) or outcome is None:
                return []
            if isinstance(outcome, errors.ZookeeperError):
                raise outcome
        data, stat = held
        return [Found(path, stat, data, _made(parent))] if stat is not None else []

    def precedes(self, found: Found, data: bytes) -> bool:
        """Whether an ephemeral node may be what a predecessor has left of us, who are to hold `data`."""
        return found.data == data

    def replace(self, found: Sequence[Found], acl: Sequence[ACL], careful: bool) -> List[Any]:
        """What deletes it; only if nothing has been made in the directory since, if we are to be `careful`."""
        transaction: List[Any] = []
        for path, stat, _, made in found:
            if careful:
                guard = f"{path}~"
                transaction += [ops.Create(guard, b"", acl, True, True), ops.Delete(f"{guard}{made:010d}")]
            transaction.append(ops.Delete(path, stat.version))
        return transaction


def _made(directory: Stat) -> int:
    """How many nodes were ever made in it, which is the number that a sequential one gets next.

    `cversion` counts what has come and gone (DataNode.copyStat: twice what was made, less what is there).
    """
    return (directory.cversion + directory.numChildren) // 2 & 0x7FFFFFFF


def identity_of(identity: Optional[str], guid: str) -> Random:
    """The kind that `identity` is, as `validate_identity` gives it; without one, a random one of this `guid`."""
    if identity is None:
        return Random(guid)
    return Guid(identity) if is_guid(identity) else Name(identity)
