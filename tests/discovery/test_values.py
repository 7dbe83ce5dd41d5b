"""What a user of discovery may give: services, identities, time-outs, ACLs, credentials."""

from __future__ import annotations

from typing import Any

import pytest

from zkdisco import values
from zkdisco.values import InvalidCredentialsError, Service
from zkwire.values import ACL, OPEN_ACL_UNSAFE, Id, Permissions

GUID = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(("path", "directory"), [("/", "/api"), ("/org", "/org/api"), ("/org/", "/org/api")])
def test_a_service_has_a_directory(path: str, directory: str) -> None:
    assert Service(path, "api").directory == directory


@pytest.mark.parametrize(("arguments", "error"), [
    (("org", "api"), ValueError), (("//", "api"), ValueError), (("/org//", "api"), ValueError), (("", "api"), ValueError),
    (("/org", ""), ValueError), (("/org", "a/b"), ValueError), (("/org", "api", "text"), TypeError), ((None, "api"), TypeError),
])  # fmt: skip
def test_what_can_be_no_service(arguments: Any, error: Any) -> None:
    with pytest.raises(error):
        Service(*arguments)


@pytest.mark.parametrize(("given", "meant"), [
    (None, None), (GUID, GUID), (GUID.upper(), GUID), ("01234567-89AB-cdef-0123-456789abcdef", GUID), ("host-1", "host-1"),
    ("0123456789abcdef-0123456789abcdef", "0123456789abcdef-0123456789abcdef"), ("g" * 32, "g" * 32),
])  # fmt: skip
def test_a_guid_has_one_form_and_a_name_stays_as_it_is(given: Any, meant: Any) -> None:
    assert values.validate_identity(given) == meant


@pytest.mark.parametrize(("given", "error"), [(7, TypeError), (b"a", TypeError), ("", ValueError), ("a/b", ValueError)])
def test_what_can_be_no_identity(given: Any, error: Any) -> None:
    with pytest.raises(error):
        values.validate_identity(given)


@pytest.mark.parametrize("check", [lambda seconds: values.validate_timeout("x", seconds), values.validate_wait])
@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), values.LONGEST_TIMEOUT])
def test_seconds_that_nobody_can_wait_for(check: Any, seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        check(seconds)


def test_the_shortest_of_each() -> None:
    assert values.validate_wait(None) is None and values.validate_wait(0) == 0
    assert values.validate_timeout("x", values.SHORTEST_TIMEOUT) == values.SHORTEST_TIMEOUT
    with pytest.raises(ValueError, match="invalid x"):
        values.validate_timeout("x", values.SHORTEST_TIMEOUT * 0.99)


@pytest.mark.parametrize("minimum", [-1, True, 1.0, "1", None])
def test_a_minimum_is_a_number(minimum: Any) -> None:
    assert values.validate_minimum(0) == 0
    with pytest.raises(ValueError, match="0 or more"):
        values.validate_minimum(minimum)


@pytest.mark.parametrize(("acl", "error"), [
    ([], ValueError), (["world"], TypeError), ([ACL("all", Id("world", "anyone"))], TypeError),  # type: ignore[arg-type]
    ([ACL(1, ("world",))], TypeError), ([ACL(1, "ab")], TypeError), ([ACL(1, Id("world", None))], TypeError),  # type: ignore[arg-type]
])  # fmt: skip
def test_an_acl_that_the_server_would_refuse(acl: Any, error: Any) -> None:
    with pytest.raises(error):
        values.validate_acl(acl)


def test_acls_and_payload_become_tuples() -> None:
    acl = [ACL(Permissions.READ, Id("world", "anyone"))]
    assert values.validate_acl(acl) == tuple(acl) and values.validate_acl(OPEN_ACL_UNSAFE) == tuple(OPEN_ACL_UNSAFE)
    assert values.validate_payload([b"a", b""]) == (b"a", b"")
    with pytest.raises(TypeError, match="one for each level"):
        values.validate_payload(["a"])  # type: ignore[list-item]


@pytest.mark.parametrize("credentials", ["ab", b"ab", ("a",), ("a", "b", "c"), ("", "b"), ("a", ""), (1, "b"), ("a", b"b"), ("a:", "b")])
def test_credentials_are_a_name_and_a_password(credentials: Any) -> None:
    assert values.validate_credentials(None) is None and values.validate_credentials(["a", "b:c"]) == ("a", "b:c")
    with pytest.raises(InvalidCredentialsError):
        values.validate_credentials(credentials)


@pytest.mark.parametrize(("count", "named", "more"), [
    (1, 1, ""), (values.NAMED, values.NAMED, ""), (values.NAMED + 2, values.NAMED, "; and 2 more"),
])  # fmt: skip
def test_of_many_left_out_a_few_are_named_and_the_others_counted(count: int, named: int, more: str) -> None:
    error = values.left_out({f"/a/{number:03}": ValueError("why") for number in reversed(range(count))})
    assert (error.path, len(error.nodes)) == ("/a/000", count)
    assert str(error).count("why") == named and (more in str(error)) and (" more" in str(error)) is bool(more)
