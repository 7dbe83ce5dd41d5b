"""A fixed small budget of fuzzing (see tests/tools/fuzz), and proof that it can see; `make fuzz` does it at length."""

from __future__ import annotations

import re
import struct
from random import Random
from typing import Any, Callable, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.tools.fuzz import connections, decoders
from tests.tools.fuzz.__main__ import main
from tests.tools.fuzz.spoil import pieces, spoil
from tests.tools.simulation.mutants import mutated
from zkwire.wire.connection import Connection
from zkwire.embedded import core
from zkwire.embedded.server_core import ServerCore
from zkwire.errors import MarshallingError
from zkwire.wire.jute import Vector, decode
from zkwire.wire.operation import Op


@pytest.mark.long
@fault("M12")
def test_nothing_escapes_the_decoders() -> None:
    total = 0
    for batch in decoders.batches(3_000):
        result = decoders.run((batch, 1))
        assert result.failure is None, str(result.failure)
        total += result.inputs
    assert total >= 3_000


@pytest.mark.long
@fault("M12")
@pytest.mark.parametrize(("side", "count"), [("asyncio", 40), ("threads", 16), ("embedded", 60)])
def test_nothing_escapes_whole_connections(side: str, count: int) -> None:
    """Afterwards the same loop, clients and server are good for a good conversation."""
    result = connections.run((connections.Batch(side, 0, count), 1))
    assert not result.failures, "\n".join(result.failures)
    assert result.connections >= count


# ------------------------------------------------------------------------- proof that it sees


def bare_struct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are read without a thought of bytes that are not there."""

    def wrong(cls: Any, data: bytes, at: int, scope: Any) -> Tuple[Any, int]:
        op = object.__new__(cls)
        for name, codec in cls.request:
            op.__dict__[name], at = codec.read(data, at, scope)
        return op, at

    monkeypatch.setattr(Op, "read", classmethod(wrong))


def room_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for as many items as are announced (up to 32 MiB, for the sake of the machine)."""
    read = Vector.read

    def wrong(self: Any, data: bytes, at: int, scope: Any) -> Any:
        room = bytearray(min(max(int.from_bytes(data[at : at + 4], "big", signed=True), 0) * 8, 1 << 25))
        return read(self, data, at, scope) if room is not None else None

    monkeypatch.setattr(Vector, "read", wrong)


def no_look_at_the_first_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no answer to a handshake raises what nobody declared."""

    def wrong(self: Any, body: bytes) -> None:
        raise LookupError(f"{len(body)} bytes")

    handshake = Connection._handshake
    monkeypatch.setattr(Connection, "_handshake", lambda self, body: (handshake if len(body) == 37 else wrong)(self, body))


def headers_are_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded server looks into requests shorter than a header."""
    read = ServerCore._read_request

    def wrong(self: Any, link: Any, frame: bytes, queue: Any, now: float) -> None:
        struct.unpack_from(">ii", frame)
        read(self, link, frame, queue, now)

    monkeypatch.setattr(ServerCore, "_read_request", wrong)


def handshakes_are_always_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded server does not expect a handshake that is none."""

    def wrong(codec: Any, data: bytes) -> Any:
        try:
            return decode(codec, data)
        except MarshallingError as error:
            raise LookupError(str(error)) from error

    monkeypatch.setattr(core, "decode", wrong)


@pytest.mark.parametrize(
    ("bug", "target", "seen"),
    [
        (bare_struct, "request-SetData", "Error escaped"),
        (room_for_all, "vector", "bytes of memory"),
        (no_look_at_the_first_bytes, "session", "LookupError escaped"),
        (headers_are_always_there, "embedded", "error escaped"),
    ],
)
def test_a_decoder_that_lets_something_escape_is_seen(
    bug: Callable[[pytest.MonkeyPatch], None], target: str, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug(monkeypatch)
    result = decoders.run((decoders.Batch(target, 0, 500), 1))
    assert result.failure is not None and seen in str(result.failure)
    failure = result.failure
    again = decoders.run((decoders.Batch(target, 0, failure.number + 1), 1)).failure
    assert again is not None and (again.number, again.data) == (failure.number, failure.data)
    assert f"--seed 1 --only {target}:{failure.number}" in str(failure)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bug", "side", "seen"),
    [
        (no_look_at_the_first_bytes, "asyncio", "LookupError"),
        (no_look_at_the_first_bytes, "threads", "LookupError"),
        (handshakes_are_always_whole, "embedded", "cannot carry out"),
    ],
)
def test_a_connection_that_lets_something_escape_is_seen(
    bug: Callable[[pytest.MonkeyPatch], None], side: str, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug(monkeypatch)
    monkeypatch.setattr(connections, "LIMIT", 3.0)
    failures = connections.run((connections.Batch(side, 0, 60), 1)).failures
    assert any(re.search(seen, text) for text in failures), failures


@pytest.mark.slow
def test_a_call_without_an_outcome_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LIMIT", 1.0)
    with mutated("outcome_forgotten_on_disconnect"):
        failures = connections.run((connections.Batch("asyncio", 0, 60), 1)).failures
    assert any("a call that hung" in text for text in failures), failures


# --------------------------------------------------------------------------------- the tools


def test_pieces_are_the_whole() -> None:
    data = bytes(range(256))
    for seed in range(50):
        assert b"".join(pieces(Random(seed), data[:seed])) == data[:seed]


def test_the_same_seed_spoils_in_the_same_way() -> None:
    made = [[spoil(Random(seed), (b"abc" * 20, b"xyz" * 9)) for seed in range(200)] for _ in range(2)]
    assert made[0] == made[1]
    assert len(set(made[0])) > 150


@pytest.mark.parametrize("only", ["reply-Multi:1234", "embedded:0:3"])
def test_the_command_line_repeats_one(only: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", only]) == 0
    assert "nothing escapes" in capsys.readouterr().out
