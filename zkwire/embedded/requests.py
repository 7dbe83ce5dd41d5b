"""How a ZooKeeper server reads requests and writes replies: the wire table, with Java's strings and counts.

Owns the encoding of bodies, transactions included. Must not know what requests do. A server replaces invalid UTF-8,
which a client must refuse, and reads any count below one as an empty vector.
"""

from __future__ import annotations

import re
import struct
from types import SimpleNamespace
from typing import Any, Dict, List, Optional, Tuple

from ..errors import MarshallingError
from ..typed import NamedTuple
from ..wire.jute import BOOL, BUFFER, INT, LONG, NOTHING, JuteType, Names, Record, Required, UString, Vector
from ..wire.operation import Fields
from ..ops import BY_OPCODE
from ..wire.messages import ACL_ENTRY, Acls, Path
from .versions import Profile

#: The values of a request, by the names the wire table gives its fields.
Request = SimpleNamespace


class _JavaString(JuteType[Optional[str]]):
    """A string, or None; invalid UTF-8 becomes U+FFFD, which no valid path may contain.

    Written are UTF-16 units, each in UTF-8 (BinaryOutputArchive): beyond the BMP the result is invalid UTF-8.
    """

    least = 4

    def write(self, out: bytearray, value: Optional[str], scope: Any) -> None:
        BUFFER.write(out, None if value is None else to_java(value), scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Optional[str], int]:
        raw, at = BUFFER.read(data, at, scope)
        return (None if raw is None else from_java(raw)), at


class _JavaVector(JuteType[Optional[List[Any]]]):
    """A list, or None for -1; other counts below one are an empty list."""

    least = 4

    def __init__(self, item: JuteType[Any]) -> None:
        self.item = item

    def write(self, out: bytearray, value: Optional[List[Any]], scope: Any) -> None:
        Vector(self.item).write(out, value, scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Optional[List[Any]], int]:
        count, at = INT.read(data, at, scope)
        if count == -1:
            return None, at
        if count * self.item.least > len(data) - at:
            raise IndexError(f"vector of {count} items with {len(data) - at} bytes left")
        items = []
        for _ in range(count):
            item, at = self.item.read(data, at, scope)
            items.append(item)
        return items, at


#: A surrogate in UTF-8, or a part of one; Java replaces it as a whole, Python byte by byte.
_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]?")


def from_java(raw: bytes) -> str:
    """The string a server reads from these bytes."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return _SURROGATE.sub(b"\xff", raw).decode("utf-8", "replace")


def to_java(text: str) -> bytes:
    """The bytes of a string as a server writes them."""
    if text.isascii():
        return text.encode()
    units = text.encode("utf-16-be", "surrogatepass")
    return b"".join(chr(unit).encode("utf-8", "surrogatepass") for unit, in struct.iter_unpack(">H", units))


JAVA_STRING = _JavaString()


def _as_java(codec: JuteType[Any]) -> JuteType[Any]:
    """The server's codec for `codec` of the client's table."""
    if isinstance(codec, (Path, UString)):
        return JAVA_STRING
    if isinstance(codec, Acls):
        return _JavaVector(_as_java(ACL_ENTRY))
    if isinstance(codec, Vector):
        return _JavaVector(_as_java(codec.item))
    if isinstance(codec, Required):
        return _as_java(codec.inner)
    if isinstance(codec, Names):
        return _JavaVector(JAVA_STRING)
    if isinstance(codec, Record):
        return Record(codec.make, *map(_as_java, codec.fields))
    return codec


def _fields(fields: Fields) -> Fields:
    return tuple((name, LONG if name == "ttl" else _as_java(codec)) for name, codec in fields)


#: Opcode to fields. A ttl stays in ms, because it is checked before the conversion; a watch mode is checked later too.
FIELDS: Dict[int, Fields] = {
    opcode: _fields(op.request) for opcode, op in BY_OPCODE.items() if opcode not in (14, 22)
}
#: Opcode to the body of a successful reply.
REPLIES: Dict[int, JuteType[Any]] = {opcode: _as_java(op.reply) for opcode, op in BY_OPCODE.items()}
REPLIES[103] = _JavaVector(JAVA_STRING)
FIELDS[20] = (("path", JAVA_STRING),)  # deleteContainer, which servers send to themselves
REPLIES[20] = NOTHING
_MULTI_HEADER: JuteType[Tuple[int, bool, int]] = Record(lambda *fields: fields, INT, BOOL, INT)
_IN_MULTI = {1: 1, 15: 1, 19: 1, 21: 1, 2: 1, 5: 1, 13: 1, 4: 2, 8: 2}
_TTL_FLAGS, _FLAGS = (5, 6), range(7)


class NullACL(MarshallingError):
    """A transaction with a create without an ACL, which 3.9 refuses in a different way than other errors."""


class Part(NamedTuple):
    """One operation of a transaction: the opcode that the server executes, and its fields."""

    opcode: int
    request: Request


def read(opcode: int, data: bytes, at: int = 0) -> Request:
    """The request at `at`; `MarshallingError` if it does not decode."""
    return _read(FIELDS[opcode], data, at)[0]


def _read(fields: Fields, data: bytes, at: int) -> Tuple[Request, int]:
    request = Request()
    try:
        for name, codec in fields:
            value, at = codec.read(data, at, None)
            setattr(request, name, value)
    except (struct.error, IndexError) as error:
        raise MarshallingError(f"malformed request: {error}") from error
    return request, at


def read_multi(data: bytes, at: int, profile: Profile) -> List[Part]:
    """The operations of a transaction; `MarshallingError` if it does not decode.

    Reads and writes do not mix. A create's opcode follows its flags (Op.Create.getOpcode in Java).
    """
    parts: List[Part] = []
    kinds = set()
    while True:
        header, at = _read((("header", _MULTI_HEADER),), data, at)
        opcode, done, _ = header.header
        if done:
            return parts
        if opcode not in _IN_MULTI or opcode in profile.lacks:
            raise MarshallingError(f"operation {opcode} in a transaction")
        request, at = _read(FIELDS[opcode], data, at)
        kinds.add(_IN_MULTI[opcode])
        if len(kinds) > 1:
            raise MarshallingError("reads and writes in one transaction")
        kind = _kind(opcode, request, profile)
        if opcode == 21 != kind:
            del request.ttl  # Op.create in Java makes it a create without one
        parts.append(Part(kind, request))


def _kind(opcode: int, request: Request, profile: Profile) -> int:
    """The opcode that executes a create in a transaction; its flags may change it."""
    if opcode not in (1, 15, 19, 21) or profile.old_create:
        return opcode
    flags, strict = request.flags, profile.strict_multi
    if opcode == 21:
        return 21 if flags in _TTL_FLAGS else 19 if flags == 4 else 1
    if strict and flags in _FLAGS and request.acl is None:
        raise NullACL("create with a null ACL in a transaction")
    if strict and (flags not in _FLAGS or flags in _TTL_FLAGS):
        raise MarshallingError(f"create with flags {flags} in a transaction")
    if flags in _TTL_FLAGS:
        return 21
    return 19 if flags == 4 else opcode if strict else 1
