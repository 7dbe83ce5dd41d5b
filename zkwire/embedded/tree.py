"""The nodes: data, ACLs, counters and stats, and the changes to them.

Owns the tree and the effects of each transaction on it, and returns the events. Must not know requests, permissions,
sessions (except for the ids of owners) or watches. All changes are checked before they come here.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Set, Tuple

from ..typed import NamedTuple
from ..paths import parent_of
from ..values import ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, Stat
from .children import Children
from .quotas import Quotas

#: Ephemeral owners that are no sessions (EphemeralType): a container; a TTL in the lower 40 bits.
CONTAINER = -(2**63)
TTL_MASK = -(2**56)
CREATED, DELETED, CHANGED, CHILD = 1, 2, 3, 4
#: Nodes that always exist.
SPECIAL = ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config")


def int32(value: int) -> int:
    """`value` as Java's int: counters wrap."""
    return (value + 2**31) % 2**32 - 2**31


def is_session(owner: int) -> bool:
    """Whether an ephemeral owner is a session, not a mark of a container or TTL node."""
    return owner != 0 and owner != CONTAINER and owner & TTL_MASK != TTL_MASK


class Change(NamedTuple):
    """An event: its type, its path, and the ACL of its node."""

    type: int
    path: str
    acl: Sequence[ACL]


class Znode:
    """One node. `creates` counts children ever created: the next sequence number, and half of the client's cversion."""

    __slots__ = ("data", "acl", "owner", "czxid", "mzxid", "pzxid", "ctime", "mtime", "version", "creates",
                 "aversion", "children")  # fmt: skip

    def __init__(self, data: Optional[bytes], acl: Sequence[ACL], owner: int = 0, zxid: int = 0, time: int = 0) -> None:
        self.data, self.acl, self.owner = data, acl, owner
        self.czxid = self.mzxid = self.pzxid = zxid
        self.ctime = self.mtime = time
        self.version = self.creates = self.aversion = 0
        self.children = Children()

    def stat(self) -> Stat:
        """The Stat a client sees: cversion counts deletions too, and only sessions are owners."""
        count = len(self.children)
        return Stat(
            self.czxid, self.mzxid, self.ctime, self.mtime, self.version, int32(self.creates * 2 - count),
            self.aversion, self.owner if is_session(self.owner) else 0, len(self.data or b""), count, self.pzxid,
        )  # fmt: skip


class Tree:
    """All nodes by path. The root has two names, "/" and "", as in the real server, where reads may use either."""

    def __init__(self, config_node: bool = True) -> None:
        self._root = Znode(b"", OPEN_ACL_UNSAFE)
        self.nodes: Dict[str, Znode] = {"": self._root, "/": self._root}
        self.quotas = Quotas(self.nodes)
        self.ephemerals: Dict[int, Dict[str, None]] = {}
        #: The paths of containers and TTL nodes.
        self.mortal: Set[str] = set()
        #: Nodes that cannot be deleted.
        self.special: Tuple[str, ...] = SPECIAL[:3]
        for path in self.special[1:]:
            self._add_special(path)
        if config_node:
            self.add_config()

    def add_config(self) -> None:
        """Create /zookeeper/config, as servers since 3.5 do."""
        if self.special != SPECIAL:
            self.special = SPECIAL
            config = self._add_special(SPECIAL[3])
            config.acl, config.aversion = READ_ACL_UNSAFE, -1

    def _add_special(self, path: str) -> Znode:
        node = self.nodes[path] = Znode(b"", OPEN_ACL_UNSAFE)
        self.nodes[parent_of(path)].children.add(path.rpartition("/")[2])
        return node

    def __len__(self) -> int:
        """The number of nodes, as the real server counts them: the root twice."""
        return len(self.nodes)

    def get(self, path: str) -> Optional[Znode]:
        """The node, or None."""
        return self.nodes.get(path)

    def below(self, path: str) -> int:
        """The number of nodes below `path`, counted as the real server does it: "" counts the root as below it."""
        if path == "/":
            return len(self.nodes) - 2
        inside = path + "/"
        return sum(name.startswith(inside) for name in self.nodes)

    def create(
        self, path: str, data: Optional[bytes], acl: Sequence[ACL], owner: int, creates: int, zxid: int, time: int
    ) -> Tuple[Znode, List[Change]]:
        """Add a node; `creates` is the parent's new count of creations."""
        above, _, name = path.rpartition("/")
        parent = self.nodes[above]
        if creates > parent.creates:
            parent.creates, parent.pzxid = creates, zxid
        node = self.nodes[path] = Znode(data, acl, owner, zxid, time)
        parent.children.add(name)
        if is_session(owner):
            self.ephemerals.setdefault(owner, {})[path] = None
        elif owner:
            self.mortal.add(path)
        self.quotas.created(path)
        return node, [Change(CREATED, path, acl), Change(CHILD, above or "/", parent.acl)]

    def delete(self, path: str, zxid: int) -> List[Change]:
        """Remove a node without children."""
        above, _, name = path.rpartition("/")
        parent = self.nodes[above]
        parent.children.discard(name)
        parent.pzxid = max(parent.pzxid, zxid)
        node = self.nodes.pop(path)
        self.mortal.discard(path)
        self.quotas.deleted(path, node.data)
        owned = self.ephemerals.get(node.owner)
        if owned is not None:
            owned.pop(path, None)
            if not owned:
                del self.ephemerals[node.owner]
        return [Change(DELETED, path, node.acl), Change(CHILD, above or "/", parent.acl)]

    def set_data(self, path: str, data: Optional[bytes], version: int, zxid: int, time: int) -> List[Change]:
        """Replace a node's data."""
        node = self.nodes[path]
        self.quotas.changed(path, len(data or b"") - len(node.data or b""), 0)
        node.data, node.version, node.mzxid, node.mtime = data, version, zxid, time
        return [Change(CHANGED, path, node.acl)]

    def set_acl(self, path: str, acl: Sequence[ACL], aversion: int) -> None:
        """Replace a node's ACL; this causes no event."""
        node = self.nodes[path]
        node.acl, node.aversion = acl, aversion

    def overdue(self, time: int) -> List[str]:
        """Containers that have lost their last child, and TTL nodes without children whose time (ms) is over."""
        paths = []
        for path in sorted(self.mortal):
            node = self.nodes[path]
            if node.children:
                continue
            ttl = node.owner & ~TTL_MASK & 0xFFFFFFFFFF
            if node.creates > 0 if node.owner == CONTAINER else time - node.mtime > ttl:
                paths.append(path)
        return paths
