"""A file that is always whole, whatever happens meanwhile; mode, owner, links; what others do to it."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Optional

import pytest

from zkdisco.outputs.writer import Target

ROOT = Path(__file__).parents[3]
#: Writes one of two texts after the other, and says so, until it is killed.
WRITER = """
import sys
from zkdisco.outputs.writer import Target
target = Target(sys.argv[1])
target.prepare()
print(flush=True)
while True:
    for letter in "ab":
        target.write(letter * 300_000)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir())


def test_a_new_file_an_equal_one_and_another(tmp_path: Path) -> None:
    path = tmp_path / "out"
    target = Target(str(path))
    target.prepare()
    assert target.foreign() is False
    umask = os.umask(0o077)
    try:
        assert target.write("one\n") is True and path.read_text() == "one\n" and mode(path) == 0o644
    finally:
        os.umask(umask)
    inode = path.stat().st_ino
    assert target.write("one\n") is False and path.stat().st_ino == inode
    path.chmod(0o604)
    assert target.write("zwei \udce9\n") is True and path.read_bytes() == b"zwei \xe9\n" and mode(path) == 0o604
    assert path.stat().st_ino != inode and names(tmp_path) == ["out"]
    strict = Target(str(path), 0o600)
    assert strict.write("zwei \udce9\n") is True and mode(path) == 0o600, "a mode that was asked for is a change, too"


def test_it_keeps_owner_and_attributes(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
    owner = (path.stat().st_uid, path.stat().st_gid)
    try:
        os.setxattr(path, "user.label", b"kept")
    except OSError:
        attributes = None  # this file system has none
    else:
        attributes = b"kept"
    assert Target(str(path)).write("new") and (path.stat().st_uid, path.stat().st_gid) == owner
    assert attributes is None or os.getxattr(path, "user.label") == attributes


def test_a_file_of_somebody_else_that_we_cannot_give_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out"
    path.write_text("old")

    def refuse(*arguments: Any) -> None:
        raise PermissionError

    real = os.fstat
    monkeypatch.setattr(os, "fchown", refuse)
    monkeypatch.setattr(os, "fstat", lambda number: os.stat_result([*real(number)[:4], 77, *real(number)[5:]]))
    with pytest.raises(PermissionError, match="belongs to"):
        Target(str(path)).write("new")
    assert path.read_text() == "old" and names(tmp_path) == ["out"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link, dangling = tmp_path / "link", tmp_path / "real" / "file"
    link.symlink_to("real/file")
    assert Target(str(link)).write("one") and link.is_symlink() and dangling.read_text() == "one"
    assert Target(str(link)).write("two") and link.is_symlink() and dangling.read_text() == "two"
    assert names(tmp_path) == ["link", "real"] and names(tmp_path / "real") == ["file"]


@pytest.mark.parametrize("kind", ["directory", "fifo", "no directory"])
def test_what_is_no_file_is_left_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path = path / "in" / "nothing"
    target = Target(str(path))
    with pytest.raises(OSError):
        target.prepare()
    with pytest.raises(OSError):
        target.write("x")
    assert names(tmp_path) == ([] if kind == "no directory" else ["out"])


@pytest.mark.parametrize("call", ["fsync", "replace", "fchmod"])
def test_whatever_fails_leaves_the_old_file(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out"
    path.write_text("old")

    def fail(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space"):
            Target(str(path)).write("new")
    assert path.read_text() == "old" and names(tmp_path) == ["out"]


def test_file_and_directory_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    sync, replace = os.fsync, os.replace

    def note(number: int) -> None:
        steps.append("directory" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
        sync(number)

    def move(source: Any, target: Any) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "replace", move)
    Target(str(tmp_path / "out")).write("x")
    assert steps == ["file", "rename", "directory"]


def test_what_somebody_else_does_to_it(tmp_path: Path) -> None:
    path = tmp_path / "out"
    target = Target(str(path))
    target.write("ours")
    assert not target.foreign()
    path.write_text("theirs")
    assert target.foreign() and target.write("ours") and path.read_text() == "ours" and not target.foreign()
    path.unlink()
    assert target.foreign() and target.write("ours") and not target.foreign()
    (tmp_path / "new").write_text("ours")
    os.replace(tmp_path / "new", path)
    assert target.foreign() and not target.write("ours") and not target.foreign(), "another file with the same content is fine"


def test_who_is_faster_is_not_overwritten(tmp_path: Path) -> None:
    """Between our look at the file of many and its replacement somebody else adds a line."""
    path = tmp_path / "hosts"
    path.write_text("first\n")
    looks = []

    def place(text: str, old: Optional[str]) -> str:
        looks.append(old)
        if len(looks) == 1:
            path.write_text("first\nsecond\n")
        return (old or "") + text

    assert Target(str(path), place=place).write("ours\n")
    assert path.read_text() == "first\nsecond\nours\n" and looks == ["first\n", "first\nsecond\n"]

    def always(text: str, old: Optional[str]) -> str:
        path.write_text(f"{old}!")
        return text

    with pytest.raises(OSError, match="all the time"):
        Target(str(path), place=always).write("ours\n")
    assert names(tmp_path) == ["hosts"]


def test_a_command_that_is_owed_is_remembered(tmp_path: Path) -> None:
    target = Target(str(tmp_path / "out"))
    target.write("a")
    assert not target.owed
    target.write("a", owed=True)
    assert not target.owed, "nothing has changed"
    target.write("b", owed=True)
    assert target.owed and Target(str(tmp_path / "out")).owed
    target.paid()
    target.paid()
    assert not target.owed and names(tmp_path) == ["out"]


def test_what_was_left_behind_is_removed_once_it_is_old(tmp_path: Path) -> None:
    old, fresh, other = (tmp_path / name for name in (".out.abc.new", ".out.def.new", ".other.abc.new"))
    for path in (old, fresh, other):
        path.write_text("part")
    for path in (old, other):
        os.utime(path, (1, 1))
    Target(str(tmp_path / "out")).prepare()
    assert names(tmp_path) == [".other.abc.new", ".out.def.new"]


def test_a_file_that_is_too_large_to_be_a_hosts_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with open(path, "wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(OSError, match="17825792 bytes"):
        Target(str(path)).write("x")


@pytest.mark.slow
def test_a_reader_never_sees_a_part_even_of_a_writer_that_is_killed() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out")
        seen = set()
        for _ in range(3):
            with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None and process.stdout.readline() == b"\n"
                whole = 0
                while whole < 100:
                    if path.exists():
                        text = path.read_text()
                        assert text in ("a" * 300_000, "b" * 300_000), f"{len(text)} characters"
                        seen.add(text[0])
                        whole += 1
                process.send_signal(signal.SIGKILL)
            assert path.read_text() in ("a" * 300_000, "b" * 300_000)
        assert seen == {"a", "b"}
