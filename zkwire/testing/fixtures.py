"""The fixtures for pytest: a server, a client, a tree to begin with, and the troubles of a hostile day.

Owns what pytest is told. This is the only file that imports pytest.
"""

from __future__ import annotations

import importlib
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple, Union

from ..client import ZooKeeper
from ..embedded import EmbeddedServer
from .certificate import Certificate
from .trial import PATIENCE, NotFelt, Trial
from .troubles import TROUBLES, Trouble

_pytest: Any = importlib.import_module("pytest")
#: Sessions end soon, and punctually: a trouble that takes a session timeout takes a second.
SETTINGS: Mapping[str, Any] = {"tick": 0.05, "max_session_timeout": 1.0}


def _zk_settings() -> Dict[str, Any]:
    """Settings for `zk_server`, as `EmbeddedServer` has them: override it where others are needed."""
    return {}


def _zk_tree() -> Dict[str, bytes]:
    """The nodes that `zk_server` begins with, full path to data: override it, or parametrize it."""
    return {}


def _zk_server(zk_settings: Mapping[str, Any], zk_tree: Mapping[str, bytes]) -> Iterator[EmbeddedServer]:
    """An `EmbeddedServer` for this test alone, started; it grants session timeouts of at most a second."""
    with EmbeddedServer(**{**SETTINGS, **zk_settings}) as server:
        server.plant(zk_tree)
        yield server


def _zk_client(request: Any, zk_server: EmbeddedServer, zk_settings: Mapping[str, Any]) -> Iterator[ZooKeeper]:
    """A started `ZooKeeper` for the test's own use, with the first login of the setting `sasl`, and over TLS if
    `zk_settings` has an `ssl_context` (which is then that of `zk_tls`).

    Troubles befall it, too, but it is not the service that has to feel them.
    """
    logins: List[Tuple[str, str]] = list((zk_settings.get("sasl") or {}).items())
    context = request.getfixturevalue("zk_tls").client if zk_settings.get("ssl_context") is not None else None
    with ZooKeeper(zk_server.hosts, sasl=logins[0] if logins else None, ssl_context=context) as zk:
        yield zk


def _zk_tls(tmp_path_factory: Any) -> Certificate:
    """A certificate for 127.0.0.1 and localhost, made for this run of pytest; skips the test without `openssl`."""
    try:
        return Certificate(tmp_path_factory.mktemp("zkwire"))
    except FileNotFoundError as error:
        _pytest.skip(f"zk_tls needs the command openssl: {error}")
        raise


def _zk_patience() -> float:
    """How long `trouble` waits to be felt, in seconds; only a test that fails waits so long."""
    return PATIENCE


def _trouble(request: Any, zk_server: EmbeddedServer, zk_patience: float) -> Trial:
    """A trouble for all clients of `zk_server`: the test runs once for each, and has to use `with trouble`."""
    # Asked for first, so that it is connected before the trouble.
    zk = request.getfixturevalue("zk_client") if "zk_client" in request.fixturenames else None

    def bystanders() -> Sequence[int]:
        return () if zk is None or zk.client_id is None else (zk.client_id[0],)

    return Trial(request.param, zk_server, patience=zk_patience, bystanders=bystanders)


zk_settings = _pytest.fixture(_zk_settings, name="zk_settings")
zk_tree = _pytest.fixture(_zk_tree, name="zk_tree")
zk_patience = _pytest.fixture(_zk_patience, name="zk_patience")
zk_server = _pytest.fixture(_zk_server, name="zk_server")
zk_tls = _pytest.fixture(_zk_tls, name="zk_tls", scope="session")
zk_client = _pytest.fixture(_zk_client, name="zk_client")
trouble = _pytest.fixture(_trouble, name="trouble", params=TROUBLES, ids=[one.name for one in TROUBLES])


def hostile_day(*chosen: Union[Trouble, str, Callable[..., Any]], leave_out: Sequence[str] = ()) -> Any:
    """Which troubles a test or a class with the argument `trouble` is run with: `@hostile_day`, or with arguments.

        @hostile_day("the session expires", ANSWER_LOST)        # these, by name or as values
        @hostile_day(leave_out=["the network is slow"])         # all of `TROUBLES` but these

    Without it a test runs with all of `TROUBLES`. `ValueError` for a name that is none of theirs.
    """
    if len(chosen) == 1 and callable(chosen[0]):
        return _with(TROUBLES)(chosen[0])
    by_name = {one.name: one for one in TROUBLES}
    unknown = [name for name in (*chosen, *leave_out) if not isinstance(name, Trouble) and name not in by_name]
    if unknown:
        raise ValueError(f"no trouble {unknown[0]!r}; there are: {', '.join(map(repr, by_name))}")
    troubles = [one if isinstance(one, Trouble) else by_name[str(one)] for one in chosen] or list(TROUBLES)
    return _with([one for one in troubles if one.name not in leave_out])


def _with(troubles: Sequence[Trouble]) -> Any:
    return _pytest.mark.parametrize("trouble", troubles, ids=[one.name for one in troubles], indirect=True)


def _pytest_pyfunc_call(pyfuncitem: Any) -> Iterator[None]:
    """Fail a test that has passed though its trouble never came."""
    result = yield
    trial = pyfuncitem.funcargs.get("trouble")
    if isinstance(trial, Trial) and not trial.begun:
        raise NotFelt(f"{trial.name}: the trouble never came: use `with trouble: ...` while your service runs")
    return result


pytest_pyfunc_call = _pytest.hookimpl(wrapper=True)(_pytest_pyfunc_call)
