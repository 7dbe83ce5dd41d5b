"""A program: the main job of both packages, on both fronts, step by step. Every interpreter of the matrix runs it.

    python probe.py --path FOLDER [--package app._vendor.] [--without ssl,asyncio] [--no-poll] [--stack BYTES] [--thorough]

It imports the packages from FOLDER (a folder or a zip file; none: from where it is itself), and prints one line for each
step, and in the end "passed". `--without` names modules whose import fails, as where Python was built without them;
`--no-poll` takes poll and epoll away; `--stack` is the size of each thread's stack. It runs under any flags, also where
assert statements are left out, and uses nothing but the standard library. The first step that fails ends it, with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import logging
import pkgutil
import queue
import sys
import threading
import time
from typing import Any, Callable, Iterator, List, Optional, Sequence

#: Seconds in which anything that has to come comes.
PATIENCE = 20.0
#: Needs pytest.
FOR_PYTEST = "testing.fixtures"
STEPS: List[Callable[[Probe], Optional[str]]] = []


class Failed(Exception):
    """What should have been so was not."""


def expect(holds: object, what: object) -> None:
    """`Failed` unless it holds."""
    if not holds:
        raise Failed(what)


def step(function: Callable[[Probe], Optional[str]]) -> Callable[[Probe], Optional[str]]:
    """A step: its name is what is printed; it may return a word, or why there is nothing to do."""
    STEPS.append(function)
    return function


class Blocker:
    """Refuses to import some modules, as where they do not exist."""

    def __init__(self, names: List[str]) -> None:
        self._names = {*names, *("_" + name for name in names)}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)

    def install(self) -> None:
        already = sorted(self._names & set(sys.modules))
        expect(not already, f"loaded before they could be blocked: {already}")
        sys.meta_path.insert(0, self)  # type: ignore[arg-type]


def without_poll() -> None:
    """What `select` has on Windows."""
    import hashlib  # noqa: F401  # PyPy's own needs poll
    import select

    for name in ("poll", "epoll", "kqueue", "devpoll"):
        if hasattr(select, name):
            delattr(select, name)
    import selectors

    selectors.DefaultSelector = selectors.SelectSelector  # type: ignore[misc]  # which it is, unless it was loaded before


class Probe:
    """The packages that are looked at, and a server for them."""

    def __init__(self, package: str, certificate: Optional[str], thorough: bool) -> None:
        self.package, self.certificate, self.thorough = package, certificate, thorough
        self.zkwire, self.zkdisco = self.module("zkwire"), self.module("zkdisco")
        self.server: Any = None

    def module(self, name: str) -> Any:
        """A module of either package: "zkwire.ops"."""
        return importlib.import_module(self.package + name)

    def client(self, **options: Any) -> Any:
        """A client of the server, as a context."""
        return self.zkwire.ZooKeeper(self.server.hosts, timeout=10.0, request_timeout=PATIENCE, **options)

    def modules(self) -> List[str]:
        """The names of all modules."""
        found = []
        for package in (self.zkwire, self.zkdisco):
            prefix = package.__name__ + "."
            found += [one.name for one in pkgutil.walk_packages(package.__path__, prefix, onerror=_raise)]
        return found

    def run(self, steps: Sequence[Callable[[Probe], Optional[str]]]) -> None:
        """Take these steps, with a line for each."""
        with self.module("zkwire.embedded").EmbeddedServer(tick=0.05) as self.server:
            for one in steps:
                began = time.monotonic()
                said = one(self)
                print(f"{one.__name__.replace('_', ' ')}: {said or 'ok'} ({time.monotonic() - began:.2f} s)", flush=True)


class Heard:
    """What an observer or a watcher was told."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __call__(self, event: Any) -> None:
        self._events.put(event)

    def next(self) -> Any:
        """The next event."""
        return self._events.get(timeout=PATIENCE)

    def until(self, holds: Callable[[Any], bool]) -> Any:
        """The first event of which it holds."""
        end = time.monotonic() + PATIENCE
        while True:
            event = self.next()
            if holds(event):
                return event
            expect(time.monotonic() < end, f"the last event was {event}")


