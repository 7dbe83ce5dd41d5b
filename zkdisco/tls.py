"""TLS as command lines have it: the names of files, and the context made from them.

Owns what such options mean. Must not know connections; `ssl` is imported only where the options are used.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional


def client_arguments(options: Dict[str, Any]) -> Dict[str, Any]:
    """The options as arguments of a `Client`: what `tls` names, the arguments of `tls_context`, becomes one."""
    rest = {name: value for name, value in options.items() if name != "tls"}
    return {**rest, "ssl_context": tls_context(**options["tls"])} if "tls" in options else rest


def tls_context(
    ca_file: Optional[str] = None, cert_file: Optional[str] = None, key_file: Optional[str] = None
) -> Any:
    """An `ssl.SSLContext` that trusts the CAs of `ca_file` (None: those of the system), with a certificate of ours.

    All are names of PEM files; `cert_file` may hold the key too. Raises `OSError` that names the file at fault, and
    `ValueError` for a key without a certificate.
    """
    import ssl

    if key_file is not None and cert_file is None:
        raise ValueError("a key without a certificate: --cert-file is missing")
    context: Any = _named(lambda: ssl.create_default_context(cafile=ca_file), ca_file)
    if cert_file is not None:
        both = cert_file if key_file is None else f"{cert_file}, {key_file}"
        # Without a function for the password, OpenSSL asks the terminal, and waits.
        _named(lambda: context.load_cert_chain(cert_file, key_file, password=_no_password), both)
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted; give one that is not, readable to this user only")


def _named(load: Callable[[], Any], files: Optional[str]) -> Any:
    try:
        return load()
    except OSError as error:  # ssl.SSLError is one
        raise OSError(f"{files}: {error.strerror or error}") from error
