"""Append-only files between the request and the store: one write a record, one writer a file.

A frame is ``\\n<crc32 as 8 hex digits> <JSON>\\n``. JSON holds no newline, so lines can be found
again after any damage; the newline at *both* ends means that a record cut short by a full disk can
never swallow the one that follows it, without anybody having to remember that it was cut. A length
prefix would be as short, but one torn record makes everything behind it unreadable.

The process that writes a file holds ``flock`` on it. The kernel gives that lock back however the
process ends, so whoever gets the lock has found a file that nobody will ever write to again: a
dead process's, or one that its owner has closed because it was full. Pids in a lock file were the
alternative; they are reused, and mean nothing in another container.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

SEGMENT_BYTES = 4 << 20
"""A segment that has grown past this is closed, so that it can be removed once it is moved."""

SUFFIX = ".spool"


class Batch(NamedTuple):
    """What a segment held: ``(offset, record)`` pairs, where to read on, and how many were torn."""

    rows: list[tuple[int, bytes]]
    end: int
    torn: int


class Spool:
    """This process's end of the spool; safe to use from any number of threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fd = -1
        self._size = 0
        self._lock = threading.Lock()
        self.path: Path | None = None

    def append(self, record: bytes) -> None:
        """Write one record, which must not hold a newline, with a single ``write``.

        When this returns the record survives ``kill -9``, not a loss of power. Raises ``OSError``
        when it could not be written whole, as on a full disk; the next append is not harmed.
        """
        frame = b"\n%08x %b\n" % (crc32(record), record)
        with self._lock:
            if self._fd < 0 or self._size >= SEGMENT_BYTES:
                self._rotate()
            written = os.write(self._fd, frame)
            self._size += written
        if written != len(frame):
            raise OSError(errno.ENOSPC, f"only {written} of {len(frame)} bytes could be written")

    def close(self) -> None:
        """Let go of the segment, which anyone may then move and remove. An append opens another."""
        with self._lock:
            self._release()

    def after_fork(self) -> None:
        """In the child: leave the parent's segment to the parent.

        The lock belongs to the open file that both share; a child that kept it open would make the
        parent look alive for as long as the child lives.
        """
        self._lock = threading.Lock()
        self._release()

    def _release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size, self.path = -1, 0, None

    def _rotate(self) -> None:
        self._release()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while self._fd < 0:
            path = self.folder / f"{os.getpid()}-{secrets.token_hex(8)}{SUFFIX}"
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            # Between open and flock the file looked abandoned, and may have been removed as such.
            if os.fstat(fd).st_nlink:
                self._fd, self.path = fd, path
            else:
                os.close(fd)


def segments(folder: Path) -> list[Path]:
    """All segments of all processes, by name."""
    return sorted(folder.glob(f"*{SUFFIX}"))


@contextmanager
def abandoned(path: Path) -> Iterator[bool]:
    """Whether nobody writes to this segment any more, which then stays so until the end of the block.

    Raises ``FileNotFoundError`` when another process has moved and removed it.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        dead = False
    else:
        dead = True
    try:
        yield dead
    finally:
        os.close(fd)


def read(path: Path, offset: int, *, whole: bool) -> Batch:
    """Records from ``offset`` (bytes) on.

    Of a segment that is still written to (``whole`` False) only finished lines are taken; of an
    abandoned one also the end, which is a record if its checksum says so and torn if not.
    """
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    if not whole:
        data = data[: data.rfind(b"\n") + 1]
    rows: list[tuple[int, bytes]] = []
    torn, at = 0, offset
    for line in data.split(b"\n"):
        if line:
            record = line[9:]
            if line[:9] == b"%08x " % crc32(record):
                rows.append((at, record))
            else:
                torn += 1
        at += len(line) + 1
    return Batch(rows, offset + len(data), torn)
