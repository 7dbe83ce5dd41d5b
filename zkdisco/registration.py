"""What a registrar decides, without threads, sockets or clocks: one node, exactly while it is meant to be there.

Owns the intent, the node, and what is done when they differ. `Runner` (or a simulation) feeds it what happens and
carries out `operations`. Rules:

1. Our node has a name nobody else makes (`_c_<32 hex>-`); only nodes of that name are ever deleted.
2. A create whose outcome is unknown puts us in doubt: before another one, we look.
3. A session that survived a lost connection needs nothing. A new session takes the node of the old one over in one
   transaction, delete and create, so that nobody ever sees both or none.
4. A node somebody else deleted comes back. Errors of the background are reported and tried again, ever more slowly.
5. A caller who was told of a failure to register has no registration: what may be there is cleaned away.
"""

from __future__ import annotations

from typing import Any, Callable, Generator, List, Optional, Sequence, Tuple

from ._zkwire import ACL, WatchedEvent, errors, hosts, ops
from .model import NotRegisteredError, Service
from .recipes import create_parents, delete_quietly, ours

#: Pauses between tries in the background, in seconds; a new session is a reason to try at once.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
#: What a new connection cures by itself.
TRANSIENT = (errors.ConnectionLoss, errors.SessionExpiredError, errors.OperationTimeoutError, errors.SessionMovedError)
PATIENCE = 10

Settled = Tuple[Any, Any]


