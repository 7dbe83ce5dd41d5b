"""What has really happened: the committed transactions of an ensemble, looked up by path, value, session and zxid.

Owns which transactions of several servers' logs count, and what a node, a directory and a session were at a zxid. Must not
know clients.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from .txnlog import Closed, Created, DataSet, Deleted, Opened, Txn

CREATED, CHANGED, DELETED = "CREATED", "CHANGED", "DELETED"


class Moment(NamedTuple):
    """What became of one node: `what` is one of the events' types; `owner` is 0 unless the node is ephemeral.

    `by` is the session that has done it; of nodes that go with their session, their own.
    """

    zxid: int
    time: float
    path: str
    what: str
    value: str
    version: int
    owner: int
    by: int


class Session(NamedTuple):
    """When a session began and ended, as (zxid, time); None: not in the log."""

    opened: Optional[Tuple[int, float]]
    closed: Optional[Tuple[int, float]]


class Merged(NamedTuple):
    """What several logs say together.

    `doubtful` transactions are in one log only, and nothing says whether the others went on with or without them.
    `lost` were in the logs of a majority, and the servers went on without them. `different` zxids stand for two things.
    """

    committed: List[Txn]
    doubtful: List[Txn]
    lost: List[Txn]
    different: List[int]


class Log(NamedTuple):
    """What is known of one server's log: what is in it at the end, the zxids of its snapshots, and what was ever seen in it."""

    txns: Sequence[Txn]
    snapshots: Sequence[int] = ()
    seen: Sequence[Txn] = ()
    observer: bool = False

    def went_on_without(self, zxid: int, zxids: Sequence[int]) -> bool:
        """Whether this server's history has no such transaction, and has later ones; `zxids` are those of its log, sorted.

        A server that was sent a snapshot has a gap in its log, which says nothing, up to the zxid of that snapshot.
        """
        index = bisect.bisect_left(zxids, zxid)
        if index == len(zxids) or zxids[index] == zxid:
            return False
        before = zxids[index - 1] if index else 0
        return not any(max(before, zxid - 1) < snapshot < zxids[index] for snapshot in self.snapshots)


def merged(logs: Mapping[str, Log], leader: str) -> Merged:
    """The truth of all logs at the end, by server; `leader` led at the end, and all others followed it.

    What two of three voting servers have logged is committed (Zab). So is what an observer has, which is only told of what is
    committed, and what the last leader has. But what a leader has proposed to nobody, before another was elected, stays in
    its log if it is sent a snapshot: the logs of the others go on without it.
    """
    holders: Dict[int, Set[str]] = defaultdict(set)
    found: Dict[int, Txn] = {}
    different = set()
    for server, log in logs.items():
        for txn in log.txns:
            holders[txn.zxid].add(server)
            if found.setdefault(txn.zxid, txn) != txn:
                different.add(txn.zxid)
    zxids = {server: sorted(txn.zxid for txn in log.txns) for server, log in logs.items()}
    gone = {
        zxid for zxid, servers in holders.items() if len(servers) < len(logs)
        and any(log.went_on_without(zxid, zxids[server]) for server, log in logs.items())
    }  # fmt: skip
    ever: Dict[int, Set[str]] = defaultdict(set)
    for server, log in logs.items():
        for txn in [] if log.observer else [*log.txns, *log.seen]:
            found.setdefault(txn.zxid, txn)
            ever[txn.zxid].add(server)
    lost = [zxid for zxid, servers in ever.items() if len(servers) > 1 and (zxid in gone or zxid not in holders)]
    proofs = {leader, *(server for server, log in logs.items() if log.observer)}
    sure = {zxid for zxid, servers in holders.items() if zxid not in gone and (len(servers) > 1 or servers & proofs)}
    doubtful = holders.keys() - sure - gone
    return Merged(*([found[zxid] for zxid in sorted(kind)] for kind in (sure, doubtful, lost)), sorted(different))


def _values(txns: Sequence[Txn]) -> Set[str]:
    """All values that these write."""
    changes = (change for txn in txns for change in txn.changes if isinstance(change, (Created, DataSet)))
    return {change.value.decode(errors="replace") for change in changes}


