"""The observer: what becomes of events, without a server."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, List

import pytest

from tests.kit.discovery.live import until
from zkdisco import ClientClosedError, Event, InstancesLeftOutError, ReadOnlyServerError, Service, UndecodableDataError, aio
from zkdisco.codecs import Instance
from zkdisco.outputs import Entry, Format, Named, Renderer, Told
from zkdisco.outputs import renderer as module
from zkdisco.outputs.hosts import Hosts
from zkwire import ConnectionLoss, NoAuthError
from zkwire.embedded import EmbeddedServer

ONE, TWO = Entry("a", Instance("10.0.0.1", 80)), Entry("b", Instance("10.0.0.2", 80))
EMPTY = "upstream api {\n    server 127.0.0.1:1 down;\n}\n"


def text(*hosts: str) -> str:
    return "upstream api {\n" + "".join(f"    server 10.0.0.{host}:80;  # {'ab'[int(host) - 1]}\n" for host in hosts) + "}\n"


class Kept(List[Told]):
    """What is told."""

    def __call__(self, what: Told) -> None:
        self.append(what)

    @property
    def texts(self) -> List[str]:
        return [what.text for what in self]


def renderer(path: Path, told: Any = None, **options: Any) -> Renderer:
    return Renderer(str(path), "nginx", service="api", directory="/services/api",
                    **{"every": 0.0, "told": Kept() if told is None else told, **options})  # fmt: skip


def shown(one: Renderer, event: Event) -> Any:
    """What becomes of an event."""
    one.put(event)
    outcome = one.wait(20.0)
    assert outcome is not None
    return outcome


def test_it_writes_what_it_is_told(tmp_path: Path) -> None:
    path, told = tmp_path / "out", Kept()
    with renderer(path, told) as one:
        assert shown(one, Event((TWO, ONE))).well and path.read_text() == text("1", "2")
        assert shown(one, Event((ONE, TWO))).well
        assert shown(one, Event((ONE,))).well and path.read_text() == text("1")
    assert told.texts == [f"wrote {path}"] * 2 and all(what.well for what in told)
    one.put(Event((TWO,)))
    assert path.read_text() == text("1"), "it has been stopped"


@pytest.mark.parametrize("error", [ConnectionLoss("no server"), NoAuthError("/x"), ClientClosedError("closed")])
def test_a_set_that_is_not_of_the_moment_is_not_written(error: Exception, tmp_path: Path) -> None:
    path, told = tmp_path / "out", Kept()
    with renderer(path, told) as one:
        for event in (Event((), error), Event((TWO,), error)):
            one.put(event)
            until(lambda: told != [])
            assert not path.exists() and one.wait(0) is None
        assert shown(one, Event((ONE,))).well
        one.put(Event((), error))
        until(lambda: "not written" in told[-1].text)
        assert path.read_text() == text("1")
        assert shown(one, Event((ONE,))).well and told[-1] == Told(True, "there is a set to write again", "set")


@pytest.mark.parametrize("error", [InstancesLeftOutError("x"), UndecodableDataError("x"), ReadOnlyServerError("x")])
def test_a_set_with_a_trouble_that_leaves_it_true_is_written(error: Exception, tmp_path: Path) -> None:
    path, told = tmp_path / "out", Kept()
    with renderer(path, told) as one:
        assert shown(one, Event((ONE,), error)).well and path.read_text() == text("1")
        assert told[0] == Told(False, str(error), "left out")
        assert shown(one, Event((ONE, TWO))).well
        assert Told(True, "nothing is left out any more", "left out") in told


@pytest.mark.parametrize("nothing", [(), (Entry("n", None, "no address"),), (Entry("a\n}", Instance("0.0.0.0", 80)),)])
def test_nothing_is_written_only_if_that_is_allowed(nothing: Any, tmp_path: Path) -> None:
    path, told = tmp_path / "out", Kept()
    with renderer(path, told) as one:
        outcome = shown(one, Event(nothing))
        assert not outcome.well and "nothing is left to write" in outcome.text and not path.exists()
        assert shown(one, Event((ONE,))).well
        assert not shown(one, Event(nothing)).well and path.read_text() == text("1")
        assert not shown(one, Event(nothing, InstancesLeftOutError("x"))).well and path.read_text() == text("1")
    with renderer(path, allow_empty=True) as one:
        assert shown(one, Event(nothing)).well and path.read_text() == EMPTY


def test_nodes_that_cannot_be_read_and_those_that_cannot_be_written_are_told_together(tmp_path: Path) -> None:
    told = Kept()
    with renderer(tmp_path / "out", told) as one:
        assert shown(one, Event((ONE, Entry("x", None, "?")), InstancesLeftOutError("unreadable"))).well
    assert told.texts[0] == "unreadable; 1 left out: 'x': no host:port: '?'"


def test_a_note_that_cannot_be_removed_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Kept()

    def refuse(path: str) -> None:
        raise PermissionError("of the directory")

    with renderer(tmp_path / "out", told, command="true") as one:
        monkeypatch.setattr("zkdisco.outputs.writer.Target.paid", refuse)
        assert shown(one, Event((ONE,))).well and "cannot be removed: of the directory" in told[1].text
        assert shown(one, Event((ONE, TWO))).well and (tmp_path / "out").read_text() == text("1", "2")


def test_an_instancer_of_asyncio_may_have_it(tmp_path: Path) -> None:
    async def main(hosts: str) -> None:
        async with aio.Client(hosts, session_timeout=10.0) as client:
            async with aio.Registrar(client, Service("/services", "api", b"10.0.0.1:80"), identity="a"):
                instancer = await aio.Instancer(client, "/services/api", codec=Named("text"))
                instancer.register(one)
                assert await asyncio.get_running_loop().run_in_executor(None, one.wait, 20.0)

    with EmbeddedServer() as server, renderer(tmp_path / "out") as one:
        asyncio.run(main(server.hosts))
    assert (tmp_path / "out").read_text() == text("1")


def test_the_same_trouble_is_told_once(tmp_path: Path) -> None:
    told = Kept()
    with renderer(tmp_path / "out", told) as one:
        for _ in range(3):
            shown(one, Event((ONE, Entry("x\x1b[2J", None, "\u202e"))))
    assert told.texts == ["1 left out: 'x\\x1b[2J': no host:port: '\\u202e'", f"wrote {tmp_path / 'out'}"]


def test_a_command_follows_each_change_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zkdisco.outputs.schedule.FIRST", 0.01)
    path, told, runs = tmp_path / "out", Kept(), tmp_path / "runs"
    command = f"cat {path} >>{runs}; test $(grep -c up {runs}) -ge 3 || {{ echo not yet; exit 7; }}"
    with renderer(path, told, command=command) as one:
        first = shown(one, Event((ONE,)))
        assert first == Told(False, "the command ended with status 7: not yet", "command")
        assert (tmp_path / ".out.owed").exists()
        until(lambda: one.wait(0) == Told(True, f"{path} is as it should be", "file"))
        assert runs.read_text() == text("1") * 3 and not (tmp_path / ".out.owed").exists()
        assert told.texts == [f"wrote {path}", "the command ended with status 7: not yet", "the command ended with status 0"]
        assert shown(one, Event((ONE, TWO))).well and runs.read_text() == text("1") * 3 + text("1", "2")
        assert shown(one, Event((TWO, ONE))).well and runs.read_text().count("upstream") == 4, "no change, no command"


def test_a_command_that_a_process_before_us_owed_is_run(tmp_path: Path) -> None:
    path, runs = tmp_path / "out", tmp_path / "runs"
    with renderer(path, command=f"echo ran >>{runs}; exit 1") as one:
        assert not shown(one, Event((ONE,))).well
    with renderer(path, command=f"echo ran >>{runs}") as one:
        assert shown(one, Event((ONE,))).well
        until(lambda: not (tmp_path / ".out.owed").exists())
    assert runs.read_text() == "ran\n" * 2
    with renderer(path, command=f"echo ran >>{runs}") as one:
        assert shown(one, Event((ONE,))).well
    assert runs.read_text() == "ran\n" * 2, "nothing is owed, and nothing has changed"


def test_a_command_that_hangs_is_ended_with_us(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    one = renderer(tmp_path / "out", command=f"trap '' TERM; touch {mark}; while :; do sleep 1; done")
    one.put(Event((ONE,)))
    until(mark.exists)
    one.stop(20.0)
    assert not one._thread.is_alive() and one.wait(0) is None and (tmp_path / ".out.owed").exists()  # type: ignore[union-attr]


def test_a_file_that_cannot_be_written_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zkdisco.outputs.schedule.FIRST", 0.01)
    folder, told = tmp_path / "folder", Kept()
    folder.mkdir()
    with renderer(folder / "out", told) as one:
        folder.rmdir()
        outcome = shown(one, Event((ONE,)))
        assert not outcome.well and "FileNotFoundError" in outcome.text
        folder.mkdir()
        until(lambda: one.wait(0) is not None and one.wait(0).well)  # type: ignore[union-attr]
        assert (folder / "out").read_text() == text("1")
    assert told.texts[-2:] == [f"{folder / 'out'} can be written again", f"wrote {folder / 'out'}"]


def test_a_failure_after_the_file_is_in_its_place_forgets_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zkdisco.outputs.schedule.FIRST", 0.01)
    failures = [OSError("of the directory")]

    def sync(folder: str) -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr("zkdisco.outputs.writer._sync", sync)
    with renderer(tmp_path / "out", command=f"touch {tmp_path}/ran") as one:
        assert "of the directory" in shown(one, Event((ONE,))).text and (tmp_path / "out").exists()
        until(lambda: one.wait(0) is not None and one.wait(0).well)  # type: ignore[union-attr]
        assert (tmp_path / "ran").exists() and not (tmp_path / ".out.owed").exists()


def test_what_somebody_else_does_to_the_file_is_put_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0.02)
    path, told = tmp_path / "out", Kept()
    with renderer(path, told) as one:
        assert shown(one, Event((ONE,))).well
        path.write_text("mine!")
        until(lambda: path.exists() and path.read_text() == text("1"))
        path.unlink()
        until(lambda: path.exists() and path.read_text() == text("1"))
        until(lambda: len(told) == 3)
    assert told.texts == [f"wrote {path}"] + [f"wrote {path}, which somebody else had changed"] * 2


def test_lines_of_others_in_the_same_file_are_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0.02)
    path, told = tmp_path / "hosts", Kept()
    path.write_text("127.0.0.1 localhost\n")
    block = "# zkdisco begin /s\n10.0.0.1 api\n# zkdisco end /s\n"
    with Renderer(str(path), Hosts("api", "/s"), told=told) as one:
        assert shown(one, Event((ONE,))).well and path.read_text() == "127.0.0.1 localhost\n" + block
        path.write_text(path.read_text() + "::1 localhost\n")
        until(lambda: one._target.foreign() is False)
        assert path.read_text() == "127.0.0.1 localhost\n" + block + "::1 localhost\n" and len(told) == 1
        path.write_text("# zkdisco begin /s\n")
        until(lambda: "not clear" in told[-1].text)
        assert path.read_text() == "# zkdisco begin /s\n"


def test_a_format_or_an_observer_with_a_bug_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Bug(Format):
        name = "bug"

        def one(self, entry: Entry) -> str:
            return entry.node

        def whole(self, ones: List[Any]) -> str:
            return {"a": "well"}[ones[0]]

    def told(what: Told) -> None:
        raise RuntimeError("of the user")

    with caplog.at_level(logging.ERROR), Renderer(str(tmp_path / "out"), Bug(), told=told) as one:
        assert shown(one, Event((TWO,))) == Told(False, "not written: KeyError: 'b'", "set")
        assert "TypeError" in shown(one, Event((b"bytes",))).text
        assert shown(one, Event((ONE,))).well and (tmp_path / "out").read_text() == "well"
    assert "exception in the format 'bug'" in caplog.text and "of the user" in caplog.text


@pytest.mark.parametrize("options", [{"every": -1}, {"command_timeout": 0}, {"mode": 0o1777}, {"settings": {"a": "b"}}])
def test_settings_that_cannot_be(options: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        renderer(tmp_path / "out", **options)


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        renderer(tmp_path / "no" / "out")
    with pytest.raises(OSError, match="no regular file"):
        renderer(tmp_path)
