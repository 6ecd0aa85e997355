"""Calls in a file: a line before one is sent, a line when it has ended.

What a process that was killed had under way is then known: calls begun and never ended, with the most
that each can have cost. A line is one write, which survives the end of the process.
"""

from __future__ import annotations

import fcntl
import os
from collections import defaultdict
from pathlib import Path
from typing import TypeVar

import msgspec

from cascade.errors import ConfigError
from cascade.types import Record

T = TypeVar("T")


class Header(Record, frozen=True, kw_only=True):
    """What the calls of a journal are of, as digests: they cannot be mixed with those of anything else."""

    policy: str
    questions: str = ""


class PossiblyBilled(Record, frozen=True, kw_only=True):
    """A call of which nobody can know whether it was billed, made for the question ``id``.

    ``most`` is what it can have cost in dollars, None where no price or no limit on the answer's
    length bounds it.
    """

    id: str
    tier: str
    most: float | None


class Line(Record, frozen=True, kw_only=True):
    """One line. Of a call that is ``begun`` ``unknown`` is the most that it can cost, None where nothing bounds it.

    Of one that has ended it is the same where nobody can know its bill, else 0.0, and ``cost`` its dollars.
    """

    tier: str
    call: int = 0
    id: str = ""
    begun: bool = False
    cost: float | None = 0.0
    unknown: float | None = 0.0
    seconds: float = 0.0


class Journal:
    """A journal under way, by one process at a time; a context manager.

    ``spent`` is in dollars by tier, ``possibly_billed`` what nobody can know; earlier runs are included.
    ``header`` becomes the first line, and is compared with that of an earlier run: ``ConfigError`` where it
    differs, where the file cannot be read or written, or where another process is at it.
    """

    def __init__(self, file: Path, header: Header | None = None) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.possibly_billed: list[PossiblyBilled] = []
        self._file = file
        self._open: dict[int, Line] = {}
        self._calls = 0
        self._fd = _locked(file)
        try:
            self._read(header)
        except BaseException:
            self.close()
            raise
        self.possibly_billed += map(_doubt, self._open.values())  # of a process that is gone
        self._open.clear()

    @property
    def unknown(self) -> float:
        """Dollars that calls of an unknown bill can have cost, as far as something bounds them."""
        return sum(doubt.most or 0.0 for doubt in self.possibly_billed)

    def begin(self, tier: str, id: str, most: float | None) -> int:
        """Write down a call that is about to be sent, and return its number."""
        line = Line(tier=tier, call=self._calls + 1, id=id, begun=True, unknown=most)
        self._append(line)
        self._take(line)
        return line.call

    def end(self, call: int, cost: float | None, seconds: float) -> None:
        """Write down what a call has cost, None where nobody can know."""
        begun = self._open[call]
        unknown = begun.unknown if cost is None else 0.0
        line = Line(tier=begun.tier, call=call, id=begun.id, cost=cost, unknown=unknown, seconds=round(seconds, 3))
        self._append(line)
        self._take(line)

    def charge(self, tier: str, dollars: float) -> None:
        """Write down dollars that were paid for something else than a call."""
        line = Line(tier=tier, cost=dollars)
        self._append(line)
        self._take(line)

    def close(self) -> None:
        """Let another process at it."""
        os.close(self._fd)

    def _take(self, line: Line) -> None:
        self._calls = max(self._calls, line.call)
        if line.begun:
            self._open[line.call] = line
            return
        self._open.pop(line.call, None)
        self.spent[line.tier] += line.cost or 0.0
        if line.cost is None:
            self.possibly_billed.append(_doubt(line))

    def _append(self, line: Record) -> None:
        """One line at the end of the file, or nothing of it and ``ConfigError``."""
        body = msgspec.json.encode(line) + b"\n"
        try:
            written = os.write(self._fd, body)
            if written < len(body):
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
                raise OSError(28, "no space is left")
        except OSError as error:
            raise ConfigError(f"{self._file}: cannot be written: {error.strerror}; nothing more is asked") from error

    def _read(self, header: Header | None) -> None:
        """What earlier runs have left; a line that a killed one could not finish was never promised."""
        body = self._file.read_bytes()
        whole = body[: body.rfind(b"\n") + 1]
        if whole != body:
            os.ftruncate(self._fd, len(whole))
        lines = whole.splitlines()
        if header is not None and lines:
            self._compare(header, lines[0])
        elif header is not None:
            self._append(header)
        for number, line in enumerate(lines, 1):
            if header is None or number > 1:
                self._take(self._decoded(line, number, Line))

    def _compare(self, header: Header, line: bytes) -> None:
        known = self._decoded(line, 1, Header)
        differing = [name for name in header.__struct_fields__ if getattr(known, name) != getattr(header, name)]
        if differing:
            raise ConfigError(f"{self._file} is of other {' and '.join(map(_plural, differing))}")

    def _decoded(self, line: bytes, number: int, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(line, type=kind)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{self._file}, line {number}: {error}; what was spent is not known any more") from None


def _plural(name: str) -> str:
    return "models or another policy" if name == "policy" else name


def _doubt(line: Line) -> PossiblyBilled:
    return PossiblyBilled(id=line.id, tier=line.tier, most=line.unknown)


def _locked(file: Path) -> int:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ConfigError(f"{file}: another process is at it: wait until it has ended") from None
    return handle
