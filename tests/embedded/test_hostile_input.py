"""No bytes of a client bring the embedded server down: garbage, mutated requests, and what kills real servers."""

from __future__ import annotations

import random
import struct

import pytest

from tests.tools.differential_scripts import Author, request
from tests.kit.embedded_peer import OPEN, connected, make_core
from tests.tools.fuzz.spoil import spoil
from zkwire.wire.jute import USTRING, encode
from zkwire.ops import BY_OPCODE, Create, Exists, GetData
from zkwire.values import ACL, Id

VERSIONS = ["3.4", "3.5", "3.6", "3.7", "3.8", "3.9"]


@pytest.mark.parametrize("version", VERSIONS)
def test_mutated_requests(version):
    """Each is answered, or hung up on; the server goes on serving others."""
    core = make_core(version=version, sasl={"bob": "x"})
    source = random.Random(version)
    author = Author(7, tuple(map(int, version.split("."))))  # type: ignore[arg-type]
    opcodes = [*BY_OPCODE, 0, -1, 20, 77]
    witness, peer = connected(core, timeout_ms=60000), connected(core)
    witness.ask(Create("/witness", b"x", OPEN))
    for count in range(1500):
        opcode, body = request(author.operation())
        if source.random() < 0.3:
            opcode = source.choice(opcodes)
        peer.push_frame(struct.pack(">ii", count + 1, opcode) + spoil(source, (body,)))
        peer.replies()
        if peer.link.over or core.sessions.get(peer.session[0]) is None:
            peer = connected(core)
    assert witness.ask(GetData("/witness"))[0] == b"x"


@pytest.mark.parametrize("version", VERSIONS)
def test_random_bytes_as_connections(version):
    core = make_core(version=version)
    source = random.Random(version)
    for _ in range(500):
        peer = connected(core)
        peer.push(bytes(source.randrange(256) for _ in range(source.randrange(200))))
        peer.pull()
        core.lost(peer.link, 0.0)
    assert not core.links
    assert connected(core).ask(Exists("/")) is not None


@pytest.mark.parametrize(
    "opcode, body, outcome",
    [
        # What kills or silences real servers is answered as malformed here.
        (21, encode(USTRING, "/t") + struct.pack(">ii", -1, 1) + struct.pack(">i", 31) + encode(USTRING, "world")
         + encode(USTRING, "anyone") + struct.pack(">iq", 0, -7), -5),
        (106, struct.pack(">ii", -1, 0), -5),
        (100, struct.pack(">i", 0) + encode(USTRING, "digest") + struct.pack(">i", -1), -115),
        (4, struct.pack(">i", 2**31 - 1), -5),
        (101, struct.pack(">qi", 0, 2**31 - 1), -5),
        (14, struct.pack(">ibi", 99, 0, -1), -5),
    ],
)  # fmt: skip
def test_requests_that_real_servers_cannot_stand(opcode, body, outcome):
    peer = connected(make_core())
    peer.push_frame(struct.pack(">ii", 1, opcode) + body)
    assert [reply[2] for reply in peer.replies()] == [outcome]


def test_a_huge_length_allocates_nothing():
    peer = connected(make_core())
    peer.push(struct.pack(">i", 2**31 - 1))
    assert peer.pull() == b"" and peer.link.over


@pytest.mark.parametrize("bits", ["1" * 5000, "-" + "9" * 5000, "\u0661" * 5000])
def test_an_acl_with_more_digits_than_int_takes(bits):
    """int() raises ValueError for more than 4300 of them (and takes its time before Python 3.11)."""
    peer = connected(make_core())
    acl = (ACL(31, Id("ip", f"127.0.0.1/{bits}")),)
    assert peer.ask(Create("/a", b"", acl)) == -114
