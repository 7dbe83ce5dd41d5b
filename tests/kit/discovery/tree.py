"""A ZooKeeper without bytes: one tree, sessions, and the watches of each connection, in the order of a real server.

Owns what a single leader does with operations of `zkwire.ops`, and a history of what a directory held after each
transaction. No kinder than the real one: ephemeral nodes go with their session only, watches fire once, before the
reply of any read that shows the change.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from zkwire import errors, ops
from zkwire.paths import parent_of
from zkwire.values import EventType, KeeperState, Stat, WatchedEvent


class Node:
    def __init__(self, data: Optional[bytes], owner: int, zxid: int) -> None:
        self.data, self.owner = data, owner
        self.czxid = self.mzxid = self.pzxid = zxid
        self.creates = self.version = 0

    def stat(self, children: int = 0) -> Stat:
        """As DataNode.copyStat: `cversion` counts what has come and gone."""
        changes = 2 * self.creates - children
        return Stat(self.czxid, self.mzxid, 0, 0, self.version, changes, 0, self.owner, len(self.data or b""), children, self.pzxid)


class Connection:
    """The server's end: watches, and where events go.

    With `tells_watched_path`, events of recursive watches carry the watched path instead of the node's.
    """

    def __init__(self, session: int, send: Callable[[WatchedEvent], None], tells_watched_path: bool = False) -> None:
        self.session, self.send, self._tells_watched_path = session, send, tells_watched_path
        self.data: Set[str] = set()
        self.child: Set[str] = set()
        self.recursive: Set[str] = set()

    def fire(self, kind: str, path: str) -> None:
        tables = {EventType.CHILD: [self.child], EventType.DELETED: [self.data, self.child]}.get(kind, [self.data])
        hit = False
        for table in tables:
            hit |= path in table
            table.discard(path)
        if kind != EventType.CHILD:
            above = [one for one in self.recursive if path == one or path.startswith(one.rstrip("/") + "/")]
            if above and self._tells_watched_path and not hit:
                path = above[0]
            hit |= bool(above)
        if hit:
            self.send(WatchedEvent(kind, KeeperState.CONNECTED, path))


class Tree:
    """The server. `history[i]` is what `directory` held after some transaction: names and data."""

    def __init__(self, directory: str, recursive: bool = True) -> None:
        self.nodes: Dict[str, Node] = {"/": Node(b"", 0, 0)}
        self.zxid = 0
        self.knows_recursive = recursive
        #: See `Connection`.
        self.tells_watched_path = False
        self.sessions: Set[int] = set()
        self.connections: List[Connection] = []
        self.directory = directory
        self.history: List[Dict[str, Optional[bytes]]] = [{}]
        self.last_session = 0x1000
        #: Operations of these types are refused.
        self.denied: Tuple[type, ...] = ()
        self.denial: Any = errors.NoAuthError
        #: Nodes whose data may not be read.
        self.unreadable: Set[str] = set()
        #: (session, path) of each delete done by an operation of a session; the node that went, and the transaction.
        self.deletes: List[Tuple[int, str]] = []
        self.deleted: List[Tuple[Node, int]] = []

    # ---------------------------------------------------------------- sessions

    def open(self) -> int:
        self.last_session += 1
        self.sessions.add(self.last_session)
        return self.last_session

    def expire(self, session: int) -> None:
        """One transaction, as closeSession is."""
        if session in self.sessions:
            self.sessions.discard(session)
            self._begin()
            for path in [p for p, n in self.nodes.items() if n.owner == session]:
                self._delete(path)
            self._end()

    # -------------------------------------------------------------- operations

    def apply(self, op: Any, connection: Connection) -> Any:
        """The outcome: a value, or an error instance."""
        try:
            if self.denied and isinstance(op, self.denied):
                raise self.denial(None, op.path)
            if isinstance(op, ops.GetData) and op.path in self.unreadable and op.path in self.nodes:
                raise errors.NoAuthError(None, op.path)
            return self._apply(op, connection)
        except errors.ZookeeperError as error:
            return error

    def _apply(self, op: Any, connection: Connection) -> Any:
        if isinstance(op, ops.Multi):
            return self._multi(op, connection)
        if isinstance(op, (ops.Create, ops.Delete, ops.SetData)):
            self._begin()
            try:
                return self._write(op, connection.session)
            finally:
                self._end()
        return self._read(op, connection)

    def _multi(self, op: ops.Multi, connection: Connection) -> Any:
        self._begin()
        saved = {path: (node, node.creates, node.data, node.pzxid, node.mzxid, node.version) for path, node in self.nodes.items()}
        queue, results, before = self._events, [], len(self.deletes)
        try:
            for one in op.ops:
                if self.denied and isinstance(one, self.denied):
                    raise errors.NoAuthError(None, one.path)
                results.append(self._write(one, connection.session))
        except errors.ZookeeperError:
            queue.clear()
            del self.deletes[before:], self.deleted[before:]
            self.nodes = {path: entry[0] for path, entry in saved.items()}
            for node, creates, data, pzxid, mzxid, version in saved.values():
                node.creates, node.data, node.pzxid, node.mzxid, node.version = creates, data, pzxid, mzxid, version
            raise
        finally:
            self._end()
        return results

    def _write(self, op: Any, session: int) -> Any:
        if isinstance(op, ops.Create):
            return self.create_now(op.path, op.value, session if op.flags & 1 else 0, bool(op.flags & 2))
        if op.path not in self.nodes:
            raise errors.NoNodeError(None, op.path)
        if op.version not in (-1, self.nodes[op.path].version):
            raise errors.BadVersionError(None, op.path)
        if isinstance(op, ops.SetData):
            node = self.nodes[op.path]
            node.data, node.mzxid, node.version = op.value, self.zxid, node.version + 1
            self._events.append((EventType.CHANGED, op.path))
            return node.stat()
        if any(parent_of(p) == op.path for p in self.nodes if p != "/"):
            raise errors.NotEmptyError(None, op.path)
        self.deletes.append((session, op.path))
        self.deleted.append((self.nodes[op.path], self.zxid))
        self._delete(op.path)
        return None

    def create_now(self, path: str, data: Optional[bytes], owner: int, sequence: bool) -> str:
        parent = self.nodes.get(parent_of(path))
        if parent is None:
            raise errors.NoNodeError(None, path)
        if sequence:
            path = f"{path}{parent.creates:010d}"
        if path in self.nodes:
            raise errors.NodeExistsError(None, path)
        parent.creates += 1
        parent.pzxid = self.zxid
        self.nodes[path] = Node(data, owner, self.zxid)
        self._events += [(EventType.CREATED, path), (EventType.CHILD, parent_of(path))]
        return path

    def _delete(self, path: str) -> None:
        del self.nodes[path]
        parent = self.nodes.get(parent_of(path))
        if parent is not None:
            parent.pzxid = self.zxid
        self._events += [(EventType.DELETED, path), (EventType.CHILD, parent_of(path))]

    def _read(self, op: Any, connection: Connection) -> Any:
        node = self.nodes.get(op.path)
        watch = getattr(op, "watch", None) is not None
        if isinstance(op, ops.AddWatch):
            if not self.knows_recursive:
                raise errors.UnimplementedError(None, op.path)
            connection.recursive.add(op.path)
            return None
        if isinstance(op, ops.Exists):
            if watch:
                connection.data.add(op.path)
            return None if node is None else node.stat(len(self.children(op.path)))
        if isinstance(op, ops.Sync):
            return op.path
        if isinstance(op, ops.RemoveWatches):
            return None  # of the client alone
        if node is None:
            raise errors.NoNodeError(None, op.path)
        if isinstance(op, ops.GetData):
            if watch:
                connection.data.add(op.path)
            return node.data, node.stat()
        if isinstance(op, ops.GetChildren):
            if watch:
                connection.child.add(op.path)
            return self.children(op.path)
        if isinstance(op, ops.CreateChroot):
            raise errors.NodeExistsError(None, op.path)  # there is none here: it is the root
        raise AssertionError(f"the model does not know {op!r}")

    def children(self, path: str) -> List[str]:
        inside = path.rstrip("/") + "/"
        below = [p[len(inside) :] for p in self.nodes if p.startswith(inside) and p != "/"]
        return [name for name in below if "/" not in name]

    # ------------------------------------------------------------ transactions

    def _begin(self) -> None:
        self.zxid += 1
        self._events: List[Tuple[str, str]] = []

    def _end(self) -> None:
        for kind, path in self._events:
            for connection in self.connections:
                connection.fire(kind, path)
        held = self.held()
        if held != self.history[-1]:
            self.history.append(held)

    def held(self) -> Dict[str, Optional[bytes]]:
        inside = self.directory.rstrip("/") + "/"
        return {name: self.nodes[inside + name].data for name in self.children(self.directory)}

    def operator(self, op: Any) -> Any:
        """An operation of somebody else, at once."""
        return self.apply(op, Connection(0, lambda event: None))
