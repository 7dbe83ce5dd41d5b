"""The network where namespaces cannot be had: everything on 127.0.0.1, with a fault proxy between each group of clients and
each server.

Owns the proxies. Partitions and delays between clients and servers are as in `network`; between servers nothing can be
broken, and no byte is lost by itself: what a partition holds back is delivered when it is over, as TCP would.
"""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

from tests.kit.harness.proxy import FaultProxy
from tests.kit.harness.servers import Home

from .network import Lines


class ProxyNetwork:
    """The same calls as `Network`. A proxy begins to listen when its way is first asked for."""

    kind = "the fault proxy (clients and servers only)"
    between_servers = False

    def __init__(self, names: Sequence[str], seed: int) -> None:
        self._proxies: Dict[Tuple[str, str, int], FaultProxy] = {}
        self.packets: Dict[str, int] = {}

    def home(self, name: str) -> Home:
        """This machine."""
        return Home()

    def way(self, source: str, server: str, port: int) -> str:
        """The connect string of the proxy between them."""
        key = (source, server, port)
        if key not in self._proxies:
            self._proxies[key] = FaultProxy("127.0.0.1", port)
        return self._proxies[key].hosts

    def set(self, lines: Lines) -> None:
        """From now on these lines are as told, and all others pass everything."""
        for (source, server, _), proxy in self._proxies.items():
            proxy.heal()
            for direction, pair in (("up", (source, server)), ("down", (server, source))):
                line = lines.get(pair)
                if line is not None and line.drop:
                    proxy.black_hole(direction, keep=True)
                elif line is not None and (line.delay or line.loss):
                    # TCP sends a lost segment again after 0.2 s: on average each byte is that much later.
                    proxy.delay(line.delay + 0.2 * line.loss, direction)

    def close(self) -> None:
        """End all proxies."""
        for proxy in self._proxies.values():
            proxy.close()
