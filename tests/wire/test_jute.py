"""zkwire.wire.jute: each type there and back, cut at every byte, with hostile lengths, and at random."""

from __future__ import annotations

import random
import struct
import tracemalloc
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

import pytest

from tests.kit.feeding import mutations, outcome, refuses, seeded, truncations, unhex
from zkwire.errors import MarshallingError
from zkwire.wire.jute import (
    BOOL, BUFFER, INT, LONG, NOTHING, USTRING, Buffer, JuteType, FixedRecord, Names, Record, Required, UString, Vector,
    decode, encode,
)  # fmt: skip


class Pair(NamedTuple):
    number: int
    text: Optional[str]


class Three(NamedTuple):
    a: int
    b: bool
    c: int


PAIR: JuteType[Pair] = Record(Pair, INT, USTRING)
THREE: JuteType[Three] = FixedRecord(Three._make, "i?q")
NAMES = Names()
NUMBERS: JuteType[Any] = Vector(INT)
STRINGS: JuteType[Any] = Vector(USTRING)
PAIRS: JuteType[Any] = Vector(PAIR)

#: JuteType, value, bytes: what must come out in both directions.
SAMPLES: List[Tuple[str, JuteType[Any], Any, str]] = [
    ("int 0", INT, 0, "00000000"),
    ("int 1", INT, 1, "00000001"),
    ("int -1", INT, -1, "ffffffff"),
    ("int max", INT, 2**31 - 1, "7fffffff"),
    ("int min", INT, -(2**31), "80000000"),
    ("long -2", LONG, -2, "ffffffff fffffffe"),
    ("long max", LONG, 2**63 - 1, "7fffffff ffffffff"),
    ("long min", LONG, -(2**63), "80000000 00000000"),
    ("true", BOOL, True, "01"),
    ("false", BOOL, False, "00"),
    ("null buffer", BUFFER, None, "ffffffff"),
    ("empty buffer", BUFFER, b"", "00000000"),
    ("buffer", BUFFER, b"\0\xff", "00000002 00ff"),
    ("null string", USTRING, None, "ffffffff"),
    ("empty string", USTRING, "", "00000000"),
    ("string", USTRING, "aé日😀", "0000000a 61 c3a9 e697a5 f09f9880"),
    ("string with NUL", USTRING, "a\0b", "00000003 610062"),
    ("required", Required(USTRING), "x", "00000001 78"),
    ("null vector", NUMBERS, None, "ffffffff"),
    ("empty vector", NUMBERS, [], "00000000"),
    ("vector", NUMBERS, [1, -1], "00000002 00000001 ffffffff"),
    ("strings", STRINGS, ["", None, "a"], "00000003 00000000 ffffffff 00000001 61"),
    ("vectors", Vector(NUMBERS), [None, [], [7]], "00000003 ffffffff 00000000 00000001 00000007"),
    ("no names", NAMES, [], "00000000"),
    ("names", NAMES, ["a", "", "é"], "00000003 00000001 61 00000000 00000002 c3a9"),
    ("record", PAIR, Pair(5, "x"), "00000005 00000001 78"),
    ("records", PAIRS, [Pair(1, None), Pair(2, "")], "00000002 00000001 ffffffff 00000002 00000000"),
    ("fixed record", THREE, Three(1, True, -1), "00000001 01 ffffffff ffffffff"),
    ("nothing", NOTHING, None, ""),
]
samples = pytest.mark.parametrize(
    ("codec", "value", "text"), [pytest.param(*sample[1:], id=sample[0]) for sample in SAMPLES]
)


# ------------------------------------------------------------------ there and back


@samples
def test_bytes_of_each_type(codec: JuteType[Any], value: Any, text: str) -> None:
    assert encode(codec, value) == unhex(text)


@samples
def test_value_of_each_type(codec: JuteType[Any], value: Any, text: str) -> None:
    got = decode(codec, unhex(text))
    assert got == value
    assert type(got) is type(value)


@samples
def test_offsets_and_trailing_bytes(codec: JuteType[Any], value: Any, text: str) -> None:
    """A value may stand anywhere; what follows it is left alone."""
    data = b"\x55" * 3 + unhex(text)
    assert codec.read(data + b"\xaa" * 9, 3, None) == (value, len(data))
    assert decode(codec, data + b"\xaa" * 9, 3) == value


