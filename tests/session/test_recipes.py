"""Recipes, one answer at a time: what they ask, what they make of it, and what an error accounts for."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, List, Optional, Tuple

import pytest

from zkwire import errors, ops, recipes
from zkwire.session.windows import Windows
from zkwire.values import OPEN_ACL_UNSAFE, Stat

NODE = Stat(1, 1, 0, 0, 0, 0, 0, 7, 0, 0, 1)


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


# -------------------------------------------------------------------------- one by one


def test_a_chroot_is_made_from_the_first_parent_that_is_there() -> None:
    recipe = recipes.make_chroot(OPEN_ACL_UNSAFE)
    asked = [next(recipe).up, recipe.throw(errors.NoNodeError()).up, recipe.throw(errors.NoNodeError()).up]
    asked += [recipe.throw(errors.NodeExistsError()).up, recipe.send(None).up]
    assert asked == [0, 1, 2, 1, 0]
    with pytest.raises(StopIteration):
        recipe.send(None)


def test_a_path_is_made_below_what_is_there() -> None:
    recipe = recipes.ensure_path("/a/b/c")
    assert paths(next(recipe)) == ["/", "/a", "/a/b", "/a/b/c"]
    assert paths(recipe.send([None, errors.NoAuthError(), None, None])) == ["/a/b", "/a/b/c"]
    with pytest.raises(StopIteration) as end:
        recipe.send(["/a/b", errors.NodeExistsError()])
    assert end.value.value is True


def test_a_path_whose_chroot_is_missing_begins_with_the_chroot() -> None:
    recipe = recipes.ensure_path("/a")
    next(recipe)
    assert isinstance(recipe.send([None, None]), ops.CreateChroot)
    assert paths(recipe.send(None)) == ["/a"]


def test_a_path_whose_parents_vanish_again_and_again_is_given_up() -> None:
    with pytest.raises(errors.NoNodeError):
        play(recipes.ensure_path("/a"), *[[NODE, None], [errors.NoNodeError()]] * recipes.ATTEMPTS)


def test_a_path_that_may_not_be_made_is_an_error_at_once() -> None:
    with pytest.raises(errors.NoAuthError):
        play(recipes.ensure_path("/a"), [NODE, None], [errors.NoAuthError()])


def test_parents_are_made_for_a_node_and_only_when_they_are_missing() -> None:
    assert play(recipes.create_with_parents(ops.Create("/a/b")), "/a/b") == "/a/b"
    missing = [errors.NoNodeError(), [NODE, None], ["/a"]]
    assert play(recipes.create_with_parents(ops.Create("/a/b")), *missing, "/a/b") == "/a/b"
    with pytest.raises(errors.NoNodeError):
        play(recipes.create_with_parents(ops.Create("/a/b")), *missing * recipes.ATTEMPTS, errors.NoNodeError())


def test_a_tree_is_deleted_from_below() -> None:
    recipe = recipes.delete_recursive("/a", 3)
    assert paths(next(recipe)) == ["/a"]
    assert paths(recipe.send([["b", "c"]])) == ["/a/b", "/a/c"]
    assert paths(recipe.send([["d"], errors.NoNodeError()])) == ["/a/b/d"]
    assert paths(recipe.send([[]])) == []
    assert paths(recipe.send([])) == ["/a/b/d"]
    assert paths(recipe.send([errors.NoNodeError()])) == ["/a/b", "/a/c"]
    last = recipe.send([None, None])
    assert (last.path, last.version) == ("/a", 3)
    with pytest.raises(StopIteration) as end:
        recipe.send(None)
    assert end.value.value is True


def test_of_the_root_only_what_is_below_is_deleted() -> None:
    assert play(recipes.delete_recursive("/"), [["a"]], [[]], [], [None]) is True


@pytest.mark.parametrize("answers", [
    [[errors.NoNodeError()]], [[["b"]], [errors.NoAuthError()]], [[["b"]], [[]], [], [errors.NotEmptyError()]],
])  # fmt: skip
def test_what_is_not_there_or_cannot_be_deleted_is_an_error(answers: List[Any]) -> None:
    with pytest.raises((errors.NoNodeError, errors.NoAuthError, errors.NotEmptyError)):
        play(recipes.delete_recursive("/a"), *answers)


# --------------------------------------------------------------------- protected creates


class Front:
    """A client with the session of `NODE`, or of another number."""

    def __init__(self, session: Optional[int] = NODE.ephemeralOwner) -> None:
        self.client_id: Optional[Tuple[int, bytes]] = None if session is None else (session, b"")


def protected(front: Front, ephemeral: bool = True, make: Any = ops.Create, path: str = "/a/n-") -> Any:
    return recipes.create_protected(front, make, path, ephemeral, recipes.single)


def lost() -> errors.ConnectionLoss:
    return errors.ConnectionLoss("lost", sent=True)


@pytest.mark.parametrize(("path", "parent"), [("/a/n-", "/a"), ("/n-", "")])
def test_a_protected_name_stands_in_its_parent(path: str, parent: str) -> None:
    op = next(protected(Front(), path=path))
    assert op.path.startswith(f"{parent}/_c_") and op.path.endswith("-n-")


@pytest.mark.parametrize(("make", "whole"), [(ops.Create, False), (ops.Create2, True)])
def test_a_node_whose_answer_was_lost_is_found_again(make: Any, whole: bool) -> None:
    recipe = protected(Front(), make=make)
    name = next(recipe).path[3:]
    assert [type(op) for op in recipe.throw(lost())] == [ops.Sync, ops.GetChildren]
    assert recipe.send(["/a", ["other", name + "7"]]).path == f"/a/{name}7"
    with pytest.raises(StopIteration) as end:
        recipe.send(NODE)
    assert end.value.value == ((f"/a/{name}7", NODE) if whole else f"/a/{name}7")


@pytest.mark.parametrize("session", [8, None])
def test_an_ephemeral_node_of_an_earlier_session_makes_room_for_a_new_one(session: Any) -> None:
    recipe = protected(Front(session))
    made = next(recipe)
    recipe.throw(lost())
    recipe.send(["/a", [made.path[3:]]])
    assert isinstance(recipe.send(NODE), ops.Delete)
    assert recipe.throw(errors.NoNodeError()) == made


@pytest.mark.parametrize("found", [["/a", []], ["/a", errors.NoNodeError()], [errors.NoNodeError(), []]])
def test_a_node_that_was_not_made_is_made(found: List[Any]) -> None:
    recipe = protected(Front())
    made = next(recipe)
    recipe.throw(lost())
    assert recipe.send(found) == made


def test_a_node_that_goes_while_it_is_looked_for_is_made_anew() -> None:
    recipe = protected(Front(), ephemeral=False)
    made = next(recipe)
    recipe.throw(lost())
    recipe.send(["/a", [made.path[3:]]])
    assert recipe.send(None) == made


def test_a_create_that_was_never_sent_is_not_looked_for() -> None:
    recipe = protected(Front())
    made = next(recipe)
    assert recipe.throw(errors.ConnectionLoss("no connection", sent=False)) == made


def test_a_search_that_is_refused_is_an_error() -> None:
    recipe = protected(Front())
    next(recipe)
    recipe.throw(lost())
    with pytest.raises(errors.NoAuthError):
        recipe.send(["/a", errors.NoAuthError()])


def test_a_connection_that_is_lost_again_and_again_ends_it() -> None:
    with pytest.raises(errors.ConnectionLoss):
        play(protected(Front()), *[lost()] * recipes.ATTEMPTS)


def test_a_time_out_ends_it_at_once() -> None:
    with pytest.raises(errors.OperationTimeoutError):
        play(protected(Front()), errors.OperationTimeoutError("late"))


# --------------------------------------------------------------------------- drive


class Wire:
    """A front's futures, in the test's hands. `room`: so many operations are taken."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.sent: List[Tuple[Any, Future[Any], bool]] = []
        self.cancelled: List[Any] = []

    def submit(self, op: Any, force: bool) -> Future[Any]:
        if len(self.sent) >= self.room and not force:
            raise errors.TooManyPendingError("full")
        self.sent.append((op, Future(), force))
        return self.sent[-1][1]

    def cancel(self, future: Future[Any]) -> bool:
        op = next(op for op, one, _ in self.sent if one is future)
        self.cancelled.append(op)
        return op.path != "/sent"

    def drive(self, work: Any) -> Any:
        return recipes.drive(work, self.submit, self.cancel, Windows(1000))


