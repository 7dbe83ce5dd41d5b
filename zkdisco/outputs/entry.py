"""What is written of an instance: itself, and the node it is, which gives it a name that stays.

Owns the value, and the codec that gives it. Must not know formats of files.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Union

from ..codecs import Codec, Instance, find
from ..codecs.gokit import GOKIT


class Entry(NamedTuple):
    """An instance with the name of its node. `instance` is None for text that holds no address; `text` is that text."""

    node: str
    instance: Optional[Instance]
    text: str = ""


class Named(Codec[Entry]):
    """Reads what another codec reads, and keeps the name of the node with it: `Instancer(client, path, Named("text"))`.

    `codec` is a codec or the name of a format.
    """

    def __init__(self, codec: Union[str, Codec[Any]] = "text") -> None:
        self._codec = find(codec)
        self.name, self.naming = self._codec.name, self._codec.naming

    def decode(self, name: str, data: bytes) -> Entry:
        """The entry for the node `name`. `ValueError` for what the other codec cannot read."""
        return entry_of(self._codec.decode(name, data))._replace(node=name)


def entry_of(instance: Any) -> Entry:
    """The entry for an instance of any codec; where no node is known, its id or itself stands for the name.

    `TypeError` if it is neither an `Entry`, an `Instance` nor a `str`.
    """
    if isinstance(instance, Entry):
        return instance
    if isinstance(instance, Instance):
        return Entry(instance.id or instance.address, instance)
    if isinstance(instance, str):
        try:
            return Entry(instance, GOKIT.decode("", instance.encode("utf-8", "surrogatepass")), instance)
        except ValueError:
            return Entry(instance, None, instance)
    raise TypeError(f"what can be written is an Instance or text, not {type(instance).__name__}")
