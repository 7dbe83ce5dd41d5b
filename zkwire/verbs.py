"""The verbs of both fronts, each declared once: signature, documentation, and its operation or recipe.

Owns names and arguments. Must not know how work is done: `ZooKeeper` blocks, `AsyncZooKeeper` awaits. All verbs raise
`ZookeeperError` and its subclasses (see `errors`), `ValueError` or `TypeError` for invalid arguments, and
`OperationTimeoutError` after `timeout` seconds (None: the client's `request_timeout`; without that, a call ends with
the session at the latest).
"""

from __future__ import annotations

import functools
from types import FunctionType
from typing import (
    TYPE_CHECKING, Any, Callable, Coroutine, List, Optional, Sequence, Tuple, Type, TypeVar, Union,
    overload,
)  # fmt: skip

from . import recipes
from .errors import ZookeeperError
from .paths import validate_path, validate_sequential_path
from .typed import Generic
from .wire.operation import Op
from .ops import (
    AddWatch, Auth, Check, Create, Create2, CreateContainer, CreateTTL, Delete, Exists, GetACL, GetAllChildrenNumber,
    GetChildren, GetChildren2, GetConfig, GetData, GetEphemerals, Multi, MultiRead, RemoveWatches, SetACL, SetData,
    Sync, WhoAmI,
)  # fmt: skip
from .recipes import Recipe, Work
from .values import ACL, Id, Stat, Watcher

R = TypeVar("R")
ANY_WATCH = 3

if TYPE_CHECKING:
    from typing_extensions import Concatenate, Literal, ParamSpec, Protocol

    P = ParamSpec("P")
    T = TypeVar("T")
    A = TypeVar("A", covariant=True)
    B = TypeVar("B", covariant=True)

    class verb(Generic[P, T]):
        """The type of a verb: blocking on one front, a coroutine on the other."""

        def __init__(self, function: Callable[Concatenate[Any, P], Work[T]]) -> None: ...

        @overload
        def __get__(self, front: None, owner: Type[Verbs]) -> verb[P, T]: ...
        @overload
        def __get__(self, front: Blocking, owner: Type[Verbs]) -> Callable[P, T]: ...
        @overload
        def __get__(self, front: Awaiting, owner: Type[Verbs]) -> Callable[P, Coroutine[Any, Any, T]]: ...
        def __get__(self, front: Any, owner: Any) -> Any: ...

    class CreateCall(Protocol[A, B]):
        """`create`: the path, or with `include_data` the path and the Stat."""

        @overload
        def __call__(
            self, path: str, value: Optional[bytes] = b"", acl: Optional[Sequence[ACL]] = None, ephemeral: bool = False,
            sequence: bool = False, makepath: bool = False, include_data: Literal[False] = False, *,
            ttl: Optional[float] = None, container: bool = False, protect: bool = False,
            timeout: Optional[float] = None,
        ) -> A: ...  # fmt: skip
        @overload
        def __call__(
            self, path: str, value: Optional[bytes] = b"", acl: Optional[Sequence[ACL]] = None, ephemeral: bool = False,
            sequence: bool = False, makepath: bool = False, *, include_data: Literal[True],
            ttl: Optional[float] = None, container: bool = False, protect: bool = False,
            timeout: Optional[float] = None,
        ) -> B: ...  # fmt: skip

    class ChildrenCall(Protocol[A, B]):
        """`get_children`: the names, or with `include_data` the names and the Stat."""

        @overload
        def __call__(
            self, path: str, watch: Optional[Watcher] = None, include_data: Literal[False] = False, *,
            timeout: Optional[float] = None,
        ) -> A: ...  # fmt: skip
        @overload
        def __call__(
            self, path: str, watch: Optional[Watcher] = None, *, include_data: Literal[True],
            timeout: Optional[float] = None,
        ) -> B: ...  # fmt: skip

    class create_verb:
        """`create`, for type checkers."""

        def __init__(self, function: Any) -> None: ...

        @overload
        def __get__(self, front: Blocking, owner: Type[Verbs]) -> CreateCall[str, Tuple[str, Stat]]: ...
        @overload
        def __get__(
            self, front: Awaiting, owner: Type[Verbs]
        ) -> CreateCall[Coroutine[Any, Any, str], Coroutine[Any, Any, Tuple[str, Stat]]]: ...
        def __get__(self, front: Any, owner: Any) -> Any: ...

    class children_verb:
        """`get_children`, for type checkers."""

        def __init__(self, function: Any) -> None: ...

        @overload
        def __get__(self, front: Blocking, owner: Type[Verbs]) -> ChildrenCall[List[str], Tuple[List[str], Stat]]: ...
        @overload
        def __get__(
            self, front: Awaiting, owner: Type[Verbs]
        ) -> ChildrenCall[Coroutine[Any, Any, List[str]], Coroutine[Any, Any, Tuple[List[str], Stat]]]: ...
        def __get__(self, front: Any, owner: Any) -> Any: ...

