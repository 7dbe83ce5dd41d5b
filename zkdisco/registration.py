"""What a registrar decides, without threads, sockets or clocks: one node, exactly while it is meant to be there.

Owns the intent, the node, and what is done when they differ. `Registry` hands it what happens, and takes `operations`.
Rules:

1. Our node has a name nobody else makes (`_c_<32 hex>-`); only nodes of that name are ever deleted.
2. A create whose outcome is unknown puts us in doubt: before another one, we look.
3. A session that survived a lost connection needs nothing. A new session takes the node of the old one over in one
   transaction, delete and create, so that nobody ever sees both or none.
4. A node somebody else deleted comes back. Errors of the background are reported and tried again, ever more slowly.
5. There is one watch of ours at the server, on our node while it stands. So a node is watched by a read, which sets no
   watch where there is none; that of an earlier session is looked at without a watch.
6. What our node is to hold is an intent, too: an update is set in place, and a new node is made with it. Before it is
   set once more after a lost answer, we look. What somebody else sets is left alone.
7. A caller who was told of a failure to register has no registration: what may be there is cleaned away, unless
   somebody was told before that it stands.
"""

from __future__ import annotations

from typing import Any, Callable, Generator, List, Optional, Sequence, Tuple

from ._zkwire import ACL, Stat, WatchedEvent, errors, ops, paths
from .values import NotRegisteredError, Service
from .steps import create_parents, delete_quietly, ours

#: Pauses between tries in the background, in seconds; a new session is a reason to try at once.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
#: What a new connection cures by itself.
TRANSIENT = (
    errors.ConnectionLoss, errors.SessionExpiredError, errors.OperationTimeoutError, errors.SessionMovedError,
    errors.NotReadOnlyCallError,
)  # fmt: skip
ATTEMPTS = 10

Settled = Tuple[Any, Any]


