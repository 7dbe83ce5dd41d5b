"""docs/architecture.md: the paths it traces are the ones a running client takes, and cost no more than it says."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest

from tests.kit.fronts import Log
from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedServer

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PACKAGE = str(ROOT / "zkwire") + "/"
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
#: (thread, file below zkwire, function)
Step = Tuple[str, str, str]
#: What a get with its reply may cost the thread that asks, in Python calls and in files they lie in.
MOST_CALLS, MOST_FILES = 40, 10


def traced(title: str) -> List[Step]:
    """The steps of a path of the document: lines `thread | file | Class.method`."""
    block = re.search(rf"^## {title}\n.*?```text\n(.*?)```", TEXT, re.S | re.M)
    assert block is not None, f"no path named {title}"
    steps = [tuple(part.strip() for part in line.split("|")[:3]) for line in block.group(1).splitlines() if "|" in line]
    assert len(steps) > 3
    return [(thread, file, name.rpartition(".")[2]) for thread, file, name in steps]


class Recorder:
    """Records calls of zkwire's functions on all threads that begin while it is installed, and on this one."""

    def __init__(self) -> None:
        self.calls: List[Step] = []
        self.recording = False
        self._caller = threading.get_ident()

    def __call__(self, frame: Any, event: str, _: Any) -> None:
        if event == "call" and self.recording:
            file = frame.f_code.co_filename
            if file.startswith(PACKAGE) and "/embedded/" not in file:
                self.calls.append((self._thread(), file[len(PACKAGE) :], frame.f_code.co_name))

    def _thread(self) -> str:
        if threading.get_ident() == self._caller:
            return "caller"
        return "dispatch" if threading.current_thread().name.endswith("dispatch") else "I/O"

    def record(self, function: Callable[[], object], done: Callable[[], object]) -> List[Step]:
        """The calls from the beginning of `function` until `done` returns."""
        self.calls, self.recording = [], True
        sys.setprofile(self)
        try:
            function()
            done()
        finally:
            sys.setprofile(None)
            self.recording = False
        return self.calls


@pytest.fixture(scope="module")
def paths() -> Dict[str, List[Step]]:
    """What a client really does, on each of the four paths."""
    recorder = Recorder()
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as other:
        other.create("/a", b"x" * 100)
        threading.setprofile(recorder)
        with ZooKeeper(server.hosts, timeout=20.0) as zk:
            heard, states = Log(), Log()
            zk.add_listener(states)
            for _ in range(20):
                zk.get("/a")
            found = {"A get": recorder.record(lambda: zk.get("/a"), lambda: None)}
            found["A reply"] = found["A get"]
            zk.get("/a", watch=heard)
            zk.exists("/")
            found["An event"] = recorder.record(lambda: other.set("/a", b"y"), lambda: heard.wait(1))
            zk.get("/a", watch=heard)
            found["A reconnect"] = recorder.record(lambda: server.cut(zk.client_id[0]), lambda: states.wait(2))  # type: ignore[index]
            threading.setprofile(None)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("title", ["A get", "A reply", "An event", "A reconnect"])
def test_a_path_is_taken_as_it_is_described(paths: Dict[str, List[Step]], title: str) -> None:
    """Every step of the document, in its order on its thread; what lies between two of them is not told."""
    for thread in ("caller", "I/O", "dispatch"):
        taken = iter([step for step in paths[title] if step[0] == thread])
        for step in [step for step in traced(title) if step[0] == thread]:
            assert any(step == one for one in taken), f"{title}: {step} is not taken where it is described"


def test_every_step_names_a_function_that_is_there() -> None:
    for file, name in re.findall(r"^\s*(?:caller|I/O|dispatch)\s*\|\s*(\S+)\s*\|\s*(\S+)", TEXT, re.M):
        text = (ROOT / "zkwire" / file).read_text(encoding="utf-8")
        owner, _, function = name.rpartition(".")
        assert f"def {function}(" in text and (not owner or f"class {owner}" in text), f"{file} has no {name}"


def test_what_a_get_costs(paths: Dict[str, List[Step]]) -> None:
    """56 calls in 16 files, before this house was built."""
    calls = [step for step in paths["A get"] if step[0] == "caller"]
    files = {file for _, file, _ in calls}
    assert 20 < len(calls) <= MOST_CALLS
    assert len(files) <= MOST_FILES, sorted(files)
    said = re.search(r"(\d+) Python calls in (\d+) files", TEXT)
    assert said is not None and (int(said.group(1)), int(said.group(2))) == (len(calls), len(files))


def test_a_get_changes_no_thread(paths: Dict[str, List[Step]]) -> None:
    assert {thread for thread, _, _ in traced("A get")} == {"caller"} == {thread for thread, _, _ in traced("A reply")}
