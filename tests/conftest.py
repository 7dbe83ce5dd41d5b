"""Fixtures and rules of all tests: real servers, a watchdog for each test, what the run header says.

Servers are started when a test first asks for one. `server`, `server38`, `server393` and `server34` are
shared by all tests of a run and must be left running; `own_server` and `ensemble` are for one test,
which may do to them what it likes. Where a server cannot be had, tests skip and the run says loudly how
to get one; with CI=true they fail.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any, Callable, NoReturn, Union

import pytest

from tests.kit import children
from tests.kit.harness import packages, watchdog
from tests.kit.harness.servers import Ensemble, External, Server
from tests.kit.fronts import front  # noqa: F401  # a fixture

AnyServer = Union[Server, External]
#: The tests of `make check`, as its `-m`.
CHECK = "not live and not slow and not long"
#: Fixtures of real servers that a test may ask for by name (`request.getfixturevalue`).
FIXTURES = frozenset(["server", "server38", "server393", "server34", "own_server", "ensemble"])

_missing: set[str] = set()
_numbers = itertools.count(1)


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def unavailable(why: str) -> NoReturn:
    """Skip the test for want of a server; in CI, where all is to be tested, fail it."""
    _missing.add(why)
    if in_ci():
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


# -- the run


def pytest_configure(config: pytest.Config) -> None:
    watchdog.configure()
    children.hear_signals()
    config.addinivalue_line("markers", "watchdog(seconds): how long the test may run, 30 s if not given")
    config.addinivalue_line(
        "markers", "slow: waits for real time, or computes for more than 0.7 s; not part of `make check`"
    )
    config.addinivalue_line(
        "markers",
        "long: takes half a second, or more than a second and a half of the processor with all its parameters; not part of `make check`; unlike what is slow, `make test` runs it on every Python",
    )
    config.addinivalue_line(
        "markers",
        "once: shows something about servers, schedules or tools; also set here, for what is slow or timed, or asks for an older server or one of its own; `make test` runs it on the newest Python only",
    )
    config.addinivalue_line(
        "markers",
        "timed: reads a clock (set here, by its names); `make test` runs these when nothing else loads the machine",
    )
    config.addinivalue_line("markers", "live: asks for a real server (set here, by fixture); not part of `make check`")
    config.addinivalue_line(
        "markers", "fault(rows): which rows of the fault catalogue the test shows (tests/kit/catalogue.py)"
    )


def pytest_report_header(config: pytest.Config) -> list[str]:
    servers = "no real servers" if config.option.markexpr == CHECK else _servers_line()
    return [f"zkwire: Python {platform.python_version()}, {servers}"]


def _servers_line() -> str:
    if packages.external_hosts():
        return f"plain server {packages.external_hosts()} (ZKWIRE_TEST_HOSTS)"
    java = packages.local_java()
    java_line = f"Java {packages.java_version(java)} ({java})" if java else "Java to be fetched"
    try:
        versions = [v if packages.cached(v) else f"{v} (to be fetched)" for v in packages.versions()]
    except packages.Unavailable as error:
        return f"{java_line}, NO SERVERS: {error}"
    return f"{java_line}, ZooKeeper {', '.join(versions)}"


def _left_out(items: list[pytest.Item]) -> str:
    """What `make check` does not run, in a line."""
    live = sum(item.get_closest_marker("live") is not None for item in items)
    return f"left out: {live} tests that need a real ZooKeeper, {len(items) - live} that wait or compute (`make test` runs all)"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if terminalreporter.config.option.markexpr == CHECK:
        terminalreporter.write_line(_left_out(terminalreporter.stats.get("deselected", [])))
    for why in sorted(_missing):
        terminalreporter.write_line(f"NO REAL SERVER: {why}", red=True, bold=True)
    if _missing:
        terminalreporter.write_line(packages.HOW_TO, red=True, bold=True)


# -- what `make check` leaves out

#: Every fixture of real servers asks for this one.
SERVERS = "shared"
#: A test that uses one of these names compares the clock with a bound: what else the machine does is not to decide it.
CLOCKS = frozenset(["monotonic", "perf_counter", "elapsed", "took", "closing", "SLACK"])
#: Servers of a test's own take seconds to start.
HEAVY = frozenset(["own_server", "ensemble"])
#: Real servers, by version or fixture, beside which there is a newer one.
OLDER = frozenset(["3.4", "3.4.13", "server34", "3.8", "3.8.0", "server38"])
#: Tests of what real servers do.
LIVE = Path(__file__).parent / "live"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `live` what asks for a real server: as an argument, through another fixture, or by a name it is given."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        fixtures = set(item.fixturenames)  # type: ignore[attr-defined]
        given = {value for value in callspec.params.values() if isinstance(value, str)} if callspec else set()
        if SERVERS in fixtures or given & FIXTURES:
            item.add_marker("live")
        if CLOCKS & _names(item.function.__code__):  # type: ignore[attr-defined]
            item.add_marker("timed")
        if _shows_no_interpreter(item, fixtures | given):
            item.add_marker("once")


def _shows_no_interpreter(item: pytest.Item, uses: set[str]) -> bool:
    """What is slow or waits for a clock or a server; and faults, on the blocking front: asyncio is where Pythons differ."""
    marked = {mark.name for mark in item.iter_markers()}
    return bool(
        (HEAVY | OLDER) & uses
        or {"slow", "timed"} & marked
        or ("fault" in marked and "threads" in uses)
        or LIVE in item.path.parents
    )


def _names(code: CodeType) -> set[str]:
    """What the code of a function, and of those inside it, calls by name."""
    inner = (_names(const) for const in code.co_consts if isinstance(const, CodeType))
    return {*code.co_names, *code.co_varnames}.union(*inner)


def pytest_collection_finish() -> None:
    """What thousands of tests are made of never goes: the collector, which many tests ask for, need not look at it."""
    gc.collect()
    gc.freeze()


# -- the watchdog


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Any:
    with watchdog.guard(watchdog.SETUP, f"the set-up of {item.nodeid}"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    marker = item.get_closest_marker("watchdog")
    seconds = marker.args[0] if marker else watchdog.DEFAULT
    with watchdog.guard(seconds, item.nodeid):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Any:
    with watchdog.guard(2 * watchdog.DEFAULT, f"the teardown of {item.nodeid}"):
        return (yield)


# -- servers


class Shared:
    """The standalone servers that all tests of a run use, each started by the first who asks."""

    def __init__(self, capture: Any) -> None:
        self._capture = capture
        self._servers: dict[str, AnyServer] = {}

    def get(self, version: str) -> AnyServer:
        if version not in self._servers:
            self._servers[version] = self._start(version)
        return self._servers[version]

    def _start(self, version: str) -> AnyServer:
        if version == "external":
            return External(packages.external_hosts())
        self.fetch(version)
        server = Server(version, extended=True, superpw="super")
        try:
            return server.start()
        except BaseException:
            server.close()
            raise

    def fetch(self, version: str) -> None:
        """Have the packages of a version, or skip."""
        if packages.external_hosts():
            unavailable_here("ZKWIRE_TEST_HOSTS gives a plain server only")
        # Fetching takes its seconds: the lines that say so are shown when they are printed.
        shown = self._capture.global_and_fixture_disabled() if self._capture else contextlib.nullcontext()
        why = ""
        try:
            with shown:
                packages.java()
                packages.classpath(version)
        except packages.Unavailable as error:
            why = str(error)
        if why:
            unavailable(why)

    def close(self) -> None:
        for server in self._servers.values():
            server.close()


def unavailable_here(why: str) -> NoReturn:
    """Skip what the user's own choice of server excludes: no failure in CI either."""
    pytest.skip(why)


