"""Paths and the chroot: what a legal path is, how paths are joined, and where a chroot comes and goes.

Owns the rules of paths. Must not know the wire, servers or sessions.
Everything here raises `ValueError` with the offending value in its text, before anything is sent.
"""

from __future__ import annotations

import re
from typing import List

#: A legal path, Java's PathUtils.validatePath: no empty, "." or ".." segment, no control character, nothing from the
#: surrogates to the private use area, no specials. Java sees UTF-16, so it refuses all beyond the BMP; so do we.
_NAME = r"(?!\.\.?(?:/|\Z))[^/\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\U0010ffff]+"
_IS_PATH = re.compile(rf"(?:/{_NAME})+\Z").match
_IS_NAME = re.compile(rf"{_NAME}\Z").match
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\U0010ffff]")


def validate_path(path: str) -> str:
    """`path` itself if it is a legal absolute path; else `ValueError` (`TypeError` if it is no str) that says why."""
    if not isinstance(path, str):
        raise TypeError(f"a path must be a str, not {type(path).__name__}")
    if _IS_PATH(path) or path == "/":
        return path
    raise ValueError(f"invalid path {path!r}: {_why(path)}")


def validate_sequential_path(path: str) -> str:
    """As `validate_path`, for a sequential create: the server appends digits, so the path may end in a slash."""
    if not isinstance(path, str):
        raise TypeError(f"a path must be a str, not {type(path).__name__}")
    if _IS_PATH(path + "1"):
        return path
    raise ValueError(f"invalid path {path!r}: {_why(path)}")


def validate_name(name: str) -> str:
    """`name` itself if it can be one segment of a path; else `ValueError`. Guards joins with names from a server."""
    if not isinstance(name, str):
        raise TypeError(f"a node name must be a str, not {type(name).__name__}")
    if not _IS_NAME(name):
        raise ValueError(f"invalid node name {name!r}")
    return name


def is_name(name: str) -> bool:
    """Whether `name` can be one segment of a path."""
    return _IS_NAME(name) is not None


def _why(path: str) -> str:
    if not path:
        return "it is empty"
    if path[0] != "/":
        return "it must start with '/'"
    bad = _FORBIDDEN.search(path)
    if bad:
        return f"the character {bad.group()!r} at position {bad.start()} is not allowed"
    if "//" in path:
        return "it has an empty segment ('//')"
    if path.endswith("/"):
        return "it must not end with '/'"
    return "'.' and '..' are not allowed as segments"


def join(parent: str, name: str) -> str:
    """`parent` and one more segment; `ValueError` if `name` cannot be one."""
    return ("" if parent == "/" else parent) + "/" + validate_name(name)


def parent_of(path: str) -> str:
    """The path of the parent; "/" for a top-level node and for the root."""
    return path.rpartition("/")[0] or "/"


def prefixes(path: str) -> List[str]:
    """`path` and all its ancestors but the root, top down: '/a/b' gives ['/a', '/a/b']; '/' gives []."""
    parts = path.split("/")[1:] if path != "/" else []
    return ["/" + "/".join(parts[: i + 1]) for i in range(len(parts))]


class Chroot:
    """The one place where a chroot is put before paths and taken off again. `prefix` is "" for none."""

    __slots__ = ("prefix", "_inside")

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self._inside = prefix + "/"

    def prepend(self, path: str) -> str:
        """The server's path for a path of the user."""
        return path if not self.prefix else self.prefix if path == "/" else self.prefix + path

    def strip(self, path: str) -> str:
        """The user's path for a path of the server; `ValueError` if that lies outside (ZOOKEEPER-4565, -4601)."""
        if not self.prefix:
            return path
        if path == self.prefix:
            return "/"
        if path.startswith(self._inside):
            return path[len(self.prefix) :]
        raise ValueError(f"the path {path!r} lies outside the chroot {self.prefix!r}")


NO_CHROOT = Chroot()
