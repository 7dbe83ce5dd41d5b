"""`NamedTuple` and `Generic` as `typing` has them, for a third of the cost: every process pays for them at import.

Owns what a running program needs of both: fields, and a class that can be subscripted; and modules that annotations
name but that are loaded late. Type checkers see the originals. `typing` compiles each annotation, though none is ever
evaluated here (PEP 563), and keeps an object for each subscript.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Generic as Generic
    from typing import NamedTuple as NamedTuple
else:
    from collections import namedtuple

    class Generic:
        """The base of a class with type parameters."""

        __slots__ = ()

        def __class_getitem__(cls, parameters):
            return cls

    class _Maker(type):
        """Makes a named tuple of a class body: its annotations are the fields, its values the defaults."""

        def __new__(cls, name, bases, body):
            fields = tuple(body.get("__annotations__", ()))
            defaults = [body.pop(field) for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body.pop("__module__"))
            made.__new__.__annotations__ = body.get("__annotations__", {})  # for `inspect.signature` and `help`
            for key, value in body.items():
                setattr(made, key, value)
            return made

    class Late:
        """A module that is imported when it is first used, or when `typing.get_type_hints` asks for what it has."""

        def __init__(self, name):
            self._name = name

        def __getattr__(self, attribute):
            return getattr(__import__(self._name), attribute)

    NamedTuple = type.__new__(_Maker, "NamedTuple", (), {"__module__": __name__})

__all__ = ["Generic", "NamedTuple"]  # and Late, for what type checkers do not read
