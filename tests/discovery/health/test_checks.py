"""The checks against real sockets and processes, and the thread that makes them."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from tests.kit.fronts import until
from zkdisco.health import CheckFailed, Gate, Prober, parse_check
from zkdisco.health.prober import Result


def why(text: str, seconds: float = 5.0) -> str:
    """Why a check fails."""
    with pytest.raises(CheckFailed) as failed:
        parse_check(text)(seconds)
    return str(failed.value)


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server that answers each connection so; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    answer(connection)
                    if over.is_set():
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


# -------------------------------------------------------------------------- how they are written


@pytest.mark.parametrize("text, shown", [
    ("tcp://:80", "tcp://127.0.0.1:80"), ("tcp://db.local:5432", "tcp://db.local:5432"), ("tcp://[::1]:80", "tcp://[::1]:80"),
    ("http://:80", "http://127.0.0.1:80/"), ("http://h:81/a?b=c", "http://h:81/a?b=c"), ("http://h/x", "http://h:80/x"),
    ("http://[::1]:8080/x", "http://[::1]:8080/x"), ("http://h?q", "http://h:80/?q"),
    ("cmd sh -c 'exit 0'", "cmd sh -c 'exit 0'"), ("cmd  true", "cmd true"),
])  # fmt: skip
def test_what_can_be_read(text: str, shown: str) -> None:
    assert str(parse_check(text)) == shown


@pytest.mark.parametrize("text", [
    "", "80", ":80", "tcp://", "tcp://:0", "tcp://:65536", "tcp://h", "tcp://h:80/x", "tcp://h:8x", "tcp://a b:80", "tcp://::1:80",
    "tcp://u@h:80", "http://", "http://h:0/", "http://h:80/a b", "http://h:80/\r\nX: y", "http://h:80/#f", "http://u:p@h/", "http://h:80/é",
    "https://h/", "ftp://h/", "cmd", "cmd ", "cmd 'x", "cmd /no/such/program", "cmd true\0x", "cmdtrue", "CMD true",
])  # fmt: skip
def test_what_cannot_be_read_is_refused_before_anything_is_asked(text: str) -> None:
    with pytest.raises(ValueError, match="^invalid check"):
        parse_check(text)


def test_no_text() -> None:
    with pytest.raises(TypeError):
        parse_check(80)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------- tcp


def test_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert parse_check(f"tcp://:{port}")(5.0) is None and parse_check(f"tcp://localhost:{port}")(5.0) is None
    assert why(f"tcp://:{port}") == f"127.0.0.1:{port}: Connection refused"
    assert why("tcp://no.such.host.invalid:80").startswith("no.such.host.invalid:80: ")
    assert "no name of a host" in why(f"tcp://{'a' * 70}.invalid:80")


@pytest.mark.timed
def test_tcp_that_is_not_answered_ends_in_time() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        began = time.monotonic()
        assert why(f"tcp://:{port}", 0.3) == f"127.0.0.1:{port}: not connected in time"
        assert time.monotonic() - began < 2.0
        for one in waiting:
            one.close()


# ---------------------------------------------------------------------------------------- http


def answering(data: bytes) -> Callable[[socket.socket], object]:
    def answer(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(data)

    return answer


@pytest.mark.parametrize("status, well", [
    (b"200 OK", True), (b"204", True), (b"301 Moved", True), (b"399 x", True),
    (b"100 Continue", False), (b"400 No", False), (b"404 x", False), (b"500 x", False), (b"503 x", False),
])  # fmt: skip
def test_http_by_its_status(status: bytes, well: bool) -> None:
    with serving(answering(b"HTTP/1.1 " + status + b"\r\n\r\n")) as port:
        if well:
            assert parse_check(f"http://:{port}/health")(5.0) is None
        else:
            assert why(f"http://:{port}/x") == f"http://127.0.0.1:{port}/x: status {status.split()[0].decode()}"


@pytest.mark.parametrize("answer, text", [
    (b"", "closed without an answer"), (b"SSH-2.0-x\r\n", "not an answer of HTTP"), (b"HTTP/1.1 2\r\n", "not an answer of HTTP"),
    (b"HTTP/1.1 2000 x\r\n", "not an answer of HTTP"), (b"x" * 100_000, "not an answer of HTTP"),
])  # fmt: skip
def test_http_that_is_none(answer: bytes, text: str) -> None:
    with serving(answering(answer)) as port:
        assert why(f"http://:{port}/").endswith(text)


def test_what_is_asked() -> None:
    heard: List[bytes] = []

    def answer(connection: socket.socket) -> None:
        heard.append(connection.recv(1000))
        connection.sendall(b"HTTP/1.0 200\r\n")

    with serving(answer) as port:
        parse_check(f"http://:{port}/a?b=%20c")(5.0)
        assert heard[0].startswith(f"GET /a?b=%20c HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode())
        assert heard[0].endswith(b"\r\nConnection: close\r\n\r\n")


@pytest.mark.timed
@pytest.mark.parametrize("pause", [0.05, 60.0])
def test_http_that_comes_drop_by_drop_or_never_ends_in_time(pause: float) -> None:
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        while not over.wait(pause):
            connection.sendall(b"H")

    with serving(answer) as port:
        began = time.monotonic()
        assert why(f"http://:{port}/", 0.4) == f"http://127.0.0.1:{port}/: no answer in time"
        assert time.monotonic() - began < 2.0
        over.set()


# ------------------------------------------------------------------------------------ commands


def test_a_command() -> None:
    assert parse_check("cmd true")(5.0) is None
    assert why("cmd false") == "cmd false: exit status 1"
    assert why("cmd sh -c 'echo one >&2; echo no disk >&2; exit 3'").endswith(": exit status 3: no disk")
    assert why("cmd sh -c 'kill -9 $$'").endswith(": killed by signal 9")
    assert "\x1b" not in why("cmd sh -c 'printf \"\\033[31mred\\n\" >&2; exit 1'")


def test_a_command_that_talks_without_end_is_heard_to_the_end() -> None:
    assert why("cmd sh -c 'head -c 3000000 /dev/zero | tr \"\\0\" y >&2; exit 4'", 20.0).startswith("cmd sh -c ")


def test_a_command_that_cannot_be_run(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    check = parse_check(f"cmd {program}")
    with pytest.raises(CheckFailed, match="No such file"):
        check(5.0)
    program.unlink()
    with pytest.raises(CheckFailed, match="No such file"):
        check(5.0)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended, and was adopted by nobody who waits for it, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.timed
@pytest.mark.parametrize("script, text", [
    ("sleep 60 & echo $! > {0}; trap : TERM; sleep 60", "not done in time, and killed"),  # deaf, and with a child
    ("sleep 60 & echo $! > {0}; exit 5", "exit status 5"),  # leaves one behind
    ("sleep 60 & echo $! > {0}; exec 2>&-; sleep 60", "not done in time, and killed"),
])  # fmt: skip
def test_a_command_takes_what_it_has_started_along(tmp_path: Path, script: str, text: str) -> None:
    began = time.monotonic()
    assert why(f"cmd sh -c '{script.format(tmp_path / 'pid')}'", 0.5).endswith(text)
    assert time.monotonic() - began < 3.0
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not alive(pid))


def test_a_command_that_is_cancelled() -> None:
    check = parse_check("cmd sleep 60")
    timer = threading.Timer(0.1, check.cancel)  # type: ignore[attr-defined]
    timer.start()
    with pytest.raises(CheckFailed):
        check(30.0)
    timer.join()


# -------------------------------------------------------------------------------------- prober


class Probes:
    """A prober over a check that the test leads."""

    def __init__(self, check: Callable[[float], object], **options: Any) -> None:
        self.gate, self.results = Gate(1, 1), []  # type: ignore[var-annotated]
        self.prober = Prober(check, self.gate, told=self.results.append, **{"interval": 0.02, "timeout": 5.0, **options})

    def __enter__(self) -> Probes:
        self.prober.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.prober.stop()


def test_the_prober_tells_the_gate_what_comes_of_it() -> None:
    trouble: List[BaseException] = [CheckFailed("refused")]

    def check(seconds: float) -> None:
        assert seconds == 5.0
        if trouble:
            raise trouble[0]

    with Probes(check) as probes:
        until(lambda: probes.gate.shut == "refused")
        trouble[0] = ZeroDivisionError("a bug")
        until(lambda: probes.gate.shut == "ZeroDivisionError: a bug")
        trouble[0] = SystemExit(3)
        until(lambda: probes.gate.shut == "SystemExit: 3")
        trouble.clear()
        until(lambda: probes.gate.shut is None)
        assert probes.results[0].reason == "refused" and probes.results[-1].reason is None
    count = len(probes.results)
    probes.prober.stop()
    assert not [one for one in threading.enumerate() if one.name in ("zkdisco prober", "zkdisco check")]
    assert len(probes.results) == count


def test_a_check_that_hangs_has_failed_at_its_time_out_and_none_is_made_beside_it() -> None:
    go, calls, beside = threading.Event(), [], []

    def check(seconds: float) -> None:
        calls.append(1)
        beside.append(len(calls))
        go.wait(30.0)
        calls.pop()

    with Probes(check, timeout=0.1) as probes:
        until(lambda: len(probes.results) >= 5)
        assert len(beside) == 1 and {one.reason is None for one in probes.results} == {False}
        assert "not done within 0.1 s" in str(probes.gate.shut)
        go.set()
        until(lambda: probes.gate.shut is None)
        assert set(beside) == {1}


def test_one_that_says_too_late_that_all_is_well_has_failed() -> None:
    late = threading.Event()

    def check(seconds: float) -> None:
        late.wait(0.15)

    with Probes(check, timeout=0.1) as probes:
        until(lambda: len(probes.results) >= 4)
        assert all(isinstance(one, Result) and one.reason is not None for one in probes.results)
        late.set()
        until(lambda: probes.gate.shut is None)


def test_stopping_kills_a_command_that_is_under_way(tmp_path: Path) -> None:
    with Probes(parse_check(f"cmd sh -c 'echo $$ > {tmp_path / 'pid'}; exec sleep 60'"), timeout=30.0) as probes:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        pid = int((tmp_path / "pid").read_text())
        assert alive(pid) and probes.gate.shut is not None
    until(lambda: not alive(pid))


@pytest.mark.parametrize("options", [{"interval": 0}, {"interval": -1.0}, {"timeout": 0.0}, {"timeout": float("nan")}, {"interval": 1e300}])
def test_times_that_are_none(options: Any) -> None:
    with pytest.raises(ValueError, match="seconds, more than 0"):
        Prober(lambda seconds: None, Gate(), **options)


def test_many_descriptors_do_not_matter_to_a_command() -> None:
    """`select` knows no descriptor beyond 1,023."""
    import resource

    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1200:
        pytest.skip("this process may not open so many files")
    with contextlib.ExitStack() as stack:
        for _ in range(1100):
            stack.enter_context(open(os.devnull))
        assert parse_check("cmd true")(5.0) is None


