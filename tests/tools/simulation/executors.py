"""Where code of discovery and its users runs: the thread of a `Dispatcher`, or an event loop, on the virtual clock.

Owns the order of calls on one such place, and how late they are. Must not know what is called. There are no threads: a
place is blocked while a call on it waits, and everything else goes on (see `World.wait`).
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.events import _get_running_loop, _set_running_loop
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, Tuple

from zkdisco.crew import Post
from zkwire.io.dispatch import On

if TYPE_CHECKING:
    from .client import Client


class Executor:
    """What `zkwire.io.dispatch.Dispatcher` is to its callers; each call is at most `lag` seconds late."""

    def __init__(self, client: Client, lag: float) -> None:
        self.client = self._client = client
        self._lag = lag
        self._jobs: Deque[Tuple[Callable[..., object], Tuple[Any, ...]]] = deque()
        self._scheduled = self._inside = False

    @property
    def waiting(self) -> int:
        """The number of waiting calls."""
        return len(self._jobs)

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Run it here, soon."""
        self._jobs.append((function, arguments))
        if not self._scheduled:
            self._schedule()

    def on(self, function: Callable[..., object]) -> Callable[..., None]:
        """A function that runs it here."""
        return On(self, function)  # type: ignore[arg-type]

    def call_later(self, delay: float, function: Callable[..., object], *arguments: Any) -> Timer:
        """Run it here, later; the result has `cancel`."""
        timer = Timer(self._client.now() + delay, self, function, arguments)
        self._client.remind(timer, delay)
        return timer

    def here(self) -> bool:
        """Whether the caller runs here."""
        return self._inside

    def end(self, timeout: float) -> None:
        """Make the queued calls, and wait for that. Later calls are made, too."""
        if timeout and not self._inside:
            self._client.world.wait(self._client, lambda: not self._jobs and not self._inside, timeout)

    def work(self) -> None:
        """Run what waits."""
        client = self._client
        if self._inside:
            return  # blocked; it goes on behind that
        if client.frozen:
            self._client.world.clock.at(client.frozen_until, self._late)
            return
        client.world.current = client
        jobs, self._inside = self._jobs, True
        for _ in range(len(jobs)):
            function, arguments = jobs.popleft()
            function(*arguments)
        self._inside = self._scheduled = False
        if jobs:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        if self._lag:
            clock = self._client.world.clock
            clock.at(clock.now + self._client.rng.random() * self._lag, self._late)
        else:
            self._client.ready.append(self)

    def _late(self) -> None:
        self.work()
        self._client.settle()


class Timer:
    """A call to come, at a time of its client's clock."""

    __slots__ = ("due", "executor", "function", "arguments", "cancelled")

    def __init__(
        self, due: float, executor: Executor, function: Callable[..., object], arguments: Tuple[Any, ...]
    ) -> None:
        self.due, self.executor, self.function, self.arguments = due, executor, function, arguments
        self.cancelled = False

    def cancel(self) -> None:
        """It is not to be."""
        self.cancelled = True

    def run(self) -> None:
        """Its time has come, on its executor."""
        if not self.cancelled:
            self.cancelled = True
            self.function(*self.arguments)


class Crew:
    """What `zkdisco.crew.Crew` is to its callers: each observer is called at a place of its own, one event at a time."""

    def __init__(self, executor: Executor) -> None:
        self._client = executor.client
        self._places: Dict[Post, Executor] = {}
        self._ended = False

    def deliver(self, observer: Any) -> Post:
        """How this observer is told."""
        post = Post(observer, self)  # type: ignore[arg-type]
        self._places[post] = Executor(self._client, self._client.lag)
        return post

    def offered(self, post: Post) -> None:
        """Something waits for this observer."""
        if not post.taken:
            post.taken = True
            self._places[post].call(self._call, post)

    def end(self) -> None:
        """Call nobody any more."""
        self._ended = True

    def _call(self, post: Post) -> None:
        if not self._ended:
            post.deliver()
        post.taken = False
        if post.waits:
            self.offered(post)


class _Turns(Executor):
    """The turns of an event loop."""

    def __init__(self, client: Client, lag: float, loop: Loop) -> None:
        super().__init__(client, lag)
        self._loop = loop

    def work(self) -> None:
        """A turn."""
        with Running(self._loop):
            super().work()


class Running:
    """While it lasts, the event loop is the running one."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        self._before, self._hooks = _get_running_loop(), sys.get_asyncgen_hooks()
        _set_running_loop(self._loop)
        sys.set_asyncgen_hooks(finalizer=self._loop.finish)

    def __exit__(self, *exc_info: object) -> None:
        sys.set_asyncgen_hooks(*self._hooks)
        _set_running_loop(self._before)


class _TimerHandle(asyncio.TimerHandle):
    __slots__ = ("timer",)

    timer: Timer


class Loop(asyncio.AbstractEventLoop):
    """An event loop without a selector, whose time is the client's."""

    def __init__(self, client: Client, lag: float) -> None:
        self._client = client
        self._turns = _Turns(client, lag, self)
        self._tasks: Dict[asyncio.Task[Any], None] = {}

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self._turns.call(_run, handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(self, delay: Any, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        handle = _TimerHandle(self.time() + delay, callback, args, self, context)
        handle._scheduled = True  # type: ignore[attr-defined]
        handle.timer = self._turns.call_later(max(0.0, delay), _run, handle)
        return handle

    def call_at(self, when: Any, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        return self.call_later(when - self.time(), callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: _TimerHandle) -> None:
        handle.timer.cancelled = True

    def time(self) -> float:
        return self._client.now()

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, **options)
        self._tasks[task] = None
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def put_away(self) -> None:
        """The run is over: no task is left to be destroyed at another time."""
        self.call_exception_handler = lambda context: None  # type: ignore[method-assign]
        for _ in range(20):
            with Running(self):
                for task in list(self._tasks):
                    task.cancel()
            self._turns.work()

    def finish(self, generator: Any) -> None:
        """An asynchronous generator that nobody iterates any more."""
        self.create_task(generator.aclose())

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: Any) -> None:
        """What a callback has raised is a bug; tasks that end with an error that nobody asks for are the users' own."""
        if "handle" in context:
            self._client.world.crash = self._client.world.crash or context["exception"]


def _run(handle: asyncio.Handle) -> None:
    if not handle._cancelled:  # type: ignore[attr-defined]
        handle._run()  # type: ignore[attr-defined]
