"""Recorded conversations: every frame decodes, and encodes to the same bytes again, in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Tuple

import pytest

from tests.kit import transcripts
from tests.kit.feeding import mutations, outcome, refuses, seeded, truncations
from tests.kit.transcripts import CLIENT, SERVER, Dialogue, Line, Meaning, Transcript
from zkwire.errors import MarshallingError
from zkwire.wire.jute import decode
from zkwire.ops import AddWatch, Sync
from zkwire.wire.messages import CONNECT_REQUEST, CONNECT_RESPONSE, REPLY_HEADER, WATCHER_EVENT

PATHS = transcripts.paths()
each = pytest.mark.parametrize("path", PATHS, ids=lambda p: f"{p.parent.name}/{p.stem}")


def test_there_are_transcripts() -> None:
    assert len(PATHS) > 50


@each
def test_transcript_replays_both_ways(path: Path) -> None:
    transcript = transcripts.load(path)
    assert transcript.version == path.parent.name
    frames = [line for line in transcript.lines if line.data]
    read = list(transcripts.meanings(transcript.lines))
    assert len(read) == len(frames) > 3
    for line, meaning in zip(frames, read):
        assert meaning.frame == line.data, meaning.meaning


@each
def test_transcript_is_written_as_it_was_read(path: Path) -> None:
    assert transcripts.dump(transcripts.load(path)) == path.read_text(encoding="utf-8")


@each
def test_transcript_frame_cut_at_every_byte(path: Path) -> None:
    """A cut frame is refused, except where its end is what older peers leave out, or means nothing."""
    for read, data, meaning in decoders(transcripts.load(path)):
        for cut in truncations(data):
            whole = outcome(read, cut)
            if not isinstance(whole, MarshallingError):
                assert may_end(meaning, len(data) - len(cut)), (meaning.meaning, cut.hex())


@each
def test_transcript_frame_with_a_spoiled_byte(path: Path) -> None:
    tried = 0
    with seeded() as rng:
        for read, data, _ in decoders(transcripts.load(path)):
            for spoiled in mutations(data, rng, 20):
                outcome(read, spoiled)  # anything but MarshallingError goes through, and fails the test
                tried += 1
    assert tried > 50


def may_end(meaning: Meaning, missing: int) -> bool:
    """Whether a frame of this kind may lack its last `missing` bytes and still be read."""
    if meaning.kind in ("connect", "connected"):
        return missing == 1 and meaning.value.read_only is not None
    may_lack = meaning.header is not None and (meaning.header.err != 0 or isinstance(meaning.op, (AddWatch, Sync)))
    return meaning.kind == "unknown" or (may_lack and missing <= len(meaning.frame) - 20)


def decoders(transcript: Transcript) -> Iterator[Tuple[Callable[[bytes], Any], bytes, Meaning]]:
    """For each frame: what decodes its payload (without the length), the payload, what the whole means."""
    dialogues: Dict[int, Dialogue] = {}
    for line in transcript.lines:
        if line.data:
            meaning = dialogues.setdefault(line.connection, Dialogue()).read(line)
            yield decoder(line, meaning), line.data[4:], meaning


def decoder(line: Line, meaning: Meaning) -> Callable[[bytes], Any]:
    if meaning.kind == "connect":
        return lambda data: decode(CONNECT_REQUEST, data)
    if meaning.kind == "connected":
        return lambda data: decode(CONNECT_RESPONSE, data)
    if meaning.kind == "event":
        return lambda data: (decode(REPLY_HEADER, data), decode(WATCHER_EVENT, data, 16))
    if line.direction == CLIENT and meaning.op is not None:
        op = meaning.op
        return lambda data: (decode(transcripts.REQUEST_HEADER, data), type(op).parse(data, 8))
    op = meaning.op
    if op is None or (meaning.header is not None and meaning.header.err):
        return lambda data: decode(REPLY_HEADER, data) if line.direction == SERVER else data
    return lambda data: (decode(REPLY_HEADER, data), op.result(data, 16, None))


# ------------------------------------------------------------------ the format


HEAD = "# server: ZooKeeper 3.8.0\n# client: c\n# topic: t\n# date: d\n"


def test_format_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text(HEAD + "C> 1 0000000100  # x # y\nS> 12 00000000\nS| 1  # end\n")
    got = transcripts.load(file)
    assert got.version == "3.8.0"
    assert got.head["client"] == "c"
    assert got.lines == [Line("C>", 1, b"\0\0\0\1\0"), Line("S>", 12, b"\0\0\0\0"), Line("S|", 1)]
    assert list(got.connections()) == [1, 12]


@pytest.mark.parametrize("text", ["", "X> 1 00", "C> x 00", "C> 1", "C> 1 0G", "S| 1 00", "C> 1 000"])
def test_what_is_no_transcript_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.txt"
    file.write_text(HEAD + text + "\n")
    with pytest.raises(ValueError):  # noqa: PT011  # odd hex has a text of its own
        transcripts.load(file)


def test_incomplete_head_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("# server: ZooKeeper 3.8.0\n")
    with pytest.raises(ValueError, match="head is incomplete"):
        transcripts.load(file)


def test_replies_without_requests_are_refused() -> None:
    dialogue = Dialogue()
    granted = bytes.fromhex("00000025 00000000 00002710 0100000b4cd40000 00000010" + "00" * 17)
    dialogue.read(Line(SERVER, 1, granted))
    reply = bytes.fromhex("00000010 00000001 0000000000000001 00000000")
    assert refuses(dialogue.server, reply)
    dialogue.read(Line(CLIENT, 1, bytes.fromhex("0000002c" + "00" * 44)))
    dialogue.read(Line(CLIENT, 1, bytes.fromhex("00000008 00000002 0000006b")))
    with pytest.raises(MarshallingError, match="xid 1, expected 2"):
        dialogue.server(reply)
