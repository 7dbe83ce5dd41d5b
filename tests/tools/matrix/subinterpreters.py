"""A program: the packages in subinterpreters of this process.

    python subinterpreters.py FOLDER

In one that shares the lock (mod_wsgi's, those of `create("legacy")`) both fronts work; it may end once the client is
closed. An isolated one allows no daemon threads: there the blocking front says so, and asyncio's works.
"""

from __future__ import annotations

import os
import sys
import textwrap
from typing import Any

#: CPython 3.12 crashes at its end if an isolated one has only imported asyncio.
ASYNC = sys.version_info[:2] != (3, 12)
BEGIN = """
    import os, sys, threading
    sys.path[:0] = [{folder!r}]
    from zkwire import ZooKeeper
    said = []
"""
SHARED = BEGIN + """
    import queue
    from zkdisco import Client, Instancer, Registrar, Service
    told = queue.SimpleQueue()
    with ZooKeeper({hosts!r}) as zk:
        zk.create("/shared", b"1")
        zk.get("/shared", watch=told.put)
        zk.set("/shared", b"2")
        said.append(told.get(timeout=20).path)
    with Client({hosts!r}) as client:
        instancer = Instancer(client, "/sub/api")
        instancer.register(told)
        with Registrar(client, Service("/sub", "api", b"x")):
            while told.get(timeout=20).instances != ("x",):
                pass
            said.append(instancer.state.instances)
    for thread in threading.enumerate():
        if thread.daemon:
            thread.join(20)
    os.write({out}, repr(said).encode())
"""
ISOLATED = BEGIN + """
    import time
    began = time.monotonic()
    try:
        ZooKeeper({hosts!r}).start(timeout=60)
    except RuntimeError as error:
        said.append(str(error))
    said.append(time.monotonic() - began < 20)
    if {asynchronous}:
        import asyncio
        from zkwire import AsyncZooKeeper
        async def main():
            for hosts in {every!r}:
                async with AsyncZooKeeper(hosts) as zk:
                    said.append((await zk.get("/shared"))[0])
        asyncio.run(main())
    os.write({out}, repr(said).encode())
"""


class Subinterpreters:
    """What the standard library has of them, under one name from version to version."""

    def __init__(self) -> None:
        try:
            import _interpreters as module  # type: ignore[import-not-found]
        except ImportError:
            import _xxsubinterpreters as module  # type: ignore[import-not-found, no-redef]
        self._module: Any = module
        self._new = hasattr(module, "exec")

    def run(self, shared: bool, code: str) -> None:
        """Run code in a new one, and end it; raises what the code raises, as text."""
        module = self._module
        one = module.create("legacy" if shared else "isolated") if self._new else module.create(isolated=not shared)
        try:
            if self._new:
                trouble = module.exec(one, code)
                if trouble is not None:
                    raise RuntimeError(trouble.formatted)
            else:
                module.run_string(one, code)
        finally:
            module.destroy(one)


def told(code: str, folder: str, hosts: str, shared: bool) -> str:
    """What code says that runs in a new subinterpreter."""
    reader, writer = os.pipe()
    every = {True: (hosts, hosts.replace("127.0.0.1", "localhost")), False: (hosts,)}[sys.version_info >= (3, 12)]
    try:
        text = textwrap.dedent(code).format(folder=folder, hosts=hosts, out=writer, every=every, asynchronous=ASYNC)
        Subinterpreters().run(shared, text)
        return os.read(reader, 10_000).decode()
    finally:
        os.close(reader)
        os.close(writer)


def main(folder: str) -> int:
    """Run both kinds, the first one twice; the exit status."""
    sys.path.insert(0, folder)
    from zkwire.embedded import EmbeddedServer

    with EmbeddedServer() as server:
        for _ in range(2):
            said = told(SHARED, folder, server.hosts, True)
            print("shared lock:", said)
            if said != repr(["/shared", ("x",)]):
                return 1
            from zkwire import ZooKeeper

            with ZooKeeper(server.hosts) as zk:
                zk.delete("/shared")
        server.plant({"/shared": b"3"})
        said = told(ISOLATED, folder, server.hosts, False)
        print("isolated:", said)
        if "AsyncZooKeeper does without" not in said or "True" not in said or ASYNC and "b'3'" not in said:
            return 1
    print("passed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
