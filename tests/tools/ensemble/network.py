"""Where servers and clients are, and what passes between them: network namespaces, joined by a router of our own.

Each home is a network namespace with one TUN device; the router (`router`) holds all of these, so that packets between two
homes pass through it, and each direction of each pair has a rule of its own. Nothing of the kernel's traffic control is
needed. The namespaces have no names: they go when the last process goes that is in them, or holds their descriptor, so
that nothing is left behind, however a run ends. Needs root and /dev/net/tun (Linux).
"""

from __future__ import annotations

import ctypes
import dataclasses
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Mapping, Sequence, Tuple

from tests.kit.harness.servers import Home

ROOT = Path(__file__).parents[3]
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFMTU, SIOCSIFFLAGS = 0x8916, 0x891C, 0x8922, 0x8914
UP = 0x1 | 0x40
#: Large packets: one for a request, however large, costs less of the router's time than ten.
MTU = 16_000
#: The homes' addresses are NET.0.1, NET.0.2, ...: a private network that the machine outside never sees.
NET = "10.77"
MASK = "255.255.0.0"
CONTROL = "control"


@dataclasses.dataclass(frozen=True)
class Line:
    """What becomes of the packets from one home to another: `loss` is a probability, `delay` in seconds."""

    drop: bool = False
    loss: float = 0.0
    delay: float = 0.0


#: Source and destination to what is wrong between them; all others pass.
Lines = Mapping[Tuple[str, str], Line]


def unavailable() -> str:
    """Why namespaces cannot be had here; '' if they can."""
    if not sys.platform.startswith("linux"):
        return f"network namespaces need Linux, not {sys.platform}"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
        network, tun = _new_home(f"{NET}.255.254")
    except OSError as error:
        return f"network namespaces cannot be had: {error}"
    os.close(network)
    os.close(tun)
    return ""


class Network:
    """The homes with these names, and one more, `CONTROL`, which this process moves into and which nothing cuts off."""

    kind = "network namespaces"
    between_servers = True

    def __init__(self, names: Sequence[str], seed: int) -> None:
        self.addresses: Dict[str, str] = {}
        self._networks: Dict[str, int] = {}
        tuns: List[Tuple[int, str]] = []
        try:
            for number, name in enumerate([CONTROL, *names], 1):
                address = f"{NET}.{number // 250}.{number % 250 + 1}"
                network, tun = _new_home(address)
                self.addresses[name], self._networks[name] = address, network
                tuns.append((tun, address))
            self._router = subprocess.Popen(
                [sys.executable, "-m", "tests.tools.ensemble.router", str(seed), *(f"{tun}:{a}" for tun, a in tuns)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[tun for tun, _ in tuns], cwd=ROOT,
                start_new_session=True,
            )  # fmt: skip
        finally:
            for tun, _ in tuns:
                os.close(tun)
        self._outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _enter(self._networks[CONTROL])
        self.packets: Dict[str, int] = {}
        self.set({})

    def home(self, name: str) -> Home:
        """Where the process of this name is to run."""
        return Home(self.addresses[name], self._networks[name])

    def way(self, source: str, server: str, port: int) -> str:
        """The connect string of a server's port, as seen from a client's home."""
        return f"{self.addresses[server]}:{port}"

    def set(self, lines: Lines) -> None:
        """From now on these lines are as told, and all others pass everything. Returns when it is so."""
        rules = [(self.addresses[source], self.addresses[to], dataclasses.asdict(line)) for (source, to), line in lines.items()]
        assert self._router.stdin is not None and self._router.stdout is not None
        self._router.stdin.write(json.dumps(rules).encode() + b"\n")
        self._router.stdin.flush()
        answer = self._router.stdout.readline()
        if not answer:
            raise RuntimeError("the router has ended")
        self.packets = json.loads(answer)

    def close(self) -> None:
        """End the router and leave the namespaces, which go with the processes in them. May be called twice."""
        if self._outside < 0:
            return
        _enter(self._outside)
        with self._router:
            assert self._router.stdin is not None
            self._router.stdin.close()
        for descriptor in [self._outside, *self._networks.values()]:
            os.close(descriptor)
        self._outside = -1


def _libc(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _enter(network: int) -> None:
    """Move this thread, and those that it will start, into a namespace."""
    _libc("setns", network, CLONE_NEWNET)


def _new_home(address: str) -> Tuple[int, int]:
    """A new namespace with this address on a TUN device: descriptors of both."""
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _libc("unshare", CLONE_NEWNET)
        try:
            tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            try:
                fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    _set_up(sock, address)
                return os.open("/proc/thread-self/ns/net", os.O_RDONLY), tun
            except BaseException:
                os.close(tun)
                raise
        finally:
            _enter(outside)
    finally:
        os.close(outside)


def _set_up(sock: socket.socket, address: str) -> None:
    for request, value in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, MASK)):
        fcntl.ioctl(sock, request, struct.pack("16sHH4s8x", b"tun0", socket.AF_INET, 0, socket.inet_aton(value)))
    fcntl.ioctl(sock, SIOCSIFMTU, struct.pack("16si12x", b"tun0", MTU))
    for device in (b"tun0", b"lo"):
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", device, UP))


__all__ = ["CONTROL", "Line", "Lines", "Network", "unavailable"]
