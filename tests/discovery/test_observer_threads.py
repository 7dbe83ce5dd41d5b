"""Observers by the thousand: on the blocking front a handful of threads calls them all, and a slow one delays nobody."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import defaultdict
from typing import Any, Callable, Deque, Dict, Iterator, List

import pytest

from tests.fronts.test_field_threads import Limit, limit  # noqa: F401  # a fixture
from tests.kit import children
from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, until
from tests.io.test_driver import needs_fork
from zkdisco import Event, crew
from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.ops import Create, SetData

#: So many threads may call observers as long as all are quick.
HANDFUL = 4
#: Seconds in which an observer hears, whatever others do.
SOON = 0.3
#: On the event loop there are tasks, and nothing to be had of this kind.
THREADS = pytest.mark.parametrize("front", ["threads"], indirect=True)


def observers_threads() -> int:
    """How many threads call observers."""
    return len([thread for thread in threading.enumerate() if thread.name == "zkdisco observer"])


class Blocks:
    """Observers that stay in their calls until they are released; on the event loop, in what they await."""

    def __init__(self, front: Front) -> None:
        self._front, self._go = front, threading.Event()
        self.entered: Dict[int, List[Event]] = defaultdict(list)

    def observer(self, number: int) -> Callable[[Event], Any]:
        def blocks(event: Event) -> None:
            self.entered[number].append(event)
            self._go.wait(30)

        async def waits(event: Event) -> None:
            self.entered[number].append(event)
            while not self._go.is_set():
                await asyncio.sleep(0.01)

        return waits if self._front.is_asyncio else blocks

    def release(self) -> None:
        self._go.set()


class Scene:
    """A directory, its instancer, and many who observe it."""

    def __init__(self, front: Front, count: int) -> None:
        self.front, self.server = front, front.server()
        self.zk = ZooKeeper(self.server.hosts, timeout=9.0)
        self.zk.start()
        self.zk.ensure_path("/svc")
        self.client = front.disco(self.server.hosts, session_timeout=9.0)
        self.zk.create("/svc/n", b"0")
        self.instancer = front.instancer(self.client, "/svc")
        self.blocks = Blocks(front)
        self.quick = [Log() for _ in range(count)]

    def register(self, *observers: Any) -> None:
        if self.front.loop is None:
            for observer in observers:
                self.instancer.register(observer)
        else:
            self.front.loop.call(lambda: [self.instancer.real.register(observer) for observer in observers])

    def change(self, value: int) -> float:
        """Seconds from the time when the client had it to the last of the quick ones."""
        self.zk.set("/svc/n", b"%d" % value)
        until(lambda: self.instancer.state == Event((str(value),)))
        return self.heard(value)

    def heard(self, value: int) -> float:
        began = time.monotonic()
        for log in self.quick:
            log.until(lambda seen: seen[-1] == Event((str(value),)))
        return time.monotonic() - began


@pytest.fixture
def scene(front: Front) -> Iterator[Callable[[int], Scene]]:
    made: List[Scene] = []

    def make(count: int) -> Scene:
        made.append(Scene(front, count))
        return made[0]

    yield make
    for one in made:
        one.blocks.release()
        one.zk.close()


# ---------------------------------------------------------------------------------- how many


@pytest.mark.once
@pytest.mark.slow
@fault("Y20")
def test_a_thousand_services_cost_a_handful_of_threads(front: Front) -> None:
    """An instancer and an observer for each; all hear the first set, and a change."""
    server, count = front.server(), 1000
    with ZooKeeper(server.hosts, timeout=9.0) as zk:
        for path in ["/svc"] + [f"/svc/s{number}" for number in range(count)]:
            zk.create(path)
        for future in [zk.submit(Create(f"/svc/s{number}/n", b"0")) for number in range(count)]:
            future.result(20)
        client = front.disco(server.hosts, session_timeout=9.0)
        before, most, logs = threading.active_count(), 0, []
        for number in range(count):
            instancer, log = front.instancer(client, f"/svc/s{number}"), Log()
            instancer.register(log)
            logs.append(log)
            most = max(most, threading.active_count())
        for log in logs:
            log.until(lambda seen: seen[-1] == Event(("0",)), 20)
        for future in [zk.submit(SetData(f"/svc/s{number}/n", b"1")) for number in range(count)]:
            future.result(20)
            most = max(most, threading.active_count())
        for log in logs:
            log.until(lambda seen: seen[-1] == Event(("1",)), 20)
            most = max(most, threading.active_count())
    assert most - before <= (0 if front.is_asyncio else HANDFUL)
    assert all(log.seen == [Event(("0",)), Event(("1",))] for log in logs)


@pytest.mark.long
@fault("Y20")
def test_a_thousand_observers_of_one_service_cost_a_handful_of_threads(scene: Any) -> None:
    one = scene(1000)
    one.register(*one.quick)
    one.heard(0)
    most = 0
    for value in range(1, 6):
        one.change(value)
        most = max(most, observers_threads())
    assert (most == 0) if one.front.is_asyncio else (1 <= most <= HANDFUL)


@THREADS
@fault("Y20")
def test_threads_that_were_needed_once_end(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = scene(10)
    monkeypatch.setattr(crew, "IDLE", 0.05)
    one.register(*[one.blocks.observer(number) for number in range(20)], *one.quick)
    one.heard(0)
    assert observers_threads() >= 20
    one.blocks.release()
    until(lambda: observers_threads() == 1)
    one.change(1)  # who was slow gets a thread, and turns out to be quick
    until(lambda: observers_threads() == 1)
    one.change(2)
    assert observers_threads() <= HANDFUL


# ------------------------------------------------------------------------------ slow observers


@pytest.mark.timed
@fault("Y20", "I09")
@pytest.mark.parametrize("blocked", [1, 20])
def test_observers_that_block_delay_nobody(scene: Any, front: Front, blocked: int) -> None:
    """They are the first to be called; the others hear at once, this time and next time; they hear the newest at last."""
    one = scene(99 if front.is_asyncio else 999)  # a loop in debug mode takes 0.3 s for a thousand tasks
    one.register(*[one.blocks.observer(number) for number in range(blocked)])
    one.register(*one.quick)
    first = one.heard(0)
    later = [one.change(value) for value in range(1, 4)]
    assert first < SOON * (1 if blocked == 1 else 2) and max(later) < SOON
    if not one.front.is_asyncio:
        assert observers_threads() <= 2 * blocked + HANDFUL
    until(lambda: len(one.blocks.entered) == blocked)
    assert all(events == [Event(("0",))] for events in one.blocks.entered.values())
    one.blocks.release()
    until(lambda: all(events == [Event(("0",)), Event(("3",))] for events in one.blocks.entered.values()))


@pytest.mark.timed
@fault("Y20")
def test_one_who_waits_behind_a_blocked_one_hears_though_no_other_event_comes(scene: Any) -> None:
    one = scene(1)
    one.register(one.blocks.observer(0), *one.quick)
    assert one.heard(0) < SOON


@THREADS
@pytest.mark.timed
@fault("Y20")
def test_many_who_take_a_little_are_called_side_by_side(scene: Any) -> None:
    """None of them takes long, all together take six seconds, and nobody has to wait for the others."""
    one, heard = scene(1), Log()

    def observer() -> Callable[[Event], None]:
        def takes_a_little(event: Event) -> None:
            threading.Event().wait(0.02)
            heard(event)

        return takes_a_little

    one.register(*[observer() for _ in range(300)], *one.quick)
    began = time.monotonic()
    heard.wait(300)
    assert time.monotonic() - began < 2.0


# ------------------------------------------------------------------ the crew alone, step by step


class ByHand:
    """An executor whose time passes when the test says so, on the test's thread."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.looks: List[Callable[[], None]] = []

    def here(self) -> bool:
        return True

    def call(self, function: Any, *arguments: Any) -> None:
        self._calls.put((function, arguments))

    def call_later(self, delay: float, function: Any) -> None:
        self.looks.append(function)

    def run(self) -> None:
        """Make the calls there are."""
        while not self._calls.empty():
            function, arguments = self._calls.get()
            function(*arguments)

    def look(self) -> None:
        """It is later."""
        self.looks.pop()()


