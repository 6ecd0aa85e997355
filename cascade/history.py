"""The locks that were in force before: kept beside the lock, so that a review sees them and a rollback finds them.

``support.lock.json`` has ``support.lock.d/0001.lock.json`` and so on, newest last. At every moment the
lock's own file is a whole lock, the old one or the new one, also where a process is killed half way:
the old lock is written down first, then one rename puts the new one in force.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cascade.errors import ConfigError, PolicyError
from cascade.lock import Lock, load_lock

KEPT = 20
"""Locks in a history; the oldest goes when another one comes."""

NAMED = re.compile(r"(\d{4,})\.lock\.json")
PART = ".part"


class History:
    """The lock in force at ``path`` and those before it. Changes wait for each other, across processes too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.with_suffix(".d")

    def numbers(self) -> list[int]:
        """The numbers of the locks before, newest last."""
        names = [file.name for file in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted(int(found[1]) for name in names if (found := NAMED.fullmatch(name)))

    def file(self, number: int) -> Path:
        """Where the lock of that number is."""
        return self.folder / f"{number:04}.lock.json"

    def previous(self) -> Lock | None:
        """The lock that a rollback would put in force, or None."""
        numbers = self.numbers()
        return load_lock(self.file(numbers[-1])) if numbers else None

    def promote(self, body: bytes, instead_of: bytes | None) -> None:
        """Put a lock's ``body`` in force, and the one before into the history.

        ``instead_of`` is what the evidence compared it with, None for no lock: ``ConfigError`` when
        something else is in force by now.
        """
        with self._alone():
            current = bytes_of(self.path)
            if current != instead_of:
                raise ConfigError(f"{self.path} was changed while its successor was being weighed: weigh again")
            if current == body:
                raise ConfigError(f"{self.path} is that lock already")
            self._keep(current)
            self._write(self.path, body)
            self._prune()

    def rollback(self, to: int | None = None) -> int:
        """Put a lock of the history in force (the newest, or number ``to``), and return its number.

        The two change places: the one that was in force is the newest of the history afterwards.
        ``ConfigError`` where there is no such lock, ``PolicyError`` where it does not hold.
        """
        with self._alone():
            numbers = self.numbers()
            if not numbers:
                raise ConfigError(f"there is no lock before this one: {self.folder} is empty or missing")
            number = numbers[-1] if to is None else to
            if number not in numbers:
                raise ConfigError(f"{self.folder} holds no lock {number}; there are: {', '.join(map(str, numbers))}")
            file = self.file(number)
            body = file.read_bytes()
            if load_lock(file) is None:
                raise PolicyError("is gone", file=str(file))
            self._keep(bytes_of(self.path))
            self._write(self.path, body)
            file.unlink()  # it is in force, so that nothing is lost
            self._prune()
        return number

    def _keep(self, body: bytes | None) -> None:
        numbers = self.numbers()
        if body is not None:
            self._write(self.file(numbers[-1] + 1 if numbers else 1), body)

    def _prune(self) -> None:
        for number in self.numbers()[:-KEPT]:
            self.file(number).unlink()
        for part in self.folder.glob(f"*{PART}"):  # of a process that was killed
            part.unlink()

    def _write(self, target: Path, body: bytes) -> None:
        """In one step, and on the disk when this returns: a crash later must not undo it out of order."""
        part = self.folder / f"{target.name}{PART}"
        with part.open("wb") as stream:
            stream.write(body)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
        place = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The folder itself is locked: no file to clean up, and the kernel lets go for a process that dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        place = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(place, fcntl.LOCK_EX)
            yield
        finally:
            os.close(place)


def bytes_of(path: Path) -> bytes | None:
    """A file's content, or None when there is none. ``PolicyError`` when it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PolicyError(f"cannot be read: {error.strerror}", file=str(path)) from None
