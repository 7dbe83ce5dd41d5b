"""The checks of an instance: that a port accepts, that a page answers, that a command ends with 0.

Owns how they are written, what passes, and why one fails. Must not know gates, nor when a check is made. A check is
called with the seconds it may take, returns None if it has passed, and raises `CheckFailed` if it has not:

    tcp://HOST:PORT          a connection is accepted; without a host, by this machine (`tcp://:80`)
    http://HOST:PORT/path    the answer has a status from 200 to 399; a redirect passes, and is not followed
    cmd PROGRAM ARGUMENT...  ends with exit status 0; no shell is asked, quotes are as in one
"""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
from time import monotonic
from typing import Any, Callable, Iterator, List, NoReturn, Optional, Protocol, Tuple

#: The address of this machine, where a check names no host.
LOOPBACK = "127.0.0.1"
#: Bytes of a status line that are read at most; of what a command says on stderr, so many of the last ones are kept.
STATUS_LINE, SAID = 4096, 200
#: Seconds between two looks at a command that says nothing.
LOOK = 0.01
_PLACE = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:\[\]@/\\?#\s]*)):([0-9]{1,5})")
_HTTP = re.compile(r"http://([^/?#]*)([/?][^#]*)?")
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r|\n|$)")


class CheckFailed(Exception):
    """A check has failed; the text says why, in one line."""


class HealthCheck(Protocol):
    """Whatever can be called with the seconds it may take, and raises if the instance is not well."""

    def __call__(self, seconds: float, /) -> object:
        """Check once. Blocks at most so many seconds."""


def parse_check(text: str) -> HealthCheck:
    """The check that is written so: see above. Nothing is asked yet. `ValueError` says what is wrong with it."""
    if not isinstance(text, str):
        raise TypeError(f"a check is written as a str, not {type(text).__name__}")
    if text.startswith("tcp://"):
        return TcpCheck(*_place(text, text[len("tcp://") :]))
    if text.startswith("http://"):
        found = _HTTP.fullmatch(text)
        if found is None or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(f"invalid check {text!r}: a URL is of printable ASCII, without spaces and fragment")
        place, path = found.group(1), found.group(2) or "/"
        host, port = _place(text, f"{place}:80" if place and not re.search(r":\d+$", place) else place)
        return HttpCheck(host, port, path if path.startswith("/") else f"/{path}")
    if text == "cmd" or text.startswith("cmd "):
        return CommandCheck(_words(text))
    raise ValueError(f"invalid check {text!r}: tcp://HOST:PORT, http://HOST:PORT/path or 'cmd PROGRAM ...'")


def _place(text: str, place: str) -> Tuple[str, int]:
    found = _PLACE.fullmatch(place)
    if found is None or not 0 < int(found.group(3)) < 65536:
        raise ValueError(f"invalid check {text!r}: HOST:PORT with a port from 1 to 65535, [HOST]:PORT for IPv6")
    return found.group(1) or found.group(2) or LOOPBACK, int(found.group(3))


def _words(text: str) -> List[str]:
    try:
        words = shlex.split(text)[1:]
    except ValueError as error:
        raise ValueError(f"invalid check {text!r}: {error}") from None
    if not words or "\0" in text:
        raise ValueError(f"invalid check {text!r}: which program is to be run?")
    if shutil.which(words[0]) is None:
        raise ValueError(f"invalid check {text!r}: there is no program {words[0]!r} that can be run")
    return words


class TcpCheck:
    """Passes if `host` accepts a connection on `port`."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    def __call__(self, seconds: float, /) -> None:
        """Check once; raises `CheckFailed`."""
        _connected(self._host, self._port, monotonic() + seconds).close()

    def __str__(self) -> str:
        return f"tcp://{_at(self._host, self._port)}"


class HttpCheck:
    """Passes if the server answers a GET of `path` with a status from 200 to 399; nothing of the page is read."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self._host, self._port, self._path = host, port, path

    def __call__(self, seconds: float, /) -> None:
        """Check once; raises `CheckFailed`."""
        end = monotonic() + seconds
        with _connected(self._host, self._port, end) as connection:
            try:
                connection.sendall(self._request())
                line = _status_line(connection, end)
            except socket.timeout:
                raise CheckFailed(f"{self}: no answer in time") from None
            except OSError as error:
                raise CheckFailed(f"{self}: {_said(error)}") from None
        found = _STATUS.match(line)
        if found is None:
            raise CheckFailed(f"{self}: " + ("not an answer of HTTP" if line else "closed without an answer"))
        if not 200 <= int(found.group(1)) < 400:
            raise CheckFailed(f"{self}: status {int(found.group(1))}")

    def __str__(self) -> str:
        return f"http://{_at(self._host, self._port)}{self._path}"

    def _request(self) -> bytes:
        host = _at(self._host, self._port)
        head = f"GET {self._path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: zkdisco\r\nAccept: */*\r\nConnection: close"
        return f"{head}\r\n\r\n".encode("ascii")


