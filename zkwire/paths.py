"""Paths: what a legal path is, and how paths are joined.

Owns the rules of paths. Must not know the wire, servers or sessions.
Everything here raises `ValueError` with the offending value in its text, before anything is sent.

The rules are those of Java's PathUtils.validatePath: no empty, "." or ".." segment, no control character, nothing from
the surrogates to the private use area, no specials. Java sees UTF-16, so it refuses all beyond the BMP; so does this.
The code uses methods of `str`: as fast as a regular expression, without the cost of importing and compiling it.
"""

from __future__ import annotations

from typing import List, Optional

#: The node of the ensemble's configuration, at the server's root, outside any chroot.
CONFIG_NODE = "/zookeeper/config"


def validate_path(path: str) -> str:
    """`path` itself if it is a legal absolute path; else `ValueError` with the reason (`TypeError` if it is no str)."""
    try:  # fast path: the allowed ASCII characters are the printable ones
        plain = path.isprintable() and path.isascii() and "/." not in path and "//" not in path
        if plain and path[0] == "/" != path[-1]:
            return path
    except (AttributeError, IndexError):  # no str, or an empty one
        pass
    if not isinstance(path, str):
        raise TypeError(f"a path must be a str, not {type(path).__name__}")
    why = _why_invalid(path)
    if why is not None:
        raise ValueError(f"invalid path {path!r}: {why}")
    return path


def validate_sequential_path(path: str) -> str:
    """As `validate_path`, for a sequential create: the server appends digits, so the path may end in a slash."""
    if not isinstance(path, str):
        raise TypeError(f"a path must be a str, not {type(path).__name__}")
    why = "it is empty" if not path else _why_invalid(path + "1")
    if why is not None:
        raise ValueError(f"invalid path {path!r}: {why}")
    return path


def validate_name(name: str) -> str:
    """`name` itself if it can be one segment of a path; else `ValueError`. Checks names from a server before a join."""
    if not isinstance(name, str):
        raise TypeError(f"a node name must be a str, not {type(name).__name__}")
    if not is_name(name):
        raise ValueError(f"invalid node name {name!r}")
    return name


def is_name(name: str) -> bool:
    """Whether `name` can be one segment of a path."""
    return "/" not in name and name not in ("", ".", "..") and forbidden_in(name) is None


def forbidden_in(text: str) -> Optional[int]:
    """The position of the first character that is not allowed in a path; None if there is none."""
    if text.isprintable() and (text.isascii() or max(text) < "\ud800"):
        return None
    return next((at for at, char in enumerate(text) if not _is_allowed(char)), None)


def _is_allowed(char: str) -> bool:
    return "\x1f" < char < "\x7f" or "\x9f" < char < "\ud800" or "\uf8ff" < char < "\ufff0"


def _why_invalid(path: str) -> Optional[str]:
    if not path:
        return "it is empty"
    if path[0] != "/":
        return "it must start with '/'"
    bad = forbidden_in(path)
    if bad is not None:
        return f"the character {path[bad]!r} at position {bad} is not allowed"
    if "//" in path:
        return "it has an empty segment ('//')"
    if path == "/":
        return None
    if path[-1] == "/":
        return "it must not end with '/'"
    if "/./" in path or "/../" in path or path.endswith(("/.", "/..")):
        return "'.' and '..' are not allowed as segments"
    return None


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