else:

    def verb(function):
        """Mark a function as a verb; each front makes a method of it."""
        function.verb = True
        return function

    create_verb = children_verb = verb


class Verbs:
    """The operations of a client. The module's docstring says what all verbs have in common."""

    def __init_subclass__(cls, method: Optional[Callable[[Callable[..., Any]], Callable[..., Any]]] = None) -> None:
        if method is not None:
            for name, function in vars(Verbs).items():
                if getattr(function, "verb", False):
                    shown = _as_called(function)
                    made = method(shown)
                    made.__annotations__ = shown.__annotations__  # which functools.wraps of Python 3.14 does not copy
                    setattr(cls, name, made)

    if TYPE_CHECKING:

        @property
        def client_id(self) -> Optional[Tuple[int, bytes]]: ...

    # ------------------------------------------------------------------------ nodes

    @create_verb
    def create(
        self, path: str, value: Optional[bytes] = b"", acl: Optional[Sequence[ACL]] = None, ephemeral: bool = False,
        sequence: bool = False, makepath: bool = False, include_data: bool = False, *, ttl: Optional[float] = None,
        container: bool = False, protect: bool = False, timeout: Optional[float] = None,
    ) -> Work[Union[str, Tuple[str, Stat]]]:  # fmt: skip
        """Create a node; returns its path, or with `include_data` a pair of path and `Stat`.

        `ephemeral`: the server deletes it with the session. `sequence`: the server appends ten digits; the path may
        then end in a slash. `makepath`: missing parents are created, persistent and empty. `ttl` (seconds) and
        `container` need ZooKeeper 3.5, `ttl` also extendedTypesEnabled. `protect`: the name gets a unique prefix, so
        that a node whose reply was lost is found again instead of made twice. `acl` None means the client's
        `default_acl`.
        """
        return _create(self, path, value, acl, ephemeral, sequence, makepath, include_data, ttl, container, protect)

    @verb
    def ensure_path(
        self, path: str, acl: Optional[Sequence[ACL]] = None, *, timeout: Optional[float] = None
    ) -> Recipe[bool]:
        """Create the missing nodes of `path`, the last one included; True. Existing nodes are not changed."""
        return recipes.ensure_path(validate_path(path), acl)

    @verb
    def exists(
        self, path: str, watch: Optional[Watcher] = None, *, timeout: Optional[float] = None
    ) -> Op[Optional[Stat]]:
        """The node's `Stat`, or None if there is none. `watch` is called once, when that changes.

        A node that is created and deleted while the connection is lost gives no event: the watch stays.
        """
        return Exists(path, watch)

    @verb
    def get(
        self, path: str, watch: Optional[Watcher] = None, *, timeout: Optional[float] = None
    ) -> Op[Tuple[bytes, Stat]]:
        """The node's data and `Stat`. `watch` is called once, when data changes or the node is deleted."""
        return GetData(path, watch)

    @verb
    def get_many(
        self, paths: Sequence[str], *, timeout: Optional[float] = None
    ) -> Recipe[List[Union[Tuple[bytes, Stat], ZookeeperError]]]:
        """Data and `Stat` of each path, pipelined; an exception instance for each that could not be read."""
        return recipes.get_many(paths)

    @children_verb
    def get_children(
        self, path: str, watch: Optional[Watcher] = None, include_data: bool = False, *,
        timeout: Optional[float] = None,
    ) -> Op[Union[List[str], Tuple[List[str], Stat]]]:  # fmt: skip
        """The names of the node's children, in no order; with `include_data` a pair of these and the node's `Stat`."""
        # Op is invariant, and this is one of two.
        return GetChildren2(path, watch) if include_data else GetChildren(path, watch)  # type: ignore[return-value]

    @verb
    def set(self, path: str, value: Optional[bytes], version: int = -1, *, timeout: Optional[float] = None) -> Op[Stat]:
        """Replace the node's data if it has this `version` (-1: any); the new `Stat`."""
        return SetData(path, value, version)

    @verb
    def delete(
        self, path: str, version: int = -1, recursive: bool = False, *, timeout: Optional[float] = None
    ) -> Work[Optional[bool]]:
        """Delete the node if it has this `version` (-1: any); with `recursive`, all below it first, and then True."""
        if recursive:
            return recipes.delete_recursive(validate_path(path), version)
        return Delete(path, version)  # type: ignore[return-value]  # Op is invariant

    @verb
    def get_acls(self, path: str, *, timeout: Optional[float] = None) -> Op[Tuple[List[ACL], Stat]]:
        """The node's ACL and `Stat`."""
        return GetACL(path)

    @verb
    def set_acls(
        self, path: str, acls: Sequence[ACL], version: int = -1, *, timeout: Optional[float] = None
    ) -> Op[Stat]:
        """Replace the node's ACL if `version` is its `aversion` (-1: any); the new `Stat`."""
        return SetACL(path, acls, version)

    @verb
    def sync(self, path: str, *, timeout: Optional[float] = None) -> Op[str]:
        """Make the server catch up with the leader, so that later reads see all writes before it; the path."""
        return Sync(path)

    @verb
    def get_ephemerals(self, prefix: str = "/", *, timeout: Optional[float] = None) -> Op[List[str]]:
        """Paths of this session's ephemeral nodes that start with the string `prefix`. ZooKeeper 3.6 and later."""
        return GetEphemerals(prefix)

    @verb
    def get_all_children_number(self, path: str, *, timeout: Optional[float] = None) -> Op[int]:
        """The number of all nodes below `path`. ZooKeeper 3.6 and later."""
        return GetAllChildrenNumber(path)

    # ----------------------------------------------------------------------- several

    @verb
    def multi(self, ops: Sequence[Op[Any]], *, timeout: Optional[float] = None) -> Op[List[Any]]:
        """Do all of `ops` (from `zkwire.ops`) or none; returns the results. Raises the error of the one that failed."""
        return ops if isinstance(ops, Multi) else Multi(ops)

    @verb
    def multi_read(self, ops: Sequence[Op[Any]], *, timeout: Optional[float] = None) -> Op[List[Any]]:
        """`GetData` and `GetChildren` at one point in time: a result, or an exception instance, for each.

        ZooKeeper 3.6 and later.
        """
        return MultiRead(ops)

    # ----------------------------------------------------------------------- watches

    @verb
    def add_watch(
        self, path: str, watcher: Watcher, recursive: bool = False, *, timeout: Optional[float] = None
    ) -> Op[None]:
        """Call `watcher` for every change of a node and its children, or with `recursive` of all nodes below it.

        The watch is persistent, also across reconnects. After a reconnect the watcher is called with type NONE and
        state CONNECTED, because it may have missed changes; so it is when 100,000 calls of watchers wait because they
        are too slow. ZooKeeper 3.6 and later; `UnimplementedError` before.
        """
        return AddWatch(path, watcher, recursive)

    @verb
    def remove_watches(
        self, path: str, watcher: Optional[Watcher] = None, *, local: bool = False, timeout: Optional[float] = None
    ) -> Op[None]:
        """Remove all watches of a path, or those of one watcher; each is called. Raises `NoWatcherError`.

        The request is sent only when this client has no watcher left for the path, and not at all with `local`.
        """
        return RemoveWatches(path, ANY_WATCH, watcher, local)

    # ------------------------------------------------------------- ensemble and identity

    @verb
    def get_config(
        self, watch: Optional[Watcher] = None, *, timeout: Optional[float] = None
    ) -> Op[Tuple[bytes, Stat]]:
        """The ensemble's configuration and the `Stat` of its node, whatever the chroot. ZooKeeper 3.5 and later."""
        return GetConfig(watch)

    @verb
    def add_auth(
        self, scheme: str, credential: Union[str, bytes], *, timeout: Optional[float] = None
    ) -> Op[None]:
        """Add an identity to this client, for all its sessions: ("digest", "user:password"). It is sent in clear.

        Raises `AuthFailedError` if the server refuses it, which ends the client.
        """
        return Auth(scheme, credential.encode() if isinstance(credential, str) else credential)

    @verb
    def who_am_i(self, *, timeout: Optional[float] = None) -> Op[List[Id]]:
        """The identities of this connection. ZooKeeper 3.7 and later."""
        return WhoAmI()


