"""Four-letter words: the core, both fronts, servers that say too much, too little or nothing, and real ones."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, List, Optional

import pytest

from tests.conftest import AnyServer
from tests.kit.harness import pki
from tests.kit.addresses import several
from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, until
from tests.kit.hostile import Wire
from zkwire.errors import (
    ConnectionClosedError, ConnectionLoss, FrameTooLargeError, OperationTimeoutError, ProtocolError,
    UnimplementedError,
)  # fmt: skip
from zkwire.io.four_letter import LIMIT, WORDS, Question, version_of

# ------------------------------------------------------------------------------- the core


@pytest.mark.parametrize(
    "word", [b"crst", b"srst", b"gtmk", b"stmk", b"kill", b"RUOK", b"", b"ruok\n", "ruok", None, 7]
)
def test_only_words_that_ask(word: Any, front: Front) -> None:
    with pytest.raises(ValueError, match="unknown four-letter word"):
        Question(word)
    with pytest.raises(ValueError, match="unknown four-letter word"):
        front.client(front.server().hosts).command(word)


def test_an_answer_in_parts() -> None:
    question = Question(b"ruok")
    for part in (b"im", b"", b"ok\xff"):
        question.received(part)
    assert question.answer() == "imok\ufffd"


def test_answers_that_are_none() -> None:
    with pytest.raises(ConnectionLoss, match="without an answer to mntr"):
        Question(b"mntr").answer()
    refused = Question(b"mntr")
    refused.received(b"mntr is not executed because it is not in the whitelist.\n")
    with pytest.raises(UnimplementedError, match=r"4lw\.commands\.whitelist"):
        refused.answer()


def test_an_answer_has_its_limit() -> None:
    question = Question(b"cons")
    question.received(b"x" * LIMIT)
    assert len(question.answer()) == LIMIT
    with pytest.raises(FrameTooLargeError, match="more than 1048576 bytes"):
        question.received(b"x")


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ("Zookeeper version: 3.8.0-${mvngit.commit.id}, built on 2022", (3, 8, 0)),
        ("Zookeeper version: 3.4.13--1, built on", (3, 4, 13)), ("Zookeeper version: 3.10.2", (3, 10, 2)),
    ],
)  # fmt: skip
def test_versions(answer: str, version: Any) -> None:
    assert version_of(answer) == version


@pytest.mark.parametrize(
    "answer",
    [
        "", "imok", "This ZooKeeper instance is not currently serving requests\n", "3.8.0",
        f"Zookeeper version: 3.8.{'1' * 5000}", f"Zookeeper version: {'3' * 5000}.8.0",  # int() refuses as much
    ],
)  # fmt: skip
def test_no_versions(answer: str) -> None:
    with pytest.raises(ProtocolError, match="no version"):
        version_of(answer)


# ------------------------------------------------------------------------------ both fronts


def test_a_real_server(server: AnyServer, front: Front) -> None:
    zk = front.client(server.hosts, timeout=6.0)
    assert zk.server_version() == tuple(int(part) for part in server.version.split("."))
    assert zk.command() == "imok"
    assert zk.command(b"isro") == "rw"
    figures = dict(line.split("\t", 1) for line in zk.command(b"mntr", timeout=5.0).splitlines())
    assert int(figures["zk_znode_count"]) > 3
    unknown = {b"dirs"} if server.version.startswith("3.4") else set()
    for word in sorted(set(WORDS) - unknown):
        assert zk.command(word)
    for word in unknown:
        with pytest.raises(ConnectionLoss, match="it may not know this word"):
            zk.command(word)
    assert zk.get("/") and zk.connected


def test_what_a_server_may_not_answer(front: Front) -> None:
    zk = front.client(front.server(four_letter_words={"srvr"}).hosts)
    with pytest.raises(UnimplementedError, match="whitelist"):
        zk.command(b"mntr")
    assert zk.server_version()[:2] == (3, 9)


def test_an_old_server(front: Front) -> None:
    assert front.client(front.server(version="3.4").hosts).server_version()[:2] == (3, 4)


Answer = Callable[[Wire, bytes], object]


def flood(wire: Wire, word: bytes) -> None:
    """Far more than the limit, as fast as it goes."""
    while not wire.closed.is_set():
        wire.send(b"zk_x\t1\n" * 10_000)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (flood, FrameTooLargeError), (lambda wire, word: None, ConnectionLoss),
        (lambda wire, word: wire.until_closed(), OperationTimeoutError),
        (lambda wire, word: wire.send(b"zk_") or wire.until_closed(), OperationTimeoutError),  # type: ignore[func-returns-value]
    ],
)  # fmt: skip
def test_servers_that_say_too_much_or_too_little(answer: Answer, error: Any, front: Front) -> None:
    scripted = front.scripted()
    scripted.word = answer
    zk = front.client(scripted.hosts, timeout=6.0)
    began = time.monotonic()
    with pytest.raises(error) as failed:
        zk.command(b"mntr", timeout=0.3)
    assert time.monotonic() - began < 2
    assert not failed.value.maybe_applied
    assert zk.get("/a")[0] == b"proper"
    assert zk.client_state == "CONNECTED"


def test_the_clients_own_timeout_is_the_default(front: Front) -> None:
    scripted = front.scripted()
    scripted.word = lambda wire, word: wire.until_closed()
    zk = front.client(scripted.hosts, timeout=6.0, request_timeout=0.2)
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(OperationTimeoutError):
            zk.server_version()
    assert 0.4 <= time.monotonic() - began < 2


def test_close_ends_a_question(front: Front) -> None:
    scripted, asked = front.scripted(), threading.Event()
    scripted.word = lambda wire, word: asked.set() or wire.until_closed()  # type: ignore[func-returns-value]
    zk = front.client(scripted.hosts, timeout=6.0)
    outcome: List[Optional[BaseException]] = []

    def ask() -> None:
        try:
            zk.command(b"mntr", timeout=30)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert asked.wait(5)
    zk.close()
    thread.join(9)
    assert [type(error) for error in outcome] == [ConnectionClosedError]


@pytest.mark.long
def test_nobody_to_ask(front: Front) -> None:
    scripted = front.scripted()
    zk = front.new(scripted.hosts, timeout=6.0)
    with pytest.raises((ConnectionLoss, ConnectionClosedError)):
        zk.command()
    zk.start()
    states = Log()
    zk.add_listener(states)
    scripted.handshake = lambda wire: not wire.until_closed()
    scripted.cut()
    states.wait(1)
    with pytest.raises(ConnectionLoss, match="no connection"):
        zk.command()
    scripted.behave()
    until(lambda: zk.connected)
    zk.close()
    with pytest.raises(ConnectionClosedError):
        zk.command()


def test_over_tls(front: Front) -> None:
    zk = front.client(front.relay(front.server()).hosts, ssl_context=pki.client_context())
    assert zk.server_version()[:2] == (3, 9)
    assert zk.command(b"isro") == "rw"
    assert zk.command(b"mntr").startswith("zk_version")


def test_never_in_clear_for_a_client_with_tls(front: Front) -> None:
    sent: Dict[int, bytes] = {}

    def tap(direction: str, connection: int, data: bytes) -> None:
        if direction == "up":
            sent[connection] = sent.get(connection, b"") + data

    proxy = front.proxy(front.relay(front.server()), tap=tap)
    zk = front.client(proxy.hosts, ssl_context=pki.client_context())
    assert zk.server_version()[:2] == (3, 9)
    assert len(sent) == 2, "a connection of its own"
    assert all(data[:2] == b"\x16\x03" and b"srvr" not in data for data in sent.values())


@fault("X15")
def test_the_very_server_of_the_session_is_asked(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """One name for two servers: the first is down at first, and has another version."""
    first, second = front.server(version="3.4"), front.server()
    several(monkeypatch, "several.invalid", first, second)
    first.stop()
    zk = front.client("several.invalid:1", timeout=6.0, randomize_hosts=False)
    assert zk.server_version()[:2] == (3, 9)
    first.restart()
    for _ in range(3):
        assert zk.server_version()[:2] == (3, 9)