class Registration:
    """One registration of `service`; `guid` is 32 hex digits, `watcher` what to call when the node changes."""

    def __init__(
        self, service: Service, acl: Sequence[ACL], payload: Sequence[bytes], guid: str,
        watcher: Callable[[WatchedEvent], object],
    ) -> None:  # fmt: skip
        self.service = service
        self.wanted = False
        #: The path of our node, or None.
        self.node: Optional[str] = None
        #: The newest trouble in the background, or None.
        self.error: Optional[errors.ZookeeperError] = None
        self._acl, self._payload = acl, payload
        self._directory = service.directory
        self._prefix = f"_c_{guid}-"
        self._watcher = watcher
        self._session: Optional[int] = None  # of the connection there is now
        self._owner: Optional[int] = None  # of the node
        self._in_doubt = False
        self._dirty = False
        self._work: Optional[Generator[Any, Any, None]] = None
        self._step: List[Any] = []
        self._missing = 0
        self._plain = True
        self._waiting: List[Tuple[Any, bool]] = []
        self._settled: List[Settled] = []
        self._operations: List[Tuple[Any, Any]] = []
        self._retry_at: Optional[float] = None
        self._pause = FIRST_PAUSE

    # -------------------------------------------------------------------------- out

    def operations(self) -> List[Tuple[Any, Any]]:
        """(key, operation) to submit, in order; report each outcome with `answered(key, ...)`."""
        operations, self._operations = self._operations, []
        return operations

    def settled(self) -> List[Settled]:
        """(token, outcome) of intents that have come to an end; the outcome may be an exception."""
        settled, self._settled = self._settled, []
        return settled

    def current(self, key: int) -> bool:
        """Whether the answer to `key` is still of interest: always."""
        return True

    def deadline(self) -> Optional[float]:
        """When to call `timed_out`, if at all."""
        return self._retry_at

    # --------------------------------------------------------------------------- in

    def want(self, wanted: bool, token: Any, now: float) -> None:
        """The user's intent; `token` is settled with the node's path, with None once it is gone, or with an error."""
        if not wanted and not self.wanted:
            self._settled.append((token, NotRegisteredError(f"{self._directory}: not registered")))
            return
        if wanted != self.wanted:
            for earlier, _ in self._waiting:
                self._settled.append((earlier, NotRegisteredError(f"{self._directory}: taken back meanwhile")))
            self._waiting = []
        self.wanted = wanted
        self._waiting.append((token, wanted))
        self._dirty = True
        self._go(now)

    def withdraw(self, token: Any, now: float) -> None:
        """The caller waits no more. A registration it was told nothing of is taken back; a removal goes on."""
        mine = [entry for entry in self._waiting if entry[0] is token]
        self._waiting = [entry for entry in self._waiting if entry[0] is not token]
        if mine and mine[0][1] and self.wanted and self.node is None:
            self.wanted, self._dirty = False, True
            self._go(now)

    def session(self, session_id: Optional[int], now: float) -> None:
        """There is a connection with this session now; None: there is none."""
        self._session = session_id
        if session_id is None:
            return
        if self.node is not None and self._owner != session_id:
            self._dirty = True
        if self._dirty:
            self._pause = FIRST_PAUSE
            self._go(now)

    def watched(self, event: WatchedEvent, now: float) -> None:
        """Something has happened to our node, or to its watch."""
        self._dirty = True
        self._go(now)

    def timed_out(self, now: float) -> None:
        """Try again."""
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            self._go(now)

    def answered(self, key: int, outcome: Any, now: float) -> None:
        """The outcome of operation `key`."""
        self._step[key] = outcome
        self._missing -= 1
        if not self._missing:
            self._advance(self._step if not self._plain else outcome, now)

    # ------------------------------------------------------------------------- work

    def _go(self, now: float) -> None:
        """Begin, unless something is under way (it looks again when it is done) or there is no connection."""
        if self._work is None and self._dirty and self._session is not None:
            self._dirty, self._retry_at = False, None
            self._work = self._register() if self.wanted else self._remove()
            self._advance(None, now)

    def _advance(self, answer: Any, now: float) -> None:
        """Let the work go on to its next operations."""
        work = self._work
        if work is None:
            return
        try:
            if isinstance(answer, Exception):
                wanted = work.throw(answer)
            else:
                wanted = work.send(answer)
            while wanted == []:
                wanted = work.send([])
        except StopIteration:
            self._finished(None, now)
            return
        except errors.ZookeeperError as error:
            self._finished(error, now)
            return
        self._plain = not isinstance(wanted, list)
        step = [wanted] if self._plain else wanted
        self._step, self._missing = [None] * len(step), len(step)
        self._operations += enumerate(step)

    def _finished(self, error: Optional[errors.ZookeeperError], now: float) -> None:
        self._work, self.error = None, error
        if error is None:
            self._pause = FIRST_PAUSE
            done = self.node is not None
            self._settled += [(t, self.node) for t, wanted in self._waiting if wanted == done]
            self._waiting = [(t, wanted) for t, wanted in self._waiting if wanted != done]
            self._dirty = self._dirty or self.wanted != done
        else:
            self._dirty = True
            if not isinstance(error, TRANSIENT):
                self._failed(error)
            self._retry_at = now + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            if self.wanted or self._in_doubt or self.node is not None:
                return
            self._dirty, self._retry_at = False, None  # nothing of ours is there, and nothing is wanted
            return
        self._go(now)

    def _failed(self, error: errors.ZookeeperError) -> None:
        """Those who wait hear of it; if they waited for a registration, it is none."""
        if any(wanted for _, wanted in self._waiting):
            self.wanted = False
        self._settled += [(token, error) for token, _ in self._waiting]
        self._waiting = []

    def _register(self) -> Generator[Any, Any, None]:
        """See that our node is there, in this session, and that we hear when it goes."""
        orphans: List[str] = []
        for _ in range(PATIENCE):
            if self.node is not None:
                stat = yield ops.Exists(self.node, self._watcher)
                if stat is not None and stat.ephemeralOwner == self._session:
                    self._owner = self._session
                    for path in orphans:
                        yield from delete_quietly(path)
                    return
                if stat is not None:
                    orphans.append(self.node)
                self.node = None
            if self._in_doubt:
                for path, stat in (yield from ours(self._directory, self._prefix)):
                    if stat.ephemeralOwner == self._session and self.node is None:
                        self.node = path
                    elif path not in orphans:
                        orphans.append(path)
                self._in_doubt = False
            if self.node is None:
                self.node = yield from self._create(orphans)
                orphans = []
        raise errors.NoNodeError(f"{self._directory}: somebody deletes our node again and again", self._directory)

    def _create(self, orphans: Sequence[str]) -> Generator[Any, Any, str]:
        """Create our node, in the place of what is left of earlier sessions; its path."""
        create = ops.Create(f"{self._directory}/{self._prefix}", self.service.data, self._acl, True, True)
        replace = [ops.Delete(path) for path in orphans]
        for _ in range(PATIENCE):
            owner = self._session
            try:
                self._in_doubt = True
                path: str = (yield ops.Multi([*replace, create]))[-1] if replace else (yield create)
            except errors.ZookeeperError as error:
                self._in_doubt = error.maybe_applied
                if not isinstance(error, errors.NoNodeError):
                    raise
                if replace and error.path != create.path:
                    replace = [op for op in replace if op.path != error.path]  # it has gone by itself
                else:
                    yield from create_parents(self._directory, self._acl, self._payload)
                continue
            if hosts.parent_of(path) != self._directory or not path.rpartition("/")[2].startswith(self._prefix):
                raise errors.ProtocolError(f"the server made {path!r} of {create.path!r}", path)
            self._in_doubt, self._owner = False, owner
            return path
        raise errors.NoNodeError(None, self._directory)

    def _remove(self) -> Generator[Any, Any, None]:
        """See that no node of ours is there."""
        if self.node is not None:
            yield from delete_quietly(self.node)
            self.node = None
        if self._in_doubt:
            for path, _ in (yield from ours(self._directory, self._prefix)):
                yield from delete_quietly(path)
            self._in_doubt = False