@samples
def test_least_is_no_more_than_what_is_needed(codec: JuteType[Any], value: Any, text: str) -> None:
    assert 0 <= codec.least <= len(unhex(text))


@samples
def test_cut_at_every_byte(codec: JuteType[Any], value: Any, text: str) -> None:
    for cut in truncations(unhex(text)):
        assert refuses(decode, codec, cut), cut.hex()
        assert refuses(decode, codec, b"\x55" + cut, 1), cut.hex()


def test_null_is_not_empty() -> None:
    for codec, empty in ((BUFFER, b""), (USTRING, ""), (NUMBERS, [])):
        assert decode(codec, unhex("ffffffff")) is None
        assert decode(codec, unhex("00000000")) == empty
        assert encode(codec, None) != encode(codec, empty)


def test_any_byte_but_zero_is_true() -> None:
    assert [decode(BOOL, bytes([byte])) for byte in (0, 1, 2, 0x80, 0xFF)] == [False, True, True, True, True]


def test_offset_behind_the_end() -> None:
    for codec in (INT, LONG, BOOL, BUFFER, USTRING, NUMBERS, NAMES, PAIR, THREE):
        assert refuses(decode, codec, b"\0" * 16, 17)
        assert refuses(decode, codec, b"", 0)


def test_items_may_be_any_sequence() -> None:
    assert encode(NUMBERS, (1, 2)) == encode(NUMBERS, [1, 2]) == unhex("00000002 00000001 00000002")


def test_buffer_is_a_copy_of_its_own() -> None:
    data = unhex("00000002 6162")
    assert type(decode(BUFFER, data)) is bytes
    assert decode(BUFFER, bytes(data)) == b"ab"


# ------------------------------------------------------------------ what is refused in writing


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, None, "1", 1.5])
def test_int_that_does_not_fit(value: Any) -> None:
    with pytest.raises(struct.error):
        encode(INT, value)


def test_lone_surrogate_is_not_written() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode(USTRING, "\ud800")


def test_abstract_codec_does_nothing() -> None:
    with pytest.raises(TypeError, match="JuteType cannot be written"):
        encode(JuteType(), 1)
    with pytest.raises(TypeError, match="JuteType cannot be read"):
        decode(JuteType(), b"")


# ------------------------------------------------------------------ what is refused in reading

LENGTHS = [-2, -3, -(2**31), 2**31 - 1, 2**31 - 4, 1 << 24, 5]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("codec", [BUFFER, USTRING, NUMBERS, STRINGS, NAMES, PAIRS])
def test_bad_length(codec: JuteType[Any], length: int) -> None:
    """Four bytes follow; none of these lengths can be right, whatever the items."""
    data = struct.pack(">i", length) + b"\0\0\0\0"
    assert refuses(decode, codec, data)
    with pytest.raises(MarshallingError, match=str(length)):
        decode(codec, b"\x55" + data, 1)


@pytest.mark.parametrize("char", ["a", "\0", "\x1f"])
@pytest.mark.parametrize("count", [8, 20])
@pytest.mark.parametrize("told", [1, 2, 40])
def test_many_names_that_are_all_shorter_than_their_lengths_are_malformed(char: str, count: int, told: int) -> None:
    names = struct.pack(">i", 3 + told) + f"{char}bc".encode()
    assert refuses(decode, NAMES, struct.pack(">i", count) + names * count)


def test_names_take_no_null() -> None:
    for text in ("ffffffff", "00000001 ffffffff", "00000002 00000000 ffffffff"):
        assert refuses(decode, NAMES, unhex(text))


def test_name_longer_than_the_frame() -> None:
    with pytest.raises(MarshallingError, match="name of length 3 at offset 4, with 2 bytes left"):
        decode(NAMES, unhex("00000001 00000003 6161"))


def test_required_refuses_null() -> None:
    with pytest.raises(MarshallingError, match="null at offset 2"):
        decode(Required(BUFFER), b"\0\0" + unhex("ffffffff"), 2)
    assert Required(BUFFER).least == 4