def batch(*made: Any) -> Any:
    return (yield list(made))


def test_outcomes_come_in_order_and_errors_as_values() -> None:
    wire = Wire()
    run = wire.drive(batch(ops.Delete("/a"), ops.Delete("/b")))
    assert next(run) is wire.sent[0][1] and len(wire.sent) == 2
    error = errors.NoNodeError()
    wire.sent[1][1].set_result(None)
    with pytest.raises(StopIteration) as end:
        run.throw(error)
    assert end.value.value == [error, None]


def test_a_full_client_narrows_the_window_to_one() -> None:
    wire = Wire(room=1)
    run = wire.drive(batch(ops.Delete("/a"), ops.Delete("/b")))
    next(run)
    assert [(op.path, force) for op, _, force in wire.sent] == [("/a", True)]
    assert run.send(None) is wire.sent[1][1] and wire.sent[1][2]


def test_a_time_out_in_a_batch_takes_back_the_rest_and_accounts_for_it() -> None:
    wire = Wire()
    run = wire.drive(batch(ops.Delete("/done"), ops.Delete("/late"), ops.Delete("/sent"), ops.Delete("/queued")))
    next(run)
    run.send(None)
    late = errors.OperationTimeoutError("late")
    late.maybe_applied = True
    with pytest.raises(errors.OperationTimeoutError, match="done before: .*perhaps done: ") as caught:
        run.throw(late)
    assert [op.path for op in wire.cancelled] == ["/sent", "/queued"]
    assert paths(caught.value.applied) == ["/done"] and paths(caught.value.in_doubt) == ["/late", "/sent"]


def test_a_text_names_a_few_and_counts_the_others() -> None:
    def many() -> Any:
        for number in range(5):
            yield ops.Delete(f"/{number}")
        raise errors.NoAuthError()

    run = Wire().drive(many())
    next(run)
    for _ in range(4):
        run.send(None)
    with pytest.raises(errors.NoAuthError, match="and 2 more") as caught:
        run.send(None)
    assert len(caught.value.applied) == 5 and caught.value.maybe_applied


def test_an_error_of_a_recipe_that_wrote_nothing_stays_as_it_is() -> None:
    run = Wire().drive(recipes.single(ops.GetData("/a")))
    next(run)
    with pytest.raises(errors.NoNodeError) as caught:
        run.throw(errors.NoNodeError("as it was"))
    assert str(caught.value) == "as it was" and not caught.value.maybe_applied


def test_only_the_path_of_what_tells_both() -> None:
    assert play(recipes.only_path(recipes.single(ops.Create2("/a"))), ("/a", NODE)) == "/a"
    assert play(recipes.get_many(["/a"]), [(b"", NODE)]) == [(b"", NODE)]
