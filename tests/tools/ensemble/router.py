"""The process between the network namespaces: takes packets from each TUN device, and passes them on, or does not.

    python -m tests.tools.ensemble.router SEED DESCRIPTOR:ADDRESS...

Each line of its input is a JSON list of rules, `[source, destination, {"drop": true, "loss": 0.1, "delay": 0.05}]`, which
replace all rules before, and is answered with a line of counts. It ends with its input. It must not know what the packets
mean: only the addresses of IPv4 are looked at.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import json
import os
import random
import select
import socket
import sys
import time
from typing import Any, Dict, List, Tuple

#: A larger packet than any device here sends (see `network.MTU`).
LARGEST = 65536
#: Packets that are taken from one device before the others have their turn.
BURST = 64

Pair = Tuple[bytes, bytes]


class Router:
    """All devices, by address, and the rules between them."""

    def __init__(self, devices: Dict[bytes, int], seed: int) -> None:
        self._devices = devices
        self._random = random.Random(seed)
        self._rules: Dict[Pair, Dict[str, Any]] = {}
        self._late: List[Tuple[float, int, int, bytes]] = []
        self._number = itertools.count()
        self.passed = self.dropped = 0

    def order(self, line: bytes) -> Dict[str, int]:
        """Put new rules in the place of all others; how many packets have passed and been dropped so far."""
        rules = json.loads(line)
        self._rules = {(socket.inet_aton(source), socket.inet_aton(to)): rule for source, to, rule in rules}
        return {"passed": self.passed, "dropped": self.dropped}

    def run(self) -> None:
        """Pass packets on until the input ends."""
        poll = select.epoll()
        poll.register(0, select.EPOLLIN)
        for device in self._devices.values():
            poll.register(device, select.EPOLLIN)
        rest = b""
        while True:
            due = max(0.0, self._late[0][0] - time.monotonic()) if self._late else -1
            for ready, _ in poll.poll(due):
                if ready:
                    self._take(ready)
                    continue
                more = os.read(0, 65536)
                if not more:
                    return
                *lines, rest = (rest + more).split(b"\n")
                for line in lines:
                    os.write(1, json.dumps(self.order(line)).encode() + b"\n")
            self._send_late()

    def _take(self, device: int) -> None:
        for _ in range(BURST):
            try:
                packet = os.read(device, LARGEST)
            except BlockingIOError:
                return
            if packet[0] >> 4 == 4:  # the kernel looks for IPv6 routers, too
                self._route(packet[12:16], packet[16:20], packet)

    def _route(self, source: bytes, to: bytes, packet: bytes) -> None:
        device = self._devices.get(to)
        rule = self._rules.get((source, to)) if self._rules else None
        if device is None or rule and (rule.get("drop") or self._random.random() < rule.get("loss", 0.0)):
            self.dropped += 1
        elif rule and rule.get("delay"):
            heapq.heappush(self._late, (time.monotonic() + rule["delay"], next(self._number), device, packet))
        else:
            self._pass(device, packet)

    def _send_late(self) -> None:
        now = time.monotonic()
        while self._late and self._late[0][0] <= now:
            _, _, device, packet = heapq.heappop(self._late)
            self._pass(device, packet)

    def _pass(self, device: int, packet: bytes) -> None:
        try:
            os.write(device, packet)
            self.passed += 1
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS):  # a full queue loses packets, as on any wire
                raise
            self.dropped += 1


def main(seed: str, *devices: str) -> int:
    """Run until the input ends."""
    pairs = (device.split(":") for device in devices)
    Router({socket.inet_aton(address): int(number) for number, address in pairs}, int(seed)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
