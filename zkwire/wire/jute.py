"""The serializer: jute types as objects that write a value to bytes and read it from bytes.

Owns the encoding of int, long, boolean, buffer, ustring, vector and records of these. Must not know which records
exist, nor frames. Rules:

1. Null (length -1) is not empty: it is None in Python.
2. Every length and count is compared with the bytes that are left before anything is allocated.
3. `read` raises `MarshallingError`, `struct.error`, `IndexError` or `UnicodeDecodeError`; `decode` turns all of these
   into the first, and is what other modules call. No bytes may cause any other exception.

All codecs pass `scope` on unchanged; only codecs of other modules use it (paths, which have a chroot).
"""

from __future__ import annotations

import struct
from typing import Any, Callable, List, Optional, Sequence, Tuple, TypeVar

from ..errors import MarshallingError
from ..typed import Generic

T = TypeVar("T")
_INT = struct.Struct(">i")
_unpack_int = _INT.unpack_from
_pack_int = _INT.pack
_NULL = _pack_int(-1)


class JuteType(Generic[T]):
    """One type of the wire. `least` is the size in bytes of its shortest encoding."""

    least = 0

    def write(self, out: bytearray, value: T, scope: Any) -> None:
        """Append the encoding of `value` to `out`."""
        raise TypeError(f"{type(self).__name__} cannot be written")

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[T, int]:
        """The value that starts at offset `at`, and the offset behind it."""
        raise TypeError(f"{type(self).__name__} cannot be read")


def decode(codec: JuteType[T], data: bytes, at: int = 0, scope: Any = None) -> T:
    """The value that starts at `at`; bytes behind it are ignored (newer servers may add fields).

    Raises only `MarshallingError`, whatever the bytes are.
    """
    try:
        return codec.read(data, at, scope)[0]
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise MarshallingError(f"malformed record: {error}") from error


def encode(codec: JuteType[T], value: T, scope: Any = None) -> bytes:
    """The encoding of `value`."""
    out = bytearray()
    codec.write(out, value, scope)
    return bytes(out)


class Fixed(JuteType[T]):
    """A number of a fixed size; `form` is a struct format character."""

    def __init__(self, form: str) -> None:
        packer = struct.Struct(">" + form)
        self.least = packer.size
        self._pack, self._unpack = packer.pack, packer.unpack_from

    def write(self, out: bytearray, value: T, scope: Any) -> None:
        """Append the number; `struct.error` if it does not fit."""
        out += self._pack(value)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[T, int]:
        """The number at `at`."""
        return self._unpack(data, at)[0], at + self.least


INT: JuteType[int] = Fixed("i")
LONG: JuteType[int] = Fixed("q")
BOOL: JuteType[bool] = Fixed("?")


def _length(data: bytes, at: int, what: str) -> int:
    """The length (or -1) at `at`, compared with the bytes left in the frame."""
    length: int = _unpack_int(data, at)[0]
    if length < -1 or length > len(data) - at - 4:
        raise MarshallingError(f"{what} of length {length} at offset {at}, with {len(data) - at - 4} bytes left")
    return length


class Buffer(JuteType[Optional[bytes]]):
    """Bytes, or None."""

    least = 4

    def write(self, out: bytearray, value: Optional[bytes], scope: Any) -> None:
        """Append length and bytes."""
        if value is None:
            out += _NULL
        else:
            out += _pack_int(len(value))
            out += value

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Optional[bytes], int]:
        """A copy of the bytes at `at`."""
        length = _length(data, at, "buffer")
        at += 4
        if length < 0:
            return None, at
        return data[at : at + length], at + length


class UString(JuteType[Optional[str]]):
    """A string in strict UTF-8, or None."""

    least = 4

    def write(self, out: bytearray, value: Optional[str], scope: Any) -> None:
        """Append length and UTF-8 bytes."""
        BUFFER.write(out, None if value is None else value.encode(), scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Optional[str], int]:
        """The string at `at`."""
        length = _length(data, at, "string")
        at += 4
        if length < 0:
            return None, at
        return data[at : at + length].decode(), at + length


BUFFER = Buffer()
USTRING = UString()