def there(name: str) -> bool:
    """Whether a module of the standard library can be imported here."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


# ------------------------------------------------------------------------------------ the steps


@step
def all_modules_can_be_imported(probe: Probe) -> Optional[str]:
    """Those of the asyncio front need asyncio; all others need nothing that may be missing."""
    names = probe.modules()
    expect(len(names) > 60, names)
    for name in names:
        awaits = name.rpartition(".")[2].startswith("aio")
        if not name.endswith((FOR_PYTEST, "__main__")) and (there("asyncio") or not awaits):
            importlib.import_module(name)
    return f"{len(names)} modules"


def _raise(name: str) -> None:
    raise Failed(f"{name} cannot be imported")


@step
def a_client_reads_and_writes(probe: Probe) -> Optional[str]:
    ops, errors = probe.module("zkwire.ops"), probe.zkwire.errors
    with probe.client() as zk:
        zk.ensure_path("/app")
        path = zk.create("/app/worker-", b"one", ephemeral=True, sequence=True)
        expect(zk.get(path)[0] == b"one", "what was written is read")
        with zk.transaction() as transaction:
            transaction.check(path)
            transaction.create("/app/ready", b"")
        expect(sorted(zk.get_children("/app"))[0] == "ready", "the transaction was done")
        futures = [zk.submit(ops.GetData(path)) for _ in range(200)]
        expect(all(future.result(PATIENCE)[0] == b"one" for future in futures), "pipelined reads")
        try:
            zk.get("/none")
        except errors.NoNodeError as error:
            expect((error.code, error.path) == (-101, "/none"), error)
        else:
            raise Failed("no error for a node that is not there")
        expect(zk.server_version() >= (3, 9), "the server's version")
        zk.delete("/app", recursive=True)
    return None


@step
def watches_are_called(probe: Probe) -> Optional[str]:
    once, always = Heard(), Heard()
    with probe.client() as zk, probe.client() as other:
        zk.create("/w", b"")
        zk.get("/w", watch=once)
        zk.add_watch("/w", always, recursive=True)
        other.set("/w", b"1")
        other.create("/w/below", b"")
        expect(once.next().path == "/w", "the one-shot watch")
        expect([always.next().path for _ in range(2)] == ["/w", "/w/below"], "the persistent watch")
        other.delete("/w", recursive=True)
    return None


@step
def services_are_registered_and_discovered(probe: Probe) -> Optional[str]:
    disco, events = probe.zkdisco, Heard()
    with disco.Client([probe.server.hosts]) as client, disco.Client([probe.server.hosts]) as other:
        instancer = disco.Instancer(other, "/services/api")
        instancer.register(events)
        with disco.Registrar(client, disco.Service("/services", "api", b"10.0.0.1:80")) as registrar:
            events.until(lambda event: event.instances == ("10.0.0.1:80",))
            registrar.update(b"10.0.0.1:81")
            events.until(lambda event: event.instances == ("10.0.0.1:81",))
            expect(str(client.report()), "a report")
        events.until(lambda event: event.instances == ())
        expect(instancer.state.error is None, instancer.state)
    return None


@step
def cuts_and_an_expiry_are_survived(probe: Probe) -> Optional[str]:
    disco, server, states = probe.zkdisco, probe.server, Heard()
    with disco.Client([server.hosts]) as client, disco.Client([server.hosts]) as other:
        registrar, events = disco.Registrar(client, disco.Service("/cut", "api", b"x")), Heard()
        node = registrar.register()
        disco.Instancer(other, "/cut/api").register(events)
        events.until(lambda event: event.instances == ("x",))
        client.zk.add_listener(states)
        for reset in (False, True):
            server.cut(reset=reset)
            states.until(lambda state: state == "SUSPENDED")
            states.until(lambda state: state == "CONNECTED")
        expect(registrar.node == node, "the session has survived: the node is the same")
        server.expire(client.zk.client_id[0])
        states.until(lambda state: state == "LOST")
        again = events.until(lambda event: event.instances == ("x",) and event.error is None and _other(probe, node))
        expect(again, "it is registered again")
        registrar.deregister()
    return None


def _other(probe: Probe, node: str) -> bool:
    """Whether the node is another one by now."""
    names = [path for path in probe.server.tree("/cut/api") if path != "/cut/api"]
    return bool(names) and node not in names


@step
def the_asyncio_front_does_the_same(probe: Probe) -> Optional[str]:
    if not there("asyncio"):
        try:
            probe.module("zkwire.aio")
        except ImportError as error:
            return f"there is no asyncio, and {error}"
        raise Failed("zkwire.aio without asyncio")
    import asyncio

    aio, disco, server = probe.module("zkdisco.aio"), probe.zkdisco, probe.server

    async def told(instancer: Any, instances: Any) -> None:
        async for event in instancer:
            if event.instances == instances and event.error is None:
                return

    async def main() -> None:
        async with probe.zkwire.AsyncZooKeeper(server.hosts, timeout=10.0) as zk:
            await zk.create("/async", b"1")
            seen: asyncio.Queue[Any] = asyncio.Queue()
            data, _ = await zk.get("/async", watch=seen.put_nowait)
            expect(data == b"1", data)
            await zk.set("/async", b"2")
            expect((await asyncio.wait_for(seen.get(), PATIENCE)).path == "/async", "the watch")
            server.cut()
            while True:
                try:
                    await zk.delete("/async")
                except probe.zkwire.ConnectionLoss:  # it may have been done, or not
                    if await zk.exists("/async") is None:
                        break
                else:
                    break
        async with aio.Client(server.hosts) as client, aio.Client(server.hosts) as other:
            async with aio.Instancer(other, "/async-services/api") as instancer:
                registrar = aio.Registrar(client, disco.Service("/async-services", "api", b"y"))
                await registrar.register()
                await asyncio.wait_for(told(instancer, ("y",)), PATIENCE)
                server.expire(client.zk.client_id[0])
                await asyncio.wait_for(told(instancer, ("y",)), PATIENCE)
                await registrar.deregister()
                await asyncio.wait_for(told(instancer, ()), PATIENCE)

    asyncio.run(main())
    return None


@step
def tls(probe: Probe) -> Optional[str]:
    """On both fronts; without ssl, who asks for it is told so."""
    if not there("ssl"):
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown):
            status = probe.module("zkdisco.cli").main(
                ["list", "--ca-file", "ca.pem", "--servers", probe.server.hosts, "--path", "/a"]
            )
        lines = shown.getvalue().splitlines()
        expect(status == 1 and len(lines) == 1 and "ssl" in lines[0], (status, lines))
        return lines[0]
    if probe.certificate is None:
        return "there is no certificate"
    import ssl

    of_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    of_server.load_cert_chain(probe.certificate)
    context = ssl.create_default_context(cafile=probe.certificate)
    with probe.module("zkwire.embedded").EmbeddedServer(ssl_context=of_server) as server:
        with probe.zkwire.ZooKeeper(server.hosts, ssl_context=context) as zk:
            zk.create("/secret", b"1" * 100_000)
            expect(len(zk.get("/secret")[0]) == 100_000, "over TLS")
        if there("asyncio"):
            import asyncio

            async def main() -> None:
                async with probe.zkwire.AsyncZooKeeper(server.hosts, ssl_context=context) as zk:
                    expect(len((await zk.get("/secret"))[0]) == 100_000, "over TLS")

            asyncio.run(main())
    return None


@step
def the_command_line_lists(probe: Probe) -> Optional[str]:
    main, shown = probe.module("zkdisco.cli").main, io.StringIO()
    probe.server.plant({"/listed/api/_c_" + 32 * "0" + "-0000000000": b"10.0.0.9:80"})
    with contextlib.redirect_stdout(shown):
        status = main(["list", "--servers", probe.server.hosts, "--path", "/listed/api"])
    expect((status, shown.getvalue().strip()) == (0, "10.0.0.9:80"), (status, shown.getvalue()))
    return None


@step
def a_client_that_is_wrong_is_told_so(probe: Probe) -> Optional[str]:
    """Errors have their values in the text, also where docstrings are left out; and nobody waits longer than asked."""
    try:
        probe.zkwire.ZooKeeper("h1:port")
    except ValueError as error:
        expect("h1:port" in str(error), error)
    else:
        raise Failed("h1:port was taken for a server")
    began = time.monotonic()
    try:
        probe.zkwire.ZooKeeper("127.0.0.1:1").start(timeout=0.5)
    except probe.zkwire.OperationTimeoutError as error:
        expect("127.0.0.1:1" in str(error), error)
    else:
        raise Failed("a session without a server")
    expect(time.monotonic() - began < PATIENCE, "it took long")
    return None


@step
def nothing_is_left(probe: Probe) -> Optional[str]:
    """No thread of ours but the server's."""
    end = time.monotonic() + PATIENCE
    while True:
        left = [one.name for one in threading.enumerate() if one.name.startswith(("zkwire", "zkdisco"))]
        if left == ["zkwire-embedded"]:
            return None
        expect(time.monotonic() < end, left)
        for one in threading.enumerate():
            if one.name in left and one.name != "zkwire-embedded":
                one.join(0.1)