class CommandCheck:
    """Passes if the command ends with exit status 0. What it leaves running in its process group is killed."""

    def __init__(self, words: List[str]) -> None:
        self._words = words
        self._cancelled = False

    def cancel(self) -> None:
        """Let a check that is under way fail at once, with its processes killed, and every later one. On any thread."""
        self._cancelled = True

    def __call__(self, seconds: float, /) -> None:
        """Check once; raises `CheckFailed`, after the time-out with all of the command's process group killed."""
        end = monotonic() + seconds
        try:
            process = subprocess.Popen(  # noqa: S603  # the operator's own words, and no shell
                self._words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise CheckFailed(f"{self}: {_said(error)}") from None
        tail = b""
        try:
            for said in self._while_running(process, end):
                tail = (tail + said)[-SAID:]
            in_time = _has_ended(process)
        finally:
            _kill_group(process)
        if not in_time:
            raise CheckFailed(f"{self}: not done in time, and killed")
        status = process.returncode
        if status != 0:
            last = _printable(tail.decode("utf-8", "replace").strip().rpartition("\n")[2])
            how = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
            raise CheckFailed(f"{self}: {how}" + (f": {last}" if last else ""))

    def __str__(self) -> str:
        return _printable(" ".join(["cmd", *map(shlex.quote, self._words)]))

    def _while_running(self, process: subprocess.Popen[bytes], end: float) -> Iterator[bytes]:
        """What it says on stderr, until it has ended or the time is over; what it has started may hold that open."""
        stream: Any = process.stderr
        number, poll = stream.fileno(), select.poll()
        os.set_blocking(number, False)
        poll.register(number, select.POLLIN)
        while not self._cancelled:
            ended = _has_ended(process)  # first, so that nothing it said is missed
            said = _read(number)
            if said:
                yield said
            if ended or monotonic() >= end:
                return
            if said == b"":
                poll = select.poll()  # it has closed stderr, and goes on
            if not said:
                poll.poll(1000 * max(0.0, min(LOOK, end - monotonic())))


# ------------------------------------------------------------------------- connections


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _said(error: OSError) -> str:
    """What an error says, without numbers."""
    return error.strerror or str(error) or type(error).__name__


def _connected(host: str, port: int, end: float) -> socket.socket:
    """A connection to the first of the addresses that accepts one before `end`."""
    where = _at(host, port)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        _fail(where, _said(error) if isinstance(error, OSError) else "no name of a host")
    why = "no address"
    for number, (family, kind, protocol, _, address) in enumerate(found):
        left = end - monotonic()
        if left <= 0:
            _fail(where, "not connected in time")
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(left / (len(found) - number))
            connection.connect(address)
            connection.settimeout(max(0.001, end - monotonic()))
            return connection
        except socket.timeout:
            why = "not connected in time"
        except OSError as error:
            why = _said(error)
        except BaseException:
            connection.close()
            raise
        connection.close()
    _fail(where, why)


def _fail(where: str, why: str) -> NoReturn:
    raise CheckFailed(f"{where}: {why}")


def _status_line(connection: socket.socket, end: float) -> bytes:
    """What is there of the first line by `end`; `socket.timeout` if it is not there by then."""
    line = b""
    while b"\n" not in line and len(line) < STATUS_LINE:
        left = end - monotonic()
        if left <= 0:
            raise socket.timeout
        connection.settimeout(left)
        data = connection.recv(STATUS_LINE)
        if not data:
            break
        line += data
    return line


# ---------------------------------------------------------------------------- commands


def _read(number: int) -> Optional[bytes]:
    """What can be read, b"" at the end, None if there is nothing now."""
    try:
        return os.read(number, 4096)
    except BlockingIOError:
        return None


def _ended_unreaped(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended; its process id, and the id of its group, stay taken until it is waited for."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _ended_reaped(process: subprocess.Popen[bytes]) -> bool:
    """The same where there is no `waitid`."""
    return process.poll() is not None


_has_ended: Callable[[subprocess.Popen[bytes]], bool] = _ended_unreaped if hasattr(os, "waitid") else _ended_reaped


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End all that is left of it; its exit status is known afterwards."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # nothing is left; macOS: only a zombie is
        pass
    stream: Any = process.stderr
    stream.close()
    process.wait()
