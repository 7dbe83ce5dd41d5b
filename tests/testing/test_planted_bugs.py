"""Three bugs planted in a small service: the README's example finds them, and the same faults without `trouble` do not."""

from __future__ import annotations

from pathlib import Path
from typing import Set

import pytest

from tests.kit.pytest_runs import Run, run_pytest
from zkwire.testing import ANSWER_LOST

from .test_cookbook_of_testing import SERVICE
from .test_example_of_readme import EXAMPLE, NAME

pytestmark = [pytest.mark.once, pytest.mark.timed]  # the service has time-outs of a second
#: Each replaces a method of the good service.
BUGS = {
    "gives up": """
    def work(self):
        if self.dead:
            raise RuntimeError("the worker has died")
        try:
            self.config = self.zk.get("/config", timeout=1.0)[0]
        except OperationTimeoutError:       # planted: it comes when ZooKeeper is silent
            self.dead = True
        except ZookeeperError:
            pass
        return self.config
""",
    "knows no overload": """
    def work(self):
        if self.dead:
            raise RuntimeError("the worker has died")
        try:
            self.config = self.zk.get("/config", timeout=1.0)[0]
        except (ConnectionLoss, SessionExpiredError, OperationTimeoutError, NoNodeError):
            pass
        except ZookeeperError:              # planted: there are others
            self.dead = True
        return self.config
""",
    "counts twice": """
    def count(self):
        while True:
            data, stat = self.zk.get("/orders")
            try:
                self.zk.set("/orders", b"%d" % (int(data) + 1), version=stat.version)
                return
            except ConnectionLoss:          # planted: it may have been written
                pass
""",
    "registers once": """
    def __enter__(self):
        self.zk.create("/services/api/one", b"10.0.2.10:80", ephemeral=True, makepath=True)     # planted
        return self
""",
}
#: The README's example as it was before there was `trouble`: each fault begins, and is healed.
WITHOUT = """
import pytest
from my_service import MyService
from zkwire import ThrottledOpError

pytest_plugins = ["zkwire.testing"]
FAULTS = {
    "the connection breaks": lambda server: server.cut(),
    "it breaks within a frame": lambda server: server.drop_after(9),
    "the network drops everything": lambda server: server.black_hole(),
    "the network is slow": lambda server: server.delay(0.2),
    "the server restarts": lambda server: server.restart(),
    "the server is down": lambda server: (server.stop(), server.start()),
    "the server lags behind": lambda server: (server.lag_behind(0), server.cut()),
    "there is no quorum": lambda server: (server.refuse_sessions(), server.cut()),
    "the server is overloaded": lambda server: server.answer(ThrottledOpError.code),
    "the answer is lost": lambda server: server.lose_answer(),
}

@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_it(zk_server, fault):
    zk_server.plant({"/config": b"blue", "/orders": b"0"})
    with MyService(zk_server.hosts) as service:
        fault(zk_server)
        zk_server.heal()
        zk_server.plant({"/config": b"green"})
        zk_server.wait_for(lambda: service.work() == b"green")
        zk_server.wait_for(lambda: list(zk_server.tree("/services/api").values()) == [b"10.0.2.10:80"])
        service.count()
        assert zk_server.tree()["/orders"] == b"1"
"""
#: Sessions that outlast every time-out of the service, which therefore comes first.
PATIENT = "import pytest\n\n@pytest.fixture\ndef zk_settings():\n    return {'max_session_timeout': 20.0}\n"
TITLE = "from good_service import *\nfrom good_service import MyService as Good\nfrom zkwire import *\n\n\nclass MyService(Good):\n    dead = False\n"


def run(bug: str, tmp_path: Path, name: str, test: str, *arguments: str) -> Run:
    files = {"good_service.py": SERVICE["my_service.py"], "my_service.py": TITLE + BUGS[bug]}
    return run_pytest(tmp_path, {**files, name: test}, *arguments)


def found(bug: str, tmp_path: Path, rows: str = "trouble") -> Set[str]:
    """The names of the troubles that find it."""
    done = run(bug, tmp_path, NAME, EXAMPLE, "-k", rows)
    assert all("NotFelt" not in reason for reason in done.failed.values()), done.output
    return {name.partition("[")[2].rstrip("]") for name in done.failed}


@pytest.mark.slow
@pytest.mark.watchdog(120)
def test_a_worker_that_gives_up_is_found(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(PATIENT, encoding="utf-8")
    names = found("gives up", tmp_path, "quorum or expires or reset or slow or overloaded")
    assert names == {"there is no quorum", "there is no quorum, but reads"}


@pytest.mark.slow
@pytest.mark.watchdog(120)
def test_a_worker_that_knows_no_overload_is_found(tmp_path: Path) -> None:
    assert found("knows no overload", tmp_path, "expires or breaks or slow or restarts or overloaded or counted") == {"the server is overloaded"}


@pytest.mark.slow
@pytest.mark.watchdog(120)
def test_an_order_that_is_counted_twice_is_found(tmp_path: Path) -> None:
    assert found("counts twice", tmp_path, "counted or breaks") == {ANSWER_LOST.name}


@pytest.mark.slow
@pytest.mark.watchdog(120)
def test_a_service_that_registers_once_is_found(tmp_path: Path) -> None:
    names = found("registers once", tmp_path, "expires or slow or restarts")
    assert names == {"the session expires"}


@pytest.mark.slow
@pytest.mark.watchdog(120)
@pytest.mark.parametrize("bug", ["gives up", "knows no overload", "counts twice"])
def test_it_is_not_found_when_nobody_waits_until_it_is_felt(bug: str, tmp_path: Path) -> None:
    done = run(bug, tmp_path, "test_without.py", WITHOUT)
    assert done.summary == "10 passed", done.output