class Team:
    """A crew, and observers that wait for the test."""

    def __init__(self) -> None:
        self.executor, self.heard, self.gates = ByHand(), Log(), defaultdict(threading.Event)
        self.crew = crew.Crew(self.executor)  # type: ignore[arg-type]

    def slow(self, name: str) -> Any:
        """An observer that returns from its call once `gates[event]` is set."""

        def waits(event: str) -> None:
            self.heard((name, event))
            self.gates[event].wait(30)

        return self.crew.deliver(waits)

    def quick(self, name: str) -> Any:
        return self.crew.deliver(lambda event: self.heard((name, event)))

    def long_calls(self) -> None:
        """Wait until all threads are in calls that are long, or in none."""
        until(lambda: not any(worker.since and worker.called_lately() for worker in self.crew._workers))

    def close(self) -> None:
        self.crew.end()
        for gate in list(self.gates.values()):
            gate.set()
        self.executor.run()
        until(lambda: observers_threads() == 0)


@pytest.fixture
def team() -> Iterator[Team]:
    one = Team()
    yield one
    one.close()


@fault("Y20")
def test_who_comes_while_all_are_in_long_calls_gets_a_thread_at_once(team: Team) -> None:
    """Nobody has to look for it."""
    team.slow("a").offer("1")
    team.heard.wait(1)
    team.long_calls()
    team.quick("b").offer("1")
    assert team.heard.wait(2)[1] == ("b", "1") and observers_threads() == 2


