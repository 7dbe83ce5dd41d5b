"""The sessions to record for one version of the server: which servers, which clients, which topics."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, Callable, Dict, List, Tuple

from tests.kit.harness.servers import Ensemble, Server
from tests.tools.recording import foreign, nodes, own, sessions
from tests.tools.recording.raw import RawClient
from tests.tools.recording.tape import Tape

CLIENT = "zkwire.ops over a socket"
Script = Callable[[RawClient, Tuple[int, ...], str], None]
Session = Callable[[], int]

#: Name, script, first version that knows it, options of the server (None: the one all share).
SCRIPTS: List[Tuple[str, Script, Tuple[int, ...], Dict[str, Any]]] = [
    ("nodes", nodes.nodes, (3, 4), {}),
    ("new-nodes", nodes.new_nodes, (3, 5), {}),
    ("errors", nodes.errors, (3, 4), {}),
    ("watches", nodes.watches, (3, 4), {}),
    ("persistent-watches", nodes.persistent, (3, 6), {}),
    ("catch-up", nodes.catch_up, (3, 4), {}),
    ("multi", nodes.multi, (3, 4), {}),
    ("multi-read", nodes.multi_read, (3, 6), {}),
    ("handshake", sessions.handshake, (3, 4), {}),
    ("moved", sessions.moved, (3, 4), {}),
    ("auth", sessions.auth, (3, 4), {}),
    ("closing", sessions.closing, (3, 4), {}),
    ("expiry", sessions.expiry, (3, 4), {}),
    ("sasl", sessions.sasl, (3, 4), {}),
    ("unimplemented", sessions.unimplemented, (3, 4), {"extended": False}),
    ("sasl-required", sessions.sasl_required, (3, 6), {"sasl_required": True}),
    ("quota", sessions.quota, (3, 7), {"props": {"zookeeper.enforceQuota": "true"}}),
]
SASL = {sessions.USER: sessions.PASSWORD}


class Studio:
    """Servers of one version, started when a session needs them."""

    def __init__(self, version: str, topics: List[str]) -> None:
        self.version, self.topics = version, topics
        self.numbers = tuple(int(part) for part in version.split("."))
        self._servers: Dict[str, Server] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def server(self, options: Dict[str, Any]) -> Server:
        """A standalone server with these options, besides those all have."""
        key = repr(options)
        if key not in self._servers:
            common = {"sasl": SASL, "superpw": "super", "extended": self.numbers >= (3, 5)}
            server = Server(self.version, **{**common, **options})
            self._servers[key] = self._stack.enter_context(server)
        return self._servers[key]

    def sessions(self) -> Iterator[Tuple[str, Session]]:
        """Name and recorder of each session there is for this version."""
        for name, session in [*self._ours(), *self._ensembles(), *self._foreign()]:
            if not self.topics or any(topic in name for topic in self.topics):
                yield name, session

    # ---------------------------------------------------------------- our side

    def _ours(self) -> Iterator[Tuple[str, Session]]:
        for topic, script, since, options in SCRIPTS:
            if self.numbers >= since:
                name = f"ours-{topic}"
                yield name, functools.partial(self._alone, name, script, options)

    def _alone(self, name: str, script: Script, options: Dict[str, Any]) -> int:
        setting = ", ".join(f"{key} {value}" for key, value in options.items())
        return self._script(name, script, self.server(options), setting)

    def _script(self, name: str, script: Script, server: Server, setting: str) -> int:
        with Tape(server.host, server.port) as tape:
            client = RawClient(tape)
            if client.connect() is None:
                raise ConnectionError("the server refused the session")
            script(client, self.numbers, f"/{name}")
            return tape.save(self.version, CLIENT, name, _topic(script), setting)

    def _foreign(self) -> Iterator[Tuple[str, Session]]:
        for name, session in [*own.sessions(self.version, self.numbers), *foreign.sessions(self.version, self.numbers)]:
            yield name, lambda session=session: session(self.server({}))  # type: ignore[misc]

    # ---------------------------------------------------------------- ensembles

    def _ensembles(self) -> Iterator[Tuple[str, Session]]:
        yield "ours-follower", self._follower
        yield "ours-read-only", self._read_only
        if self.numbers >= (3, 5):
            yield "ours-reconfig", self._reconfig
            yield "ours-read-only-refusing", self._refusing
            yield "ours-local-session", self._local_session

    def _follower(self) -> int:
        with Ensemble(3, self.version) as ensemble:
            return self._script("ours-follower", sessions.follower, ensemble.followers()[0], "ensemble of 3")

    def _reconfig(self) -> int:
        with Ensemble(3, self.version, superpw="super", cfg={"reconfigEnabled": "true"}) as ensemble:
            stays, goes = ensemble.followers()
            script = functools.partial(sessions.reconfig, leaving=str(goes.number))
            script.__doc__ = sessions.reconfig.__doc__
            return self._script("ours-reconfig", script, stays, "ensemble of 3, reconfigEnabled")

    def _local_session(self) -> int:
        with Ensemble(3, self.version, cfg={"localSessionsEnabled": "true"}) as ensemble:
            setting = "ensemble of 3, localSessionsEnabled"
            return self._script("ours-local-session", sessions.local_session, ensemble[0], setting)

    def _read_only(self) -> int:
        return self._without_quorum("ours-read-only", sessions.read_only, {})

    def _refusing(self) -> int:
        cfg = {"localSessionsEnabled": None, "localSessionsUpgradingEnabled": None}
        return self._without_quorum("ours-read-only-refusing", sessions.read_only_refusing, cfg)

    def _without_quorum(self, name: str, script: Script, cfg: Dict[str, Any]) -> int:
        with contextlib.ExitStack() as stack:
            ensemble = stack.enter_context(Ensemble(3, self.version, readonly=True, cfg=cfg))
            tape = stack.enter_context(Tape(ensemble[0].host, ensemble[0].port))
            client = RawClient(tape)
            client.connect(read_only=True)
            client.drop()
            ensemble[1].kill()
            ensemble[2].kill()
            ensemble[0].wait_mode("read-only")
            script(client, self.numbers, f"/{name}")
            setting = "ensemble of 3 with readonlymode.enabled, two of them killed after the first connection"
            return tape.save(self.version, CLIENT, name, _topic(script), setting)


def _topic(script: Callable[..., Any]) -> str:
    return (script.__doc__ or "").strip().splitlines()[0].rstrip(".")
