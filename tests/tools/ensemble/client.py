"""A client process: does its workloads until it is told to rest, then says what it sees.

    python -m tests.tools.ensemble.client '{"name": "c01", "hosts": "...", "history": "/tmp/...", ...}'

Its input has the orders, one a line: `rest` (write nothing more), `look` (catch up, and note what is there), `end`. It answers
each with a line once it is done, and begins with `ready`. Runs on any Python from 3.9 on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import platform
import sys
import threading
import time
from typing import Any, Coroutine, Dict, List

from tests.kit.harness import pki
from zkwire.errors import ZookeeperError

from .broken import BROKEN, HONEST
from .hand import FRONTS, Front, Hand, run_blocking
from .history import History
from .workloads import WORKLOADS, Workload

#: Seconds for the first connection, and for the last one.
FIRST, LAST = 60.0, 40.0
USER, PASSWORD = "bob", "secret"  # of servers with SASL


class Orders:
    """What the leader of the round has told this process."""

    def __init__(self) -> None:
        self._told: Dict[str, threading.Event] = {order: threading.Event() for order in ("rest", "look", "end")}
        threading.Thread(target=self._hear, name="orders", daemon=True).start()

    def has(self, order: str) -> bool:
        """Whether it was told."""
        return self._told[order].is_set()

    def _hear(self) -> None:
        for line in sys.stdin:
            self._told[line.strip()].set()
        for event in self._told.values():  # the leader has ended: so does this process
            event.set()


def say(what: str) -> None:
    """Answer the leader."""
    print(what, flush=True)


def made(config: Dict[str, Any], front: Front) -> Any:
    """The client, not started."""
    options: Dict[str, Any] = {"timeout": config["timeout"], "read_only": config.get("read_only", False)}
    if config.get("tls"):
        context = pki.client_context()
        context.check_hostname = False  # the certificate is for 127.0.0.1, and servers may be elsewhere
        options["ssl_context"] = context
    if config.get("sasl"):
        options["sasl"] = (USER, PASSWORD)
    return front.client(config["hosts"], **options)


async def work(hand: Hand, workloads: List[Workload], orders: Orders, pace: float) -> None:
    """From the first connection to the last word."""
    hand.zk.add_listener(hand.state_changed)
    await hand.front.done(hand.zk.start(FIRST))
    for workload in workloads:
        await workload.begin()
    say("ready")
    while not orders.has("rest"):
        for workload in workloads:
            try:
                await workload.step()
            except ZookeeperError:
                pass  # it is in the history
        await hand.pause(pace * (0.5 + hand.random.random()))
    say("resting")
    while not orders.has("look"):
        await hand.pause(0.02)
    await look(hand, workloads)
    say("looked")
    while not orders.has("end"):
        await hand.pause(0.02)
    for workload in workloads:
        await workload.end()
    await hand.front.done(hand.zk.close())
    hand.history.write("end")


async def look(hand: Hand, workloads: List[Workload]) -> None:
    """Note what is there at rest; `rest` is only written if there was a connection to see it with."""
    end = time.monotonic() + LAST
    while time.monotonic() < end:
        if not await hand.caught_up(end - time.monotonic()):
            return
        try:
            for workload in workloads:
                await workload.look()
        except ZookeeperError:
            continue  # the connection was lost once more
        hand.history.write("rest", sid=hand.session())
        return


def main(text: str) -> int:
    """Be the client that the text describes."""
    config = json.loads(text)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s.%(msecs)03d %(name)s %(message)s", datefmt="%H:%M:%S")
    history = History(config["history"])
    history.write("start", name=config["name"], front=config["front"], python=platform.python_version(),
                  workloads=config["workloads"])  # fmt: skip

    async def play() -> None:
        front = FRONTS[config["front"]]()
        kind = BROKEN[config["broken"]] if config.get("broken") else HONEST
        hand = kind.hand(config["name"], front, made(config, front), history, config["seed"])
        workloads = [{**WORKLOADS, **kind.changed}[name](hand) for name in config["workloads"]]
        await work(hand, workloads, Orders(), config["pace"])

    run: Dict[str, Any] = {"threads": run_blocking, "asyncio": _run_async}
    run[config["front"]](play())
    return 0


def _run_async(play: Coroutine[Any, Any, None]) -> None:
    asyncio.run(play)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
