"""The nodes of others in testdata/formats, and what hostile hands make of them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from zkdisco.codecs import Instance

FOLDER = Path(__file__).parents[3] / "testdata" / "formats"
FORMATS = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


class Found(NamedTuple):
    """A node, what it is to be read as, and whether it is written, and in its own order."""

    format: str
    name: str
    data: bytes
    instance: Instance
    row: Dict[str, Any]


def nodes(format: str) -> List[Found]:
    """All nodes of a format."""
    rows = json.loads((FOLDER / f"{format}.json").read_text(encoding="utf-8"))
    return [
        Found(format, row["node"], bytes.fromhex(row.get("binary", "")) or row["data"].encode(), Instance(**row["instance"]), row)
        for row in rows
    ]


EVERY = [one for format in FORMATS for one in nodes(format)]
#: What stands in the place of a value, and what is no JSON at all.
VALUES: Tuple[str, ...] = (
    "null", "true", "false", "0", "1", "-1", "65535", "65536", "80.5", "1e999", "NaN", "Infinity", "-Infinity", "1" * 5000, '""',
    '"x"', '"a b"', '"a\\nb"', '"\\u0000"', '"\\ud800"', '"\\udfff\\ud800"', '"a;b"', '"../.."', '"\\u001b[2J"', "[]", "{}", "[[]]", "[1]",
    '["java.util.ArrayList",1]', '{"@class":1}', '{"@class":"java.lang.String"}', '{"a":{"a":{}}}', "[" * 60 + "]" * 60, "[" * 5000 + "]" * 5000,
    '"' + "x" * 300 + '"', '"' + "ä" * 70000 + '"', '{"x":1,"x":2}', '"::1"', '"[::1]"', '"STATIC"', '"dynamic"', '{"parts":[{}]}',
    '{"parts":[{"value":"a","variable":1}]}', '{"parts":0}', '{"host":"a","port":"80"}', '{"host":null}', '["PLAINTEXT://"]', '["x://[::1:9"]', "[null]",
)  # fmt: skip
BYTES: Tuple[bytes, ...] = (
    b"", b"{", b"}", b"null", b"[]", b"3", b'"x"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"\0" * 1000, b"{}" * 2, b"[" * 100_000, b'{"a":' * 100_000,
    b"x" * 1_000_000, b"{" + b'"a":1,' * 170_000 + b'"b":2}', b'{"a":"' + b"\\u0041" * 160_000 + b'"}', b" " * 1_100_000 + b"{}", b"9" * 1_000_000,
)  # fmt: skip


def hostile(format: str, count: int, seed: int = 1) -> Iterator[Tuple[str, bytes]]:
    """So many names and data: what can be read, with one to three things changed; then what is no record."""
    choice, found = random.Random(f"{format} {seed}"), nodes(format)
    yield from ((found[0].name, data) for data in BYTES)
    for _ in range(count - len(BYTES)):
        one = choice.choice(found)
        name, data = one.name, one.data
        for _ in range(choice.choice((1, 1, 1, 2, 3))):
            kind = choice.randrange(5)
            if kind == 0 and name:
                name = _spoilt(choice, name.encode(), (b"%", b"%0A", b"%00", b"%ff", b"\0", b",", b"_", b"9" * 30)).decode("utf-8", "replace")
            elif kind in (1, 2, 3) and data[:1] == b"{":
                data = _replaced(choice, data)
            else:
                data = _spoilt(choice, data, (b"\0", b"\xff", b'"', b"\\", b"{", b"]", b",", b":", b"\n", b"1" * 400))
        yield name, data


def _spoilt(choice: random.Random, data: bytes, more: Tuple[bytes, ...]) -> bytes:
    place = choice.randrange(len(data) + 1)
    return data[:place] + choice.choice(more) + data[place + choice.randrange(4) :]


def _replaced(choice: random.Random, data: bytes) -> bytes:
    """One value of the record, at any depth, is another; or there is one more."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return data
    if not isinstance(record, dict) or data.count(b"[") + data.count(b"{") > 100:
        return data
    places: List[Tuple[Any, Any]] = [(record, "more")]
    level: List[Any] = [record]
    while level:
        value = level.pop()
        for key, below in value.items() if isinstance(value, dict) else enumerate(value):
            places.append((value, key))
            if isinstance(below, (dict, list)):
                level.append(below)
    holder, key = choice.choice(places)
    if choice.random() < 0.1 and isinstance(holder, dict):
        holder.pop(key, None)
        return json.dumps(record).encode()
    holder[key] = "\u2603mark"
    return json.dumps(record).replace('"\\u2603mark"', choice.choice(VALUES)).encode()
