"""The demonstration: services come, change, die, come back by themselves and leave, and an instancer sees every set.

Owns the story, and whether it went as told. Must not know more of discovery than its public names. Without servers it
starts an embedded one, and then can do to it what happens to servers; a real ensemble it leaves alone, and everything
it made there is gone afterwards.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from queue import Empty
from typing import Any, List, Optional, Tuple, Union

from ._zkwire import KazooState, SimpleQueue, ZooKeeper, embedded_server
from .front import logger
from .threads import Client, Instancer, Registrar
from .values import SHORTEST_TIMEOUT, Event, Service
from .tls import client_arguments

NAME = "api"
#: Seconds for a set to be seen, besides what a session takes to be over: nobody waits for ever.
PATIENCE = 10.0
#: Two clients with one session take it from each other; so often it is tried to end it.
TRIES = 5
#: Windows' way to what `start_new_session` does elsewhere.
OWN_GROUP: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
#: The longest wait in one piece, in seconds: on Windows a signal is heard only after it.
GLANCE = 0.25
#: A service in a process of its own. It gets our path, and so finds what we found, and goes when its input ends: none
#: is left behind, however we end. Nobody sees the credentials in its arguments.
PROCESS = """\
import importlib, json, sys
told = sys.stdin.readline()
if told:
    sys.path[:], package, service = json.loads(told)
    importlib.import_module(package + ".demo").serve(*service)
