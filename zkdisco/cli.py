"""The command line: register a service, watch or list the live instances, or see the demonstration.

Owns arguments, what is printed, signals, and how long the end may take. Must not know more of discovery than its public
names. The main thread waits on one queue, on which signals, events and what became of calls arrive; whatever waits for
ZooKeeper runs on another thread, so that a signal is heard at any moment.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import threading
from queue import Empty
from time import monotonic, time
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence, Tuple

from . import plan
from ._zkwire import KazooState, SimpleQueue, errors
from .codecs import NAMES, TEXT, Codec, Instance, find, parse_address
from .front import logger
from .output import Output, drop, last_line, last_trouble, nobody_reads, printable
from .probes import HEARTBEAT, ProbeFiles
from .reports import iso_time
from .runner import ENDED
from .signals import Signals, Stopped
from .threads import Client, Instancer, Registrar
from .tls import client_arguments
from .values import (
    DEFAULT_CONNECT_TIMEOUT, DEFAULT_SESSION_TIMEOUT, SHORTEST_TIMEOUT, ClientClosedError, Event, Service,
    validate_directory, validate_identity, validate_wait,
)  # fmt: skip

EXAMPLES = """\
examples:
  python -m zkdisco register --servers zk1,zk2 --path /services --name api --data 10.0.2.10:80
  python -m zkdisco register --wait 0 --path /services --name api --data 10.0.2.10:80     though ZooKeeper may be down
  python -m zkdisco register --ready-file /run/ready --path /services --name api --data 10.0.2.10:80     for a probe
  python -m zkdisco watch --servers zk1:2181 --path /services --name api
  python -m zkdisco watch --path /services/api --json
  python -m zkdisco list --path /services/api
  python -m zkdisco list /services                all services, and how many instances each has; --tree shows these, too
  python -m zkdisco list --path /services/api --servers zk1:2281 --ca-file ca.pem --cert-file me.pem --key-file me.key
  python -m zkdisco run --path /services --name api --data 10.0.2.10:80 --check tcp://:80 -- ./server
  python -m zkdisco register --codec curator --path /services --name api --data 10.0.2.10:80     as Apache Curator does
  python -m zkdisco watch --codec auto --path /services/api --json     whatever others keep there
  python -m zkdisco render --path /services/api --output api.cfg --format haproxy --exec 'systemctl reload haproxy'
  python -m zkdisco demo                          nothing else is needed: it brings a server of its own
  python -m zkdisco demo --servers zk1,zk2,zk3    on a real ensemble; all it makes there is gone afterwards

'register', 'watch' and 'render' stay until SIGTERM, SIGINT, SIGHUP or SIGQUIT, and end within 2 s, whatever the
servers do; a second signal ends at once, unless it comes with the first. 'watch' ends, too, when nobody reads its
output any more; the others go on. An instance is printed as it is if it is plain text, otherwise as a JSON string.

exit status: 0 done, 1 any trouble (one line on stderr says which), 2 arguments that cannot be right, 3 the path, or the
chroot, is not there.

