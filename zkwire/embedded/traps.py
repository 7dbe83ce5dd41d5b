"""A trap: the requests whose answers are to be lost.

Owns which requests match, and how many more. Must not know connections.
"""

from __future__ import annotations

from typing import Any, Optional, Type, Union

from ..ops import BY_OPCODE
from ..wire.operation import Op

_WRITES = frozenset(code for code, op in BY_OPCODE.items() if op.writes)


class Trap:
    """Takes the next `times` requests that match: without `op` any write."""

    def __init__(self, op: Union[Type[Op[Any]], int, None], path: Optional[str], times: int) -> None:
        if times < 1:
            raise ValueError(f"times {times}: expected 1 or more")
        self._opcodes = _WRITES if op is None else frozenset([op if isinstance(op, int) else op.opcode])
        self._path, self._left = None if path is None else path.encode(), times

    def takes(self, opcode: int, path: bytes) -> bool:
        """Whether the answer to this request is to be lost; this call uses it up."""
        if not self._left or opcode not in self._opcodes or self._path not in (None, path):
            return False
        self._left -= 1
        return True