"""


class Missing(Exception):
    """What should have been seen was not."""


class Screen:
    """Prints what is done and every event, one line each, and waits for the events that must come.

    A None in `inbox`, which a signal handler may put there, ends the waiting.
    """

    def __init__(self, as_json: bool, inbox: SimpleQueue[Union[Event, OSError, None]]) -> None:
        self._as_json, self._inbox = as_json, inbox
        self._started = time.monotonic()
        self._count = 0

    def say(self, text: str) -> None:
        """A line about what happens now."""
        self._line({"action": text}, text)

    def __call__(self, event: Event) -> None:
        """The observer of the instancer."""
        error = None if event.error is None else str(event.error)
        text = f"    event: {len(event.instances)} live: {', '.join(event.instances) or 'none'}"
        self._count += 1
        try:
            self._line({"instances": event.instances, "error": error}, text + (f"  ({error})" if error else ""))
        except OSError as broken:  # nobody reads any more: the main thread is to know
            self._inbox.put(broken)
        self._inbox.put(event)

    def expect(self, *instances: str, trouble: bool = False, within: Optional[float] = None) -> None:
        """Block until an event has just this set, later than the one expected last; `Missing` if there is none."""
        within = PATIENCE if within is None else within
        deadline = time.monotonic() + within
        event = None
        while event is None or (event.instances, event.error is not None) != (instances, trouble):
            try:
                found = self._inbox.get(timeout=max(0.0, min(GLANCE, deadline - time.monotonic())))
            except Empty:
                if time.monotonic() < deadline:
                    continue
                error = " with an error" if trouble else ""
                raise Missing(f"{instances}{error} within {within:g} s; saw {event or 'nothing'}") from None
            if isinstance(found, OSError):
                raise found
            if found is None:
                raise Missing("the rest: a signal came")
            event = found

    def missing(self, text: str) -> Missing:
        """What is missing, or that it is for a signal that it is."""
        while not self._inbox.empty():
            if self._inbox.get() is None:
                return Missing("the rest: a signal came")
        return Missing(text)

    def done(self, missing: Optional[str]) -> None:
        """The last line."""
        text = f"FAILED: {missing}" if missing else f"done: {self._count} events, all that should have come among them"
        self._line({"done": missing is None, "events": self._count, "missing": missing}, text)

    def _line(self, fields: Any, text: str) -> None:
        seconds = time.monotonic() - self._started
        line = json.dumps({"seconds": round(seconds, 3), **fields}) if self._as_json else f"{seconds:6.2f}  {text}"
        sys.stdout.write(line + "\n")  # in one piece: two threads write
        sys.stdout.flush()


def run(screen: Screen, servers: Optional[str] = None, **options: Any) -> int:
    """The demonstration on `servers`, or an embedded one; the exit status: 0 if all was seen that should be.

    `options` are those of `Client`. Takes about 5 s; on real servers, which give two of their ticks at least for a
    session, by default 4 s, some more.
    """
    if getattr(sys, "frozen", False) or not sys.executable:
        why = f"sys.executable is {sys.executable!r}" + (", a frozen program" if getattr(sys, "frozen", False) else "")
        raise RuntimeError(f"the demonstration needs a Python interpreter for its services, and there is none: {why}")
    missing = None
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(embedded_server()()) if servers is None else None
        options = {"session_timeout": SHORTEST_TIMEOUT, **options, "servers": server.hosts if server else servers}
        try:
            Story(screen, options, server, stack).tell()
        except Missing as error:
            missing = str(error)
    screen.done(missing)
    return 0 if missing is None else 1


def serve(options: Any, path: str, data: str) -> None:
    """The service in a process of its own: registered until standard input ends."""
    logger.addHandler(logging.NullHandler())  # it ends by the story's will
    service = Service(path, NAME, data.encode())
    with Client(**client_arguments(options)) as client, Registrar(client, service) as registrar:
        print(registrar.node, flush=True)
        sys.stdin.read()


class Story:
    """What happens, in order. `server` is the embedded one, or None; what there is to end goes onto `stack`."""

    def __init__(self, screen: Screen, options: Any, server: Any, stack: contextlib.ExitStack) -> None:
        self._screen, self._options, self._server, self._stack = screen, options, server, stack
        self._path = f"/zkdisco-demo-{os.urandom(4).hex()}"
        self._watching = stack.enter_context(Client(**client_arguments(options)))
        if server is None:
            stack.callback(self._clean_up)  # after all who could make nodes have ended
        self._client = stack.enter_context(Client(**client_arguments(options)))

    def tell(self) -> None:
        """All of it."""
        screen = self._screen
        if self._server is not None:
            screen.say(f"an embedded server, {self._server.hosts}")
        else:
            screen.say(f"a real ensemble, {self._options['servers']}: its servers are left alone, none dies here")
        Instancer(self._watching, f"{self._path}/{NAME}").register(screen)
        screen.expect()
        screen.say("three services come, the second and third in processes of their own")
        first = Registrar(self._client, Service(self._path, NAME, b"10.0.0.1:80"))
        first.register()
        screen.expect("10.0.0.1:80")
        second, node = self._process("10.0.0.2:80")
        screen.expect("10.0.0.1:80", "10.0.0.2:80")
        third, _ = self._process("10.0.0.3:80")
        screen.expect("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
        screen.say("the second moves to another port")
        self._watching.zk.set(node, b"10.0.0.2:90")
        screen.expect("10.0.0.1:80", "10.0.0.2:90", "10.0.0.3:80")
        timeout = self._watching.zk.session_timeout
        screen.say(f"the second is killed: it is gone when its session is over, after {timeout:g} s or a little more")
        second.kill()
        screen.expect("10.0.0.1:80", "10.0.0.3:80", within=2 * timeout + PATIENCE)
        self._expiry(first)
        if self._server is not None:
            self._restart()
            self._wipe()
        screen.say("the third leaves")
        third.stdin.close()
        screen.expect("10.0.0.1:80")
        screen.say("the first leaves")
        first.deregister()
        screen.expect()
        if third.wait(PATIENCE) != 0:
            raise Missing(f"exit status 0 of the third; saw {third.returncode}")

    def _expiry(self, first: Registrar) -> None:
        how = "the server ends it" if self._server is not None else "a second client takes and closes it"
        self._screen.say(f"the first one's session expires ({how}): it registers again by itself")
        old = first.node
        if self._server is not None:
            self._server.refuse_sessions()  # so that it cannot be back before anybody has looked
            session = self._client.zk.client_id
            self._server.expire(session[0] if session else 0)
            self._screen.expect("10.0.0.3:80")
            self._server.refuse_sessions(False)
        else:
            self._end_session(self._client.zk)
        self._screen.expect("10.0.0.1:80", "10.0.0.3:80")
        if first.node == old:
            raise Missing(f"a new node for the first; saw {old}")

    def _restart(self) -> None:
        before = self._nodes()
        self._screen.say("the server stops: the last good set stays, with the trouble there is")
        self._server.stop()
        self._screen.expect("10.0.0.1:80", "10.0.0.3:80", trouble=True)
        self._screen.say("the server starts again: sessions have survived, so no registration was touched")
        self._server.start()
        self._screen.expect("10.0.0.1:80", "10.0.0.3:80")
        if self._nodes() != before:
            raise Missing(f"the nodes of before, {before}; saw {self._nodes()}")

    def _wipe(self) -> None:
        before = self._nodes()
        self._screen.say("the server loses its disk, and all sessions with it: everybody registers again by himself")
        self._server.wipe()
        self._screen.expect("10.0.0.1:80", "10.0.0.3:80", trouble=True)
        self._screen.expect("10.0.0.1:80", "10.0.0.3:80", within=2 * self._watching.zk.session_timeout + PATIENCE)
        if set(self._nodes()) & set(before):
            raise Missing(f"new nodes instead of {before}; saw {self._nodes()}")

    def _nodes(self) -> List[str]:
        names: List[str] = self._watching.zk.get_children(f"{self._path}/{NAME}")
        return sorted(names)

    def _process(self, data: str) -> Tuple[Any, str]:
        """A service in a process of its own, registered when this returns, and its node."""
        process: Any = subprocess.Popen(  # noqa: S603  # our own interpreter and text
            [sys.executable, "-c", PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True, creationflags=OWN_GROUP,  # a Ctrl-C is for us alone
        )  # fmt: skip
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        wanted = json.dumps([sys.path, __name__.rpartition(".")[0], [self._options, self._path, data]]) + "\n"
        try:
            os.write(process.stdin.fileno(), wanted.encode())  # unbuffered: nothing is left to be written at the end
            node = process.stdout.readline().strip()
        except BrokenPipeError:  # it has ended: a Ctrl-C may come before it has a session of its own
            node = ""
        if not node:
            raise self._screen.missing(f"a registration of {data} by a process of its own")
        return process, node

    def _end_session(self, zk: ZooKeeper) -> None:
        """On a real ensemble: somebody else resumes it, and closes it."""
        known, lost, options = zk.client_id, threading.Event(), client_arguments(self._options)
        zk.add_listener(lambda state: lost.set() if state == KazooState.LOST else None)
        for _ in range(TRIES):
            with ZooKeeper(
                options["servers"], client_id=known, timeout=options["session_timeout"], sasl=options.get("sasl"),
                ssl_context=options.get("ssl_context"),
            ):  # fmt: skip
                pass
            if lost.wait(PATIENCE / TRIES):
                return
        raise Missing("the end of a session")

    def _clean_up(self) -> None:
        zk = self._watching.zk
        if zk.exists(self._path):
            zk.delete(self._path, recursive=True)
