"""Test your own service against ZooKeeper's worst days: fixtures for pytest, and troubles that have to be felt.

    pytest_plugins = ["zkwire.testing"]         # or: pytest -p zkwire.testing

    def test_my_service(zk_server, trouble):    # runs once for each trouble
        with MyService(zk_server.hosts) as service:
            with trouble:
                service.work()
            zk_server.wait_for(lambda: service.is_well())

A test fails if nothing shows that the service has noticed the trouble (`NotFelt`). docs/testing.md is the cookbook.
Without pytest there is all that is no fixture: `Trial(TROUBLES[0], server)`. PYTEST_DONT_REWRITE: it has no asserts.
"""

from __future__ import annotations

from typing import Any

from .trial import NotFelt, Trial
from .troubles import ANSWER_LOST, TROUBLES, Evidence, Sight, Trouble

_NEED_PYTEST = (
    "hostile_day", "pytest_pyfunc_call", "trouble", "zk_client", "zk_patience", "zk_server", "zk_settings", "zk_tls",
    "zk_tree",
)  # fmt: skip
__all__ = ["ANSWER_LOST", "Evidence", "NotFelt", "Sight", "TROUBLES", "Trial", "Trouble"]

try:
    from .fixtures import hostile_day as hostile_day
    from .fixtures import pytest_pyfunc_call as pytest_pyfunc_call
    from .fixtures import trouble as trouble
    from .fixtures import zk_client as zk_client
    from .fixtures import zk_patience as zk_patience
    from .fixtures import zk_server as zk_server
    from .fixtures import zk_settings as zk_settings
    from .fixtures import zk_tls as zk_tls
    from .fixtures import zk_tree as zk_tree
except ModuleNotFoundError as error:
    if "pytest" not in str(error):
        raise
else:
    __all__ += _NEED_PYTEST


def __getattr__(name: str) -> Any:
    if name in _NEED_PYTEST:
        raise ImportError(f"{__name__}.{name} needs pytest, which is not installed")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
