"""Gets clients of others onto this machine, beside the servers of `packages`: C, Java, Go, Curator, Prometheus, proxies."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from . import debian, packages

C_CLIENT = ("bookworm", ["libzookeeper-mt2"])
_JACKSON = [f"libjackson2-{part}-java" for part in ("core", "databind", "annotations")]
#: What zkCli needs besides the server's jars. That of 3.4 does not run on Java 14 and later (ZOOKEEPER-3779).
CLI = {
    "3.8.0": ("bookworm", ["libcommons-cli-java", *_JACKSON]),
    "3.9.3": ("trixie", ["libcommons-cli-java", "libcommons-io-java", *_JACKSON]),
}
#: A Go compiler, and Go kit 0.13.0 with what it imports, as sources.
GO = ("bookworm", ["golang-1.19-go", "golang-1.19-src"])
_GO_KIT = [f"golang-github-{name}-dev" for name in ("go-kit-kit", "go-kit-log", "go-logfmt-logfmt", "go-zookeeper-zk")]
GO_KIT = ("trixie", _GO_KIT)
#: Curator's service discovery 5.4.0, with what it imports; ZooKeeper's own jars are those of 3.8.0.
_CURATOR = [f"libcurator-{part}-java" for part in ("discovery", "recipes", "framework", "client")]
CURATOR = ("bookworm", [*_CURATOR, "libguava-java", *_JACKSON])
#: A Java compiler, for where there is none.
JDK = ("bookworm", ["openjdk-17-jdk-headless", "openjdk-17-jre-headless"])
PROMETHEUS = ("bookworm", ["prometheus"])
#: Those who consume what `zkdisco render` writes.
HAPROXY = ("bookworm", ["haproxy", "libopentracing-c-wrapper0", "libopentracing1", "liblua5.3-0"])
NGINX = ("bookworm", ["nginx", "nginx-common"])
CLI_MAIN = "org.apache.zookeeper.ZooKeeperMain"


def c_library() -> tuple[str, str]:
    """The path of the C client's shared library (multi-threaded) and its version. Raises Unavailable."""
    folder = _fetched("c-client", *C_CLIENT)
    found = glob.glob(f"{folder}/usr/lib/**/libzookeeper_mt.so.2", recursive=True)
    if not found:
        raise packages.Unavailable(f"no libzookeeper_mt.so.2 in {folder}")
    return found[0], "3.8.0"


def cli_command(version: str) -> list[str]:
    """The command that runs zkCli of a version, to be followed by its arguments. Raises Unavailable."""
    folder = _fetched(f"zkcli-{version}", *CLI[version])
    jars = [*sorted(glob.glob(f"{folder}/usr/share/java/*.jar")), packages.classpath(version)]
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=off"
    return [packages.java(), "-Xmx64m", "-XX:TieredStopAtLevel=1", quiet, "-cp", ":".join(jars), CLI_MAIN]


def haproxy() -> tuple[str, dict[str, str]]:
    """The path of HAProxy 2.6, and the environment it needs. Raises Unavailable."""
    folder = _fetched("haproxy", *HAPROXY)
    libraries = ":".join(sorted({os.path.dirname(path) for path in glob.glob(f"{folder}/usr/lib/*/*.so*")}))
    return f"{folder}/usr/sbin/haproxy", {**os.environ, "LD_LIBRARY_PATH": libraries}


def nginx() -> str:
    """The path of nginx 1.22. Raises Unavailable."""
    return f"{_fetched('nginx', *NGINX)}/usr/sbin/nginx"


def go_program(source: Path) -> str:
    """The path of a program built from a Go file that imports Go kit. Raises Unavailable."""
    go, kit = _fetched("go-1.19", *GO), _fetched("go-kit", *GO_KIT)
    target = packages.cache_dir() / f"{source.parent.name}-{source.stem}"
    env = {
        **os.environ, "GO111MODULE": "off", "CGO_ENABLED": "0", "GOFLAGS": "", "GOROOT": f"{go}/usr/lib/go-1.19",
        "GOPATH": f"{kit}/usr/share/gocode", "GOCACHE": str(packages.cache_dir() / "go-build"),
    }  # fmt: skip
    command = [f"{go}/usr/lib/go-1.19/bin/go", "build", "-o", str(target), str(source)]
    try:
        with _lock():
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    except OSError as error:
        raise packages.Unavailable(f"{go}: {error}") from error
    if done.returncode:
        raise RuntimeError(f"{source} does not build: {done.stderr}")
    return str(target)


def curator_program(source: Path, beans: Path) -> dict[bool, list[str]]:
    """The commands that run a Java program that imports Curator's discovery, with the classes in `beans` (True), and without.

    Raises Unavailable.
    """
    folder = _fetched("curator-5.4", *CURATOR)
    jars = [*sorted(glob.glob(f"{folder}/usr/share/java/*.jar")), packages.classpath("3.8.0")]
    target = packages.cache_dir() / f"{source.parent.name}-classes"
    compiler = _java_compiler()
    with _lock():
        _compile(compiler, sorted(beans.rglob("*.java")), target / "beans", jars)
        _compile(compiler, [source], target / "program", [f"{target}/beans", *jars])
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=off"
    java = os.path.join(os.path.dirname(os.path.realpath(compiler)), "java")
    start = [java, "-Xmx64m", "-XX:TieredStopAtLevel=1", quiet, "-cp"]
    return {
        has: [*start, ":".join([f"{target}/program", *([f"{target}/beans"] if has else []), *jars]), source.stem]
        for has in (True, False)
    }


def _compile(compiler: str, sources: list[Path], target: Path, classes: list[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-d", str(target), "-cp", ":".join(classes), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{sources[0]} does not compile: {done.stderr[-3000:]}")


def _java_compiler() -> str:
    """The path of a javac that runs, with a java of its own beside it. Raises Unavailable."""
    found = shutil.which("javac")
    if found is None or not packages.java_version(os.path.join(os.path.dirname(os.path.realpath(found)), "java")):
        folder = _fetched("jdk-17", *JDK)
        found = next(iter(glob.glob(f"{folder}/usr/lib/jvm/*/bin/javac")), None)
    if found is None:
        raise packages.Unavailable("there is no javac here, and none in Debian's package")
    return found


def prometheus() -> str:
    """The path of Prometheus' server. Raises Unavailable."""
    return f"{_fetched('prometheus', *PROMETHEUS)}/usr/bin/prometheus"


def _fetched(name: str, suite: str, wanted: list[str]) -> Path:
    folder = packages.cache_dir() / name
    try:
        with _lock():
            if not folder.is_dir():
                debian.unpack(suite, wanted, folder)
    except (debian.DebianError, OSError) as error:
        raise packages.Unavailable(f"{', '.join(wanted)} of {suite}: {error}") from error
    return folder


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    packages.cache_dir().mkdir(parents=True, exist_ok=True)
    with open(os.path.join(packages.cache_dir(), "foreign.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
