"""What must not survive a fork: sockets and threads belong to the process that made them.

Owns who is told in the child. Must not know what they do then.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Owner(Protocol):
    """Something with a socket, a lock or a thread."""

    def disown(self) -> None:
        """In the child of a fork: let go of all that is the parent's, without a word to anybody."""


_owners: weakref.WeakSet[Owner] = weakref.WeakSet()
_watching = False


def track(owner: Owner) -> None:
    """Call `owner.disown()` in every child forked from now on, while `owner` lives. Not at import: only users pay."""
    global _watching
    _owners.add(owner)
    if not _watching and hasattr(os, "register_at_fork"):
        _watching = True
        os.register_at_fork(after_in_child=_disown_all)


def _disown_all() -> None:
    for owner in list(_owners):
        owner.disown()
