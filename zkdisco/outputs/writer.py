"""A file that is always whole: written beside, and put in its place.

Owns how a file is replaced: its mode and owner stay, a link stays a link, and whatever goes wrong leaves the old file.
Must not know what is in it, nor when it is written.

Beside it there may be two more: `.NAME.*.new`, while it is written, and `.NAME.owed`, from before it is replaced until
the command that follows has been done. The latter is found by the next process, if this one does not come so far.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from typing import Any, Callable, List, Optional, Tuple

#: The mode of a file that was not there before.
NEW_MODE = 0o644
#: Seconds; what somebody else has begun to write so long ago will not be finished.
ABANDONED = 60.0
#: A file of others that is larger is none that a block is to be put into.
LARGEST = 16 * 2**20

Identity = Tuple[int, int, int, int]


class Target:
    """The file at `path`; `mode` is what it gets, or None for what it has. `place` merges a text into a content.

    Methods block as the disk does, and raise `OSError`; `ValueError` of `place` goes through.
    """

    def __init__(
        self, path: str, mode: Optional[int] = None, place: Callable[[str, Optional[str]], str] = lambda text, old: text
    ) -> None:
        self._given, self._mode, self._place = path, mode, place
        self._seen: Optional[Identity] = None  # of the file as it was left, or found to be right
        self._text: Optional[str] = None

    def prepare(self) -> None:
        """Remove what a process that died has left beside it. `OSError` if it can be no file: no directory, say."""
        folder, name = self._where()
        _stat(self._path())
        os.stat(folder)
        try:
            entries = os.listdir(folder)
        except PermissionError:
            entries = []  # a directory may be written and not read
        for entry in entries:
            if entry.startswith(f".{name}.") and entry.endswith(".new"):
                with contextlib.suppress(OSError):
                    if time.time() - os.lstat(os.path.join(folder, entry)).st_mtime > ABANDONED:
                        os.unlink(os.path.join(folder, entry))

    def foreign(self) -> bool:
        """Whether the file is another one than was left here: somebody else has written or removed it."""
        return self._seen is not None and _identity(_stat(self._path())) != self._seen

    def write(self, text: str, owed: bool = False) -> bool:
        """Have the file hold `text`, where `place` puts it; whether it had to be changed for that.

        With `owed`, it is noted first that a command must follow.
        """
        path = self._path()
        for _ in range(3):
            before = _stat(path)
            old = None if before is None else _read(path, before)
            content = self._place(text, old)
            right = old == content and (self._mode is None or stat.S_IMODE(before.st_mode) == self._mode)  # type: ignore[union-attr]
            # Of the file as we have made it: whoever changes it from now on is seen.
            seen = _identity(before) if right else self._replace(path, content, before, owed)
            if seen is not None:
                self._seen = seen
                return not right
        raise OSError(f"{path}: somebody else writes it all the time")

    @property
    def owed(self) -> bool:
        """Whether a command must follow: this or another process has changed the file, and none has been done."""
        return os.path.lexists(self._beside("owed"))

    def paid(self) -> None:
        """The command has been done."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._beside("owed"))

    def _path(self) -> str:
        return os.path.realpath(self._given)  # looked up each time: the link may be another one now

    def _where(self) -> Tuple[str, str]:
        return os.path.split(self._path())

    def _beside(self, what: str) -> str:
        folder, name = self._where()
        return os.path.join(folder, f".{name}.{what}")

    def _replace(self, path: str, content: str, before: Any, owed: bool) -> Optional[Identity]:
        """The new file, or None: somebody else has been faster."""
        folder, name = os.path.split(path)
        if owed:
            os.close(os.open(self._beside("owed"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        number, beside = tempfile.mkstemp(".new", f".{name}.", folder)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content.encode("utf-8", "surrogateescape"))
                file.flush()
                _keep(path, file.fileno(), before, self._mode)
                os.fsync(file.fileno())
                made = _identity(os.fstat(file.fileno()))
            if _identity(_stat(path)) != _identity(before):
                os.unlink(beside)
                return None
            os.replace(beside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
        _sync(folder)
        return made


def _stat(path: str) -> Optional[os.stat_result]:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path} is no regular file, and is left alone")
    return found


def _identity(found: Optional[os.stat_result]) -> Optional[Identity]:
    return None if found is None else (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _read(path: str, found: os.stat_result) -> str:
    if found.st_size > LARGEST:
        raise OSError(f"{path} has {found.st_size} bytes, which is more than {LARGEST}")
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def _keep(path: str, number: int, before: Any, mode: Optional[int]) -> None:
    """Give the new file what the old one has: owner, attributes (a label of SELinux, say) and mode.

    `PermissionError` where we may not: it would be somebody else's file from then on.
    """
    if before is not None:
        now = os.fstat(number)
        if hasattr(os, "fchown") and (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
            try:
                os.fchown(number, before.st_uid, before.st_gid)
            except PermissionError:
                whose = f"{before.st_uid}:{before.st_gid}"
                raise PermissionError(f"it belongs to {whose}, which a file of ours cannot") from None
        for name in _attributes(path):
            with contextlib.suppress(OSError):  # one that only the system may set, and sets by itself
                os.setxattr(number, name, os.getxattr(path, name))
    kept = NEW_MODE if before is None else stat.S_IMODE(before.st_mode)
    if hasattr(os, "fchmod"):
        os.fchmod(number, kept if mode is None else mode)


def _attributes(path: str) -> List[str]:
    try:
        return os.listxattr(path) if hasattr(os, "listxattr") else []
    except OSError:
        return []  # a file system that has none


def _sync(folder: str) -> None:
    """The name, too, is on the disk."""
    if os.name == "nt":
        return
    number = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
