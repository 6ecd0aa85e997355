"""Rows in memory, bounded by bytes, the least recently used out first."""

from __future__ import annotations

from collections import OrderedDict
from sys import getsizeof


class Memory:
    """Bytes by key, at most ``limit`` bytes of them, keys included.

    Bytes rather than decoded answers: a caller who changes the answer it got changes a copy.
    Reads take no lock, since each of their two steps is atomic; the owner serialises writes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def size(self) -> int:
        """Bytes of all rows and their keys."""
        return self._size

    def get(self, key: str) -> bytes | None:
        """The row, now the most recently used, or None."""
        value = self._rows.get(key)
        if value is not None:
            try:  # noqa: SIM105  suppress() costs as much as the rest of this method
                self._rows.move_to_end(key)
            except KeyError:
                pass  # another thread's write evicted it in between
        return value

    def put(self, key: str, value: bytes) -> None:
        """Hold the row, and drop others as needed; a row that alone is too large is not held."""
        self.remove(key)
        size = getsizeof(key) + getsizeof(value)
        if size > self._limit:
            return
        self._rows[key] = value
        self._size += size
        while self._size > self._limit:
            self.remove(next(iter(self._rows)))

    def remove(self, key: str) -> None:
        """Forget the row, if it is there."""
        value = self._rows.pop(key, None)
        if value is not None:
            self._size -= getsizeof(key) + getsizeof(value)

    def clear(self) -> None:
        """Forget every row."""
        self._rows.clear()
        self._size = 0

    def check(self) -> list[str]:
        """What is inconsistent, one line each."""
        size = sum(getsizeof(key) + getsizeof(value) for key, value in self._rows.items())
        found = [] if size == self._size else [f"memory: counted {self._size} bytes, holds {size}"]
        return found + ([f"memory: {size} bytes pass the limit"] if size > self._limit else [])
