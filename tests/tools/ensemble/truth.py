"""What has really happened: the committed transactions of an ensemble, looked up by path, value, session and zxid.

Owns which transactions of several servers' logs count, and what a node, a directory and a session were at a zxid. Must not
know clients.
"""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

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

    `doubtful` transactions are in one log only, and not in the log of the server that led at the end: nobody knows.
    `lost` were once in the logs of a majority, and are in no log any more; `different` zxids stand for two things.
    """

    committed: List[Txn]
    doubtful: List[Txn]
    lost: List[Txn]
    different: List[int]


def merged(
    logs: Mapping[str, Sequence[Txn]], seen: Mapping[str, Mapping[int, Txn]], leader: str, observers: Iterable[str] = ()
) -> Merged:
    """The truth of all logs at the end, by server; `seen` is what was ever seen in them, by server and zxid.

    What two of three voting servers have logged is committed (Zab); so is what an observer has, which is only told of what
    is committed, and what is in the log of the last leader, once all others follow it.
    """
    holders: Dict[int, Set[str]] = defaultdict(set)
    found: Dict[int, Txn] = {}
    different = set()
    for server, txns in logs.items():
        for txn in txns:
            holders[txn.zxid].add(server)
            if found.setdefault(txn.zxid, txn) != txn:
                different.add(txn.zxid)
    proofs = {leader, *observers}
    sure = {zxid for zxid, servers in holders.items() if len(servers) > 1 or servers & proofs}
    voters = Counter(zxid for server, txns in seen.items() if server not in observers for zxid in txns)
    ever = {zxid: txn for txns in seen.values() for zxid, txn in txns.items()}
    lost = [ever[zxid] for zxid, count in sorted(voters.items()) if count > 1 and zxid not in holders]
    ordered = [found[zxid] for zxid in sorted(found)]
    return Merged([t for t in ordered if t.zxid in sure], [t for t in ordered if t.zxid not in sure], lost, sorted(different))


class Truth:
    """The committed transactions, in order, looked up in several ways."""

    def __init__(self, txns: Sequence[Txn], doubtful: Sequence[Txn] = ()) -> None:
        self.txns = txns
        self.last = txns[-1].zxid if txns else 0
        self.nodes: Dict[str, List[Moment]] = defaultdict(list)
        self.children: Dict[str, List[Moment]] = defaultdict(list)
        self.values: Dict[str, List[Moment]] = defaultdict(list)
        self.sessions: Dict[int, Session] = {}
        self.doubtful = {change.value.decode() for txn in doubtful for change in txn.changes if isinstance(change, (Created, DataSet))}
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
