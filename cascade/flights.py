"""Single flight: of several identical requests under way, one flies and the others wait for it."""

from __future__ import annotations

import os
import threading
import weakref
from concurrent.futures import Future

from cascade.types import Entry


class Flights:
    """What is under way in this process, by cache key. A forked child has nothing under way."""

    def __init__(self) -> None:
        self.reset()
        _all.add(self)

    def reset(self) -> None:
        """Forget everything; for a child process, whose parent's flights will never land here."""
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[Entry | None]] = {}

    def board(self, key: str) -> Future[Entry | None] | None:
        """The flight of this key to wait for, or None: then this request is the one that flies."""
        with self._lock:
            found = self._under_way.get(key)
            if found is None:
                self._under_way[key] = Future()
            return found

    def land(self, key: str, entry: Entry | None) -> None:
        """The flight has ended: those who waited get its answer, or go on alone."""
        with self._lock:
            flight = self._under_way.pop(key, None)
        if flight is not None:
            flight.set_result(entry)


_all: weakref.WeakSet[Flights] = weakref.WeakSet()


def _forked() -> None:
    for flights in list(_all):
        flights.reset()


os.register_at_fork(after_in_child=_forked)
