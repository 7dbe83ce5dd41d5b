"""Services as users write them: programs that register themselves as 10.0.0.1:80 in /svc/api, and end in some way.

Owns their texts. Their first argument is the connect string, the second the session timeout.
"""

from __future__ import annotations

import sys
from typing import List

#: docs/discovery.md, "A service with threads".
THREADS = """
import signal, sys, threading
from zkdisco import Client, Registrar, Service
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
signal.signal(signal.SIGINT, lambda *_: ended.set())
with Client(sys.argv[1], session_timeout=float(sys.argv[2])) as client:
    with Registrar(client, Service("/svc", "api", b"10.0.0.1:80")):
        ended.wait()
"""
#: docs/discovery.md, "A service with asyncio".
ASYNCIO = """
import asyncio, signal, sys
from zkdisco.aio import Client, Registrar
from zkdisco import Service
async def main():
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with Client(sys.argv[1], session_timeout=float(sys.argv[2])) as client:
        async with Registrar(client, Service("/svc", "api", b"10.0.0.1:80")):
            await ended.wait()
asyncio.run(main())
"""
#: What follows the registration says how it ends; with "goodbye" as third argument, the interpreter's end says goodbye.
BEGIN = """
import atexit, os, signal, sys, threading, time
from zkdisco import Client, Instancer, Registrar, Service
def hang(*_):
    threading.Event().wait()
atexit.register(lambda: print("first registered:", registrar.node, type(registrar.error).__name__, flush=True))
handler = hang if sys.argv[3:] == ["goodbye", "handler"] else None
client = Client(sys.argv[1], session_timeout=float(sys.argv[2]), stop_at_exit="goodbye" in sys.argv[3:], event_handler=handler)
atexit.register(lambda: print("last registered:", registrar.node is not None, flush=True))
registrar = Registrar(client, Service("/svc", "api", b"10.0.0.1:80"))
registrar.register()
print("registered", flush=True)
sys.stdin.readline()
"""
#: A reload on SIGHUP, the end on SIGTERM.
RELOADS = """
import queue, signal, sys
from zkdisco import Client, Registrar, Service
signals = queue.SimpleQueue()
signal.signal(signal.SIGTERM, lambda number, frame: signals.put(number))
signal.signal(signal.SIGHUP, lambda number, frame: signals.put(number))
with Client(sys.argv[1], session_timeout=float(sys.argv[2])) as client:
    with Registrar(client, Service("/svc", "api", b"10.0.0.1:80")) as registrar:
        while signals.get() == signal.SIGHUP:
            registrar.update(b"10.0.0.1:80 reloaded")
"""
#: A master that forks two workers, as gunicorn does: each registers itself, and the master passes SIGTERM on.
PREFORK = """
import os, signal, sys, threading, warnings
from zkdisco import Client, Registrar, Service
warnings.simplefilter("ignore")  # of 3.12: the master has threads, of a client of its own
master = Client(sys.argv[1], session_timeout=float(sys.argv[2]))
def work(number):
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with Client(sys.argv[1], session_timeout=float(sys.argv[2])) as client:
        with Registrar(client, Service("/svc", "api", b"10.0.0.%d:80" % number)):
            ended.wait()
workers = []
signal.signal(signal.SIGTERM, lambda *_: [os.kill(pid, signal.SIGTERM) for pid in workers])
for number in (1, 2):
    pid = os.fork()
    if not pid:
        work(number)
        os._exit(0)
    workers.append(pid)
statuses = [os.waitpid(pid, 0)[1] for pid in workers]
master.stop()
sys.exit(any(statuses))
"""


def command(text: str, hosts: str, timeout: float, *arguments: str) -> List[str]:
    """The command line of one of these."""
    return [sys.executable, "-W", "ignore::DeprecationWarning", "-c", text, hosts, str(timeout), *arguments]
