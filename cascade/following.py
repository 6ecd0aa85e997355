"""A running process follows its lock file: a promotion or a rollback is in force within a second.

The look costs one ``stat`` a second, on the path of whichever request comes first. A request under way
keeps the rules that it began with. What cannot be read changes nothing; a lock that is gone closes
every gate, because nothing then promises anything.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from cascade.lock import Lock, load_lock
from cascade.run import Rules

log = logging.getLogger("cascade")

EVERY = 1.0
"""Seconds between two looks at the file."""

Stamp = tuple[int, ...]
"""What tells one version of a file from another; empty where there is no file."""


class Following:
    """The rules in force. ``make`` builds them from a lock (None: no lock), ``faults`` counts refused files.

    Stands still until ``begin``.
    """

    def __init__(self, make: Callable[[Lock | None], Rules], lock: Lock | None, faults: Counter[str]) -> None:
        self._make = make
        self._faults = faults
        self._current = make(lock)
        self._path = Path()
        self._seen: Stamp = ()
        self._due = float("inf")
        self._looking = threading.Lock()

    @property
    def rules(self) -> Rules:
        """The rules for a request that begins at this moment."""
        if monotonic() >= self._due:
            self._look()
        return self._current

    def begin(self, path: Path, seen: Stamp) -> None:
        """Follow the lock at ``path``; ``seen`` is the stamp taken before the present lock was read."""
        self._path, self._seen = path, seen
        self._due = monotonic() + EVERY

    def forked(self) -> None:
        """In a forked child: the thread that was looking is not here."""
        self._looking = threading.Lock()

    def _look(self) -> None:
        if not self._looking.acquire(blocking=False):
            return  # another thread is at it; this request goes by the rules of before
        try:
            self._due = monotonic() + EVERY
            stamp = stamp_of(self._path)
            if stamp != self._seen:
                self._seen = stamp  # a file is read once, also when it is refused
                self._current = self._make(load_lock(self._path))
                log.info("the rules follow %s", self._path)
        except Exception as error:  # whatever is wrong with the file, requests go on under the rules that hold
            self._faults[f"lock: {type(error).__name__}"] += 1
            log.warning("the lock file is refused, the rules of before stay: %s", error)
        finally:
            self._looking.release()


def stamp_of(path: Path) -> Stamp:
    """Inode, time of change in nanoseconds and size; the error's number where it cannot be looked at."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    except OSError as error:
        return (-(error.errno or 1),)
    return found.st_ino, found.st_mtime_ns, found.st_size
