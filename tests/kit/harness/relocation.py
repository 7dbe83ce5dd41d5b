"""Moves Java packages back to where they were before a build relocated them (maven-shade) into a jar of its own.

Owns the constant pool of class files, as far as this needs it (chapter 4.4 of the specification of Java's virtual
machine): each text in it that names the new place gets the old name. Must not know which packages these are.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

#: Tag of a constant to the bytes after it. A text (tag 1) has a length of its own instead.
SIZES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}
TEXT, LONG, DOUBLE = 1, 5, 6
#: Bytes before the constants: the magic number, two of the version, and the count.
HEAD = 10


def undo(source: Path, target: Path, prefix: str, beside: Sequence[str] = ()) -> int:
    """Write a jar of what `source` has below the package `prefix`, moved to the root; returns the number of files.

    `beside` are folders, ending with a slash, whose files are taken too. The first of two files of one name counts.
    """
    folder = prefix.replace(".", "/") + "/"
    taken = set()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            wanted = name.removeprefix(folder) if name.startswith((folder, *beside)) else ""
            if not wanted or wanted.endswith("/") or wanted in taken:
                continue
            taken.add(wanted)
            data = old.read(name)
            new.writestr(wanted, renamed(data, prefix) if name.endswith(".class") else data)
    return len(taken)


def renamed(data: bytes, prefix: str) -> bytes:
    """A class file whose texts have lost the package `prefix`, written with dots or with slashes."""
    dotted = prefix.encode() + b"."
    slashed = dotted.replace(b".", b"/")
    (count,) = struct.unpack_from(">H", data, HEAD - 2)
    out, at, index = bytearray(data[:HEAD]), HEAD, 1
    while index < count:
        tag = data[at]
        if tag == TEXT:
            (length,) = struct.unpack_from(">H", data, at + 1)
            text = data[at + 3 : at + 3 + length].replace(dotted, b"").replace(slashed, b"")
            out += struct.pack(">BH", TEXT, len(text)) + text
            at += 3 + length
        else:
            out += data[at : at + 1 + SIZES[tag]]
            at += 1 + SIZES[tag]
        index += 2 if tag in (LONG, DOUBLE) else 1  # these take two places of the pool
    return bytes(out) + data[at:]
