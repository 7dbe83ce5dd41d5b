"""Certificates for TLS tests, made with the openssl command: a CA, a server, a client, a stranger."""

from __future__ import annotations

import os
import subprocess

# All that RFC 5280 asks for: Python 3.13 verifies strictly by default.
_LEAF = "basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
_EXTENSIONS = {
    "server": _LEAF + "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n",
    "client": _LEAF + "extendedKeyUsage=clientAuth\n",
}


def make(folder: str) -> dict[str, str]:
    """Paths of PEM files by name, made in `folder` when not there yet.

    ``ca``, ``{server,client,stranger}_{cert,key}``, and ``server``, ``client``: key and certificate in
    one file, as ZooKeeper's key store of type PEM wants them. The stranger is signed by nobody.
    """
    os.makedirs(folder, exist_ok=True)
    paths = {
        f"{name}_{kind}": os.path.join(folder, f"{name}.{end}")
        for name in ("server", "client", "stranger")
        for kind, end in (("cert", "crt"), ("key", "key"))
    }
    paths.update({name: os.path.join(folder, f"{name}.pem") for name in ("ca", "server", "client")})
    if not all(os.path.exists(path) for path in paths.values()):
        _self_signed(folder, "ca.key", "ca.pem", "zkwire test CA")
        _self_signed(folder, "stranger.key", "stranger.crt", "stranger")
        for name, extensions in _EXTENSIONS.items():
            _signed(folder, name, extensions)
    return paths


def _openssl(folder: str, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _self_signed(folder: str, key: str, cert: str, name: str) -> None:
    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}")
    usage = ("-addext", "keyUsage=critical,digitalSignature,keyCertSign,cRLSign")
    _openssl(folder, *new, *usage, "-keyout", key, "-out", cert)


def _signed(folder: str, name: str, extensions: str) -> None:
    path = os.path.join(folder, name)
    with open(f"{path}.ext", "w", encoding="ascii") as file:
        file.write(extensions)
    subject = "/CN=localhost" if name == "server" else f"/CN={name}"
    new = ("req", "-newkey", "rsa:2048", "-nodes", "-subj", subject)
    _openssl(folder, *new, "-keyout", f"{name}.key", "-out", f"{name}.csr")
    sign = ("x509", "-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30")
    _openssl(folder, *sign, "-in", f"{name}.csr", "-out", f"{name}.crt", "-extfile", f"{name}.ext")
    with open(f"{path}.pem", "wb") as pem:
        for part in (f"{path}.key", f"{path}.crt"):
            with open(part, "rb") as file:
                pem.write(file.read())
