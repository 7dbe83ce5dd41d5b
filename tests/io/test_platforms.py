"""What is so on Windows and macOS, imitated here: waits that are deaf to signals, no poll, options refused, coarse clocks.

Ctrl-C on Windows: the signal does not end the wait of the main thread, whose handler runs when the wait is over. So it is
here where the signal goes to another thread, because the main thread has it blocked.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict

import pytest

import zkdisco.signals
from tests.kit.fronts import until
from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedServer, serving
from zkwire.io import dialer, future, process
from zkwire.io.coalescing import ENOUGH, MANY, MOMENT, Coalescing
from zkwire.io.sockets import BlockingWire

ROOT = Path(__file__).resolve().parents[2]

WINDOWS = """
import faulthandler, os, select, signal, socket, sys, threading, time
faulthandler.dump_traceback_later(25, exit=True)
for name in ("poll", "epoll", "kqueue"):
    vars(select).pop(name, None)
refusing = select.select
def strict(readers, writers, others, timeout=None):
    if not (readers or writers or others):
        raise OSError(10022, "An invalid argument was supplied")
    return refusing(readers, writers, others, timeout)
select.select = strict
if hasattr(socket, "MSG_DONTWAIT"):
    del socket.MSG_DONTWAIT
from zkwire.io import dialer, future
future.DEAF = float(sys.argv[1]) or None
from zkwire import ZooKeeper, ZookeeperError
from zkwire.embedded import EmbeddedServer
"""
CTRL_C = """
seen = threading.Event()
def press():  # to the process: the main thread has it blocked, this one has not
    seen.wait(20)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=press, daemon=True).start()
with EmbeddedServer() as server, ZooKeeper(server.hosts, timeout=20.0) as zk:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    server.black_hole()
    began = time.monotonic()
    try:
        WAIT
        print("not heard")
    except KeyboardInterrupt:
        print("heard" if time.monotonic() - began < 3 else "late")
    server.heal()
    server.cut()  # or else close() would wait for answers that were swallowed
"""
#: Where the main thread waits; the other thread presses Ctrl-C as soon as it does.
WAITS = {
    "for an answer, reading": "zk._driver._turns.inside = Told(zk._driver._turns.inside); zk.get('/', timeout=6)",
    "for an answer, following": "follow(); zk._driver._turns.join = told(zk._driver._turns.join); zk.get('/', timeout=6)",
    "for a future of its own": "future.acquire = told(future.acquire); zk.future().result(6)",
    "for a session": "other = ZooKeeper('127.0.0.1:1'); from zkwire.io import driver; "
                     "driver.acquire = told(driver.acquire); other.start(6)",
    "for a four-letter word": "from zkwire.io import four_letter; four_letter.wait_for = told(four_letter.wait_for); "
                              "zk.command(timeout=6)",
}  # fmt: skip
HELPERS = """
class Told(set):
    def add(self, one):
        super().add(one)
        seen.set()
def told(function):
    def call(*arguments):
        seen.set()
        return function(*arguments)
    return call
def follow():
    threading.Thread(target=lambda: attempt(zk), daemon=True).start()
    while not zk._driver._turns.taken:
        time.sleep(0.001)
def attempt(zk):
    try:
        zk.get("/", timeout=8)
    except ZookeeperError as error:
        print(type(error).__name__, file=sys.stderr)
"""


def run(code: str, deaf: float) -> str:
    """What a program says on an imitated Windows, with waits that are deaf for so long at most (0: without a limit)."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", WINDOWS + code, str(deaf)], cwd=ROOT, timeout=50, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("where", WAITS)
def test_ctrl_c_is_heard_while_the_main_thread_waits(where: str) -> None:
    assert run(HELPERS + CTRL_C.replace("WAIT", WAITS[where]), 0.05) == "heard"


@pytest.mark.slow
@pytest.mark.once
def test_it_would_not_be_heard_otherwise() -> None:
    """The imitation is one: where waits are not cut, the call ends with its time-out, and the handler runs after it."""
    said = run(HELPERS + CTRL_C.replace("WAIT", WAITS["for a future of its own"]), 0)
    assert said == "late"


@pytest.mark.slow
def test_the_main_job_without_poll_and_with_a_select_that_refuses_to_wait_for_nothing() -> None:
    said = run(
        "with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk:\n"
        "    zk.create('/a', b'1')\n    server.cut()\n"
        "    while True:\n"
        "        try:\n            print(zk.get('/a')[0]); break\n        except Exception as error:\n            print(error)\n"
        "    assert type(zk._driver._sockets.main).__name__ == 'PolledWire'\n"
        "began = time.monotonic(); assert dialer.wait_for(0.05) == []; print(time.monotonic() - began >= 0.04)",
        0.05,
    )
    assert said.splitlines()[-2:] == ["b'1'", "True"]


