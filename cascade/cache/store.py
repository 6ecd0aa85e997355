"""Rows on disk, shared by threads and processes: what cannot be read is a miss, and is counted."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from cascade.cache import disk

REOPEN_AFTER = 1.0
"""Seconds in which a folder that could not be opened is not tried again."""


_OURS = "raw IS 1 AND mode IS 1 AND filename IS NULL AND typeof(key) = 'text' AND typeof(value) = 'blob'"
_ROWS = f"SELECT key, value FROM Cache WHERE {_OURS} ORDER BY store_time"  # noqa: S608  a constant
_PLANTED = f"SELECT COUNT(*) FROM Cache WHERE NOT ({_OURS})"  # noqa: S608  a constant


class Store:
    """Bytes by key in ``folder``; no method but ``rows`` and ``check`` ever raises.

    Holds about ``size_limit`` bytes (SQLite's write-ahead log, up to 4 MB, comes on top), the
    oldest out first; rows older than ``ttl`` seconds go before. Failures are counted in ``faults``
    under ``open``, ``read``, ``write`` and ``refused``. After one the connection is closed, which
    rolls back whatever was half done; a corrupt database is discarded and begun anew.

    Each thread and each forked child gets a connection of its own from diskcache; a row is seen by
    other processes as soon as ``set`` returns. It survives kill -9, not necessarily loss of power.
    """

    def __init__(
        self,
        folder: Path,
        size_limit: int,
        ttl: float | None,
        faults: Counter[str],
        clock: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._size_limit = size_limit
        self._ttl = ttl
        self._faults = faults
        self._clock = clock
        self._database: Any = None
        self._failed_at: float | None = None

    def open(self) -> bool:
        """Whether the database is open, after an attempt where it was not."""
        if self._database is not None:
            return True
        if self._failed_at is not None and 0 <= self._clock() - self._failed_at < REOPEN_AFTER:
            return False
        try:
            self._database = disk.open_database(self._folder, self._size_limit)
        except Exception:
            self._faults["open"] += 1
            self._failed_at = self._clock()
            return False
        return True

    def get(self, key: str) -> bytes | None:
        """The row's bytes, or None."""
        if not self.open():
            return None
        try:
            found: bytes | None = self._database.get(key)
            return found
        except disk.RefusedError:
            self._faults["refused"] += 1
            self.remove(key)
        except Exception as error:
            self._mend("read", error)
        return None

    def set(self, key: str, value: bytes) -> None:
        """Keep the row. Where it cannot be kept, nothing else changes."""
        if not self.open():
            return
        try:
            self._database.set(key, value, expire=self._ttl)
            # diskcache itself drops ten rows a call, which is too few after one that is large.
            if self._database.volume() > self._size_limit:
                self._database.cull()
        except Exception as error:
            self._mend("write", error)

    def remove(self, key: str) -> None:
        """Forget the row, if it is there."""
        if not self.open():
            return
        try:
            self._database.delete(key)
        except Exception as error:
            self._mend("write", error)

    def _mend(self, what: str, error: Exception) -> None:
        self._faults[what] += 1
        garbage = disk.is_garbage(error)
        with suppress(Exception):
            self._database.close()
        if garbage:
            self._database = None
            with suppress(Exception):
                disk.discard_if_unsound(self._folder)

    def rows(self) -> Iterator[tuple[str, bytes]]:
        """Every row that this package can have written, oldest first. Raises ``sqlite3.Error``."""
        if not self.open():
            return
        with closing(disk.connect(self._folder)) as connection:
            yield from connection.execute(_ROWS)

    def check(self) -> list[str]:
        """What is inconsistent, one line each: the database, its counters, planted rows, its size."""
        if not self.open():
            return [f"{self._folder}: cannot be opened"]
        with warnings.catch_warnings():
            warnings.simplefilter("always")  # diskcache reports by warnings
            found = [str(warning.message) for warning in self._database.check()]
        with closing(disk.connect(self._folder)) as connection:
            ((planted,),) = connection.execute(_PLANTED)
        if planted:
            found.append(f"{planted} rows that this package did not write")
        if (volume := self._database.volume()) > self._size_limit:
            found.append(f"{volume} bytes pass the limit of {self._size_limit}")
        return [f"{self._folder}: {line}" for line in found]

    def close(self) -> None:
        """Close this thread's connection; those of other threads end with them."""
        database, self._database = self._database, None
        with suppress(Exception):
            if database is not None:
                database.close()