environment: ZKDISCO_SERVERS, ZKDISCO_CREDENTIALS, ZKDISCO_SASL_USER and ZKDISCO_SASL_PASSWORD stand for the options of
these names.
"""
#: The environment variables that stand for options, where these are not given.
ENVIRONMENT = {"servers": "ZKDISCO_SERVERS", "credentials": "ZKDISCO_CREDENTIALS", "sasl_user": "ZKDISCO_SASL_USER"}
#: Where the password of `--sasl-user` is looked for; arguments can be read by every user of a machine.
SASL_PASSWORD = "ZKDISCO_SASL_PASSWORD"  # noqa: S105  # a name, no password
#: Seconds in which the process ends after a signal.
LEAVE = 2.0
#: Seconds between two looks at what tells nobody: whether our output is still read, and how a registration stands.
LOOK = 0.25
#: Of the nodes that are there before a registration.
LOOKED_AT = 20
DONE, TROUBLE, NOT_THERE = 0, 1, 3


class NotThere(Exception):
    """There is no such path."""


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = common.add_argument_group("connection")
    group.add_argument("--servers", metavar="HOST[:PORT],...", help="ZooKeeper servers (default: 127.0.0.1:2181; "
                       "for 'demo' an embedded one)")  # fmt: skip
    group.add_argument("--connect-timeout", type=float, metavar="SECONDS",
                       help=f"for one server (default: {DEFAULT_CONNECT_TIMEOUT:g})")  # fmt: skip
    group.add_argument("--session-timeout", type=float, metavar="SECONDS",
                       help="after which the instances of a dead process are gone "
                            f"(default: {DEFAULT_SESSION_TIMEOUT:g}; for 'demo' {SHORTEST_TIMEOUT:g})")  # fmt: skip
    group.add_argument("--wait", type=float, metavar="SECONDS", help="for the first session: at most so long, 0 not at "
                       "all, and then go on; without it, a failure after the time-outs is the end")  # fmt: skip
    group.add_argument("--credentials", metavar="USER:PASSWORD", help="for the digest scheme; visible to other users "
                       "of this machine, unlike those of the environment or a file")  # fmt: skip
    group.add_argument("--credentials-file", metavar="FILE", help="whose first line is USER:PASSWORD")
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
    verbs = parser.add_subparsers(dest="verb", metavar="{register,watch,list,run,render,demo}", required=True)
    for name, text in (
        ("register", "register an instance, and keep it registered until a signal comes"),
        ("watch", "print the live instances, then again whenever they change"),
        ("list", "print the live instances once"),
        ("run", "run a command that is registered while it is healthy, and taken back before it ends"),
        ("render", "keep a file equal to the live instances: for HAProxy, nginx, Prometheus, scripts"),
        ("demo", "show services that come, change, die, come back and leave; exits with 0 if all was seen"),
    ):
        verb = verbs.add_parser(name, parents=[common], help=text, description=text,
                                epilog=plan.EXAMPLES if name == "run" else EXAMPLES,
                                formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
        if name == "demo":
            continue
        if name == "list":
            verb.add_argument("services", nargs="?", metavar="PATH", help="show all services below it, as /services")
            verb.add_argument("--tree", action="store_true", help="of all services below PATH, their instances, too")
        verb.add_argument("--path", required=name != "list", help="where services are, as /services")
        verb.add_argument("--name", required=name in ("register", "run"), help="the service, as api")
        verb.add_argument("--codec", choices=NAMES, metavar="FORMAT", help="of the instances: " + ", ".join(NAMES))
        if name != "list":
            verb.add_argument("--ready-file", metavar="FILE", help="that is there while the instance is listed, as "
                              "far as can be known, or while what is printed is of the moment")  # fmt: skip
            verb.add_argument("--health-file", metavar="FILE", help="with a line of JSON on how all stands, "
                              f"written at every change and every {HEARTBEAT:g} s")  # fmt: skip
        if name == "render" and name in words:
            from . import rendering  # which others need not load

            rendering.add_arguments(verb)
        if name in ("register", "run"):
            verb.add_argument("--data", required=True, help="what to tell the others, mostly host:port; "
                              "with --codec also an Instance as a JSON object: host, port, id ...")  # fmt: skip
            verb.add_argument("--identity", metavar="ID", help="a guid, or the name of the node, that no other process "
                              "has: once killed and back, it replaces its own old node at once")  # fmt: skip
        if name == "run":
            plan.add_arguments(verb)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; the exit status."""
    given = sys.argv[1:] if argv is None else list(argv)
    end = given.index("--") if "--" in given else len(given)
    parser = _parser(given[:end])
    options = parser.parse_args(given[:end])
    command = given[end + 1 :]
    if command and options.verb != "run":
        parser.error(f"{options.verb} runs no command")
    logger.addHandler(logging.NullHandler())  # all that matters is said by this file
    inbox: SimpleQueue[Any] = SimpleQueue()  # which a signal handler may use: it interrupts no lock of its own
    try:
        service, directory = _target(options)
        validate_wait(getattr(options, "wait", None))
        validate_identity(getattr(options, "identity", None))
        arguments = client_arguments({"servers": "127.0.0.1:2181", **_client_arguments(options)})
        if options.verb == "run" and service is not None:
            return _run(plan.plan(options, command), service, arguments)
        rendering = _rendering(options, directory, inbox)
        signals = Signals(inbox)
        signals.listen()
        if options.verb == "demo":
            return _demo(options, inbox)
        output = Output(signals, needed=options.verb not in ("register", "render"))
        return _Session(options, arguments, inbox, output, rendering).run(service, directory)
    except (ValueError, TypeError) as error:
        parser.error(str(error))
    except Stopped:
        return DONE
    except NotThere as error:
        return last_trouble(error, NOT_THERE)
    except BrokenPipeError:
        drop(sys.stdout)
        return TROUBLE if options.verb == "demo" else DONE  # it has not been seen to its end
    except Exception as error:
        return last_trouble(f"{type(error).__name__}: {error}", TROUBLE)


