"""For tests of discovery on real servers: observers that can be waited for, sessions that can be killed."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, List, Optional

from zkdisco import Event
from tests.kit.sessions import end_session
from zkwire import ZooKeeper


class Seen:
    """An observer, a listener or a handler: keeps what it hears, and can be waited for."""

    def __init__(self) -> None:
        self.events: List[Any] = []
        self.changed = threading.Condition()

    def __call__(self, event: Any) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def wait(self, condition: Callable[[List[Any]], bool], timeout: float = 10.0) -> None:
        """Wait until there are events of which this is true."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.events and condition(self.events), timeout), f"after {timeout} s: {self.events}"

    def wait_set(self, *instances: str, timeout: float = 10.0) -> None:
        """Wait until the newest event is this set, without trouble."""
        want = Event(tuple(sorted(instances)))
        self.wait(lambda events: bool(events) and events[-1] == want, timeout)

    def never(self, condition: Callable[[List[Any]], bool], seconds: float = 0.5) -> None:
        """Nothing of the kind happens for a bounded time."""
        with self.changed:
            assert not self.changed.wait_for(lambda: condition(self.events), seconds), self.events

    def sizes(self) -> List[int]:
        """How many instances each set had, without repetition: what was added and removed."""
        sizes: List[int] = []
        for event in self.events:
            if not sizes or sizes[-1] != len(event.instances):
                sizes.append(len(event.instances))
        return sizes


def until(condition: Callable[[], Any], timeout: float = 10.0, what: str = "") -> Any:
    """Wait for something that nobody tells of."""
    deadline = time.monotonic() + timeout
    never = threading.Event()
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"{what or condition} not within {timeout} s"
        never.wait(0.01)


def kill_session(zk: Any, hosts: str) -> int:
    """End the session from outside. Its id."""
    client_id = until(lambda: zk.client_id, what="a session")
    end_session(hosts, client_id)
    number: int = client_id[0]
    return number


def data_below(zk: ZooKeeper, directory: str) -> List[str]:
    """The truth: data of the children, sorted."""
    names = zk.get_children(directory) if zk.exists(directory) else []
    return sorted(zk.get(f"{directory}/{name}")[0].decode() for name in names)


def elapsed(since: float) -> float:
    """Seconds since."""
    return time.monotonic() - since


def raises_within(
    kind: Any, seconds: float, function: Callable[..., Any], *arguments: Any, **options: Any
) -> Exception:
    """`function` raises this kind of error, and in time."""
    began = time.monotonic()
    try:
        result = function(*arguments, **options)
    except kind as error:
        assert elapsed(began) <= seconds, f"{error!r} after {elapsed(began):.2f} s"
        found: Exception = error
        return found
    raise AssertionError(f"{result!r} instead of {kind}")


def owner(zk: ZooKeeper, path: str) -> Optional[int]:
    """The session whose node it is; None without a node."""
    stat = zk.exists(path)
    return None if stat is None else stat.ephemeralOwner
