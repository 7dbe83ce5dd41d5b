"""A program that forks while two threads use its client: `python -m tests.kit.forks threads 1000`.

It prints how many children there were and with which status they have ended, and fails if the client has felt anything.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from typing import List

from tests.kit.fronts import Front, Log, real, settled
from zkwire.errors import ForkedError
from zkwire.ops import GetData

#: So many are there at a time.
AT_ONCE = 10


def fork(front: Front, client: object) -> int:
    """A child that asks the parent's client for something, and ends: with 0 if it was refused, by SIGALRM if it hangs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of 3.12: fork with threads is what this is about
        pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = child(front, client)
        finally:
            os._exit(code)
    return pid


def child(front: Front, client: object) -> int:
    signal.alarm(5)
    try:
        client.submit(GetData("/a")) if front.is_asyncio else client.get("/a")  # type: ignore[attr-defined]
    except ForkedError:
        return 0
    return 1


def outcomes(front: Front, forks: int) -> List[int]:
    """The exit status of each child."""
    zk = front.client(front.server().hosts, timeout=9.0)
    client, stop, problems, states = real(zk), threading.Event(), Log(), Log()
    zk.add_listener(states)
    zk.create("/a")

    def load() -> None:
        while not stop.is_set():
            try:
                zk.get("/a", timeout=9)
                zk.submit(GetData("/b")).add_done_callback(lambda done: done.exception())
            except BaseException as error:
                problems(error)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    sys.setswitchinterval(1e-4)
    try:
        ended: List[int] = []
        for _ in range(forks // AT_ONCE):
            ended += [os.waitpid(pid, 0)[1] for pid in [fork(front, client) for _ in range(AT_ONCE)]]
    finally:
        stop.set()
        for thread in threads:
            thread.join(9)
    settled(zk)
    assert (problems.seen, states.seen) == ([], [])
    assert zk.get("/a")[0] == b""
    return ended


def main(name: str, forks: str) -> None:
    front = Front(name)
    try:
        ended = outcomes(front, int(forks))
    finally:
        front.close()
    assert not front.complaints, front.complaints
    print(f"{len(ended)} children, each with {' or '.join(map(str, sorted(set(ended))))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
