"""zkwire.errors: every code has its class, every class its text, and what may have been applied is said."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import List, Type

import pytest

from zkwire import errors
from tests.kit.catalogue import fault
from zkwire.errors import (
    BY_CODE, AuthFailedError, ConnectionClosedError, ConnectionLoss, ForkedError, FrameTooLargeError,
    MarshallingError, NoNodeError, OperationTimeoutError, ProtocolError, RequestTimeoutError, RolledBackError,
    SessionClosedRequireSaslError, TooManyPendingError, ZookeeperError, error_for,
)  # fmt: skip

#: KeeperException.Code, with the name of the class here.
CODES = {
    -1: "SystemZookeeperError",
    -2: "RuntimeInconsistency",
    -3: "DataInconsistency",
    -4: "ConnectionLoss",
    -5: "MarshallingError",
    -6: "UnimplementedError",
    -7: "OperationTimeoutError",
    -8: "BadArgumentsError",
    -9: "InvalidStateError",  # of the C client
    -12: "UnknownSessionError",
    -13: "NewConfigNoQuorumError",
    -14: "ReconfigInProcessError",
    -100: "APIError",
    -101: "NoNodeError",
    -102: "NoAuthError",
    -103: "BadVersionError",
    -108: "NoChildrenForEphemeralsError",
    -110: "NodeExistsError",
    -111: "NotEmptyError",
    -112: "SessionExpiredError",
    -113: "InvalidCallbackError",
    -114: "InvalidACLError",
    -115: "AuthFailedError",
    -116: "ConnectionClosedError",  # of the C client
    -118: "SessionMovedError",
    -119: "NotReadOnlyCallError",
    -120: "EphemeralOnLocalSessionError",
    -121: "NoWatcherError",
    -122: "RequestTimeoutError",
    -123: "ReconfigDisabledError",
    -124: "SessionClosedRequireSaslError",
    -125: "QuotaExceededError",
    -127: "ThrottledOpError",
}
#: Those after which nobody knows whether the write happened.
UNKNOWN_OUTCOME = {-1, -3, -4, -5, -7, -112, -122}


def classes() -> List[Type[ZookeeperError]]:
    found = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, ZookeeperError)]
    assert len(found) > len(CODES)
    return found


def test_table_of_codes_is_complete() -> None:
    assert {code: cls.__name__ for code, cls in BY_CODE.items()} == CODES


@pytest.mark.parametrize("code", sorted(CODES))
def test_error_for_each_code(code: int) -> None:
    error = error_for(code, "/a")
    assert type(error).__name__ == CODES[code]
    assert (error.code, error.path) == (code, "/a")
    assert str(error) == f"{type(error).explanation}: '/a'"
    assert error.maybe_applied is (code in UNKNOWN_OUTCOME)


@pytest.mark.parametrize("code", [1, -10, -99, -126, -128, -(2**31), 2**31 - 1])
def test_unknown_code_is_a_plain_error_that_says_it(code: int) -> None:
    error = error_for(code, "/a")
    assert type(error) is ZookeeperError
    assert (error.code, error.path, str(error)) == (code, "/a", f"error code {code}: '/a'")
    assert str(error_for(code)) == f"error code {code}"


def test_texts_without_path_and_with_own_message() -> None:
    assert str(NoNodeError()) == "no such node"
    assert NoNodeError().path is None
    assert str(NoNodeError("gone away", "/a")) == "gone away"
    assert NoNodeError("gone away", "/a").path == "/a"
    assert str(ZookeeperError()) == "the server refused the operation"
    assert ZookeeperError().code == -100


def test_code_of_one_error_does_not_change_its_class() -> None:
    assert NoNodeError(None, None, -999).code == -999
    assert str(NoNodeError(None, None, -999)) == "no such node"
    assert NoNodeError().code == NoNodeError.code == -101


def test_every_class_explains_itself() -> None:
    texts = {}
    for cls in classes():
        assert cls.__doc__
        assert not cls.explanation.endswith(".")
        texts.setdefault(cls.explanation, []).append(cls)
    shared = {text: found for text, found in texts.items() if len(found) > 1}
    assert not shared


@pytest.mark.parametrize("sent", [True, False])
def test_connection_loss_says_whether_the_request_left(sent: bool) -> None:
    error = ConnectionLoss("lost", "/a", sent=sent)
    assert (error.sent, error.maybe_applied, error.path, error.code) == (sent, sent, "/a", -4)


def test_connection_loss_is_pessimistic() -> None:
    assert ConnectionLoss().sent is True


@pytest.mark.parametrize("cls", [OperationTimeoutError, RequestTimeoutError])
def test_time_outs_are_timeout_errors(cls: Type[ZookeeperError]) -> None:
    with pytest.raises(TimeoutError, match="time"):
        raise cls(None, "/a")
    assert cls(None, "/a").path == "/a"


@pytest.mark.parametrize(
    ("cls", "base"),
    [
        (MarshallingError, ProtocolError),
        (FrameTooLargeError, ProtocolError),
        (ForkedError, ConnectionClosedError),
        (SessionClosedRequireSaslError, AuthFailedError),
        (TooManyPendingError, ZookeeperError),
        (RolledBackError, ZookeeperError),
    ],
)
def test_family(cls: type, base: type) -> None:
    assert issubclass(cls, base)


def test_classes_without_a_code_of_their_own_leave_the_table_alone() -> None:
    assert ForkedError.code == ConnectionClosedError.code == -116
    assert BY_CODE[-116] is ConnectionClosedError
    assert RolledBackError.code == 0
    assert 0 not in BY_CODE


@pytest.mark.parametrize("cls", classes(), ids=lambda c: c.__name__)
def test_errors_survive_pickle_and_copy(cls: Type[ZookeeperError]) -> None:
    error = cls(None, "/a/b", -77)
    error.maybe_applied = not cls.maybe_applied
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is cls
        assert (str(twin), twin.path, twin.code) == (str(error), "/a/b", -77)
        assert twin.maybe_applied is error.maybe_applied


def test_pickled_connection_loss_keeps_sent() -> None:
    assert pickle.loads(pickle.dumps(ConnectionLoss(sent=False))).sent is False


@fault("X24")
@pytest.mark.parametrize(
    ("sasl", "auth", "says"),
    [
        (False, False, "this client has neither"), (True, False, "this client has sasl=, which is not enough"),
        (True, True, "this client has sasl= and auth_data=, which"),
    ],
)  # fmt: skip
def test_authentication_that_is_required_names_causes_and_remedies(sasl: bool, auth: bool, says: str) -> None:
    error = SessionClosedRequireSaslError.remedied(sasl, auth, "/a")
    assert (type(error), error.code, error.path) == (SessionClosedRequireSaslError, -124, "/a")
    for part in ("sessionRequireClientSASLAuth", "enforce.auth.schemes", "sasl=", "auth_data=", says):
        assert part in str(error)