def test_a_lock_that_is_waited_for_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for deaf in (None, 0.02):
        monkeypatch.setattr(future, "DEAF", deaf)
        lock = future.allocate_lock()
        assert future.acquire(lock, None) and not future.acquire(lock, 0.0)
        began = time.monotonic()
        assert not future.acquire(lock, 0.05)
        assert time.monotonic() - began >= 0.045
        lock.release()
        assert future.acquire(lock, 5.0)
        assert future.heard_within(1.0) == (1.0 if deaf is None else deaf)


# ---------------------------------------------------------------------------------- macOS


def test_macos_has_another_clock_that_goes_on_while_it_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.sys, "platform", "darwin")
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    asked = []
    monkeypatch.setattr(time, "clock_gettime", lambda clock: asked.append(clock) or 1.0)
    assert process._choose()() == 1.0
    assert set(asked) == {time.CLOCK_MONOTONIC}


class Reset(socket.socket):
    """A socket of macOS once the other end has reset the connection: no option can be set any more."""

    def setsockopt(self, *arguments: Any) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")


def test_the_embedded_server_survives_a_client_that_has_reset_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = []
    real = socket.socket.accept

    def accept(listener: socket.socket) -> Any:
        sock, address = real(listener)
        if not refused:
            refused.append(address)
            sock = Reset(fileno=sock.detach())
        return sock, address

    monkeypatch.setattr(socket.socket, "accept", accept)
    with EmbeddedServer() as server:
        with socket.create_connection(("127.0.0.1", server.port)):
            until(lambda: refused)
            server.cut(reset=True)
        with ZooKeeper(server.hosts) as zk:
            assert zk.exists("/") is not None


def test_a_connection_that_was_reset_says_so_by_recv_not_by_its_options() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = BlockingWire(None, Reset(fileno=ours.detach()))  # type: ignore[arg-type]
        with wire.sock:
            theirs.sendall(b"the last word")
            assert wire.wait(1.0) and wire.take() == b"the last word"
            theirs.close()
            assert wire.wait(1.0) and wire.take() == b""


# -------------------------------------------------------------------------------- Windows


def test_the_port_of_the_embedded_server_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here an address in use is refused with SO_REUSEADDR; Windows' needs another option, which this imitates."""
    options = []

    class Listener(socket.socket):
        def setsockopt(self, level: int, option: int, value: Any) -> None:  # type: ignore[override]
            options.append(option)
            super().setsockopt(level, socket.SO_REUSEADDR if option == -5 else option, value)

    monkeypatch.setattr(serving, "_OWN_PORT", -5)  # Windows' SO_EXCLUSIVEADDRUSE
    monkeypatch.setattr(serving.socket, "socket", Listener)
    with EmbeddedServer() as server:
        with pytest.raises(OSError):
            EmbeddedServer(server.port).start()
        server.restart()
    assert options[0] == -5 and socket.SO_REUSEADDR not in options


def test_an_error_of_windows_has_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: Dict[int, str] = {errno.ECONNREFUSED: "The target machine actively refused it."}
    monkeypatch.setattr(socket, "errorTab", texts, raising=False)

    class Refused:
        def getsockopt(self, level: int, option: int) -> int:
            return errno.ECONNREFUSED

    assert texts[errno.ECONNREFUSED] in str(dialer._connect_error(Refused()))  # type: ignore[arg-type]
    monkeypatch.delattr(socket, "errorTab")
    assert os.strerror(errno.ECONNREFUSED) in str(dialer._connect_error(Refused()))  # type: ignore[arg-type]


@pytest.mark.parametrize("resolution", [1e-9, 0.015625])
def test_nothing_gathers_by_a_clock_that_cannot_tell_a_moment(resolution: float) -> None:
    one = Coalescing(resolution)
    possible = resolution <= MOMENT
    assert one.wanted(2 * MANY, 2 * MANY - ENOUGH + 1, 0.0, 0) is possible
    assert any(one.wanted(0, 0, 0.0, 5) for _ in range(20)) is possible


def test_ctrl_break_counts_where_there_is_one() -> None:
    assert "SIGBREAK" in zkdisco.signals.ENDING
