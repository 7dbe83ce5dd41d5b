"""The command line: register a service, watch or list the live instances, or see the demonstration.

Owns arguments, output and signals. Must not know more of discovery than its public names.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from queue import SimpleQueue
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .threads import Client, Instancer, Registrar
from .values import (
    DEFAULT_CONNECT_TIMEOUT, DEFAULT_SESSION_TIMEOUT, SHORTEST_TIMEOUT, Event, Service, validate_directory,
)  # fmt: skip
from .tls import client_arguments

EXAMPLES = """\
examples:
  python -m zkdisco register --servers zk1,zk2 --path /services --name api --data 10.0.2.10:80
  python -m zkdisco watch --servers zk1:2181 --path /services --name api
  python -m zkdisco watch --path /services/api --json
  python -m zkdisco list --path /services/api
  python -m zkdisco list --path /services/api --servers zk1:2281 --ca-file ca.pem --cert-file me.pem --key-file me.key
  python -m zkdisco demo                          nothing else is needed: it brings a server of its own
  python -m zkdisco demo --servers zk1,zk2,zk3    on a real ensemble; all it makes there is gone afterwards

'register' stays until it gets SIGTERM or SIGINT, then takes the registration back and exits with 0. Exit status 2 is
for arguments that cannot be right, 1 for any other trouble, which is told in one line on stderr.
"""
#: Where the password of `--sasl-user` is looked for; arguments can be read by every user of a machine.
SASL_PASSWORD = "ZKDISCO_SASL_PASSWORD"  # noqa: S105  # a name, no password


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = common.add_argument_group("connection")
    group.add_argument("--servers", metavar="HOST[:PORT],...", help="ZooKeeper servers (default: 127.0.0.1:2181; "
                       "for 'demo' an embedded one)")  # fmt: skip
    group.add_argument("--connect-timeout", type=float, metavar="SECONDS",
                       help=f"for one server (default: {DEFAULT_CONNECT_TIMEOUT:g})")  # fmt: skip
    group.add_argument("--session-timeout", type=float, metavar="SECONDS",
                       help="after which the instances of a dead process are gone "
                            f"(default: {DEFAULT_SESSION_TIMEOUT:g}; for 'demo' {SHORTEST_TIMEOUT:g})")  # fmt: skip
    group.add_argument("--credentials", metavar="USER:PASSWORD", help="for the digest scheme; visible to other users "
                       "of this machine")  # fmt: skip
    group.add_argument("--sasl-user", metavar="USER", help="log in with SASL DIGEST-MD5; the password comes from the "
                       f"environment variable {SASL_PASSWORD}, or a file")  # fmt: skip
    group.add_argument("--sasl-password-file", metavar="FILE", help="whose first line is the password")
    group.add_argument("--tls", action="store_true", help="connect with TLS, and trust the CAs of the system")
    group.add_argument("--ca-file", metavar="FILE", help="connect with TLS, and trust these CAs only (PEM)")
    group.add_argument("--cert-file", metavar="FILE", help="connect with TLS, with this certificate of ours (PEM)")
    group.add_argument("--key-file", metavar="FILE", help="its key, if it is not in the same file")
    common.add_argument("--json", action="store_true", help="print JSON, one line for each event")
    parser = argparse.ArgumentParser(
        prog="python -m zkdisco", parents=[common], epilog=EXAMPLES, description="Service discovery on ZooKeeper.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", metavar="{register,watch,list,demo}", required=True)
    for name, text in (
        ("register", "register an instance, and keep it registered until a signal comes"),
        ("watch", "print the live instances, then again whenever they change"),
        ("list", "print the live instances once"),
        ("demo", "show services that come, change, die, come back and leave; exits with 0 if all was seen"),
    ):
        verb = verbs.add_parser(name, parents=[common], help=text, description=text, epilog=EXAMPLES,
                                formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
        if name == "demo":
            continue
        verb.add_argument("--path", required=True, help="where services are, as /services")
        verb.add_argument("--name", required=name == "register", help="the service, as api")
        if name == "register":
            verb.add_argument("--data", required=True, help="what to tell the others, mostly host:port")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; the exit status."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        service, directory = _target(options)
    except (ValueError, TypeError) as error:
        parser.error(str(error))
    stop: SimpleQueue[None] = SimpleQueue()  # which a signal handler may use: it interrupts no lock of its own
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.put(None))
    try:
        if options.verb == "demo":
            return _demo(options, stop)
        with Client(**client_arguments({"servers": "127.0.0.1:2181", **_client_arguments(options)})) as client:
            if service is not None:
                _register(client, service, stop, _flag(options))
            elif options.verb == "watch":
                _watch(client, directory, stop, _flag(options))
            else:
                _list(client, directory, _flag(options))
    except ValueError as error:
        parser.error(str(error))
    except BrokenPipeError:
        # Who read our output has left: there is nobody to tell, and nothing to flush at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1 if options.verb == "demo" else 0  # it has not been seen to its end
    except Exception as error:
        print(f"zkdisco: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _flag(options: argparse.Namespace) -> bool:
    return bool(getattr(options, "json", False))


def _target(options: argparse.Namespace) -> Tuple[Optional[Service], str]:
    """What to register, and the directory it is all about."""
    if options.verb == "demo":
        return None, ""
    if options.verb == "register":
        service = Service(options.path, options.name, options.data.encode())
        return service, service.directory
    return None, validate_directory(Service(options.path, options.name).directory if options.name else options.path)


def _client_arguments(options: argparse.Namespace) -> Dict[str, Any]:
    """Those that were given."""
    names = ("servers", "connect_timeout", "session_timeout", "credentials")
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    if "credentials" in given:
        given["credentials"] = given["credentials"].split(":", 1)
    if hasattr(options, "sasl_user"):
        given["sasl"] = (options.sasl_user, _sasl_password(options))
    elif hasattr(options, "sasl_password_file"):
        raise ValueError("--sasl-password-file without --sasl-user")
    files = {name: getattr(options, name) for name in ("ca_file", "cert_file", "key_file") if hasattr(options, name)}
    if files or hasattr(options, "tls"):
        given["tls"] = files
    return given


def _sasl_password(options: argparse.Namespace) -> str:
    if hasattr(options, "sasl_password_file"):
        with open(options.sasl_password_file, encoding="utf-8", errors="surrogateescape") as file:
            return file.readline().rstrip("\r\n")
    if SASL_PASSWORD not in os.environ:
        raise ValueError(f"--sasl-user needs a password: set {SASL_PASSWORD}, or give --sasl-password-file")
    return os.environ[SASL_PASSWORD]


def _demo(options: argparse.Namespace, stop: SimpleQueue[Any]) -> int:
    from . import demo

    return demo.run(demo.Screen(_flag(options), stop), **_client_arguments(options))


def _register(client: Client, service: Service, stop: SimpleQueue[None], as_json: bool) -> None:
    with Registrar(client, service) as registrar:
        _print(json.dumps({"node": registrar.node}) if as_json else f"registered {registrar.node}")
        stop.get()
    if not as_json:
        _print("deregistered")


def _watch(client: Client, directory: str, stop: SimpleQueue[None], as_json: bool) -> None:
    broken: List[OSError] = []

    def show(event: Event) -> None:
        try:
            _print(_json(event) if as_json else _text(event))
        except OSError as error:  # nobody reads any more
            broken.append(error)
            stop.put(None)

    instancer = Instancer(client, directory)
    instancer.register(show)
    stop.get()
    instancer.stop()
    if broken:
        raise broken[0]


def _list(client: Client, directory: str, as_json: bool) -> None:
    event = Instancer(client, directory).state
    if as_json:
        _print(_json(event))
    else:
        for instance in event.instances:
            _print(instance)
        if event.error is not None:
            print(f"zkdisco: {event.error}", file=sys.stderr)


def _json(event: Event) -> str:
    return json.dumps({"instances": list(event.instances), "error": None if event.error is None else str(event.error)})


def _text(event: Event) -> str:
    listed = ", ".join(event.instances) or "none"
    return f"{len(event.instances)} live: {listed}" + (f"  ({event.error})" if event.error is not None else "")


def _print(line: str) -> None:
    print(line, flush=True)