@pytest.mark.long
@fault("Y20")
def test_those_who_were_slow_are_waited_for_by_nobody(team: Team) -> None:
    """They get threads when they come again, though none of them has been long in its call by then, and nobody looks."""
    slow = [team.slow(f"slow {number}") for number in range(10)]
    for count, one in enumerate(slow, 1):
        one.offer("1")
        team.heard.wait(count)
        team.long_calls()
    team.gates["1"].set()
    until(lambda: all(one.slow and not one.taken for one in slow))
    for one in slow:
        one.offer("2")
    team.quick("quick").offer("2")
    team.heard.until(lambda seen: ("quick", "2") in seen and len(seen) == 21)


@fault("Y20")
@pytest.mark.parametrize("late", [False, True])
def test_a_look_brings_threads_unless_the_whole_process_has_stood_still(team: Team, late: bool) -> None:
    """Then it counts nothing, once: who has made no call in that time may be quick."""
    for name in ("a", "b", "c", "d"):
        team.slow(name).offer("1")
    team.heard.wait(1)
    team.crew._due = time.monotonic() - (1.0 if late else 0.0)
    team.executor.look()
    team.heard.wait(1 if late else 3)
    assert len(team.crew._workers) == (1 if late else 3)
    team.crew._due = time.monotonic() - (1.0 if late else 0.0)
    team.executor.look()
    team.heard.wait(3 if late else 4)
    assert len(team.crew._workers) == (3 if late else 4)


class Empties(Deque[Any]):
    """A queue that is found empty by a thread just before one comes."""

    then: Callable[[], None]

    def popleft(self) -> Any:
        try:
            return super().popleft()
        except IndexError:
            then, self.then = self.then, lambda: None
            then()
            raise


@fault("Y20")
def test_who_comes_when_a_thread_has_just_found_nobody_is_not_overlooked(team: Team) -> None:
    """The thread is not free yet, so that nobody wakes it, and has no call any more, so that nobody starts another."""
    late = team.quick("late")
    queue_ = team.crew._queue = Empties()
    queue_.then = lambda: until(lambda: team.crew._workers) and late.offer("1")
    team.quick("first").offer("1")
    assert team.heard.wait(2) == [("first", "1"), ("late", "1")]
    assert observers_threads() == 1


# --------------------------------------------------------------------------------- promises


@fault("Y20", "I09")
def test_each_is_called_in_order_and_never_twice_at_a_time(scene: Any) -> None:
    """Fifty, some of whom take their time, while the set changes three hundred times."""
    one, mistakes = scene(0), []
    seen: Dict[int, List[int]] = defaultdict(list)

    def observer(number: int) -> Callable[[Event], Any]:
        inside: List[int] = []

        def begin(event: Event) -> None:
            inside.append(1)
            if len(inside) > 1 or seen[number][-1:] >= [int(event.instances[0])]:
                mistakes.append((number, event))
            seen[number].append(int(event.instances[0]))

        def hears(event: Event) -> None:
            begin(event)
            if number % 5 == 0:
                threading.Event().wait(0.003 * number)
            inside.pop()

        async def awaits(event: Event) -> None:
            begin(event)
            if number % 5 == 0:
                await asyncio.sleep(0.003 * number)
            inside.pop()

        return awaits if one.front.is_asyncio else hears

    one.register(*[observer(number) for number in range(50)])
    for value in range(1, 301):
        one.zk.set("/svc/n", b"%d" % value)
    until(lambda: all(seen[number][-1:] == [300] for number in range(50)))
    assert not mistakes


@fault("Y20")
def test_who_is_deregistered_while_it_blocks_hears_nothing_more(scene: Any) -> None:
    one = scene(5)
    blocks = one.blocks.observer(0)
    one.register(blocks, *one.quick)
    one.heard(0)
    one.change(1)
    one.instancer.deregister(blocks)
    one.blocks.release()
    one.change(2)
    one.change(3)
    assert one.blocks.entered[0] == [Event(("0",))]