def named(short: str) -> str:
    """The full version of one that starts with `short`: a ZOOKEEPER_HOME may have 3.8.4 for 3.8.0."""
    if packages.external_hosts():
        unavailable_here("ZKWIRE_TEST_HOSTS gives a plain server only")
    try:
        known = packages.versions()
    except packages.Unavailable:
        known = list(packages.RELEASES)  # `Shared.fetch` will say what is wrong
    if packages.home_version() is None:
        known += packages.RELEASES  # ZKWIRE_TEST_VERSIONS may name others, which come first
    for version in known:
        if version.startswith(short):
            return version
    if packages.home_version() is None:
        raise ValueError(f"no ZooKeeper {short} is known")
    unavailable_here(f"ZOOKEEPER_HOME has {packages.home_version()}, the test is for {short}")


def chosen(*versions: str) -> list[str]:
    """For `parametrize`: the versions of ZKWIRE_TEST_VERSIONS, where there are any, instead of these."""
    return packages.chosen() or list(versions)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" not in metafunc.fixturenames:
        return
    try:
        versions = ["external"] if packages.external_hosts() else packages.versions()
    except packages.Unavailable:
        versions = list(packages.RELEASES)  # the fixture will say what is wrong
    metafunc.parametrize("server", versions, indirect=True, scope="session")


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> Iterator[Shared]:
    servers = Shared(request.config.pluginmanager.getplugin("capturemanager"))
    yield servers
    servers.close()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, shared: Shared) -> AnyServer:
    """A shared standalone server; the test runs once for each version that can be had."""
    return shared.get(request.param)


@pytest.fixture(scope="session")
def server38(shared: Shared) -> AnyServer:
    return shared.get(named("3.8"))


@pytest.fixture(scope="session")
def server393(shared: Shared) -> AnyServer:
    return shared.get(named("3.9"))


@pytest.fixture(scope="session")
def server34(shared: Shared) -> AnyServer:
    return shared.get(named("3.4"))


@pytest.fixture
def own_server(shared: Shared) -> Iterator[Callable[..., Server]]:
    """``own_server(version="", **options)``: a started server for this test alone.

    ``version`` may be a beginning ("3.9"); '' is any, the first there is.
    """
    with contextlib.ExitStack() as stack:

        def make(version: str = "", **options: Any) -> Server:
            full = named(version)
            shared.fetch(full)
            return stack.enter_context(Server(full, **options))

        yield make


@pytest.fixture
def ensemble(shared: Shared) -> Iterator[Callable[..., Ensemble]]:
    """``ensemble(size=3, version="", observers=0, **options)``: a started ensemble for this test."""
    with contextlib.ExitStack() as stack:

        def make(size: int = 3, version: str = "", **options: Any) -> Ensemble:
            full = named(version)
            shared.fetch(full)
            return stack.enter_context(Ensemble(size, full, **options))

        yield make


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """A name no other test, process or run uses: letters, digits and dashes."""
    test = "".join(c if c.isalnum() and c.isascii() else "-" for c in request.node.name)
    return f"{test[:40].strip('-')}-{os.getpid()}-{os.urandom(4).hex()}-{next(_numbers)}"
