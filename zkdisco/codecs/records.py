"""Records of JSON in nodes: read with bounds, whoever may have written them, and written as Java's and Go's writers do.

Owns what makes a record refused. Must not know any format. All functions raise nothing but `ValueError`.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, NoReturn, Optional, Tuple

#: Bytes of a record; servers take no more unless they are told to.
LARGEST = 1 << 20
#: Levels of arrays and objects, and digits of a whole number. What these frameworks write has 5, and 19.
DEEPEST, LONGEST = 50, 64


def read(data: bytes) -> Dict[str, Any]:
    """The object that `data` holds as JSON of UTF-8.

    Refused are, besides what is no JSON: NaN and infinite numbers, a name that stands twice in an object (readers do
    not agree on which counts), text that is not Unicode, and what is larger or deeper than any such record.
    """
    if len(data) > LARGEST:
        raise ValueError(f"a record of {len(data)} bytes")
    try:
        record = json.loads(
            data.decode(), object_pairs_hook=_object, parse_constant=_refuse, parse_int=_whole, parse_float=_real
        )
    except RecursionError:
        raise ValueError("a record of too many levels") from None
    if not isinstance(record, dict):
        raise ValueError(f"no JSON object, but {_kind(record)}")
    _bound(record, data)
    return record


def write(record: Any) -> bytes:
    """The record as JSON of UTF-8, without spaces; `ValueError` for what JSON has not."""
    try:
        return json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, RecursionError) as error:
        raise ValueError(f"this can be no JSON: {error}") from None


def same(one: Any, other: Any) -> bool:
    """Whether both are the same JSON, where true is not 1."""
    return write(one) == write(other)


def text(record: Mapping[str, Any], key: str) -> str:
    """The text of this name; "" if it is null or not there."""
    value = record.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{key} is no text, but {_kind(value)}")
    return value


def number(record: Mapping[str, Any], key: str) -> Optional[int]:
    """The whole number of this name; None if it is null or not there."""
    value = record.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"{key} is no whole number, but {_kind(value)}")
    return value


def mapping(record: Mapping[str, Any], key: str) -> Dict[str, Any]:
    """The object of this name; an empty one if it is null or not there."""
    value = record.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{key} is no object, but {_kind(value)}")
    return value


def texts(record: Mapping[str, Any], key: str) -> Dict[str, str]:
    """The object of this name, all values of which are text."""
    values = mapping(record, key)
    return {name: text(values, name) for name in values}


def refuse(instance: Any, format: str, *names: str) -> None:
    """`ValueError` if the instance has a weight, zone or status, as named, that the format has no room for."""
    for name in names:
        value = getattr(instance, name)
        if value != (1.0 if name == "weight" else ""):
            raise ValueError(f"the format {format!r} has no room for {name}={str(value)[:100]}")


def _kind(value: Any) -> str:
    kinds = {"NoneType": "null", "dict": "an object", "list": "an array", "str": "text", "bool": "true or false"}
    return kinds.get(type(value).__name__, "a number")


def _object(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name that stands twice in an object")
    return found


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _whole(digits: str) -> int:
    if len(digits) > LONGEST:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if value - value != 0:  # infinite
        raise ValueError(f"a number that is too large: {digits[:100]}")
    return value


def _bound(record: Any, data: bytes) -> None:
    if b"\\u" in data:
        write(record)  # half of a pair of surrogates cannot be encoded
    if data.count(b"[") + data.count(b"{") <= DEEPEST:
        return
    level = [record]
    for _ in range(DEEPEST):
        level = [
            below for one in level for below in (one.values() if isinstance(one, dict) else one)
            if isinstance(below, (dict, list))
        ]  # fmt: skip
    if level:
        raise ValueError("a record of too many levels")