def _flag(options: argparse.Namespace) -> bool:
    return bool(getattr(options, "json", False))


def _target(options: argparse.Namespace) -> Tuple[Optional[Service], str]:
    """What to register, and the directory it is all about."""
    if options.verb == "demo":
        return None, ""
    if options.verb in ("register", "run"):
        service = _service(options)
        return service, service.directory
    if options.verb == "list" and (options.services is None) == (options.path is None):
        raise ValueError("give a PATH, to see its services, or --path and perhaps --name, to see the instances of one")
    if options.verb == "list" and options.services is not None:
        if options.name:
            raise ValueError("--name goes with --path")
        return None, validate_directory(options.services)
    if getattr(options, "tree", False):
        raise ValueError("--tree goes with a PATH, whose services it shows")
    return None, validate_directory(Service(options.path, options.name).directory if options.name else options.path)


def _service(options: argparse.Namespace) -> Service[Any]:
    codec = None if options.codec is None else find(options.codec)
    if codec is None:
        return Service(options.path, options.name, os.fsencode(options.data))
    from .codecs import records

    data: Any = options.data
    if codec.name != "text":
        if data.startswith("{"):
            data = Instance(**{**records.read(os.fsencode(data)), "raw": None, "format": ""})
        else:
            data = parse_address(data)
    service: Service[Any] = Service(options.path, options.name, data, codec)
    if options.identity is not None and service.node_name not in (None, options.identity):
        raise ValueError("in this format a node is called as its instance's id: give the id in --data, no --identity")
    return service


def _rendering(options: argparse.Namespace, directory: str, inbox: SimpleQueue[Any]) -> Any:
    """What `render` is made of, or None for another verb."""
    if options.verb != "render":
        return None
    from . import rendering

    return rendering.Rendering(options, directory, inbox)


def _client_arguments(options: argparse.Namespace) -> Dict[str, Any]:
    """Those that were given, on the command line, in a file or in the environment, in this order."""
    for name, variable in ENVIRONMENT.items():
        stands = hasattr(options, name) or (name == "credentials" and hasattr(options, "credentials_file"))
        if variable in os.environ and not stands and (options.verb != "demo" or name != "servers"):
            setattr(options, name, os.environ[variable])
    names = ("servers", "connect_timeout", "session_timeout", "credentials")
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    if hasattr(options, "credentials_file") and "credentials" not in given:
        given["credentials"] = _first_line(options.credentials_file)
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


def _first_line(name: str) -> str:
    with open(name, encoding="utf-8", errors="surrogateescape") as file:
        return file.readline().rstrip("\r\n")


def _sasl_password(options: argparse.Namespace) -> str:
    if hasattr(options, "sasl_password_file"):
        return _first_line(options.sasl_password_file)
    if SASL_PASSWORD not in os.environ:
        raise ValueError(f"--sasl-user needs a password: set {SASL_PASSWORD}, or give --sasl-password-file")
    return os.environ[SASL_PASSWORD]


def _demo(options: argparse.Namespace, stop: SimpleQueue[Any]) -> int:
    from . import demo

    return demo.run(demo.Screen(_flag(options), stop), **_client_arguments(options))


