"""The recorder: a proxy between a client and a server, whose traffic becomes a transcript."""

from __future__ import annotations

import datetime
import struct
import threading
from typing import Callable, Dict, List, Tuple

from tests.kit.harness.proxy import FaultProxy
from tests.kit.transcripts import CLIENT, END, FOLDER, SERVER, Line, Transcript, dump

NOTE = "session passwords and credentials below are test data: the server they belonged to is gone"


class Tape:
    """Passes connections on to `host:port` and keeps their frames, in the order of their arrival here.

    Connections are numbered from 1 in the order in which they first carry data.
    """

    def __init__(self, host: str, port: int) -> None:
        self.lines: List[Line] = []
        self._buffers: Dict[Tuple[str, int], bytearray] = {}
        self._numbers: Dict[int, int] = {}
        self._changed = threading.Condition()
        self.proxy = FaultProxy(host, port, self._tap)

    @property
    def address(self) -> Tuple[str, int]:
        return "127.0.0.1", self.proxy.port

    @property
    def hosts(self) -> str:
        return self.proxy.hosts

    def _tap(self, direction: str, connection: int, data: bytes) -> None:
        """Called in the proxy's thread."""
        side = CLIENT if direction == "up" else SERVER
        with self._changed:
            buffer = self._buffers.setdefault((side, connection), bytearray())
            number = self._numbers.setdefault(connection, len(self._numbers) + 1)
            buffer += data
            while len(buffer) >= 4:
                size = 4 + int(struct.unpack_from(">i", buffer)[0])
                if not 4 <= size <= len(buffer):
                    break
                self.lines.append(Line(side, number, bytes(buffer[:size])))
                del buffer[:size]
            self._changed.notify_all()

    @property
    def connections(self) -> int:
        """The number of connections so far, which is that of the newest."""
        return len(self._numbers)

    def ended(self, connection: int) -> None:
        """Note that the server has closed a connection; only a client that looks can tell."""
        with self._changed:
            self.lines.append(Line(END, connection))

    def wait(self, condition: Callable[[List[Line]], bool], timeout: float = 10.0) -> None:
        """Wait until the lines so far satisfy `condition`; TimeoutError when they never do."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self.lines), timeout):
                raise TimeoutError(f"{len(self.lines)} lines in {timeout:g} s, and not what was expected")

    def __enter__(self) -> Tape:
        return self

    def __exit__(self, *error: object) -> None:
        self.proxy.close()

    def save(self, version: str, client: str, name: str, topic: str, setting: str = "") -> int:
        """Write `testdata/<version>/<name>.txt`; returns the number of frames."""
        head = {"server": f"ZooKeeper {version}", "client": client, "topic": topic}
        if setting:
            head["setting"] = setting
        head["date"] = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        head["note"] = NOTE
        folder = FOLDER / version
        folder.mkdir(parents=True, exist_ok=True)
        with self._changed:
            text = dump(Transcript(head, list(self.lines)))
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
        return sum(line.direction != END for line in self.lines)