def _as_called(verb: Callable[..., Any]) -> Any:
    """A copy of a verb that says what a call gives, not by which operation: for `help` and `typing.get_type_hints`.

    A coroutine function, too, is annotated with what is awaited.
    """
    copy: Any = FunctionType(verb.__code__, verb.__globals__, verb.__name__, verb.__defaults__, verb.__closure__)
    functools.update_wrapper(copy, verb)
    copy.__kwdefaults__ = verb.__kwdefaults__
    kind, _, given = verb.__annotations__["return"].partition("[")
    assert kind in ("Op", "Recipe", "Work") and given.endswith("]")  # noqa: S101  # of our own source
    copy.__annotations__ = {**verb.__annotations__, "return": given[:-1]}
    del copy.__wrapped__
    return copy


def _create(
    front: Any, path: str, value: Optional[bytes], acl: Optional[Sequence[ACL]], ephemeral: bool, sequence: bool,
    makepath: bool, include_data: bool, ttl: Optional[float], container: bool, protect: bool,
) -> Work[Any]:  # fmt: skip
    """The operation of `create`, or a recipe around it."""
    if (ttl is not None or container) and ephemeral or (container and (sequence or ttl is not None)):
        raise ValueError("a node is ephemeral, a container or has a ttl; and a container is not sequential")
    (validate_sequential_path if sequence else validate_path)(path)

    def make(at: str) -> Op[Any]:
        if container:
            return CreateContainer(at, value, acl)
        if ttl is not None:
            return CreateTTL(at, value, acl, ttl=ttl, sequence=sequence)
        return (Create2 if include_data else Create)(at, value, acl, ephemeral, sequence)

    op = make(path)
    pair = container or ttl is not None  # these always come with a Stat
    if not (makepath or protect or pair and not include_data):
        return op

    def steps(one: Op[Any]) -> Recipe[Any]:
        return recipes.create_with_parents(one, acl) if makepath else recipes.single(one)

    recipe = recipes.create_protected(front, make, path, ephemeral, steps) if protect else steps(op)
    return recipes.only_path(recipe) if pair and not include_data else recipe