def _run(given: plan.Plan, service: Service, arguments: Dict[str, Any]) -> int:
    from . import sidecar

    return sidecar.run(given, service, arguments)


class _Session:
    """One run of a verb: a client, and what arrives for the main thread. None in the inbox is a signal."""

    def __init__(
        self, options: argparse.Namespace, arguments: Dict[str, Any], inbox: SimpleQueue[Any], output: Output,
        rendering: Any,
    ) -> None:  # fmt: skip
        self._output, self._rendering = output, rendering
        self._verb, self._json, self._inbox = options.verb, _flag(options), inbox
        self._wait: Optional[float] = getattr(options, "wait", None)
        self._identity: Optional[str] = getattr(options, "identity", None)
        self._services, self._tree = getattr(options, "services", None), getattr(options, "tree", False)
        self._codec: Optional[Codec[Any]] = None if options.codec is None else find(options.codec)
        ready, health = getattr(options, "ready_file", None), getattr(options, "health_file", None)
        self._files = ProbeFiles(ready, health, lambda text: last_trouble(text, TROUBLE))
        self._files.begin()
        self._client = Client(**arguments, wait=0)
        self._instancer: Optional[Instancer[Any]] = None
        self._registrar: Optional[Registrar] = None
        self._nodes: Tuple[str, ...] = ()  # of the registration, the newest last

    def run(self, service: Optional[Service], directory: str) -> int:
        """The exit status. However it ends, it takes at most `LEAVE` from then on."""
        status = DONE
        try:
            self._connect()
            if service is not None:
                self._register(service)
            elif self._verb == "watch":
                self._watch(directory)
            elif self._services is not None:
                self._list_services(directory)
            elif self._rendering is not None:
                self._render(directory)
            else:
                self._list(directory)
        except Stopped:
            pass
        finally:
            registered = service is not None and bool(self._nodes)
            self._files.end()
            in_time = self._leave(self._registrar if registered else None)
        if registered and not in_time:
            seconds = self._client.options.session_timeout
            status = last_trouble(
                f"not taken back in time; the node ends with the session, in {seconds:g} s at most", TROUBLE
            )
        elif registered and not self._json:
            last_line("deregistered")
        return status

    def _leave(self, registrar: Optional[Registrar]) -> bool:
        """Take the registration back, and end the session; whether the server has confirmed the one in time."""
        gone: List[bool] = []

        def goodbye() -> None:
            if self._rendering is not None:
                self._rendering.stop()
            try:
                if registrar is not None and self._client.zk.connected:
                    registrar.deregister(timeout=LEAVE)
                    gone.append(True)
            except errors.ZookeeperError:
                pass  # that it is not gone is said by the caller
            self._client.stop()

        thread = threading.Thread(target=goodbye, daemon=True)
        thread.start()
        thread.join(LEAVE)
        return bool(gone)

    def _next(self, seconds: Optional[float]) -> Any:
        """What arrives next, or `Empty` is raised. `Stopped` for a signal. Meanwhile probes see how all stands."""
        end = None if seconds is None else monotonic() + seconds
        while True:
            self._show_probes()
            left = LOOK if end is None else max(0.0, min(LOOK, end - monotonic()))
            try:
                what = self._inbox.get(True, left)
            except Empty:
                if end is not None and monotonic() >= end:
                    raise
                continue
            if what is None:
                raise Stopped
            return what

    def _show_probes(self) -> None:
        if not self._files.wanted:
            return
        report = self._client.report()
        told = report.as_dict()
        text = json.dumps({"time": iso_time(time()), **told})
        for one in told["registrations"]:
            del one["since"]  # which is reckoned anew each time
        for one in told["instancers"]:
            one["age"] = one["age"] > 0
        self._files.show(self._ready(), text, told, monotonic())

    def _ready(self) -> Optional[str]:
        """What the ready file says, or None if it is not to be there."""
        if self._registrar is not None:
            return self._registrar.node if self._client.zk.state != KazooState.LOST else None
        if self._rendering is not None and not self._rendering.well:
            return None
        if self._instancer is not None and self._instancer.stale_since is None:
            return str(len(self._instancer.state.instances))
        return None

    def _call(self, function: Callable[[], Any]) -> Any:
        """What the function returns or raises; a signal is heard while it waits."""

        def work() -> None:
            try:
                outcome: Any = (function(), None)
            except BaseException as error:
                outcome = (None, error)
            self._inbox.put(outcome)

        threading.Thread(target=work, daemon=True).start()
        result, error = self._next(None)
        if error is not None:
            raise error
        return result

    def _connect(self) -> None:
        """Have a session, or the reason why there is none, or have waited as long as was asked for."""
        zk, patience = self._client.zk, self._client.options.timeout
        wait = self._wait
        if wait is not None:
            self._call(lambda: zk.driver.until(lambda: zk.connected or zk.client_state in ENDED, wait))
        if wait is None or zk.client_state in ENDED:
            self._call(lambda: zk.start(patience))  # which says why there is none

    # ------------------------------------------------------------------------ register

    def _register(self, service: Service[Any]) -> NoReturn:
        if self._client.zk.connected:
            for conflict in self._call(lambda: self._conflicts(service)):
                self._output.trouble(f"a warning, registered all the same: {conflict}")
        registrar = self._registrar = Registrar(self._client, service, identity=self._identity)
        if self._wait is None:
            self._call(registrar.register)
        else:
            registrar.start()
        troubles = ""
        while True:
            node, error = registrar.node, registrar.error
            if node is not None and self._nodes[-1:] != (node,):
                self._nodes += (node,)
                told = json.dumps({"time": iso_time(time()), "node": node})
                line = told if self._json else f"registered {printable(node)}"
                self._output.line(line)
            if error is not None and self._client.zk.client_state in ENDED:
                self._nodes = ()
                raise error
            text = "" if error is None else f"{type(error).__name__}: {error}"
            if text != troubles:
                self._output.trouble(text or "all is well again")
            troubles = text
            try:
                self._next(LOOK)
            except Empty:
                pass

    def _conflicts(self, service: Service[Any]) -> Sequence[object]:
        """Whose readers our record would break, as far as the nodes that are there first can tell."""
        from .codecs.conflicts import conflicts

        zk, nodes = self._client.zk, []
        try:
            for name in zk.get_children(service.directory)[:LOOKED_AT]:
                nodes.append((name, zk.get(f"{service.directory.rstrip('/')}/{name}")[0]))
        except errors.ZookeeperError:
            pass  # it is not there yet, or not to be read: the registration itself says what matters
        return conflicts(nodes, service.codec) if nodes else ()

    # --------------------------------------------------------------------- watch, list

    def _watch(self, directory: str) -> None:
        instancer = self._follow(directory)
        if self._client.zk.connected:
            self._call(lambda: self._look_around(directory))
        instancer.register(self._inbox)
        shown: Optional[Event[Any]] = None
        while True:
            try:
                event = self._next(LOOK)
            except Empty:
                if nobody_reads():
                    raise BrokenPipeError from None
                continue
            if event != shown:  # or else a node has taken the place of another with the same data
                self._output.line(self._line(event, instancer) if self._json else _text(event))
            shown = event
            self._check_end(event)

    def _check_end(self, event: Event[Any]) -> None:
        """Raise the error of an event, if there will never be a session again."""
        error = event.error
        if isinstance(error, errors.ConnectionClosedError) or self._client.zk.client_state == "AUTH_FAILED":
            raise error if error is not None and not isinstance(error, ClientClosedError) else Stopped

    def _follow(self, directory: str, codec: Optional[Codec[Any]] = None) -> Instancer[Any]:
        wait = None if self._wait is None else 0.0
        known = codec or self._codec or TEXT
        instancer: Instancer[Any] = self._call(lambda: Instancer(self._client, directory, wait=wait, codec=known))
        self._instancer = instancer
        return instancer

    def _render(self, directory: str) -> None:
        """Keep a file as it should be, until a signal comes; or do it once."""
        rendering = self._rendering
        instancer = self._follow(directory, rendering.codec)
        if self._client.zk.connected:
            self._call(lambda: self._look_around(directory))
        rendering.begin(instancer, self._client.options.timeout)
        over = False
        while not over or not self._inbox.empty():
            over = over or rendering.over()
            try:
                rendering.say(self._next(0.0 if over else LOOK), self._output)
            except Empty:
                self._check_end(instancer.state)

    def _list(self, directory: str) -> None:
        instancer = self._follow(directory)
        if not self._look_around(directory):
            raise NotThere(f"there is no {directory}; {self._nearest(directory)}")
        event = instancer.state
        if self._json:
            self._output.line(self._line(event, instancer))
            return
        for instance in event.instances:
            self._output.line(printable(_words(instance)))
        if event.error is not None:
            self._output.trouble(event.error)

    def _list_services(self, directory: str) -> None:
        from . import listing
        from .catalog import Catalog

        zk, wait = self._client.zk, None if self._wait is None else 0.0
        catalog = self._call(lambda: Catalog(self._client, directory, wait=wait, codec=self._codec or TEXT))
        if self._call(lambda: zk.exists(directory)) is None:
            raise NotThere(f"there is no {directory}; {self._call(lambda: self._nearest(directory))}")
        state, error = catalog.state, catalog.error
        json_line = [listing.as_json(directory, state, error)]
        for line in json_line if self._json else listing.lines(directory, state, self._tree):
            self._output.line(line)
        for service, trouble in [("", error), *((service, event.error) for service, event in sorted(state.items()))]:
            if trouble is not None and not self._json:
                self._output.trouble(f"{service}: {trouble}" if service else trouble)
        first = self._call(lambda: zk.exists(f"{directory.rstrip('/')}/{min(state)}")) if state else None
        if first is not None and first.ephemeralOwner:
            self._output.trouble(f"{directory} is a service: `list --path {directory}` shows its instances")

    def _look_around(self, directory: str) -> bool:
        """Whether the path is there; if it is likely to be another one that was meant, that is said."""
        zk = self._client.zk
        stat = zk.exists(directory)
        if stat is None:
            if self._verb != "list":
                self._output.trouble(f"there is no {directory} yet; {self._nearest(directory)}")
            return False
        names = zk.get_children(directory)
        if stat.ephemeralOwner:
            self._output.trouble(f"{directory} is an instance, not a service: is the path one level too low?")
        elif names and any(zk.get_children(f"{directory.rstrip('/')}/{name}") for name in names[:3]):
            self._output.trouble(f"the children of {directory} have children: is the path one level too high?")
        return True

    def _nearest(self, directory: str) -> str:
        """What there is instead."""
        while directory != "/":
            directory = directory.rpartition("/")[0] or "/"
            if self._client.zk.exists(directory) is not None:
                return f"{directory} is there"
        return "not even / is there: the chroot does not exist"

    # -------------------------------------------------------------------------- output

    def _line(self, event: Event[Any], instancer: Instancer[Any]) -> str:
        stale = instancer.stale_since
        age = 0.0 if stale is None else max(0.0, round(monotonic() - stale, 3))
        error = None if event.error is None else str(event.error)
        instances = [one.as_dict() if isinstance(one, Instance) else one for one in event.instances]
        return json.dumps({"time": iso_time(time()), "instances": instances, "age": age, "error": error})


def _words(one: Any) -> str:
    """An instance for people: its address, and what is not as with most."""
    if not isinstance(one, Instance):
        return str(one)
    weight = f" weight {one.weight:g}" if one.weight != 1 else ""
    zone = f" in {one.zone}" if one.zone else ""
    return f"{one.address}{'' if one.available else ' ' + one.status}{weight}{zone} ({one.format})"


def _text(event: Event[Any]) -> str:
    """A line for people; an instance that holds what separates them is put in quotes."""
    shown = [json.dumps(one) if "," in one else printable(one) for one in map(_words, event.instances)]
    trouble = f"  ({printable(str(event.error))})" if event.error is not None else ""
    return f"{len(shown)} live: {', '.join(shown) or 'none'}{trouble}"