@pytest.mark.parametrize(
    "raw",
    [
        "80",  # a continuation byte alone
        "c3",  # cut in the middle of a character
        "c080",  # Java's modified UTF-8 for NUL
        "eda080",  # a surrogate
        "f8888080",  # five bytes
        "f4908080",  # beyond U+10FFFF
        "61ff",
    ],
)
def test_bad_utf8(raw: str) -> None:
    text = bytes.fromhex(raw)
    data = struct.pack(">i", len(text)) + text
    assert refuses(decode, USTRING, data)
    assert refuses(decode, NAMES, struct.pack(">i", 1) + data)
    assert decode(BUFFER, data) == text


@pytest.mark.parametrize("codec", [BUFFER, USTRING, NUMBERS, STRINGS, NAMES, PAIRS, Vector(NOTHING)])
@pytest.mark.parametrize("length", [2**31 - 1, 1 << 26, -2])
def test_hostile_length_allocates_nothing(codec: JuteType[Any], length: int) -> None:
    data = struct.pack(">i", length) + b"\0" * 1000
    outcome(decode, codec, data)
    tracemalloc.start()
    try:
        assert refuses(decode, codec, data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20000


def test_count_that_fits_is_read_as_long_as_items_do() -> None:
    """The count is plausible by the least size of items, but the items are longer."""
    assert refuses(decode, STRINGS, unhex("00000002 00000001 61 0000"))
    assert refuses(decode, STRINGS, unhex("00000002 00000004 61626364"))
    assert refuses(decode, NAMES, unhex("00000002 00000004 61626364"))


# ------------------------------------------------------------------ at random


def _number(rng: random.Random, bits: int) -> int:
    return rng.choice([0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), rng.getrandbits(bits - 1)])


def _text(rng: random.Random) -> str:
    ranges = [(0, 0x80), (0, 0xD800), (0xE000, 0x110000)]
    return "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(5)))


def _list(rng: random.Random, make: Callable[[], Any]) -> List[Any]:
    return [make() for _ in range(rng.randrange(4))]


def random_codec(rng: random.Random, depth: int = 3) -> Tuple[JuteType[Any], Callable[[], Any]]:
    """A codec of any shape, and a maker of values for it."""
    kind = rng.randrange(9 if depth else 6)
    if kind == 0:
        return INT, lambda: _number(rng, 32)
    if kind == 1:
        return LONG, lambda: _number(rng, 64)
    if kind == 2:
        return BOOL, lambda: rng.random() < 0.5
    if kind == 3:
        return BUFFER, lambda: rng.choice([None, b"", bytes(rng.choices(range(256), k=5))])
    if kind == 4:
        return USTRING, lambda: rng.choice([None, "", _text(rng)])
    if kind == 5:
        return NAMES, lambda: _list(rng, lambda: _text(rng))
    if kind == 6:
        item, make = random_codec(rng, depth - 1)
        return Vector(item), lambda: rng.choice([None, [], _list(rng, make)])
    parts = [random_codec(rng, depth - 1) for _ in range(rng.randrange(1, 4))]
    return Record(lambda *fields: fields, *(c for c, _ in parts)), lambda: tuple(make() for _, make in parts)


def test_random_shapes_there_and_back() -> None:
    with seeded() as rng:
        for _ in range(400):
            codec, make = random_codec(rng)
            value = make()
            data = encode(codec, value)
            assert decode(codec, data) == value
            assert codec.least <= len(data)
            for cut in truncations(data):
                assert refuses(decode, codec, cut)
            for spoiled in mutations(data, rng, 20):
                outcome(decode, codec, spoiled)  # whatever it gives, only MarshallingError may escape


def test_random_bytes_escape_in_one_way_only() -> None:
    refused = 0
    with seeded() as rng:
        for _ in range(5000):
            codec, _ = random_codec(rng)
            data = bytes(rng.choices([0, 0, 0, 1, 2, 4, 0x61, 0x7F, 0x80, 0xFF], k=rng.randrange(40)))
            refused += refuses(decode, codec, data)
    assert 1000 < refused < 5000


