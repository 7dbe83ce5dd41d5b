"""Creates of every opcode, with flags and TTLs that no client sends, on real servers and on the embedded one.

    python -m tests.tools.creates [--versions 3.8.0,3.9.3]

prints a table: what was asked, and what each server said where they differ. Where a create has several faults the answer
tells which of them the server looks at first. The test is tests/live/test_creates.py.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

from tests.kit.harness.servers import Server
from tests.tools.differences import Player
from tests.tools.differential_scripts import OPEN, TOP, Step, raw, request
from zkwire.embedded import EmbeddedServer
from zkwire.ops import Create, Create2, CreateContainer, CreateTTL, Delete, Exists, Multi
from zkwire.values import ACL, Id, make_digest_acl

KINDS = (Create, Create2, CreateContainer, CreateTTL)
FLAGS = range(-1, 8)
#: A good one, and what is none, in seconds: 2 ** 40 ms are too many.
TTLS = (100.0, 0.0, -0.001, 1099511627.776)
#: Nodes that are there before each case.
BEFORE = (
    raw(Create, path=f"{TOP}/old", value=b"", acl=OPEN, flags=0), raw(Create, path=f"{TOP}/brief", value=b"", acl=OPEN, flags=1),
    raw(Create, path=f"{TOP}/shut", value=b"", acl=(make_digest_acl("bob", "secret", all=True),), flags=0),
)  # fmt: skip
PATHS = {
    "new": "/new", "there": "/old", "no parent": "/none/x", "slash": "/new/", "dots": "/../x", "ephemeral parent": "/brief/x",
    "no right": "/shut/x", "no right, slash": "/shut/x/", "relative": None, "empty": None, "null": None, "root": None,
}  # fmt: skip
_WHOLE: dict[str, Optional[str]] = {"relative": "new", "empty": "", "null": None, "root": "/"}
ACLS: dict[str, Any] = {
    "open": OPEN, "no": (), "null": None, "bad": (ACL(31, Id("nobody", "x")),), "nameless": (ACL(31, Id("ip", None)),),
    "schemeless": (ACL(31, Id(None, "x")),),  # type: ignore[arg-type]
}
WAYS = ("alone", "in a multi", "second in a multi")


class Case(NamedTuple):
    """One create: what is sent, and how."""

    kind: Any
    flags: int
    path: str
    acl: str = "open"
    ttl: Optional[float] = None
    way: str = "alone"

    def __str__(self) -> str:
        ttl = "" if self.ttl is None else f" ttl {round(self.ttl * 1000)}"
        return f"{self.kind.__name__} {self.flags}{ttl}, path: {self.path}, acl: {self.acl}, {self.way}"

    def deadly(self) -> bool:
        """Whether real servers die of it: a TTL node by its opcode, and none by its flags, that has no TTL."""
        return self.way == "alone" and self.kind is CreateTTL and self.flags in range(5) and (self.ttl or 0) < 0

    def steps(self) -> list[Step]:
        """The create, what became of it, and its end."""
        path = _WHOLE[self.path] if self.path in _WHOLE else TOP + str(PATHS[self.path])
        fields: dict[str, Any] = {"path": path, "value": b"", "acl": ACLS[self.acl], "flags": self.flags}
        if self.ttl is not None:
            fields["ttl"] = self.ttl
        op = raw(self.kind, **fields)
        new = raw(Create, path=f"{TOP}/new", value=b"", acl=OPEN, flags=0), raw(Delete, path=f"{TOP}/new", version=-1)
        if self.way != "alone":
            op = raw(Multi, ops=[op] if self.way == "in a multi" else [*new, op])
        after = raw(Exists, path=path if self.path in ("new", "there") else TOP, watch=None)
        return [Step(0, "request", *request(one)) for one in (op, after, new[1])]


#: Faults of the path, and of the ACL where the path has none, or one.
TARGETS = [*((path, "open") for path in PATHS), *itertools.product(("new", "there", "no right"), list(ACLS)[1:])]


def batches() -> list[list[Case]]:
    """All cases but for those of which real servers die; in a batch only the path and the ACL differ."""
    all_cases = (
        [Case(kind, flags, path, acl, ttl, way) for path, acl in TARGETS]
        for kind, flags, way in itertools.product(KINDS, FLAGS, WAYS)
        for ttl in (TTLS if kind is CreateTTL else (None,))
    )
    return [some for some in ([case for case in batch if not case.deadly()] for batch in all_cases) if some]


def said(player: Player, some: Sequence[Case]) -> list[list[str]]:
    """For each case the answers to the create and to the question that follows."""
    begin = [Step(0, "request", *request(op)) for op in BEFORE]
    heard = player.play([*begin, *(step for case in some for step in case.steps())])[len(begin) :]
    return [sum(heard[3 * index : 3 * index + 2], []) for index in range(len(some))]


def differences(players: Sequence[Player], some: Sequence[Case]) -> list[str]:
    """The cases in which two servers differ, and what they said. Where one of many differs, each is tried alone."""
    one, other = (said(player, some) for player in players)
    if one == other:
        return []
    if len(some) > 1:
        return [line for case in some for line in differences(players, [case])]
    return [f"{some[0]}\n    real:     {' | '.join(one[0])}\n    embedded: {' | '.join(other[0])}"]


def run(version: str, extended: bool, every: int = 1, first: int = 0) -> list[str]:
    """The differences of one version, with and without TTL nodes; of every so-manieth batch of cases from the first on."""
    numbers = tuple(int(part) for part in version.split(".")[:2])
    options: dict[str, Any] = {"extended": extended, "superpw": "super", "props": {"znode.container.checkIntervalMs": 10**9}}
    with Server(version, **options) as real:
        with EmbeddedServer(version=version, super_password="super", reap_interval=1e9, extended=extended) as embedded:
            players = Player(real.host, real.port, numbers), Player("127.0.0.1", embedded.port, numbers)
            return [line for some in batches()[first::every] for line in differences(players, some)]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--versions", default="3.8.0,3.9.3", help="real servers to compare with")
    found = 0
    for version in parser.parse_args().versions.replace(",", " ").split():
        for extended in (False,) if version.startswith("3.4") else (True, False):
            differ, what = run(version, extended), f"{version}, TTL nodes {'on' if extended else 'off'}"
            found += len(differ)
            print(f"{what}: {len(differ)} differences", *differ, sep="\n  ", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
