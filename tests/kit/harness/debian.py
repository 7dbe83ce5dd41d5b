"""Debian packages without root and without a trace: apt with a state of its own, unpacked to a folder.

Nothing is installed and the machine's apt state is neither read for packages nor changed. All that
is taken from its configuration is the mirror and how to reach it (proxy, certificates).
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

#: Names a mirror where apt's configuration names none.
MIRROR_VARIABLE = "ZKWIRE_DEBIAN_MIRROR"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITES = {"bullseye", "bookworm", "trixie", "forky", "sid", "stable", "oldstable", "testing", "unstable"}

# Hooks are cleared: those of the machine are about its own package lists. The dpkg status is empty,
# or a package installed in a newer version than the suite's could not be downloaded.
APT_CONF = """\
Dir::Etc::sourcelist "{state}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::Lists "{state}/lists";
Dir::State::status "{state}/status";
Dir::Cache "{state}/cache";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


class DebianError(Exception):
    """The packages cannot be had on this machine; the text says why."""


def mirror(etc: str = "/etc/apt") -> str:
    """The Debian mirror this machine's apt uses, else the one of ZKWIRE_DEBIAN_MIRROR."""
    for uri, suite, components in _sources(etc):
        # Other projects publish for Debian suites too: only a mirror's path ends in "debian".
        last = uri.rstrip("/").rsplit("/", 1)[-1]
        if suite in SUITES and "main" in components and "debian" in last and "security" not in last:
            return uri
    named = os.environ.get(MIRROR_VARIABLE)
    if not named:
        raise DebianError(f"apt's configuration names no Debian mirror; set {MIRROR_VARIABLE} to one")
    return named


def _sources(etc: str) -> Iterator[tuple[str, str, list[str]]]:
    """(uri, suite, components) of each source apt has been given, in both of its file formats."""
    for name in [f"{etc}/sources.list", *sorted(glob.glob(f"{etc}/sources.list.d/*"))]:
        try:
            text = Path(name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if name.endswith(".sources"):
            for stanza in re.split(r"\n\s*\n", text):
                fields = dict(re.findall(r"^(\w[\w-]*):[ \t]*(.*)$", stanza, re.MULTILINE))
                for uri in fields.get("URIs", "").split():
                    for suite in fields.get("Suites", "").split():
                        yield uri, suite, fields.get("Components", "").split()
        else:
            for match in re.finditer(r"^deb\s+(?:\[[^]]*\]\s*)?(\S+)\s+(\S+)\s+(.*)$", text, re.MULTILINE):
                yield match[1], match[2], match[3].split()


def unpack(suite: str, packages: list[str], target: Path) -> None:
    """Download `packages` of a suite and unpack them into `target`, which appears complete or not at all.

    The caller holds the lock of the cache: what lies in the way is left from a process that died.
    """
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise DebianError(f"no {tool} on this machine")
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        state, root = part / "apt", part / "root"
        _private_apt(state, suite)
        debs = part / "debs"
        debs.mkdir()
        root.mkdir()
        apt = ["apt-get", "-q", "-c", str(state / "apt.conf")]
        _run([*apt, "update"], part)
        _run([*apt, "download", *packages], debs)
        for deb in sorted(debs.glob("*.deb")):
            _run(["dpkg", "-x", str(deb), str(root)], part)
        _adopt_links(root)
        os.rename(root, target)
    except OSError as error:
        raise DebianError(f"{error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _private_apt(state: Path, suite: str) -> None:
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()
    # Signatures are checked wherever Debian's keys are at hand; Ubuntu does not ship them.
    trust = f"signed-by={KEYRING}" if os.path.exists(KEYRING) else "trusted=yes"
    (state / "sources.list").write_text(f"deb [{trust}] {mirror()} {suite} main\n", encoding="utf-8")
    (state / "apt.conf").write_text(APT_CONF.format(state=state), encoding="utf-8")


def _run(command: list[str], cwd: Path) -> None:
    done = subprocess.run(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        told = " ".join(line for line in done.stderr.splitlines() if line.startswith("E:"))
        raise DebianError(f"{command[0]} {command[-1]}: {told or done.stderr.strip() or done.returncode}")


def _adopt_links(root: Path) -> None:
    """Turn links to absolute paths (/etc/java-17-openjdk/...) into links within the unpacked tree."""
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            link = os.path.join(folder, name)
            if os.path.islink(link) and os.readlink(link).startswith("/"):
                inside = f"{root}{os.readlink(link)}"
                if os.path.lexists(inside):
                    os.unlink(link)
                    os.symlink(os.path.relpath(inside, folder), link)