class Blocking(Verbs):
    """Verbs return their results."""


class Awaiting(Verbs):
    """Verbs are coroutines."""


class Transaction(Generic[R]):
    """Operations that are done all or none: collect them, then `commit`."""

    def __init__(self, commit: Callable[[Multi, Optional[float]], R]) -> None:
        self.operations: List[Op[Any]] = []
        self._commit = commit

    def create(
        self, path: str, value: Optional[bytes] = b"", acl: Optional[Sequence[ACL]] = None, ephemeral: bool = False,
        sequence: bool = False, include_data: bool = False, *, ttl: Optional[float] = None, container: bool = False,
    ) -> None:  # fmt: skip
        """Add a create; its result is the path, with `include_data` a pair of path and `Stat` (None before 3.9)."""
        if container:
            op: Op[Any] = CreateContainer(path, value, acl)
        elif ttl is not None:
            op = CreateTTL(path, value, acl, ttl=ttl, sequence=sequence)
        else:
            op = (Create2 if include_data else Create)(path, value, acl, ephemeral, sequence)
        self.operations.append(op)

    def delete(self, path: str, version: int = -1) -> None:
        """Add a delete; its result is None."""
        self.operations.append(Delete(path, version))

    def set_data(self, path: str, value: Optional[bytes], version: int = -1) -> None:
        """Add a change of data; its result is the new `Stat`."""
        self.operations.append(SetData(path, value, version))

    def check(self, path: str, version: int = -1) -> None:
        """Make all fail unless the node exists with this version (-1: any); the result is None."""
        self.operations.append(Check(path, version))

    def commit(self, raise_on_error: bool = True, *, timeout: Optional[float] = None) -> R:
        """Do it; returns the list of results. If one fails nothing is done, and its error is raised.

        With `raise_on_error=False` the list holds an exception for each operation instead: the cause,
        `RolledBackError` for the operations before it, `RuntimeInconsistency` for those after it.
        """
        return self._commit(Multi(self.operations, raise_on_error), timeout)
