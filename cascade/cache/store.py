"""The database's life: opened when it is needed, begun anew when it is garbage, left behind by a fork."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cascade.cache import disk
from cascade.cache.answers import Answers

if TYPE_CHECKING:
    import os
    import sqlite3

T = TypeVar("T")

REOPEN_AFTER = 1.0
"""Seconds in which a folder that could not be opened is not tried again."""

LOOK_EVERY = 0.25
"""Seconds between looks at whether the file is still the one that is open."""

_left_behind: list[Answers] = []
"""Connections that a fork copied. Closing one would be the parent's business; letting it go closes it."""


class Store:
    """The answers in ``folder``, or in memory; ``run`` never raises.

    What fails is counted in ``faults`` under ``open`` or as the caller calls it. After a fault the
    connection is closed, which rolls back whatever was half done, and a corrupt database is discarded
    and begun anew (``discarded``); but not where another merely held the lock or the disk was full. The database is at
    most ``size_limit`` bytes; SQLite's write-ahead log, up to 4 MB, comes on top. It survives kill -9,
    not necessarily loss of power. Not thread-safe: the owner serialises calls.
    """

    def __init__(self, folder: Path | None, size_limit: int, faults: Counter[str]) -> None:
        self.folder = folder
        self._size_limit = size_limit
        self._faults = faults
        self._answers: Answers | None = None
        self._file: os.stat_result | None = None
        self._failed_at: float | None = None
        self._look_again = 0.0

    def run(self, fault: str, work: Callable[[Answers], T]) -> T | None:
        """What ``work`` returns, or None where the database cannot be opened or fails, which is counted."""
        answers = self.open()
        if answers is None:
            return None
        try:
            return work(answers)
        except Exception as error:
            self._faults[fault] += 1
            if not disk.is_passing(error):
                self._mend(disk.is_garbage(error))
            return None

    def open(self) -> Answers | None:
        """The database, opened if it is not; None where it cannot be."""
        if self._answers is not None and not self._replaced():
            return self._answers
        if self._failed_at is not None and time.monotonic() - self._failed_at < REOPEN_AFTER:
            return None
        try:
            db = self._database()
            try:
                self._answers = Answers(db, self._size_limit)
                self._answers.shrink()
                self._file = self._stat()
            except BaseException:
                self._answers = None
                db.close()
                raise
        except Exception:
            self._faults["open"] += 1
            self._failed_at = time.monotonic()
        return self._answers

    def _database(self) -> sqlite3.Connection:
        try:
            return disk.open_database(self.folder, self._size_limit)
        except Exception as error:
            if self.folder is None or not disk.is_garbage(error):
                raise
        self._faults["discarded"] += 1
        disk.discard(self.folder)
        return disk.open_database(self.folder, self._size_limit)

    def _replaced(self) -> bool:
        """Whether another process has discarded the file; then the connection to it is closed."""
        if self.folder is None or time.monotonic() < self._look_again:
            return False
        self._look_again = time.monotonic() + LOOK_EVERY
        there, ours = self._stat(), self._file
        if there is not None and ours is not None and (there.st_ino, there.st_dev) == (ours.st_ino, ours.st_dev):
            return False
        self.close()
        return True

    def _stat(self) -> os.stat_result | None:
        if self.folder is None:
            return None
        with suppress(OSError):
            return (self.folder / disk.NAME).stat()
        return None

    def _mend(self, garbage: bool) -> None:
        self.close()
        if garbage and self.folder is not None:
            with suppress(Exception):
                if disk.discard_if_unsound(self.folder):
                    self._faults["discarded"] += 1

    def close(self) -> None:
        """Close the connection; the next ``run`` opens another. In memory that is the end of all rows."""
        answers, self._answers = self._answers, None
        with suppress(Exception):
            if answers is not None:
                answers.close()

    def leave_behind(self) -> None:
        """Forget the connection without closing it: after a fork it is the parent's."""
        if self._answers is not None:
            _left_behind.append(self._answers)
        self._answers = None
