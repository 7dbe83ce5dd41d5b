"""What an instancer has heard of its directory, in the order of the wire, and the newest set of it that is known whole.

Owns which sets really existed. Must not know operations, watches or pauses. Rules:

1. The server tells of a transaction by events that no answer interrupts. So what comes between two answers, a *batch*,
   is a number of whole transactions, and the directory really was as it is behind each batch.
2. An event says that a node has another value from this batch on; a later answer says which. The value is known for the
   batches from the event to the answer, unless the node has changed again in between: then it is never known for those
   before the newest change, and such a span of batches is *lost*.
3. The newest batch for which all values are known is shown. Batches behind it wait for answers, or are lost.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict, defaultdict, deque
from typing import Any, Deque, Dict, List, Optional, Set, Tuple

from .codecs import TEXT, Codec
from .replica import Replica

#: The name under which it is noted whether the list of names is known; no node is called so.
LIST = ""
#: In the place of a value: the node is not there.
GONE = object()
_UNKNOWN = object()


class _Change:
    """A node has another value from `batch` on, noticed at `at`."""

    __slots__ = ("batch", "name", "value", "at")

    def __init__(self, batch: int, name: str, value: Any, at: float) -> None:
        self.batch, self.name, self.value, self.at = batch, name, value, at


class Timeline:
    """Begins with nothing known. `replica` is the newest whole set; it advances in `answered`."""

    def __init__(self, now: float, codec: Codec[Any] = TEXT) -> None:
        self.replica = Replica(codec)
        self._batch = 0  # the one that is being heard
        self._shown = -1  # the newest whole one
        self._log: Deque[_Change] = deque()  # all since then, oldest first
        self._open: OrderedDict[str, _Change] = OrderedDict()  # those that wait for an answer, oldest first
        self._lost_from: List[int] = []  # spans of lost batches, disjoint and in order
        self._lost_to: List[int] = []
        self._missed: Deque[Tuple[int, str]] = deque()  # the last batch of each span, and whose values were missed
        self._list_changed = 0  # the batch in which the list of names was heard to have changed last
        self._changes: Dict[str, int] = defaultdict(int)  # by name, since the newest whole set
        self.changed(LIST, now)

    @property
    def behind_since(self) -> Optional[float]:
        """When the oldest change that is not shown was noticed; None if all are shown."""
        return self._log[0].at if self._log else None

    def missed(self) -> Set[str]:
        """The names of which a value was missed since the newest whole set. To wait for more answers may be in vain."""
        return {name for _, name in self._missed}

    def restless(self) -> Set[str]:
        """The names that have changed more than once since the newest whole set: those that may change once more."""
        return {name for name, count in self._changes.items() if count > 1} | self.missed()

    def waits(self, name: str) -> bool:
        """Whether an answer is to say which value `name` has."""
        return name in self._open

    def listed_once(self, name: str) -> bool:
        """Whether the list has not changed since `name` was found in it: it is the very node that was found."""
        return self._list_changed < self._open[name].batch

    # ------------------------------------------------------------------------ what is heard

    def changed(self, name: str, now: float) -> None:
        """It has another value, which is to be read."""
        if name == LIST:
            self._list_changed = self._batch
        self._changes[name] += 1
        if not self._miss(name):
            change = self._open[name] = _Change(self._batch, name, _UNKNOWN, now)
            self._log.append(change)

    def known(self, name: str, value: Any, now: float) -> None:
        """From this batch on it has this value."""
        self._changes[name] += value is GONE
        if self._miss(name):
            self._open.pop(name).value = value
        else:
            self._log.append(_Change(self._batch, name, value, now))

    def read(self, name: str, value: Any, now: float) -> None:
        """An answer: it has had this value since its newest change was heard."""
        self._open.pop(name).value = value

    def answered(self) -> bool:
        """An answer has come, and was noted: the batch is over. Whether there is a newer whole set."""
        newest = self._batch
        self._batch += 1
        if self._open:
            newest = min(newest, next(iter(self._open.values())).batch - 1)
        at = bisect_left(self._lost_to, newest)
        if at < len(self._lost_to) and self._lost_from[at] <= newest:
            newest = self._lost_from[at] - 1
        if newest <= self._shown:
            return False
        self._show(newest)
        return True

    # ------------------------------------------------------------------------------- inside

    def _miss(self, name: str) -> bool:
        """Note that what waits for an answer to `name` waits in vain; whether it does so since this very batch."""
        change = self._open.get(name)
        if change is None:
            return False
        if change.batch == self._batch:
            return True
        del self._open[name]
        first = change.batch
        while self._lost_to and self._lost_to[-1] >= first - 1:
            first = min(first, self._lost_from.pop())
            self._lost_to.pop()
        self._lost_from.append(first)
        self._lost_to.append(self._batch - 1)
        self._missed.append((self._batch - 1, name))
        return False

    def _show(self, batch: int) -> None:
        self._shown = batch
        self._changes.clear()
        while self._log and self._log[0].batch <= batch:
            change = self._log.popleft()
            if change.name == LIST or change.value is _UNKNOWN:
                continue
            if change.value is GONE:
                self.replica.drop(change.name)
            else:
                self.replica.put(change.name, change.value)
        while self._missed and self._missed[0][0] <= batch:
            self._missed.popleft()
        over = bisect_right(self._lost_to, batch)
        del self._lost_from[:over], self._lost_to[:over]