class Registration:
    """One registration of `service`; `guid` is 32 hex digits, `watcher` what to call when the node changes."""

    def __init__(
        self, service: Service, acl: Sequence[ACL], payload: Sequence[bytes], guid: str,
        watcher: Callable[[WatchedEvent], object],
    ) -> None:  # fmt: skip
        self.service = service
        #: What our node is to hold.
        self.data = service.data
        self._written = service.data  # what we have last written
        self._owed = False  # whether there is an update that may not be written yet
        self.wanted = False
        #: The path of our node, or None.
        self.node: Optional[str] = None
        #: The newest trouble in the background, or None. That there is no connection is one: the session may end.
        self.error: Optional[Exception] = None
        self._acl, self._payload = acl, payload
        self.directory = self._directory = service.directory
        self._prefix = f"_c_{guid}-"
        self._watcher = watcher
        self._session: Optional[int] = None  # of the newest connection
        self._connected = False
        self._owner: Optional[int] = None  # of the node
        self._in_doubt = False  # whether there may be nodes of ours we do not know
        self._dirty = False
        self._promised = False  # whether somebody was told that it is registered
        self._intent = False  # what the work is for
        self._work: Optional[Generator[Any, Any, None]] = None
        self._step: List[Any] = []
        self._missing = 0
        self._plain = True
        self._waiting: List[Tuple[Any, bool]] = []
        self._fresh: List[Any] = []  # those of them whom the work that is under way cannot satisfy
        self._settled: List[Settled] = []
        self._operations: List[Tuple[Any, Any]] = []
        self._retry_at: Optional[float] = None
        self._pause = FIRST_PAUSE
        self._end: Optional[Exception] = None  # why there will never be a session again

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

    @property
    def settling(self) -> bool:
        """Whether something is under way: what `node` says may change any moment."""
        return self._work is not None

    @property
    def at_rest(self) -> bool:
        """Whether nothing is wanted, nothing is there, and nothing is being done about it."""
        return not (self.wanted or self._in_doubt or self._work or self.node is not None)

    # --------------------------------------------------------------------------- in

    def want(self, wanted: bool, token: Any, now: float) -> None:
        """The user's intent; `token` is settled with the node's path, with None once it is gone, or with an error."""
        if self._end is not None:
            self._settled.append((token, self._end))
            return
        if not wanted and self.at_rest:
            self._settled.append((token, NotRegisteredError(f"{self._directory}: not registered")))
            return
        if wanted != self.wanted:
            self._drop_waiting(lambda: NotRegisteredError(f"{self._directory}: taken back meanwhile"), self.wanted)
        self.wanted = wanted
        self._promised = self._promised and wanted
        self._waiting.append((token, wanted))
        self._dirty = True
        self._go(now)
        self._rest()

    def update(self, data: bytes, token: Any, now: float) -> None:
        """Our node is to hold this; `token` is settled with its path, once it does, or with an error."""
        if self._end is not None or not self.wanted:
            error = self._end or NotRegisteredError(f"{self._directory}: not registered")
            self._settled.append((token, error))
            return
        self.data, self._dirty, self._owed = data, True, True
        self._waiting.append((token, True))
        self._fresh.append(token)
        self._go(now)

    def _rest(self) -> None:
        """Where nothing is there, there is nothing to undo, and of the connection nothing more is heard."""
        if self.at_rest:
            self._dirty = False
            if isinstance(self.error, TRANSIENT):
                self.error = None
            self._tell(False, None)

    def promise(self, now: float) -> None:
        """The user wants it from now on, whatever it takes, and nobody waits: trouble is for `error`."""
        if self._end is None and not (self.wanted and self._promised):
            self._drop_waiting(lambda: NotRegisteredError(f"{self._directory}: taken back meanwhile"), False)
            self.wanted = self._promised = self._dirty = True
            self._go(now)

    def leave(self, error: Callable[[], Exception], now: float) -> None:
        """The client stops: it is not wanted any more, and those who wait are told so by `error()`."""
        self._drop_waiting(error, True)
        if not self.at_rest:
            self.wanted, self._promised, self._dirty = False, False, True
            self._go(now)
            self._rest()

    def ended(self, error: Exception, now: float) -> None:
        """There will never be a session again: ours has gone, or will by itself, and our node with it."""
        self._end = self.error = error
        self._drop_waiting(lambda: error, True)
        self._drop_waiting(lambda: error, False)
        self._work, self.node, self.wanted = None, None, False
        self._in_doubt = self._dirty = self._connected = False
        self._operations, self._retry_at = [], None

    def withdraw(self, token: Any, now: float) -> None:
        """The caller waits no more: `token` is settled, unless it was. A registration nobody was told of is taken back;
        a removal goes on.
        """
        if all(waiting is not token for waiting, _ in self._waiting):
            return
        self._waiting = [entry for entry in self._waiting if entry[0] is not token]
        why = self.error or ("the server is slow" if self._connected else "there is no connection to ZooKeeper")
        self._settled.append((token, errors.OperationTimeoutError(f"{self._directory}: not done in time; {why}")))
        if self.wanted and not self._promised and not self._waiting:
            self.wanted, self._dirty = False, True
            self._go(now)
            self._rest()

    def session(self, session_id: Optional[int], now: float, read_only: bool = False) -> None:
        """There is a connection with this session now; None: there is none. A `read_only` server refuses writes."""
        self._connected = session_id is not None
        if session_id is None:
            if self.wanted or self.node is not None:
                self.error = errors.ConnectionLoss("no connection to ZooKeeper", self._directory, sent=False)
            return
        self._session = session_id
        if self.node is not None and self._owner == session_id and not self._dirty:
            self.error = None
        if self.node is not None and self._owner != session_id:
            self._dirty = True
        if self._dirty:
            self._pause = FIRST_PAUSE
            self._go(now)

    def watched(self, event: WatchedEvent, now: float) -> None:
        """Something has happened to our node, or to its watch."""
        if event.path is None or event.path == self.node:
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
        if self.wanted and self._dirty and not self._connected and self.error is None:
            self.error = errors.ConnectionLoss("no connection to ZooKeeper", self._directory, sent=False)
        if self._work is None and self._dirty and self._connected:
            self._dirty, self._retry_at, self._intent, self._fresh = False, None, self.wanted, []
            self._work = self._register() if self.wanted else self._remove()
            self._advance(None, now)

    def _advance(self, answer: Any, now: float) -> None:
        """Let the work go on to its next operations."""
        work = self._work
        if work is None:
            return
        try:
            wanted = work.throw(answer) if isinstance(answer, Exception) else work.send(answer)
            while wanted == []:
                wanted = work.send([])
        except StopIteration:
            self._finished(None, now)
            return
        except Exception as error:  # of any kind: an operation may be refused before it is sent
            self._finished(error, now)
            return
        self._plain = not isinstance(wanted, list)
        step = [wanted] if self._plain else wanted
        self._step, self._missing = [None] * len(step), len(step)
        self._operations += enumerate(step)

    def _finished(self, error: Optional[Exception], now: float) -> None:
        self._work, self.error = None, error
        if error is None:
            self._pause = FIRST_PAUSE
            done = self.node is not None
            self._tell(done, self.node)
            self._dirty = self._dirty or self.wanted != done
            self._go(now)
            return
        self._dirty = True
        if not isinstance(error, TRANSIENT):
            self._failed(error)
        if self.at_rest:
            self._rest()
        elif self.wanted != self._intent:
            self._go(now)  # what failed is not what is to be done
        else:
            self._retry_at = now + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _failed(self, error: Exception) -> None:
        """Those who wait for what failed hear of it; if they waited for a registration, it is none."""
        if self.wanted == self._intent:
            waited = bool(self._waiting)
            self._tell(self.wanted, error)
            if self._owed and waited and not self._fresh:
                self.data, self._owed = self._written, False  # a caller was told that it could not be set
            if self.wanted and waited and not self._promised:
                self.wanted, self._fresh = False, []
                self._tell(True, error)  # with the registration, what it was to hold has come to nothing

    def _drop_waiting(self, error: Callable[[], Exception], wanted: bool) -> None:
        """Those who wait for this intent wait in vain."""
        self._settled += [(token, error()) for token, intent in self._waiting if intent == wanted]
        self._waiting = [entry for entry in self._waiting if entry[1] != wanted]

    def _tell(self, wanted: bool, outcome: Any) -> None:
        """Settle those who wait for this intent."""
        told = [token for token, intent in self._waiting if intent == wanted and token not in self._fresh]
        self._waiting = [entry for entry in self._waiting if entry[1] != wanted or entry[0] in self._fresh]
        self._settled += [(token, outcome) for token in told]
        self._promised = self._promised or bool(told and wanted and not isinstance(outcome, Exception))

    def _register(self) -> Generator[Any, Any, None]:
        """See that our node is there, in this session, and that we hear when it goes."""
        orphans: List[str] = []
        for _ in range(ATTEMPTS):
            if self.node is not None:
                stat = yield from self._look_at(self.node)
                if stat is not None and stat.ephemeralOwner == self._session:
                    if self._owner != self._session:  # it was made in this session already, and looked at unwatched
                        self._owner = self._session
                        continue
                    yield from self._write(self.node)
                    for path in orphans:
                        yield from delete_quietly(path)
                    return
                if stat is not None:
                    orphans.append(self.node)
                self.node = None
            if self._in_doubt:
                for path, stat in (yield from ours(self._directory, self._prefix)):
                    if stat.ephemeralOwner == self._session and self.node is None:
                        self.node, self._owner = path, self._session
                    elif path not in orphans:
                        orphans.append(path)
                self._in_doubt = False
            if self.node is None:
                self.node = yield from self._create(orphans)
                orphans = []
        raise errors.NoNodeError(f"{self._directory}: somebody deletes our node again and again", self._directory)

    def _look_at(self, node: str) -> Generator[Any, Any, Optional[Stat]]:
        """Our node's Stat, or None if it is gone; if it is this session's, we hear when it goes."""
        if self._owner == self._session:
            try:
                held, stat = yield ops.GetData(node, self._watcher)
                self._owed = self._owed and held != self.data
                return stat  # type: ignore[no-any-return]
            except errors.NoNodeError:
                return None
            except errors.NoAuthError:
                pass  # an ACL that lets nobody read: only Exists needs no right
        found: Optional[Stat] = yield ops.Exists(node, self._watcher if self._owner == self._session else None)
        return found

    def _write(self, node: str) -> Generator[Any, Any, None]:
        """See that our node holds what it is to hold."""
        while self._owed:
            data = self.data
            yield ops.SetData(node, data)
            self._written, self._owed = data, self.data != data

    def _create(self, orphans: Sequence[str]) -> Generator[Any, Any, str]:
        """Create our node, in the place of what is left of earlier sessions; its path."""
        data = self.data
        create = ops.Create(f"{self._directory}/{self._prefix}", data, self._acl, True, True)
        replace = [ops.Delete(path) for path in orphans]
        for _ in range(ATTEMPTS):
            owner = self._session
            try:
                self._in_doubt = True
                path: str = (yield ops.Multi([*replace, create]))[-1] if replace else (yield create)
            except Exception as error:
                # Of the orphans, too, nobody else would know.
                self._in_doubt = bool(replace) or getattr(error, "maybe_applied", False)
                if not isinstance(error, errors.NoNodeError):
                    raise
                if replace and error.path != create.path:
                    replace = [op for op in replace if op.path != error.path]  # it has gone by itself
                else:
                    yield from create_parents(self._directory, self._acl, self._payload)
                continue
            if paths.parent_of(path) != self._directory or not path.rpartition("/")[2].startswith(self._prefix):
                raise errors.ProtocolError(f"the server made {path!r} of {create.path!r}", path)
            self._in_doubt, self._owner = False, owner
            self._written, self._owed = data, self.data != data
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
