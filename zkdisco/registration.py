"""What a registrar decides, without threads, sockets or clocks: one node, exactly while it is meant to be there.

Owns the intent, the node, and what is done when they differ. `Registry` hands it what happens, and takes `operations`.
Rules:

1. Without a stable identity, our node has a name nobody else makes (`_c_<32 hex>-`); only nodes of that name are ever
   deleted. With one, see 8.
2. A create whose outcome is unknown puts us in doubt: before another one, we look.
3. A session that survived a lost connection needs nothing. A new session takes the node of the old one over in one
   transaction, delete and create, so that nobody ever sees both or none. It looks for it behind a `sync`.
4. A node somebody else deleted comes back. Errors of the background are reported and tried again, ever more slowly.
5. There is one watch of ours at the server, on our node while it stands. So a node is watched by a read, which sets no
   watch where there is none; that of an earlier session is looked at without a watch.
6. What our node is to hold is an intent, too: an update is set in place, and a new node is made with it. Before it is
   set once more after a lost answer, we look. What somebody else sets is left alone.
7. A caller who was told of a failure to register has no registration: what may be there is cleaned away, unless
   somebody was told before that it stands.
8. With a stable identity, others may have our name, so we look before each create. Ours is what we made, in this
   session or an earlier one. A new registration has a *claim*, until it has made its node, or may have: what it finds
   and takes for its predecessor's goes in the transaction of the create. Whatever else has our name is another's: it is
   never touched, nothing is made beside it, and we come when it goes. So of two processes with one identity the newer
   one has it, and neither fights.
9. A gate may be shut (`shut` is the reason): our node is to be there while it is wanted and the gate is open. Callers
   who want it wait for the gate, too. That a gate opens again gives no new claim.
"""

from __future__ import annotations

from typing import Any, Callable, Generator, List, NamedTuple, Optional, Sequence, Set, Tuple

from ._zkwire import ACL, Stat, WatchedEvent, errors, ops
from .identity import Found, identity_of
from .values import IdentityTakenError, NotRegisteredError, Service, identity_taken
from .steps import create_parents, delete_quietly

#: Pauses between tries in the background, in seconds; a new session is a reason to try at once.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
#: What a new connection cures by itself.
TRANSIENT = (
    errors.ConnectionLoss, errors.SessionExpiredError, errors.OperationTimeoutError, errors.SessionMovedError,
    errors.NotReadOnlyCallError,
)  # fmt: skip
#: What has become of a node since we looked, where others may have its name.
MOVED = (errors.NoNodeError, errors.NodeExistsError, errors.BadVersionError)
ATTEMPTS = 10
#: So many times a node of an exact name is only deleted if nothing was made beside it since we looked: where others
#: make nodes all the time, the version of its data has to do.
CAREFUL = 5

Settled = Tuple[Any, Any]


class Standing(NamedTuple):
    """The path of our node or None, and the newest trouble or None."""

    node: Optional[str] = None
    error: Optional[Exception] = None