@step
def the_demonstration(probe: Probe) -> Optional[str]:
    demo, inbox = probe.module("zkdisco.demo"), queue.SimpleQueue()  # type: ignore[var-annotated]
    if getattr(sys, "frozen", False):
        try:
            demo.run(demo.Screen(False, inbox))
        except RuntimeError as error:
            return str(error)
        raise Failed("a frozen program has started itself")
    if not probe.thorough:
        return "left out, for want of time"
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        status = demo.run(demo.Screen(False, inbox))
    expect(status == 0, shown.getvalue())
    return shown.getvalue().splitlines()[-1]


# ------------------------------------------------------------------------------------ the program


def _words(text: str) -> List[str]:
    return [word for word in text.split(",") if word]


def arguments(given: Optional[List[str]] = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--path", action="append", default=[])
    parser.add_argument("--package", default="")
    parser.add_argument("--without", type=_words, default=[])
    parser.add_argument("--no-poll", action="store_true")
    parser.add_argument("--stack", type=int, default=0)
    parser.add_argument("--certificate")
    parser.add_argument("--thorough", action="store_true")
    return parser.parse_args(given)


@contextlib.contextmanager
def stacks(size: int) -> Iterator[None]:
    """Threads have stacks of this size (0: as they are)."""
    before = threading.stack_size(size) if size else 0
    yield
    if size:
        threading.stack_size(before)


def quiet() -> None:
    """Warnings are of the outages that are made here, and are not shown; errors are."""
    logging.basicConfig(level=logging.ERROR)


def main(given: Optional[List[str]] = None) -> int:
    """Run all steps; the exit status."""
    options = arguments(given)
    if options.without:
        Blocker(options.without).install()
    if options.no_poll:
        without_poll()
    quiet()
    sys.path[:0] = options.path
    with stacks(options.stack):
        Probe(options.package, options.certificate, options.thorough).run(STEPS)
    print("passed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