def test_names_read_as_a_vector_of_strings_does() -> None:
    strings = Required(Vector(Required(USTRING)))
    with seeded() as rng:
        for _ in range(2000):
            whole = encode(NAMES, _list(rng, lambda: _text(rng)))  # noqa: B023  # called at once
            for data in mutations(whole, rng, 3):
                fast, slow = outcome(decode, NAMES, data), outcome(decode, strings, data)
                assert type(fast) is type(slow)
                assert fast == slow or isinstance(fast, MarshallingError)


def one_by_one(data: bytes) -> Tuple[List[str], int]:
    """The names, and the offset behind them, by the letter of the format; `MarshallingError` for anything else."""
    try:
        (count,) = struct.unpack_from(">i", data)
        if not 0 <= count * 4 <= len(data) - 4:
            raise MarshallingError("count")
        names, at = [], 4
        for _ in range(count):
            (length,) = struct.unpack_from(">i", data, at)
            if not 0 <= length <= len(data) - at - 4:
                raise MarshallingError("length")
            names.append(data[at + 4 : at + 4 + length].decode())
            at += 4 + length
        return names, at
    except (struct.error, UnicodeDecodeError) as error:
        raise MarshallingError("malformed") from error


def adversarial_names(rng: random.Random) -> List[str]:
    """Names that look like the lengths between them, equally long or nearly so, ASCII or not."""
    length = rng.choice([0, 1, 2, 3, 4, 5, 9, 10, 32, 126, 127, 128, 129, 255, 256, 257])
    alphabet = rng.choice(["ab", "\0a", "\0" + chr(length % 128), "\0\x01\x02" + chr(length % 128), "aé", "\0é日" + chr(length % 128)])
    spread = rng.choice([0, 0, 0, 1, 3])
    names = []
    for _ in range(rng.choice([0, 1, 7, 8, 9, 20])):
        size = max(0, length + rng.randint(-spread, spread))
        name = "".join(rng.choice(alphabet) for _ in range(size))
        if rng.random() < 0.2 and size >= 4:  # the very bytes of a length, at any place
            at = rng.randrange(size - 3)
            name = name[:at] + "\0\0\0" + chr(rng.choice([size % 128, length % 128, 1])) + name[at + 4 :]
        if spread == 0:  # equally long in bytes
            name = name.encode()[:length].decode("utf-8", "ignore")
            name += "b" * (length - len(name.encode()))
        names.append(name)
    return names


@pytest.mark.long
def test_names_are_split_as_they_are_read_one_by_one() -> None:
    """Whatever the names contain, whatever follows them, and however the bytes are spoiled."""
    with seeded() as rng:
        for _ in range(4000):
            names = adversarial_names(rng)
            whole = encode(NAMES, names) + rng.choice([b"", b"", bytes(68), b"tail", b"\0\0\0\1a"])
            assert NAMES.read(whole, 0, None)[0] == names
            for data in (whole, *mutations(whole, rng, 4)):
                plain = outcome(one_by_one, data)
                if isinstance(plain, MarshallingError):
                    assert refuses(decode, NAMES, data), data.hex()
                else:
                    assert NAMES.read(data, 0, None) == plain, data.hex()


def test_names_of_each_kind() -> None:
    kinds = (["abc"], ["abc", "de"], ["é", "\0\0\0"], ["a" * 200], ["", "a"], ["a\0\0\0\5"], ["a" * 127, "a"], ["\0"])
    for names in (kind * 9 for kind in kinds):
        data = encode(NAMES, names)
        assert NAMES.read(data, 0, None) == (names, len(data))


@pytest.mark.parametrize("length", [1, 127, 128, 2**24, 2**31 - 1])
@pytest.mark.parametrize("count", [8, 1000, 2**29, 2**31 - 1])
def test_hostile_counts_and_lengths_of_names_allocate_nothing(count: int, length: int) -> None:
    data = struct.pack(">ii", count, length) + bytes(4000)
    tracemalloc.start()
    try:
        outcome(decode, NAMES, data)  # eight names of no bytes are names
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_codecs_are_of_the_classes_other_modules_rely_on() -> None:
    assert isinstance(BUFFER, Buffer)
    assert isinstance(USTRING, UString)