class Registration:
    """One registration of `service`; `watcher` is what to call when the node changes.

    `guid` is 32 hex digits, random ones. A stable `identity`, as `validate_identity` gives it, stands in its place.
    """

    def __init__(
        self, service: Service[Any], acl: Sequence[ACL], payload: Sequence[bytes], guid: str,
        watcher: Callable[[WatchedEvent], object], identity: Optional[str] = None,
    ) -> None:  # fmt: skip
        self.service = service
        #: What our node is to hold.
        self.data = service.content
        self._written = service.content  # what we have last written
        self._owed = False  # whether there is an update that may not be written yet
        self.wanted = False
        #: Why the gate is shut, or None: it is open, or there is none.
        self.shut: Optional[Exception] = None
        #: The path of our node, or None.
        self.node: Optional[str] = None
        #: The newest trouble in the background, or None. That there is no connection is one: the session may end.
        self.error: Optional[Exception] = None
        #: Node and trouble, as of when they last said something that was more than the middle of a change.
        self.standing = Standing()
        #: When that was last another one, as whoever has a clock has noted it.
        self.since = 0.0
        self._acl, self._payload = acl, payload
        self.directory = self._directory = service.directory
        self._identity = identity_of(identity, guid)
        self._watcher = watcher
        self._session: Optional[int] = None  # of the newest connection
        self._connected = False
        self._owner: Optional[int] = None  # of the node
        self._in_doubt = False  # whether there may be nodes of ours we do not know
        self._made: Set[int] = set()  # the sessions in which we made nodes, or may have
        self._meanwhile: Set[int] = set()  # the sessions since the work began: a create may go with any of them
        self._claim = False  # whether what a predecessor has left may go
        self._older: Set[int] = set()  # the czxids of what was found with the claim, and may go
        self._taken: Optional[IdentityTakenError] = None  # who has our identity, as long as we wait for that to change
        self._other: Optional[str] = None  # another's node that we watch, or have watched
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
    def own_path(self) -> Optional[str]:
        """The path of our node, if nobody else ever has it: what is there may go without a look."""
        return None if self._identity.exact else self.node

    @property
    def trouble(self) -> Optional[Exception]:
        """Why our node is not there, or may go: the gate is shut, or else `error`; None if all is well."""
        return self.shut if self.wanted and self.shut is not None else self.error

    @property
    def _meant(self) -> bool:
        """Whether our node is meant to be there."""
        return self.wanted and self.shut is None

    @property
    def settling(self) -> bool:
        """Whether something is under way: what `node` says may change any moment."""
        return self._work is not None

    def stood(self) -> bool:
        """Whether `standing` is another one, now."""
        before, error = self.standing, self.trouble
        same_error = type(error) is type(before.error) and str(error) == str(before.error)
        going = self.settling and error is None and (self.node is None or not self._intent)
        if going or (self.node == before.node and same_error):
            return False
        self.standing = Standing(self.node, error)
        return True

    @property
    def at_rest(self) -> bool:
        """Whether nothing is wanted, nothing is there, and nothing is being done about it."""
        return not (self.wanted or self._work or self._left)

    @property
    def _left(self) -> bool:
        """Whether something of ours is there, or may be: a node, or a watch on another's."""
        return self._in_doubt or self.node is not None or self._other is not None

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
            self._claim = wanted
        self.wanted = wanted
        self._promised = self._promised and wanted
        self._waiting.append((token, wanted))
        self._dirty = True
        self._go(now)
        self._rest()

    def gate(self, shut: Optional[Exception], now: float) -> None:
        """The gate is open (None), or shut for this reason."""
        turned = (shut is None) != (self.shut is None)
        self.shut = shut
        if turned and self.wanted:
            self._dirty = True
            self._go(now)

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
            self._claim = self._claim or not self.wanted
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
        self._taken = self._other = None
        self._in_doubt = self._dirty = self._connected = False
        self._operations, self._retry_at = [], None

    def withdraw(self, token: Any, now: float) -> None:
        """The caller waits no more: `token` is settled, unless it was. A registration nobody was told of is taken back;
        a removal goes on.
        """
        if all(waiting is not token for waiting, _ in self._waiting):
            return
        self._waiting = [entry for entry in self._waiting if entry[0] is not token]
        why = self.trouble or ("the server is slow" if self._connected else "there is no connection to ZooKeeper")
        self._settled.append((token, errors.OperationTimeoutError(f"{self._directory}: not done in time; {why}")))
        if self.wanted and not self._promised and not self._waiting:
            self.wanted, self._dirty = False, True
            self._go(now)
            self._rest()

    def session(self, session_id: Optional[int], now: float, read_only: bool = False) -> None:
        """There is a connection with this session now; None: there is none. A `read_only` server refuses writes."""
        self._connected = session_id is not None
        if session_id is None:
            if self._meant or self.node is not None:
                self.error = errors.ConnectionLoss("no connection to ZooKeeper", self._directory, sent=False)
            return
        self._session = session_id
        self._meanwhile.add(session_id)
        if self.node is not None and self._owner == session_id and not self._dirty:
            self.error = None
        if self.node is not None and self._owner != session_id:
            self._dirty = True
        if self._taken is not None:
            self.error = self._taken  # with a new session, the end of the watch is a reason to look
        if self._dirty:
            self._pause = FIRST_PAUSE
            self._go(now)

    def watched(self, event: WatchedEvent, now: float) -> None:
        """Something has happened to our node, or to the one that has our identity, or to the watch."""
        if self.concerned(event.path):
            self._dirty = True
            self._go(now)

    def concerned(self, path: Optional[str]) -> bool:
        """Whether what has happened to a node matters; None is for all."""
        return path is None or path in (self.node, self._other)

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
        if self._meant and self._dirty and not self._connected and self.error is None:
            self.error = errors.ConnectionLoss("no connection to ZooKeeper", self._directory, sent=False)
        if self._work is None and self._dirty and self._connected:
            self._dirty, self._retry_at, self._intent, self._fresh = False, None, self._meant, []
            self._meanwhile = {self._session} if self._session is not None else set()
            self._work = self._register() if self._intent else self._remove()
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
            self._dirty = self._dirty or self._meant != done
            self._go(now)
            return
        heard, self._dirty = self._dirty, True
        if not isinstance(error, TRANSIENT):
            self._failed(error)
        if self.at_rest:
            self._rest()
        elif self._meant != self._intent:
            self._go(now)  # what failed is not what is to be done
        elif error is self._taken:
            self._dirty = heard
            self._go(now)  # at once, or when it goes
        else:
            self._retry_at = now + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _failed(self, error: Exception) -> None:
        """Those who wait for what failed hear of it; if they waited for a registration, it is none."""
        if self._meant == self._intent:
            waited = bool(self._waiting)
            self._tell(self._intent, error)
            if self._owed and waited and not self._fresh:
                self.data, self._owed = self._written, False  # a caller was told that it could not be set
            if self._intent and waited and not self._promised:
                self.wanted, self._fresh = False, []
                self._tell(True, error)  # with the registration, what it was to hold has come to nothing

    def _drop_waiting(self, error: Callable[[], Exception], wanted: bool) -> None:
        """Those who wait for this intent wait in vain."""
        self._settled += [(token, error()) for token, intent in self._waiting if intent == wanted]
        self._waiting = [entry for entry in self._waiting if entry[1] != wanted]

    def _tell(self, wanted: bool, outcome: Any) -> None:
        """Settle those who wait for this intent; a node that stands while the gate is shut is about to go."""
        if wanted and self.shut is not None and not isinstance(outcome, Exception):
            return
        told = [token for token, intent in self._waiting if intent == wanted and token not in self._fresh]
        self._waiting = [entry for entry in self._waiting if entry[1] != wanted or entry[0] in self._fresh]
        self._settled += [(token, outcome) for token in told]
        self._promised = self._promised or bool(told and wanted and not isinstance(outcome, Exception))

    def _register(self) -> Generator[Any, Any, None]:
        """See that our node is there, in this session, and that we hear when it goes."""
        self._taken = None
        old: List[Found] = []
        stable = self._identity.stable
        for attempt in range(ATTEMPTS):
            if self.node is not None and not (stable and self._owner != self._session):  # or else a search finds it
                stat = yield from self._look_at(self.node)
                if stat is not None and stat.ephemeralOwner == self._session:
                    if self._owner != self._session:  # it was made in this session already, and looked at unwatched
                        self._owner = self._session
                        continue
                    if self._in_doubt:
                        old = yield from self._search(stat)
                        if self.node is None:
                            continue
                    if not (yield from self._write(self.node, stat)):
                        continue
                    for found in old:
                        yield from delete_quietly(found.path)
                    self._in_doubt, self._claim, self._other = False, False, None
                    self._older.clear()
                    return
                if stat is not None:
                    self._other = self.node if self._identity.exact else None  # it has our name, and is watched now
                    old = [Found(self.node, stat)]
            self.node = None
            if self._in_doubt or stable:
                old = yield from self._search(None)
            if self.node is None:
                self.node = yield from self._create(old, attempt < CAREFUL)
                old = []
                if not (stable or self._owed):
                    self._tell(True, self.node)  # it stands; who waits need not wait for the watch
        raise errors.NoNodeError(f"{self._directory}: somebody deletes our node again and again", self._directory)

    def _look_at(self, node: str) -> Generator[Any, Any, Optional[Stat]]:
        """Our node's Stat, or None if it is gone; if it is this session's, we hear when it goes."""
        if self._owner != self._session:
            # A new session may be resumed by a server that is behind what the one before has seen.
            synced, found = yield [ops.Sync(node), ops.Exists(node)]
            for outcome in (synced, found):
                if isinstance(outcome, errors.ZookeeperError):
                    raise outcome
            return found  # type: ignore[no-any-return]
        held, stat = yield from self._watch(node)
        self._owed = self._owed and (stat is None or held != self.data)
        return stat

    def _watch(self, node: str) -> Generator[Any, Any, Tuple[Optional[bytes], Optional[Stat]]]:
        """A node's data, if it may be read, and its Stat, or None if it is gone; we hear when it goes."""
        try:
            held, stat = yield ops.GetData(node, self._watcher)
            return held, stat
        except errors.NoNodeError:
            return None, None
        except errors.NoAuthError:
            pass  # an ACL that lets nobody read: only Exists needs no right
        return None, (yield ops.Exists(node, self._watcher))

    def _is_ours(self, found: Found) -> bool:
        owner = found.stat.ephemeralOwner
        return not self._identity.stable or owner in self._made or owner == self._session

    def _search(self, standing: Optional[Stat]) -> Generator[Any, Any, List[Found]]:
        """What has our identity and is to go; our node, if we did not know it. `standing` is the Stat of the known one.

        Raises `IdentityTakenError` where another has it: see `_leave_to`.
        """
        for _ in range(ATTEMPTS):
            old: List[Found] = []
            other: Optional[Found] = None
            for found in (yield from self._identity.find(self._directory)):
                mine = self._is_ours(found)
                if found.path == self.node:
                    continue
                if mine and self.node is None and found.stat.ephemeralOwner == self._session:
                    self.node, self._owner = found.path, self._session
                    self._owed = self._owed or self._identity.stable  # another registrar of our client may have made it
                elif mine or self._precedes(found, standing):
                    old.append(found)
                elif other is None or found.stat.czxid > other.stat.czxid:
                    other = found
            self._in_doubt = bool(old or other)
            if other is None:
                return old
            yield from self._leave_to(other, old)
        raise errors.NoNodeError(f"{self._directory}: others make our node again and again", self._directory)

    def _precedes(self, found: Found, standing: Optional[Stat]) -> bool:
        """Whether it is older than our registration: left by a predecessor, or made by another process before."""
        created = found.stat.czxid
        if not found.stat.ephemeralOwner:
            return False
        if self._claim and self._identity.precedes(found, self.data):
            self._older.add(created)
        return created in self._older or (standing is not None and created < standing.czxid)

    def _leave_to(self, other: Found, old: Sequence[Found]) -> Generator[Any, Any, None]:
        """Nothing of ours stands beside it. Raises `IdentityTakenError`, unless it has gone by then.

        It is watched if the registration is wanted whatever it takes.
        """
        for path in [self.node, *(found.path for found in old if self._is_ours(found))]:
            if path is not None:
                yield from delete_quietly(path)
        self.node, self._in_doubt = None, False
        error = identity_taken(other.path, other.stat.ephemeralOwner)
        if self._promised:
            self._other = other.path
            _, stat = yield from self._watch(other.path)
            if stat is None or stat.czxid != other.stat.czxid:
                return
            self._taken = error
        raise error

    def _watch_no_more(self) -> Generator[Any, Any, None]:
        """The watch on another's node is taken back; no server is told, since those before 3.5 hang up on it."""
        if self._other is not None:
            path, self._other = self._other, None
            try:
                yield ops.RemoveWatches(path, watcher=self._watcher, local=True)
            except errors.NoWatcherError:
                pass  # it has fired

    def _write(self, node: str, stat: Stat) -> Generator[Any, Any, bool]:
        """See that our node holds what it is to hold; False if it is not the one that was looked at any more."""
        while self._owed:
            data = self.data
            try:
                stat = yield ops.SetData(node, data, stat.version if self._identity.exact else -1)
            except (errors.BadVersionError, errors.NoNodeError):
                if not self._identity.exact:
                    raise
                return False
            self._written, self._owed = data, self.data != data
            if self._identity.exact and stat.ephemeralOwner != self._owner:
                return False
        return True

    def _create(self, old: Sequence[Found], careful: bool) -> Generator[Any, Any, Optional[str]]:
        """Create our node, in the place of what is old; its path, or None if others have come in between."""
        data = self.data
        create = self._identity.create(self._directory, data, self._acl)
        replace = self._identity.replace(old, self._acl, careful)
        for _ in range(ATTEMPTS):
            owner = self._session
            try:
                self._in_doubt = True
                path: str = (yield ops.Multi([*replace, create]))[-1] if replace else (yield create)
            except Exception as error:
                # Of what is old, too, nobody else would know.
                self._in_doubt = bool(replace) or getattr(error, "maybe_applied", False)
                if getattr(error, "maybe_applied", False):
                    self._has_made()
                if self._identity.stable and isinstance(error, MOVED if replace else errors.NodeExistsError):
                    return None
                if not isinstance(error, errors.NoNodeError):
                    raise
                if replace and error.path != create.path:
                    replace = [op for op in replace if op.path != error.path]  # it has gone by itself
                else:
                    yield from create_parents(self._directory, self._acl, self._payload)
                continue
            if not self._identity.made(path, create):
                raise errors.ProtocolError(f"the server made {path!r} of {create.path!r}", path)
            self._has_made()
            self._in_doubt, self._owner = self._identity.ambiguous, owner
            self._written, self._owed = data, self.data != data
            return path
        raise errors.NoNodeError(None, self._directory)

    def _has_made(self) -> None:
        """A node of ours was made, or may have been: whatever is found and is newer comes after us."""
        if self._identity.stable:
            self._made |= self._meanwhile
        self._claim = False

    def _remove(self) -> Generator[Any, Any, None]:
        """See that no node of ours is there; another's that has our identity stays."""
        self._taken = None
        yield from self._watch_no_more()
        if self.node is not None and not self._identity.exact:
            yield from delete_quietly(self.node)
            self.node = None
        for attempt in range(ATTEMPTS):
            if not self._in_doubt and self.node is None:
                return
            left = [found for found in (yield from self._identity.find(self._directory)) if self._is_ours(found)]
            if left and self._identity.exact:
                try:
                    yield ops.Multi(self._identity.replace(left, self._acl, attempt < CAREFUL))
                except MOVED:
                    continue
            for found in left if not self._identity.exact else ():
                yield from delete_quietly(found.path)
            self._in_doubt, self.node = False, None
        raise errors.NoNodeError(f"{self._directory}: others make our node again and again", self._directory)
