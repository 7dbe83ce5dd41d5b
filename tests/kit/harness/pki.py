"""The certificates of testdata/tls, for servers and clients of tests."""

from __future__ import annotations

import ssl
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "testdata" / "tls"


def pem(name: str) -> str:
    """The path of a PEM file; all but those of the CAs hold certificate and key, as ZooKeeper wants its key stores."""
    path = FOLDER / f"{name}.pem"
    if not path.exists():
        raise ValueError(f"no {path}")
    return str(path)


def client_context(certificate: str = "", ca: str = "ca") -> ssl.SSLContext:
    """A client that trusts our CA, or another."""
    context = ssl.create_default_context(cafile=pem(ca))
    if certificate:
        context.load_cert_chain(pem(certificate))
    return context


def server_context(certificate: str = "server", client_ca: str = "") -> ssl.SSLContext:
    """A server with this certificate, which asks for one of `client_ca` in return, if given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem(certificate))
    if client_ca:
        context.load_verify_locations(pem(client_ca))
        context.verify_mode = ssl.CERT_REQUIRED
    return context
