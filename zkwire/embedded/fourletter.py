"""Four-letter words: the answers to an operator's probes.

Owns the texts. Must not change anything.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Callable, Dict, Iterator, Optional

from .core import BareCore
from .link import ServerLink


def _ruok(core: BareCore, asking: ServerLink, now: float) -> Iterator[str]:
    yield "imok"


def _isro(core: BareCore, asking: ServerLink, now: float) -> Iterator[str]:
    yield "ro" if core.read_only else "rw"


def _mode(core: BareCore) -> str:
    return "read-only" if core.read_only else core.role


def _version(core: BareCore) -> str:
    return f"{core.profile.full}-embedded, built on 1970-01-01 00:00 UTC"


def _srvr(core: BareCore, asking: ServerLink, now: float) -> Iterator[str]:
    yield f"Zookeeper version: {_version(core)}\n"
    if core.read_only:
        yield "READ-ONLY mode; serving only read-only clients\n"
    yield from _figures(core)


def _figures(core: BareCore) -> Iterator[str]:
    yield f"Latency min/avg/max: 0/{_average(core)}/0\n"
    received, sent = core.traffic()
    yield f"Received: {received}\nSent: {sent}\n"
    yield f"Connections: {len(core.links)}\n"
    yield f"Outstanding: 0\nZxid: 0x{core.data.applied:x}\nMode: {_mode(core)}\n"
    yield f"Node count: {len(core.data.tree)}\n"


def _average(core: BareCore) -> str:
    return "0" if core.profile.old_figures else "0.0"


def _stat(core: BareCore, asking: ServerLink, now: float) -> Iterator[str]:
    yield f"Zookeeper version: {_version(core)}\n"
    if core.read_only:
        yield "READ-ONLY mode; serving only read-only clients\n"
    yield "Clients:\n"
    for link in core.links:
        yield _connection(link, asking) + ")\n"
    yield "\n"
    yield from _figures(core)


def _connection(link: ServerLink, asking: ServerLink) -> str:
    host, port = link.address
    interest = 0 if link is asking else 1
    return f" /{host}:{port}[{interest}](queued=0,recved={link.received},sent={link.sent}"


def _cons(core: BareCore, asking: ServerLink, now: float) -> Iterator[str]:
    for link in core.links:
        text = _connection(link, asking)
        if link.session_id:
            established = core.wall_ms(link.accepted)
            text += f",sid=0x{link.session_id:x},lop={link.last_operation},est={established},to={link.timeout_ms}"
            text += f",lcxid=0x{link.last_xid & 0xFFFFFFFFFFFFFFFF:x},lzxid=0x{link.last_zxid:x}"
            text += f",lresp={int(link.heard * 1000)},llat=0,minlat=0,avglat=0,maxlat=0"
        yield text + ")\n"
    yield "\n"


def _mntr(core: BareCore, asking: ServerLink, now: float) -> Iterator[str]:
    ephemerals = sum(map(len, core.data.tree.ephemerals.values()))
    size = sum(len(path) + len(node.data or b"") for path, node in core.data.tree.nodes.items())
    received, sent = core.traffic()
    figures = {
        "version": _version(core), "server_state": _mode(core), "avg_latency": _average(core), "max_latency": 0,
        "min_latency": 0, "packets_received": received, "packets_sent": sent, "num_alive_connections": len(core.links),
        "outstanding_requests": 0, "znode_count": len(core.data.tree), "watch_count": sum(_watches(core)),
        "ephemerals_count": ephemerals, "approximate_data_size": size, "global_sessions": len(core.sessions),
        "local_sessions": sum(session.local for session in core.sessions.all()),
        "uptime": int((now - core.started) * 1000),
    }  # fmt: skip
    for name, value in figures.items():
        if core.profile.old_figures and name in ("global_sessions", "local_sessions", "uptime"):
            continue
        yield f"zk_{name}\t{value}\n"


def _watches(core: BareCore) -> Iterator[int]:
    for watches in (core.data.watches.data, core.data.watches.child):
        yield sum(map(len, watches.paths.values()))


def _wchs(core: BareCore, asking: ServerLink, now: float) -> Iterator[str]:
    watchers, paths, total = core.data.watches.summary()
    yield f"{watchers} connections watching {paths} paths\nTotal watches:{total}\n"


def _dump(core: BareCore, asking: ServerLink, now: float) -> Iterator[str]:
    sessions = sorted(core.sessions.all(), key=lambda session: session.expires)
    moments = sorted({session.expires for session in sessions})
    total = "" if core.profile.short_words else f"/({len(sessions)})"
    yield f"SessionTracker dump:\nSession Sets ({len(moments)}){total}:\n"
    for moment in moments:
        mine = [session for session in sessions if session.expires == moment]
        yield f"{len(mine)} expire at {_date(core, moment)}:\n"
        yield from (f"\t0x{session.id:x}\n" for session in mine)
    yield f"ephemeral nodes dump:\nSessions with Ephemerals ({len(core.data.tree.ephemerals)}):\n"
    for owner, paths in core.data.tree.ephemerals.items():
        yield f"0x{owner:x}:\n"
        yield from (f"\t{path}\n" for path in paths)
    if core.profile.short_words:
        return
    yield f"Connections dump:\nConnections Sets (1)/({len(core.links)}):\n"
    yield f"{len(core.links)} expire at {_date(core, now)}:\n"
    yield from (f"\tip: /{link.address[0]}:{link.address[1]} sessionId: 0x{link.session_id:x}\n" for link in core.links)


def _date(core: BareCore, moment: float) -> str:
    """A moment as Java prints it."""
    return datetime.fromtimestamp(core.wall_ms(moment) // 1000, timezone.utc).strftime("%a %b %d %H:%M:%S UTC %Y")


def _wchc(core: BareCore, asking: ServerLink, now: float) -> Iterator[str]:
    for link in core.links:
        paths = [path for path, watchers in core.data.watches.data.paths.items() if link in watchers]
        if paths:
            yield f"0x{link.session_id:x}\n" + "".join(f"\t{path}\n" for path in paths)
    yield "\n"


def _wchp(core: BareCore, asking: ServerLink, now: float) -> Iterator[str]:
    for path, watchers in core.data.watches.data.paths.items():
        yield f"{path}\n" + "".join(f"\t0x{link.session_id:x}\n" for link in core.links if link in watchers)
    yield "\n"


def _conf(core: BareCore, asking: ServerLink, now: float) -> Iterator[str]:
    settings = core.settings
    figures = {
        "clientPort": core.port, "secureClientPort": -1, "dataDir": "(memory)", "dataDirSize": 0,
        "dataLogDir": "(memory)", "dataLogSize": 0, "tickTime": round(settings.tick * 1000), "maxClientCnxns": 0,
        "minSessionTimeout": round(settings.min_session_timeout * 1000),
        "maxSessionTimeout": round(settings.max_session_timeout * 1000), "clientPortListenBacklog": -1, "serverId": 0,
    }  # fmt: skip
    if core.profile.old_figures:
        del figures["clientPortListenBacklog"]
    if core.profile.short_words:
        for name in ("secureClientPort", "dataDirSize", "dataLogSize"):
            del figures[name]
    yield from (f"{name}={value}\n" for name, value in figures.items())


def _envi(core: BareCore, asking: ServerLink, now: float) -> Iterator[str]:
    yield f"Environment:\nzookeeper.version={_version(core)}\nhost.name=localhost\n"


_ANSWERS: Dict[str, Callable[[BareCore, ServerLink, float], Iterator[str]]] = {
    "ruok": _ruok, "isro": _isro, "srvr": _srvr, "stat": _stat, "mntr": _mntr, "cons": _cons, "wchs": _wchs,
    "wchc": _wchc, "wchp": _wchp,
    "dump": _dump, "conf": _conf, "envi": _envi,
}  # fmt: skip
#: Other words of a real server, which are answered as if they were not allowed; the last two came with 3.5.
_OTHERS = ("crst", "srst", "gtmk", "stmk", "dirs", "hash")
_WORDS = frozenset(word.encode() for word in (*_ANSWERS, *_OTHERS))
_WORDS_3_4 = _WORDS - {b"dirs", b"hash"}


def answer_word(core: BareCore, word: bytes, asking: ServerLink, now: float) -> Optional[str]:
    """The text for a connection that starts with `word`; None if the real server does not recognize it."""
    if word not in (_WORDS_3_4 if core.profile.short_words else _WORDS):
        return None
    name, allowed = word.decode(), core.settings.four_letter_words
    if name not in _ANSWERS or (allowed is not None and name not in allowed):
        return f"{name} is not executed because it is not in the whitelist.\n"
    if not core.serving and name not in ("ruok", "envi"):
        return "null" if name == "isro" else "This ZooKeeper instance is not currently serving requests\n"
    return "".join(_ANSWERS[name](core, asking, now))