class Required(JuteType[T]):
    """As `inner`, but for a field that must not be null."""

    def __init__(self, inner: JuteType[Optional[T]]) -> None:
        self.inner, self.least = inner, inner.least

    def write(self, out: bytearray, value: T, scope: Any) -> None:
        """Append `value`."""
        self.inner.write(out, value, scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[T, int]:
        """The value at `at`, never None."""
        value, after = self.inner.read(data, at, scope)
        if value is None:
            raise MarshallingError(f"null at offset {at}, where a value is required")
        return value, after


class Vector(JuteType[Optional[Sequence[T]]]):
    """A list of `item`, or None."""

    least = 4

    def __init__(self, item: JuteType[T]) -> None:
        self.item = item

    def write(self, out: bytearray, value: Optional[Sequence[T]], scope: Any) -> None:
        """Append count and items."""
        if value is None:
            out += _NULL
            return
        out += _pack_int(len(value))
        for one in value:
            self.item.write(out, one, scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Optional[List[T]], int]:
        """The items at `at`; the count is compared with the bytes left first."""
        count: int = _unpack_int(data, at)[0]
        at += 4
        if count == -1:
            return None, at
        if count < 0 or count * max(self.item.least, 1) > len(data) - at:
            raise MarshallingError(f"vector of {count} items at offset {at - 4}, with {len(data) - at} bytes left")
        read, items = self.item.read, []
        for _ in range(count):
            item, at = read(data, at, scope)
            items.append(item)
        return items, at


class Names(JuteType[List[str]]):
    """A required vector of required strings, read fast: the children of a node may be a hundred thousand."""

    least = 4

    def write(self, out: bytearray, value: Sequence[str], scope: Any) -> None:
        """Append count and strings."""
        parts = [_pack_int(len(value))]
        for name in value:
            raw = name.encode()
            parts += (_pack_int(len(raw)), raw)
        out += b"".join(parts)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[List[str], int]:
        """The strings at `at`."""
        count, size = _unpack_int(data, at)[0], len(data)
        at += 4
        if count < 0 or count * 4 > size - at:
            raise MarshallingError(f"list of {count} names at offset {at - 4}, with {size - at} bytes left")
        if count >= _FEW:
            split = _split_equal(data, at, count) or _split_brief(data, at, count) or _split_short(data, at, count)
            if split is not None:
                return split
        names, unpack = [], _unpack_int
        for _ in range(count):
            length = unpack(data, at)[0]
            at += 4
            after = at + length
            if length < 0 or after > size:
                raise MarshallingError(f"name of length {length} at offset {at - 4}, with {size - at} bytes left")
            names.append(data[at:after].decode())
            at = after
        return names, at


#: Fewer names than this are read one by one.
_FEW = 8
#: All ASCII characters but the lengths below 32, which are control characters; and a table that makes all these equal.
_NO_LENGTH = bytes((0, *range(32, 128)))
_MARKED = bytes((0, *[1] * 31, *range(32, 256)))
#: The last byte of a length below 128; the index is the length plus one.
_LAST_BYTE = ("", *map(chr, range(128)))


def _split_equal(data: bytes, at: int, count: int) -> Optional[Tuple[List[str], int]]:
    """The names at `at`, and the offset behind them, if all are equally long, below 128 bytes; None if not.

    The text between two equal lengths is then a name, so one `split` finds all of them. A name that contains the
    bytes of the length gives too many pieces, and so None.
    """
    length = _unpack_int(data, at)[0]
    step = 4 + length
    end = at + count * step
    if not 0 < length < 128 or end > len(data):
        return None
    block, zeros = data[at:end], bytes(count)
    if block[::step] != zeros or block[1::step] != zeros or block[2::step] != zeros:
        return None
    if block[3::step] != bytes((length,)) * count:
        return None
    names = block.decode().split("\0\0\0" + chr(length))
    return (names[1:], end) if len(names) == count + 1 else None


def _split_brief(data: bytes, at: int, count: int) -> Optional[Tuple[List[str], int]]:
    """The names that take up the rest of `data`, if all are printable ASCII, and shorter than 32 bytes; None if not.

    The lengths are then the only control characters, each behind three zero bytes. With one and the same character in
    place of all of them, one `split` finds all names; and their lengths must be those lengths.
    """
    rest = data[at:]
    lengths = rest.translate(None, _NO_LENGTH)
    if len(lengths) != count or not rest.isascii():
        return None
    before, *names = rest.translate(_MARKED).decode().split("\0\0\0\1")
    return (names, len(data)) if not before and [*map(len, names)] == [*lengths] else None


def _split_short(data: bytes, at: int, count: int) -> Optional[Tuple[List[str], int]]:
    """The names that take up the rest of `data`, if all are ASCII and shorter than 128 bytes; None if not.

    Each length begins with three zero bytes. Each piece between two such triples must be one byte of length and as
    many characters. If every piece is, the pieces are the names, whatever they contain.
    """
    rest = data[at:]
    if not rest.isascii() or rest.count(b"\0\0\0") != count:
        return None
    before, *pieces = rest.decode().split("\0\0\0")
    if before:
        return None
    try:
        names = [piece[1:] for piece in pieces if piece[0] == _LAST_BYTE[len(piece)]]
    except IndexError:  # an empty piece, or a long one
        return None
    return (names, len(data)) if len(names) == count else None


class Record(JuteType[T]):
    """Fields one after the other, made into a value by `make(*fields)`; the value is a tuple of its fields."""

    def __init__(self, make: Callable[..., T], *fields: JuteType[Any]) -> None:
        self.make, self.fields = make, fields
        self.least = sum(field.least for field in fields)

    def write(self, out: bytearray, value: T, scope: Any) -> None:
        """Append all fields."""
        parts: Sequence[Any] = value  # type: ignore[assignment]  # records are tuples, which JuteType[T] cannot say
        for field, part in zip(self.fields, parts):
            field.write(out, part, scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[T, int]:
        """The record at `at`."""
        parts = []
        for field in self.fields:
            part, at = field.read(data, at, scope)
            parts.append(part)
        return self.make(*parts), at


class FixedRecord(JuteType[T]):
    """A record of numbers only, read by one Struct; `make` takes the iterable of its fields."""

    def __init__(self, make: Callable[[Tuple[Any, ...]], T], form: str) -> None:
        packer = struct.Struct(">" + form)
        self.make, self.least = make, packer.size
        self._pack, self._unpack = packer.pack, packer.unpack_from

    def write(self, out: bytearray, value: T, scope: Any) -> None:
        """Append all fields."""
        out += self._pack(*value)  # type: ignore[misc]  # records are tuples, which JuteType[T] cannot say

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[T, int]:
        """The record at `at`."""
        return self.make(self._unpack(data, at)), at + self.least


class Nothing(JuteType[None]):
    """No bytes at all: the body of a reply that has none."""

    def write(self, out: bytearray, value: None, scope: Any) -> None:
        """Append nothing."""

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[None, int]:
        """None, and `at` itself."""
        return None, at


NOTHING = Nothing()
