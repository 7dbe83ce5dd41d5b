"""What pytest makes of the fixtures: who is told what, when a trouble was held wrong or not felt."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.kit.pytest_runs import ROOT, Run, run_pytest
from zkwire.testing import TROUBLES, hostile_day

pytestmark = [pytest.mark.slow, pytest.mark.watchdog(100)]
HEAD = """
import asyncio, contextlib, pytest
from zkwire import AsyncZooKeeper, ConnectionLoss, ZooKeeper, ZookeeperError
from zkwire.testing import ANSWER_LOST, Evidence, Trouble, hostile_day
pytest_plugins = ["zkwire.testing"]

@pytest.fixture
def zk_patience():
    return 0.7
"""


def run(tmp_path: Path, code: str, *arguments: str) -> Run:
    return run_pytest(tmp_path, {"test_it.py": HEAD + code}, *arguments)


def reason(done: Run, name: str) -> str:
    """Why this test has failed; it is the only one."""
    assert list(done.failed) == [name], done.output
    return " ".join(line for line in done.output.splitlines() if line.startswith("E  "))


def test_a_trouble_that_never_comes(tmp_path: Path) -> None:
    done = run(tmp_path, """
@hostile_day("the connection breaks")
def test_a(zk_server, trouble): pass
@hostile_day("the connection breaks")
def test_b(zk_server, trouble): pytest.skip()
@hostile_day("the connection breaks")
@pytest.mark.xfail(raises=ZeroDivisionError, strict=True)
def test_c(zk_server, trouble): 1 / 0
""")  # fmt: skip
    assert "use `with trouble: ...`" in reason(done, "test_a[the connection breaks]")
    assert done.summary == "1 failed, 1 skipped, 1 xfailed"


def test_nobody_is_connected(tmp_path: Path) -> None:
    done = run(tmp_path, """
@hostile_day("the session expires")
def test_a(zk_server, trouble, zk_client):
    with ZooKeeper(zk_server.hosts): pass
    with trouble: pass
""")  # fmt: skip
    assert "start your service before `with trouble`" in reason(done, "test_a[the session expires]")


def test_nothing_is_asked_for(tmp_path: Path) -> None:
    """What the test asks for itself is not asked for by the service."""
    done = run(tmp_path, """
@hostile_day("the server is overloaded")
def test_a(zk_server, trouble, zk_client):
    with ZooKeeper(zk_server.hosts):
        with trouble, pytest.raises(ZookeeperError):
            zk_client.get("/")
""")  # fmt: skip
    text = reason(done, "test_a[the server is overloaded]")
    assert "Have your service ask ZooKeeper for something" in text and "GetData /: ThrottledOpError" in text


def test_whoever_asks_first_does_not_take_the_overload_away_from_others(tmp_path: Path) -> None:
    """A registrar beside the service may ask at any moment."""
    done = run(tmp_path, """
@hostile_day("the server is overloaded")
def test_a(zk_server, trouble, zk_client):
    with ZooKeeper(zk_server.hosts) as zk, ZooKeeper(zk_server.hosts) as other:
        with trouble:
            for one in (zk_client, other, zk):
                with pytest.raises(ZookeeperError, match="-127|[Tt]hrottled"):
                    one.get("/")
        assert zk.exists("/")
""")  # fmt: skip
    assert done.summary == "1 passed", done.output


def test_a_service_that_has_stopped(tmp_path: Path) -> None:
    done = run(tmp_path, """
@hostile_day("the server is down")
def test_a(zk_server, trouble):
    with ZooKeeper(zk_server.hosts) as zk:
        with trouble:
            zk.close()
""")  # fmt: skip
    assert "as many clients as before have a session again" in reason(done, "test_a[the server is down]")


def test_what_the_body_raises_is_raised_and_the_trouble_ends(tmp_path: Path) -> None:
    done = run(tmp_path, """
@hostile_day("the network is slow", "the server is down", "there is no quorum")
def test_a(zk_server, trouble):
    with ZooKeeper(zk_server.hosts, timeout=30.0) as zk:
        with pytest.raises(ZeroDivisionError), trouble:
            1 / 0
        with contextlib.suppress(ConnectionLoss):  # who has not noticed yet that the server was away
            zk.exists("/")
        assert zk.exists("/")
        with ZooKeeper(zk_server.hosts) as another:
            assert another.exists("/")
""")  # fmt: skip
    assert done.summary == "3 passed", done.output


def test_twice(tmp_path: Path) -> None:
    done = run(tmp_path, """
@hostile_day("the session expires", "the connection breaks")
def test_a(zk_server, trouble):
    with ZooKeeper(zk_server.hosts) as zk:
        for _ in range(2):
            with trouble:
                pass
    with pytest.raises(AssertionError, match="no client was connected"), trouble:
        pass
""")  # fmt: skip
    assert done.summary == "2 passed", done.output


def test_a_blocking_with_in_an_event_loop(tmp_path: Path) -> None:
    done = run(tmp_path, """
@hostile_day("the session expires")
def test_a(zk_server, trouble):
    async def main():
        async with AsyncZooKeeper(zk_server.hosts):
            with pytest.raises(TypeError, match="async with trouble"), trouble:
                pass
            async with trouble:
                pass
    asyncio.run(main())
""")  # fmt: skip
    assert done.summary == "1 passed", done.output


def test_a_trouble_of_ones_own(tmp_path: Path) -> None:
    done = run(tmp_path, """
THIN = Trouble("a thin line", lambda server: server.limit_rate(1000),
               asked=Evidence("a node is read", lambda sight: any(r.op == "GetData" for r in sight.asked), "Read one."))
@hostile_day(THIN, "the connection breaks")
class TestAll:
    @pytest.mark.parametrize("reads", [True, False])
    def test_a(self, zk_server, trouble, reads):
        with ZooKeeper(zk_server.hosts) as zk:
            with trouble:
                zk.get("/") if reads else zk.exists("/")
""")  # fmt: skip
    assert list(done.failed) == ["TestAll::test_a[False-a thin line]"], done.output
    assert "a thin line: not felt. Expected that a node is read. Read one." in done.output


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="no trouble 'rain'; there are: 'the session expires', "):
        hostile_day("rain")
    with pytest.raises(ValueError, match="no trouble 'rain'"):
        hostile_day(leave_out=["rain"])
    assert hostile_day(leave_out=["the session expires"]).args[1] == list(TROUBLES[1:])


def test_bare_it_is_every_trouble() -> None:
    @hostile_day
    def test(trouble: object) -> None: ...

    assert list(test.pytestmark[0].args[1]) == list(TROUBLES)


FROM_A_PACKAGE = """
import PACKAGE
import PACKAGE.testing as testing
def test_a(zk_server, zk_client, trouble):
    assert isinstance(trouble, testing.Trial) and type(zk_server).__module__ == "PACKAGE.embedded.server"
    with PACKAGE.ZooKeeper(zk_server.hosts):
        with trouble:
            pass
"""


@pytest.mark.parametrize("package", ["zkwire", "app._vendor.zkwire"])
def test_as_a_plugin_from_the_command_line(package: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "zkwire", tmp_path.joinpath(*package.split(".")), ignore=shutil.ignore_patterns("__pycache__"))
    code = FROM_A_PACKAGE.replace("PACKAGE", package)
    done = run_pytest(tmp_path, {"test_it.py": code}, "-p", f"{package}.testing", "-k", "breaks", root=tmp_path)
    assert done.summary == "1 passed, 14 deselected", done.output