class Truth:
    """The committed transactions, in order, looked up in several ways.

    `doubtful` are values that may have been written. What the servers have `lost` clients were told of all the same.
    """

    def __init__(self, txns: Sequence[Txn], doubtful: Sequence[Txn] = (), lost: Sequence[Txn] = ()) -> None:
        self.txns = txns
        self.last = txns[-1].zxid if txns else 0
        self.nodes: Dict[str, List[Moment]] = defaultdict(list)
        self.children: Dict[str, List[Moment]] = defaultdict(list)
        self.values: Dict[str, List[Moment]] = defaultdict(list)
        self.sessions: Dict[int, Session] = {}
        self.doubtful, self.lost = _values(doubtful), _values(lost)
        self.lost_zxids = {txn.zxid for txn in lost}
        self._zxids: Dict[str, List[int]] = defaultdict(list)
        self._live: Dict[str, Moment] = {}
        self._owned: Dict[int, List[str]] = defaultdict(list)
        for txn in txns:
            for change in txn.changes:
                self._apply(txn, change)

    # -- questions

    def at(self, path: str, zxid: int) -> Optional[Moment]:
        """What the node was when this zxid had been applied; None: not there."""
        index = bisect.bisect_right(self._zxids.get(path, []), zxid)
        moment = self.nodes[path][index - 1] if index else None
        return None if moment is None or moment.what == DELETED else moment

    def after(self, path: str, zxid: int) -> List[Moment]:
        """What became of the node after this zxid."""
        index = bisect.bisect_right(self._zxids.get(path, []), zxid)
        return self.nodes[path][index:] if index or path in self.nodes else []

    def children_after(self, path: str, zxid: int) -> List[Moment]:
        """Which children came and went after this zxid."""
        return [moment for moment in self.children.get(path, []) if moment.zxid > zxid]

    def live(self) -> Dict[str, Moment]:
        """All nodes that are there in the end."""
        return dict(self._live)

    def below(self, path: str) -> List[Moment]:
        """All that became of the nodes below a path, and of itself, in order."""
        found = [m for node, moments in self.nodes.items() if node == path or node.startswith(path + "/") for m in moments]
        return sorted(found, key=lambda moment: moment.zxid)

    def sets(self, directory: str) -> List[Tuple[int, Tuple[str, ...]]]:
        """Each set of values that the children of a directory had, sorted, and the zxid of which it was."""
        live: Dict[str, str] = {}
        found: List[Tuple[int, Tuple[str, ...]]] = [(0, ())]
        for moment in self.below(directory):
            if moment.path.rpartition("/")[0] != directory:
                continue
            if moment.what == DELETED:
                live.pop(moment.path)
            else:
                live[moment.path] = moment.value
            here = (moment.zxid, tuple(sorted(live.values())))
            if found[-1][0] == moment.zxid:
                found[-1] = here
            else:
                found.append(here)
        return found

    def lives(self, value_of: Any) -> List[Tuple[Moment, Optional[Moment]]]:
        """Beginning and end of each node whose first value is one that `value_of` takes; None: it is still there."""
        found = []
        for moments in self.nodes.values():
            for index, moment in enumerate(moments):
                if moment.what == CREATED and value_of(moment.value):
                    end = next((m for m in moments[index:] if m.what == DELETED), None)
                    found.append((moment, end))
        return sorted(found, key=lambda life: life[0].zxid)

    # -- inside

    def _apply(self, txn: Txn, change: Any) -> None:
        if isinstance(change, Created):
            owner = txn.session if change.ephemeral else 0
            self._note(txn, change.path, CREATED, change.value.decode(errors="replace"), 0, owner)
            if owner:
                self._owned[owner].append(change.path)
        elif isinstance(change, DataSet):
            before = self._live.get(change.path)
            self._note(txn, change.path, CHANGED, change.value.decode(errors="replace"), change.version, before.owner if before else 0)
        elif isinstance(change, Deleted):
            self._delete(txn, change.path)
        elif isinstance(change, Opened):
            self.sessions[txn.session] = Session((txn.zxid, txn.time), None)
        elif isinstance(change, Closed):
            for path in self._owned.pop(txn.session, []):
                if path in self._live and self._live[path].owner == txn.session:
                    self._delete(txn, path)
            before_it = self.sessions.get(txn.session)
            self.sessions[txn.session] = Session(before_it and before_it.opened, (txn.zxid, txn.time))

    def _delete(self, txn: Txn, path: str) -> None:
        gone = self._live.get(path)
        if gone is not None:
            self._note(txn, path, DELETED, gone.value, gone.version, gone.owner)
            del self._live[path]

    def _note(self, txn: Txn, path: str, what: str, value: str, version: int, owner: int) -> None:
        moment = Moment(txn.zxid, txn.time, path, what, value, version, owner, txn.session)
        self.nodes[path].append(moment)
        self._zxids[path].append(txn.zxid)
        self._live[path] = moment
        if what != CHANGED:
            self.children[path.rpartition("/")[0] or "/"].append(moment)
        if what != DELETED:
            self.values[value].append(moment)
