"""A certificate to be thrown away: TLS for a server on this machine, for the time of a test.

Owns what `openssl` is asked for. The standard library can use certificates, but can make none.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

#: Long enough for any test, in days.
DAYS = 2
LIMIT = 60.0


class Certificate:
    """A certificate for 127.0.0.1 and localhost which it has signed itself, as `path`, a PEM file with its key.

    The constructor writes it into `folder`, by the command `openssl`: `FileNotFoundError` without that,
    `subprocess.CalledProcessError` if it fails. It blocks for as long as that takes, less than a second.
    """

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / "server.pem"
        subprocess.run(  # noqa: S603
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", str(DAYS), "-subj", "/CN=localhost",  # noqa: S607
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(self.path), "-out", str(self.path)],
            check=True, capture_output=True, timeout=LIMIT,
        )  # fmt: skip

    @property
    def server(self) -> ssl.SSLContext:
        """A context for `EmbeddedServer(ssl_context=...)`."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        return context

    @property
    def client(self) -> ssl.SSLContext:
        """A context for clients: it trusts this certificate, and no other."""
        import ssl

        return ssl.create_default_context(cafile=str(self.path))
