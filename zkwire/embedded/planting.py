"""The tree of a server as a plain dict: what a test plants, and what it finds.

Owns how a dict becomes nodes. Must not know sockets, sessions or the clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Mapping

from ..errors import error_for
from ..values import OPEN_ACL_UNSAFE
from . import requests
from .database import Caller
from .tree import Tree

if TYPE_CHECKING:
    from .core import BareCore

_CREATE, _SET_DATA = 1, 5


def tree_below(tree: Tree, path: str) -> Dict[str, bytes]:
    """The nodes below `path`, sorted; the server's own below /zookeeper only if they are asked for."""
    inside = path.rstrip("/") + "/"
    return {
        name: node.data or b"" for name, node in sorted(tree.nodes.items())
        if name.startswith(inside) and name != "/" and (inside != "/" or f"{name}/"[:11] != "/zookeeper/")
    }  # fmt: skip


def plant(core: BareCore, tree: Mapping[str, bytes], now: float) -> None:
    """Create the nodes of `tree`, and their parents where there are none."""
    for path, data in tree.items():
        above = ""
        for name in path.split("/")[1:-1]:
            above += "/" + name
            if core.data.tree.get(above) is None:
                _write(core, now, _CREATE, path=above, value=b"", acl=list(OPEN_ACL_UNSAFE), flags=0)
        if core.data.tree.get(path) is None:
            _write(core, now, _CREATE, path=path, value=data, acl=list(OPEN_ACL_UNSAFE), flags=0)
        else:
            _write(core, now, _SET_DATA, path=path, value=data, version=-1)


def _write(core: BareCore, now: float, opcode: int, **values: Any) -> None:
    body = bytearray()
    for name, codec in requests.FIELDS[opcode]:
        codec.write(body, values[name], None)
    answer = core.data.answer(opcode, bytes(body), Caller(0, (), None), core.wall_ms(now))
    if answer is not None and answer[0]:
        raise ValueError(f"cannot plant {values['path']!r}: {error_for(answer[0])}")
