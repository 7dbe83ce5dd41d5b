"""What a running program is told of the API: `help`, `inspect.signature` and `typing.get_type_hints` tell the truth."""

from __future__ import annotations

import inspect
import logging
import pydoc
import typing
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest

import zkdisco
import zkdisco.aio
import zkwire
import zkwire.embedded
import zkwire.ops
from zkwire import AsyncZooKeeper, Stat, ZooKeeper
from zkwire.verbs import Verbs

#: The names of each module that users have.
NAMES = {
    zkwire: [*zkwire.__all__, "AsyncZooKeeper"], zkdisco: zkdisco.__all__, zkwire.ops: zkwire.ops.__all__,
    zkwire.embedded: zkwire.embedded.__all__, zkdisco.aio: ["Client", "Instancer", "Registrar"],
}  # fmt: skip
VERBS = [name for name, verb in vars(Verbs).items() if getattr(verb, "verb", False)]


def functions() -> Iterator[Tuple[str, Any]]:
    """Every public function, method, constructor and property, by name."""
    for module, names in NAMES.items():
        for name in names:
            thing = getattr(module, name)
            members = {key: inspect.getattr_static(thing, key) for key in dir(thing)} if inspect.isclass(thing) else {"": thing}
            for key, member in members.items():
                member = member.fget if isinstance(member, property) else member
                if inspect.isfunction(member) and (not key.startswith("_") or key == "__init__"):
                    yield f"{module.__name__}.{name}.{key}", member


def test_every_annotation_can_be_resolved() -> None:
    """As frameworks do that look into constructors; those of the C library and `typing` itself are not ours."""
    seen: Dict[str, Any] = dict(functions())
    assert len(seen) > 200
    for name, function in seen.items():
        if function.__module__.startswith(("zkwire", "zkdisco")):
            assert isinstance(typing.get_type_hints(function), dict), name


@pytest.mark.parametrize("front", [ZooKeeper, AsyncZooKeeper])
def test_a_verb_says_what_its_call_gives(front: Any) -> None:
    """Not by which operation. A coroutine function is annotated with what is awaited, as is usual."""
    hints = {name: typing.get_type_hints(getattr(front, name))["return"] for name in VERBS}
    assert hints["get"] == Tuple[bytes, Stat] and hints["exists"] == Optional[Stat] and hints["set"] is Stat
    assert hints["ensure_path"] is bool and hints["delete"] == Optional[bool] and hints["add_watch"] is type(None)
    assert hints["create"] == typing.Union[str, Tuple[str, Stat]]
    assert hints["get_children"] == typing.Union[List[str], Tuple[List[str], Stat]]
    for name in VERBS:
        method = getattr(front, name)
        signature = inspect.signature(method)
        assert list(signature.parameters)[-1] == "timeout" and "self" in signature.parameters
        assert not any(kind in str(signature.return_annotation) for kind in ("Op[", "Recipe[", "Work[")), name
        assert inspect.iscoroutinefunction(method) is (front is AsyncZooKeeper)


def test_help_tells_the_truth() -> None:
    assert "-> Tuple[bytes, Stat]" in pydoc.plain(pydoc.render_doc(ZooKeeper.get)).replace("'", "")
    assert "The node's data and `Stat`" in pydoc.plain(pydoc.render_doc(AsyncZooKeeper.get))


def test_the_logger_of_the_constructor_is_one_of_logging() -> None:
    assert typing.get_type_hints(ZooKeeper.__init__)["logger"] == Optional[logging.Logger]
