"""Paths and names: which can be, and what the parts of a path are."""

from __future__ import annotations

from typing import Any, List

import pytest

from zkwire import paths


@pytest.mark.parametrize("path", ["/a/", "/a/b", "/", "/a-"])
def test_a_sequential_path_may_end_in_a_slash(path: str) -> None:
    assert paths.validate_sequential_path(path) == path


@pytest.mark.parametrize("path", ["", "a/", "//", "/a//", "/./", "/a\0/"])
def test_a_sequential_path_is_one_with_the_digits(path: str) -> None:
    with pytest.raises(ValueError, match="invalid path"):
        paths.validate_sequential_path(path)


@pytest.mark.parametrize("check", [paths.validate_path, paths.validate_sequential_path, paths.validate_name])
@pytest.mark.parametrize("value", [None, b"/a", 1])
def test_bytes_and_nothing_are_no_paths_and_no_names(check: Any, value: Any) -> None:
    with pytest.raises(TypeError, match=type(value).__name__):
        check(value)


@pytest.mark.parametrize(("name", "good"), [
    ("a", True), ("...", True), ("a b", True), ("\u20ac", True), ("", False), (".", False), ("..", False), ("a/b", False),
    ("a\n", False), ("\x7f", False), ("\ud800", False), ("\uf900", True), ("\ufff0", False),
])  # fmt: skip
def test_what_can_be_one_segment(name: str, good: bool) -> None:
    assert paths.is_name(name) is good
    if good:
        assert paths.validate_name(name) == name
        assert (paths.join("/", name), paths.join("/a/b", name)) == (f"/{name}", f"/a/b/{name}")
    else:
        with pytest.raises(ValueError, match="invalid node name"):
            paths.join("/a", name)


@pytest.mark.parametrize(("path", "parent", "prefixes"), [
    ("/", "/", []), ("/a", "/", ["/a"]), ("/a/b/c", "/a/b", ["/a", "/a/b", "/a/b/c"]),
])  # fmt: skip
def test_what_is_above(path: str, parent: str, prefixes: List[str]) -> None:
    assert (paths.parent_of(path), paths.prefixes(path)) == (parent, prefixes)
