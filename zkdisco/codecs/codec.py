"""What a codec is: how the data of a node becomes an instance, and back; and what nodes are called.

Owns what all formats share. Must not know ZooKeeper, nor any format but plain text.
"""

from __future__ import annotations

from typing import Any, Generic, Optional, TypeVar

I = TypeVar("I")  # noqa: E741  # an instance, as the user has it


class Naming:
    """What the node of an instance of ours is called, and which children are instances. This one: any name.

    Immutable: a codec has one, and shares it with all that use it.
    """

    def accepts(self, name: str) -> bool:
        """Whether a child of this name is an instance: if not, it is not read. Never blocks, never raises."""
        return True

    def node_name(self, instance: Any) -> Optional[str]:
        """The exact name of the node of this instance; None for a protected name with a number, as Go kit's."""
        return None


class Codec(Generic[I]):
    """How instances are kept in nodes: a base class. Whoever derives from it gives `decode`, and `encode` to register.

    `decode` is called on the thread on which a client's cores run, and sometimes on others: it must not block. A node
    costs at most itself: what `decode` raises leaves out this node, and is told with it.
    """

    #: What the format is called, where there is a choice (`--codec`).
    name = "custom"
    naming = Naming()

    def decode(self, name: str, data: bytes) -> I:
        """The instance that the node `name` holds as `data`. `ValueError` if it holds none, saying why."""
        raise NotImplementedError

    def encode(self, instance: I) -> bytes:
        """The data of the node for `instance`. `ValueError` for one that the format cannot tell; `TypeError`."""
        raise ValueError(f"the format {self.name!r} can be read, but not written")

    def complete(self, instance: I) -> I:
        """`instance`, with what it needs to be written and may be chosen for it: an id, say. Itself if that is all."""
        return instance

    def __repr__(self) -> str:
        return f"<codec {self.name}>"


class Text(Codec[str]):
    """Plain text: the data is UTF-8, and the instance is that `str`."""

    name = "text"

    def decode(self, name: str, data: bytes) -> str:
        """The data as text. `UnicodeDecodeError`, a `ValueError`, if it is not UTF-8."""
        return data.decode()

    def encode(self, instance: str) -> bytes:
        """The text as UTF-8."""
        if not isinstance(instance, str):
            raise TypeError(f"an instance of the format 'text' is a str, not {type(instance).__name__}")
        return instance.encode()


#: The one instance there needs to be.
TEXT = Text()
