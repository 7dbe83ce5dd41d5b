"""Attempts to connect: names, several addresses, their order and timing, TLS, and whatever may go wrong on the way."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Iterator, List, Optional

import pytest

from tests.kit.catalogue import fault
from tests.kit.harness import pki
from tests.kit.tls import Peer
from zkwire.errors import TLSError
from zkwire.io.attempts import begin
from zkwire.io.dialer import (
    READ, STAGGER, WRITE, Address, LookUp, Resolver, Server, Waker, failure, wait_for,
)  # fmt: skip
from zkwire.io.tls import SILENCE
from zkwire.session.host_provider import Host

NAME = Host("several.invalid", 2181)


def at(number: int, port: int) -> Address:
    return Address(int(socket.AF_INET), (f"127.0.0.{number}", port))


@contextlib.contextmanager
def listening(number: int, port: int = 0, backlog: int = 5) -> Iterator[socket.socket]:
    with socket.create_server((f"127.0.0.{number}", port), backlog=backlog) as listener:
        yield listener


@contextlib.contextmanager
def swallowing(number: int, port: int) -> Iterator[None]:
    """An address that answers no SYN: the queue of its listener is full."""
    with listening(number, port, 0) as listener, contextlib.ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        probe = stack.enter_context(socket.socket())
        probe.settimeout(0.05)
        if not probe.connect_ex(listener.getsockname()):
            pytest.skip("this system takes connections beyond the backlog")
        yield


class Tries:
    """What the core sees: which addresses were begun, by the clock of `run`."""

    def __init__(self, reverse: bool = False) -> None:
        self.begun: List[Address] = []
        self.times: List[float] = []
        self._reverse = reverse

    def order(self, addresses: Any) -> List[Address]:
        return list(reversed(addresses)) if self._reverse else list(addresses)

    def tried(self, address: Address) -> None:
        self.begun.append(address)
        self.times.append(time.monotonic())


def attempt(addresses: List[Address], tries: Optional[Tries] = None, seconds: float = 5.0, context: Any = None) -> Any:
    tries = tries or Tries()
    target = Server(NAME._replace(name="localhost") if context else NAME, time.monotonic() + seconds)
    return begin(target, LookUp(NAME, addresses), context, tries.order, tries.tried)


def run(one: Any, waker: Optional[Waker] = None) -> Any:
    """What comes of an attempt, polled as the blocking front does."""
    while True:
        sock = one.step(time.monotonic())
        if sock is not None:
            return sock
        wanted = list(one.waiting_for) + ([(waker.fileno(), READ)] if waker is not None else [])
        wait_for(max(0.0, one.next_step - time.monotonic()), *wanted)
        if waker is not None:
            waker.drain()


@pytest.fixture
def waker() -> Iterator[Waker]:
    one = Waker()
    one.open()
    yield one
    one.close()


# ------------------------------------------------------------------------------ names


def test_an_address_needs_no_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)
    resolver = Resolver(lambda: None)
    assert resolver.look_up(Host("127.0.0.1", 2181)).addresses == [at(1, 2181)]
    ipv6 = resolver.look_up(Host("::1", 2181)).addresses
    assert ipv6 is not None and [str(address) for address in ipv6] == ["[::1]:2181"]


def test_a_name_is_resolved_on_a_thread_and_each_time_anew(waker: Waker, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [[at(1, 1), at(2, 1), at(1, 1)], [at(3, 1)]]
    threads: List[Any] = []

    def resolve(name: str, port: int, **options: Any) -> Any:
        threads.append(threading.current_thread())
        assert (name, port) == NAME
        return [(family, 1, 6, "", where) for family, where in answers.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    resolver = Resolver(waker.wake)
    for expected in ([at(1, 1), at(2, 1)], [at(3, 1)]):
        found = resolver.look_up(NAME)
        assert wait_for(5, (waker.fileno(), READ))
        waker.drain()
        assert found.done and found.addresses == expected
    assert threading.main_thread() not in threads and all(thread.daemon for thread in threads)


@fault("X06")
def test_a_host_has_one_thread_at_a_time_however_often_it_is_asked_for(
    waker: Waker, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, asked = threading.Event(), []

    def hang(name: str, port: int, **options: Any) -> Any:
        asked.append(name)
        assert go.wait(10)
        raise socket.gaierror("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    resolver = Resolver(waker.wake)
    before = set(threading.enumerate())  # of which some, left by other tests, may end meanwhile
    look_ups = [resolver.look_up(NAME) for _ in range(20)]
    other = resolver.look_up(Host("other.invalid", 1))
    assert len(set(threading.enumerate()) - before) == 2 and len({id(one) for one in look_ups}) == 1
    late = begin(Server(NAME, 100.0), look_ups[0])
    assert late.step(99.0) is None and late.next_step == 100.0 and late.waiting_for == []
    with pytest.raises(TimeoutError, match="name service"):
        late.step(100.0)
    go.set()
    while not (other.done and look_ups[0].done):
        assert wait_for(5, (waker.fileno(), READ))
        waker.drain()
    assert sorted(asked) == ["other.invalid", NAME.name]
    with pytest.raises(socket.gaierror):
        begin(Server(NAME, 100.0), look_ups[0]).step(99.0)


@fault("X06", "X18")
@pytest.mark.parametrize("error", [OSError("none"), UnicodeError("label too long"), ValueError("odd"), KeyError("x")])
def test_whatever_a_look_up_raises_is_a_failed_attempt(
    error: Exception, waker: Waker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(*args: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    one = begin(Server(NAME, time.monotonic() + 5), Resolver(waker.wake).look_up(NAME))
    with pytest.raises(OSError) as failed:
        run(one, waker)
    assert failed.value is error or failed.value.__cause__ is error
    assert type(error).__name__ in str(failed.value) or isinstance(error, OSError)


@fault("X06")
def test_a_thread_that_cannot_be_started_is_a_failed_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    resolver = Resolver(lambda: None)
    with pytest.raises(OSError, match="can't start new thread") as failed:
        begin(Server(NAME, 100.0), resolver.look_up(NAME)).step(1.0)
    assert isinstance(failed.value.__cause__, RuntimeError)
    monkeypatch.undo()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: [])
    again = resolver.look_up(NAME)
    with pytest.raises(OSError, match="has no address"):
        while True:
            begin(Server(NAME, 100.0), again).step(1.0)


# -------------------------------------------------------------------------- addresses


def test_one_address_that_answers() -> None:
    with listening(1) as listener:
        one, tries = attempt([at(1, listener.getsockname()[1])], Tries()), Tries()
        with run(one) as sock:
            assert one.address == Address(int(socket.AF_INET), listener.getsockname())
            assert sock.getpeername() == listener.getsockname() and not sock.getblocking()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert one.waiting_for == [] and not tries.begun


@fault("X15")
def test_the_next_address_is_tried_as_soon_as_one_refuses() -> None:
    with listening(3) as listener:
        port = listener.getsockname()[1]
        tries = Tries()
        one = attempt([at(1, port), at(2, port), at(3, port)], tries)
        began = time.monotonic()
        run(one).close()
        assert time.monotonic() - began < STAGGER
        assert one.address == at(3, port) and tries.begun == [at(1, port), at(2, port), at(3, port)]


@fault("X15")
def test_the_next_address_is_tried_beside_one_that_does_not_answer() -> None:
    with listening(2) as listener:
        port = listener.getsockname()[1]
        with swallowing(1, port):
            tries = Tries()
            one = attempt([at(1, port), at(2, port)], tries)
            began = time.monotonic()
            assert one.step(began) is None
            assert tries.begun == [at(1, port)] and one.next_step == began + STAGGER
            (silent,) = one.waiting_for
            assert silent[1] == WRITE
            run(one).close()
            assert STAGGER <= time.monotonic() - began < STAGGER + 0.25
            assert one.address == at(2, port) and tries.begun == [at(1, port), at(2, port)]
            with pytest.raises(OSError):  # the other was closed
                socket.socket(fileno=silent[0]).detach()


def test_the_core_says_in_which_order() -> None:
    with listening(1) as first, listening(2, first.getsockname()[1]):
        port = first.getsockname()[1]
        one = attempt([at(1, port), at(2, port)], Tries(reverse=True))
        run(one).close()
        assert one.address == at(2, port)


def test_a_failure_names_the_address() -> None:
    with listening(1) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(OSError, match=rf"127.0.0.2:{port}: .*refused"):
        run(attempt([at(1, port), at(2, port)]))
    with pytest.raises(ConnectionRefusedError):
        run(attempt([at(1, port)]))


def test_the_deadline_ends_it_and_may_move_meanwhile() -> None:
    class Moving:
        host, deadline = NAME, 100.0

    with listening(2) as other:
        port = other.getsockname()[1]
        with swallowing(1, port):
            target = Moving()

            def order(addresses: Any) -> Any:
                target.deadline = 3.0  # each address gets its share, say
                return addresses

            one = begin(target, LookUp(NAME, [at(1, port)]), None, order)
            assert one.step(1.0) is None and one.next_step == 3.0
            with pytest.raises(TimeoutError, match="timed out"):
                one.step(3.0)
            assert one.waiting_for == []


def test_an_attempt_that_is_given_up_leaves_nothing() -> None:
    with listening(2) as other:
        port = other.getsockname()[1]
        with swallowing(1, port):
            one = attempt([at(1, port)])
            one.step(time.monotonic())
            (fd, _) = one.waiting_for[0]
            one.give_up()
            assert one.waiting_for == []
            with pytest.raises(OSError):
                socket.socket(fileno=fd).detach()


@fault("X18")
def test_one_address_that_python_does_not_take_is_no_reason_to_give_up() -> None:
    with listening(1) as listener:
        inet = int(socket.AF_INET)
        odd = [Address(inet, ("127.0.0.1", 70000)), Address(12345, ("x", 1)), Address(inet, ("127.0.0.1", "x"))]
        one = attempt([*odd, at(1, listener.getsockname()[1])])
        run(one).close()
        with pytest.raises(OSError, match="TypeError"):
            run(attempt(odd))


def test_any_exception_as_a_failed_attempt() -> None:
    known = OSError("known")
    assert failure(known) is known
    wrapped = failure(KeyError("odd"))
    assert str(wrapped) == "KeyError: 'odd'" and isinstance(wrapped.__cause__, KeyError)


# ------------------------------------------------------------------------------- TLS


class Answering(threading.Thread):
    """Accepts connections, and treats each as the next of `manners` says: "tls", "hang up", "silent"."""

    def __init__(self, listener: socket.socket, *manners: str) -> None:
        super().__init__(daemon=True)
        self._listener, self._manners, self.kept = listener, manners, []  # type: ignore[var-annotated]
        self.start()

    def run(self) -> None:
        for manner in self._manners:
            sock, _ = self._listener.accept()
            self.kept.append(sock)
            if manner == "silent":
                continue
            peer = Peer(pki.server_context())
            sock.settimeout(5)
            while manner == "tls" and not peer.ready:
                peer.received(sock.recv(65536))
                sock.sendall(peer.outgoing.read())
            if manner != "tls":
                sock.recv(65536)
                sock.close()


def test_a_handshake_that_goes_well() -> None:
    with listening(1) as listener:
        thread = Answering(listener, "tls")
        one = attempt([at(1, listener.getsockname()[1])], context=pki.client_context())
        sock = run(one)
        inner, tls, early = sock.detach()
        assert tls.ready and early == b"" and inner.getpeername() == listener.getsockname()
        assert str(one.address) == f"127.0.0.1:{listener.getsockname()[1]}" and one.waiting_for == []
        one.give_up()
        assert inner.fileno() >= 0, "it is the caller's by now"
        sock.close()
        thread.join(5)
        thread.kept[0].close()


@fault("X15")
def test_a_hang_up_is_asked_about_at_the_same_address() -> None:
    with listening(1) as first, listening(2, first.getsockname()[1]) as second:
        port = first.getsockname()[1]
        thread, tries = Answering(first, "hang up", "hang up"), Tries()
        one = attempt([at(1, port), at(2, port)], tries, context=pki.client_context())
        began = time.monotonic()
        with pytest.raises(TLSError, match="plain port"):
            run(one)
        assert time.monotonic() - began >= SILENCE
        assert tries.begun == [at(1, port)] and one.waiting_for == []
        second.setblocking(False)
        with pytest.raises(BlockingIOError):
            second.accept()
        thread.join(5)


def test_a_silent_handshake_ends_at_the_deadline() -> None:
    with listening(1) as listener:
        thread = Answering(listener, "silent")
        one = attempt([at(1, listener.getsockname()[1])], seconds=0.3, context=pki.client_context())
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="TLS handshake"):
            run(one)
        assert 0.3 <= time.monotonic() - began < 1.0 and one.waiting_for == []
        thread.join(5)
        thread.kept[0].close()


@fault("X18")
def test_whatever_a_context_raises_is_a_failed_attempt() -> None:
    class Odd:
        def wrap_bio(self, *args: Any, **options: Any) -> Any:
            raise KeyError("of the user's context")

    with listening(1) as listener:
        one = attempt([at(1, listener.getsockname()[1])], context=Odd())
        with pytest.raises(OSError, match="of the user's context"):
            run(one)
        assert one.waiting_for == []


