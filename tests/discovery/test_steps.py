"""The steps of discovery, one answer at a time: what is asked next, and what comes of it."""

from __future__ import annotations

from typing import Any, List

import pytest

from zkdisco.steps import ATTEMPTS, create_parents, delete_quietly, entries_of, ours
from zkdisco.values import NodeNotFoundError
from zkwire import errors, ops
from zkwire.values import OPEN_ACL_UNSAFE, Stat

NODE = Stat(1, 1, 0, 0, 0, 0, 0, 7, 0, 0, 1)
DIRECTORY = "/org/api"


def play(recipe: Any, *answers: Any) -> Any:
    """The result of a recipe that is given these answers; each may be an exception, which is thrown."""
    asked = next(recipe)
    for answer in answers:
        try:
            asked = recipe.throw(answer) if isinstance(answer, Exception) else recipe.send(answer)
        except StopIteration as stop:
            return stop.value
    raise AssertionError(f"more is asked: {asked}")


def paths(asked: Any) -> List[str]:
    return [op.path for op in asked]


# -------------------------------------------------------------------------- parents


def test_only_what_is_missing_is_made_with_the_payload_of_its_depth() -> None:
    recipe = create_parents("/a/b/c", OPEN_ACL_UNSAFE, [b"1", b"2"])
    assert paths(next(recipe)) == ["/", "/a", "/a/b", "/a/b/c"]
    made = recipe.send([NODE, NODE, None, None])
    assert [(op.path, op.value) for op in made] == [("/a/b", b"2"), ("/a/b/c", b"")]
    with pytest.raises(StopIteration):
        recipe.send(["/a/b", errors.NodeExistsError()])


def test_a_parent_that_may_not_be_seen_is_there() -> None:
    recipe = create_parents("/a/b", OPEN_ACL_UNSAFE, [])
    next(recipe)
    assert paths(recipe.send([None, errors.NoAuthError(), None])) == ["/a/b"]


def test_parents_that_vanish_again_and_again_are_given_up() -> None:
    gone = [[NODE, None], [errors.NoNodeError(None, "/a")]]
    with pytest.raises(errors.NoNodeError):
        play(create_parents("/a", OPEN_ACL_UNSAFE, []), *gone * ATTEMPTS)


def test_another_error_of_a_parent_is_told_at_once() -> None:
    with pytest.raises(errors.NoAuthError):
        play(create_parents("/a", OPEN_ACL_UNSAFE, []), [NODE, None], [errors.NoAuthError(None, "/a")])


def test_a_chroot_that_is_missing_is_made_first() -> None:
    recipe = create_parents("/a", OPEN_ACL_UNSAFE, [])
    next(recipe)
    assert isinstance(recipe.send([None, None]), ops.CreateChroot)
    assert paths(recipe.send(None)) == ["/a"]


# ---------------------------------------------------------------------- nodes of ours


def test_ours_are_those_with_a_prefix_and_a_name_that_can_be_one() -> None:
    recipe = ours(DIRECTORY, ("_c_1-", "1"))
    next(recipe)
    found = recipe.send(["", ["_c_1-7", "2", "1", "x_c_1-"]])
    assert paths(found) == [f"{DIRECTORY}/_c_1-7", f"{DIRECTORY}/1"]
    with pytest.raises(StopIteration) as end:
        recipe.send([NODE, None])
    assert end.value.value == [(f"{DIRECTORY}/_c_1-7", NODE)]


@pytest.mark.parametrize(("stats", "whole"), [([NODE, None], None), ([NODE, NODE], ["a", "b"])])
def test_a_whole_set_has_lost_nobody(stats: List[Any], whole: Any) -> None:
    found = play(ours("/", ("a", "b"), whole=True), ["", ["a", "b"]], stats)
    assert (found and [path[1:] for path, _ in found]) == whole


@pytest.mark.parametrize("outcomes", [
    [errors.NoNodeError(), []], ["", errors.NoNodeError()], [errors.NoNodeError(), errors.NoNodeError()],
])  # fmt: skip
def test_in_a_directory_that_is_gone_there_is_nothing_of_ours(outcomes: List[Any]) -> None:
    assert play(ours(DIRECTORY, ("a",)), outcomes) == []


@pytest.mark.parametrize("answers", [
    [[errors.ConnectionLoss(), ["a"]]], [["", errors.NoAuthError()]], [["", ["a"]], [errors.ConnectionLoss()]],
])  # fmt: skip
def test_what_could_not_be_asked_is_not_taken_for_nothing(answers: List[Any]) -> None:
    with pytest.raises((errors.ConnectionLoss, errors.NoAuthError)):
        play(ours(DIRECTORY, ("a",)), *answers)


@pytest.mark.parametrize("answer", [None, errors.NoNodeError()])
def test_gone_already_is_as_good_as_deleted(answer: Any) -> None:
    assert play(delete_quietly("/a"), answer) is None


def test_a_node_that_may_not_be_deleted_is_an_error() -> None:
    with pytest.raises(errors.NoAuthError):
        play(delete_quietly("/a"), errors.NoAuthError())


# ---------------------------------------------------------------------------- entries


def entries(*answers: Any) -> Any:
    return play(entries_of(DIRECTORY, lambda event: None), *answers)


def test_entries_are_sorted_and_those_that_went_are_left_out() -> None:
    found = entries(["x", "y", "z"], [(b"2", NODE), errors.NoNodeError(), (b"1", NODE)])
    assert list(found) == ["1", "2"] and found.error is None


def test_a_node_without_data_is_an_empty_entry() -> None:
    assert list(entries(["x"], [(None, NODE)])) == [""]


def test_a_directory_that_is_not_there_is_said_so() -> None:
    with pytest.raises(NodeNotFoundError, match=DIRECTORY):
        entries(errors.NoNodeError())


@pytest.mark.parametrize("bad", [errors.NoAuthError(), errors.ProtocolError(), (b"\xff", NODE)])
def test_what_cannot_be_read_is_left_out_and_said(bad: Any) -> None:
    found = entries(["x", "y"], [bad, (b"1", NODE)])
    assert list(found) == ["1"] and f"{DIRECTORY}/x" in str(found.error)


def test_those_lost_with_an_answer_that_could_not_be_taken_are_asked_for_again() -> None:
    recipe = entries_of(DIRECTORY, lambda event: None)
    next(recipe)
    recipe.send(["x", "y"])
    assert paths(recipe.send([errors.ProtocolError(), errors.ConnectionLoss()])) == [f"{DIRECTORY}/y"]
    with pytest.raises(StopIteration) as end:
        recipe.send([(b"1", NODE)])
    assert list(end.value.value) == ["1"]


@pytest.mark.parametrize("error", [errors.ConnectionLoss(), errors.SessionExpiredError()])
def test_a_connection_that_ends_by_itself_ends_the_reading(error: Exception) -> None:
    with pytest.raises(type(error)):
        entries(["x"], [error])
