"""The settings of one test server: zoo.cfg, system properties and the JAAS file.

Only text is made here. `servers` writes it to disk and runs Java on it.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
from collections.abc import Mapping
from typing import Optional, Union

from . import pki

Setting = Union[str, int, None]

# Times allow short sessions in tests. Nothing is forced to disk: a killed process loses no data that
# way, only a killed machine would.
DEFAULTS: dict[str, Setting] = {
    "initLimit": 20,
    "syncLimit": 10,
    "minSessionTimeout": 200,
    "maxSessionTimeout": 60000,
    "maxClientCnxns": 0,
    "forceSync": "no",
    "preAllocSize": 1024,
    "4lw.commands.whitelist": "*",
    "admin.enableServer": "false",
    "autopurge.purgeInterval": 0,
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What a test may ask of a server; every field is a keyword of `Server`.

    `cfg` and `props` add to zoo.cfg and to the system properties, or replace a default; None as the
    value takes a default away.
    """

    tick: int = 500
    """tickTime in milliseconds."""
    cfg: Mapping[str, Setting] = dataclasses.field(default_factory=dict)
    props: Mapping[str, Setting] = dataclasses.field(default_factory=dict)
    sasl: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """User to password: DIGEST-MD5 is offered."""
    sasl_required: bool = False
    """Sessions without SASL are refused."""
    extended: bool = False
    """TTL nodes."""
    superpw: str = ""
    """Password of the digest superuser "super"; '' is none."""
    readonly: bool = False
    """The server serves reads when it has lost its quorum."""
    netty: bool = False
    """The plain port is served by netty instead of NIO."""
    tls: str = ""
    """'none', 'want' or 'need' (what is asked of the client): adds a TLS port, implies netty."""
    heap: str = "128m"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where one server is: its folder, its ports, and the lines of its ensemble ({} when alone)."""

    folder: str
    port: int
    secure_port: Optional[int] = None
    members: Mapping[str, str] = dataclasses.field(default_factory=dict)
    observer: bool = False
    host: str = "127.0.0.1"


def digest_id(user: str, password: str) -> str:
    """The id of a digest ACL: ``user:base64(sha1(user:password))``."""
    digest = hashlib.sha1(f"{user}:{password}".encode()).digest()
    return f"{user}:{base64.b64encode(digest).decode()}"


def zoo_cfg(options: Options, place: Place, version: tuple[int, ...]) -> str:
    """The text of zoo.cfg."""
    cfg: dict[str, Setting] = {
        "tickTime": options.tick,
        "dataDir": os.path.join(place.folder, "data"),
        "clientPort": place.port,
        "clientPortAddress": place.host,
        **DEFAULTS,
        **place.members,
    }
    if place.observer:
        cfg["peerType"] = "observer"
    if options.netty or options.tls:
        cfg["serverCnxnFactory"] = "org.apache.zookeeper.server.NettyServerCnxnFactory"
    if options.tls:
        cfg.update(_tls(options, place))
    if options.sasl:
        cfg["authProvider.1"] = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
    if options.sasl_required:
        if version >= (3, 6):
            cfg["sessionRequireClientSASLAuth"] = "true"
        else:
            cfg["requireClientAuthScheme"] = "sasl"
    if options.extended:
        cfg["extendedTypesEnabled"] = "true"
    if options.readonly and version >= (3, 5):
        # Without these a read-only server refuses every session: it cannot ask a leader for one.
        cfg.update({"localSessionsEnabled": "true", "localSessionsUpgradingEnabled": "true"})
    cfg.update(options.cfg)
    return "".join(f"{key}={value}\n" for key, value in cfg.items() if value is not None)


def _tls(options: Options, place: Place) -> dict[str, Setting]:
    return {
        "secureClientPort": place.secure_port,
        "secureClientPortAddress": place.host,
        "ssl.keyStore.location": pki.pem("server"),
        "ssl.keyStore.type": "PEM",
        "ssl.trustStore.location": pki.pem("ca"),
        "ssl.trustStore.type": "PEM",
        "ssl.clientAuth": options.tls,
        "ssl.hostnameVerification": "false",
    }


def properties(options: Options, place: Place) -> list[str]:
    """The ``-Dname=value`` arguments of Java."""
    props: dict[str, Setting] = {
        "java.awt.headless": "true",
        "java.net.preferIPv4Stack": "true",
        "file.encoding": "UTF-8",
        "zookeeper.jmx.log4j.disable": "true",
        "znode.container.checkIntervalMs": 200,
        "org.slf4j.simpleLogger.defaultLogLevel": "info",
        "org.slf4j.simpleLogger.showDateTime": "true",
        "org.slf4j.simpleLogger.dateTimeFormat": "HH:mm:ss.SSS",
        # For a release in ZOOKEEPER_HOME before 3.8, whose conf folder is log4j's.
        "zookeeper.root.logger": "INFO,CONSOLE",
    }
    if options.readonly:
        props["readonlymode.enabled"] = "true"
    if options.extended:
        props["zookeeper.extendedTypesEnabled"] = "true"
    if options.superpw:
        props["zookeeper.DigestAuthenticationProvider.superDigest"] = digest_id("super", options.superpw)
    if options.sasl:
        props["java.security.auth.login.config"] = os.path.join(place.folder, "jaas.conf")
    props.update(options.props)
    return [f"-D{key}={value}" for key, value in props.items() if value is not None]


def jaas_conf(users: Mapping[str, str]) -> str:
    """The text of the JAAS file that lists the users of DIGEST-MD5."""
    lines = "\n".join(f'  user_{user}="{password}"' for user, password in users.items())
    return f"Server {{\n  org.apache.zookeeper.server.auth.DigestLoginModule required\n{lines};\n}};\n"