@THREADS
@fault("Y20", "Y09", "X05")
def test_observers_hear_once_there_is_a_thread(scene: Any, limit: Limit, caplog: Any) -> None:  # noqa: F811
    """There is none for the first, then none for more: nobody is raised at, all hear in the end, and it is logged once."""
    one = scene(5)

    def complaints() -> int:
        return len([line for line in caplog.messages if line.startswith("observers have to wait for a thread")])

    limit.on = True
    one.register(one.blocks.observer(0))
    until(lambda: limit.refused >= 3)
    assert observers_threads() == 0 and complaints() == 1
    limit.on = False
    until(lambda: one.blocks.entered)
    limit.on, refused = True, limit.refused
    one.register(*one.quick)
    until(lambda: limit.refused >= refused + 3)
    assert complaints() == 2
    limit.on = False
    one.heard(0)
    one.change(1)


# ----------------------------------------------------------------------------------- the end


@fault("Y20", "Y11")
def test_the_client_stops_though_an_observer_blocks(scene: Any) -> None:
    """And what is inside a call hears nothing more; its thread ends with the call (see the end of the fixture)."""
    one = scene(5)
    one.register(*[one.blocks.observer(number) for number in range(3)], *one.quick)
    one.heard(0)
    one.change(1)
    began = time.monotonic()
    one.client.stop()
    assert time.monotonic() - began < 2.0
    one.blocks.release()
    until(lambda: observers_threads() == 0)
    assert all(events == [Event(("0",))] for events in one.blocks.entered.values())


BLOCKED = """
import sys, threading
from zkdisco import Client, Instancer
client = Client(sys.argv[1])
instancer, inside, heard = Instancer(client, "/svc"), threading.Event(), threading.Event()
instancer.register(lambda event: (inside.set(), threading.Event().wait()))
assert inside.wait(10)
instancer.register(lambda event: heard.set())
assert heard.wait(10)
if sys.argv[2] == "stopped":
    client.stop()
"""


@fault("Y20", "Y21")
@pytest.mark.parametrize("how", ["stopped", "left"])
def test_a_process_ends_though_an_observer_blocks(how: str) -> None:
    with EmbeddedServer() as server:
        children.run(BLOCKED, server.hosts, how)


FORKS = """
import os, sys, threading
from zkdisco import Client, Instancer
client = Client(sys.argv[1])
instancer, again, children = Instancer(client, "/svc"), threading.Event(), []
def observer(event):
    child = os.fork()
    if child:
        children.append(child)
        again.set()
instancer.register(observer)
assert again.wait(10)
assert os.waitpid(children[0], 0)[1] == 0
client.stop()
"""


@needs_fork
@fault("Y20", "Y07")
def test_the_child_of_a_fork_in_an_observer_ends_with_the_call() -> None:
    with EmbeddedServer() as server:
        children.run("import warnings\nwarnings.simplefilter('ignore')\n" + FORKS, server.hosts)


@THREADS
@fault("Y20")
def test_no_thread_is_started_where_an_observer_is_registered(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """That may be in a signal handler, which has interrupted who knows what."""
    one, threads, line_up = scene(50), set(), crew.Crew._line_up

    def noted(self: crew.Crew, post: crew.Post) -> None:
        threads.add(threading.current_thread().name)
        line_up(self, post)

    monkeypatch.setattr(crew.Crew, "_line_up", noted)
    one.register(*one.quick)
    one.heard(0)
    one.change(1)
    assert threads == {"zkdisco"}


SIGNALS = """
import itertools, signal, sys, threading, time
from zkdisco import Client, Instancer
client = Client(sys.argv[1])
instancer, mine, theirs = Instancer(client, "/svc"), [], []

def observer(heard, number):
    return lambda event: heard.append(number)

def strike(*_):
    number = next(numbers)
    instancer.register(observer(theirs, number))

numbers = itertools.count()
signal.signal(signal.SIGALRM, strike)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for number in range(3000):
    instancer.register(observer(mine, number))
signal.setitimer(signal.ITIMER_REAL, 0)
count, end = next(numbers), time.monotonic() + 10
while len(mine) < 3000 or len(theirs) < count:
    assert time.monotonic() < end, (len(mine), len(theirs), count)
    time.sleep(0.01)
assert sorted(mine) == list(range(3000)) and sorted(theirs) == list(range(count)) and count
client.stop()
"""


@fault("Y20")
def test_signal_handlers_register_observers_wherever_they_interrupt() -> None:
    with EmbeddedServer() as server:
        children.run(SIGNALS, server.hosts)
