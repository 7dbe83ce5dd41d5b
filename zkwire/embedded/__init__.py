"""An in-memory ZooKeeper in this process, for tests, demonstrations and development: no Java, nothing to install.

    from zkwire.embedded import EmbeddedServer

    with EmbeddedServer() as server:
        print(server.hosts)        # 127.0.0.1:45231

The differential test compares it with the real server. It keeps everything in memory, and fails on demand, so that you
can test how your own service behaves when ZooKeeper fails. `EmbeddedEnsemble` is several of them with a leader.
`ServerCore` is the same server without sockets, threads and clock.
"""

from __future__ import annotations

from .ensemble import EmbeddedEnsemble
from .journal import ClientRequest
from .ongoing import OngoingFault
from .server import EmbeddedServer
from .server_core import ServerCore
from .settings import Settings

__all__ = ["ClientRequest", "EmbeddedEnsemble", "EmbeddedServer", "OngoingFault", "ServerCore", "Settings"]
