"""Where the rows come from and their verdicts go: an outcomes file, or a ledger.

A file is rewritten once, at the end. Until then verdicts are lines of a journal beside it, each
written in one piece before it counts, so that a crash loses none; the next run takes them in. The
alternative, rewriting the file for every verdict, costs the square of its length.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, cast

import msgspec
from msgspec.structs import replace

from cascade.errors import ConfigError
from cascade.ledger import Ledger, read_outcomes
from cascade.ledger.redact import without_reasons
from cascade.types import ModelOutcome, Outcome, Record, Verdict

JOURNAL = ".verdicts"


class Source(Protocol):
    """Rows with their verdicts, and a place for new ones."""

    def rows(self) -> list[Outcome]:
        """All of them, verdicts that an interrupted run has left included."""
        ...

    def keep(self, row: Outcome, tier: str, verdict: Verdict) -> None:
        """Store a verdict; when this returns it survives the end of the process."""
        ...


@contextmanager
def opened_source(path: Path, *, output: Path | None = None, policy: str | None = None) -> Iterator[Source]:
    """The outcomes file, or the ledger (its folder or its ``ledger.sqlite``), for reading and labelling.

    ``output`` leaves a file as it is and writes another one. ``policy`` picks a ledger's rows of that
    policy. However the block ends, what was kept is there. ``ConfigError`` for what is neither.
    """
    folder = path.parent if path.name == "ledger.sqlite" else path
    if folder.is_dir():
        if output is not None:
            raise ConfigError(f"{path} is a ledger, which keeps its verdicts itself: leave out -o")
        if not (folder / "ledger.sqlite").is_file() and not (folder / "spool").is_dir():
            raise ConfigError(f"{path} holds no ledger; name its folder, its ledger.sqlite or an outcomes file")
        with Ledger(folder) as ledger:
            yield LedgerSource(ledger, policy)
        return
    if not path.is_file():
        raise ConfigError(f"{path} is neither an outcomes file nor a ledger")
    with OutcomesFile(path, output) as file:
        yield file


class LedgerSource:
    """A ledger's rows; verdicts go where ``Ledger.label`` puts them."""

    def __init__(self, ledger: Ledger, policy: str | None = None) -> None:
        self._ledger, self._policy = ledger, policy

    def rows(self) -> list[Outcome]:
        """Every outcome of the policy; of several with one id the latest, which is where a label goes."""
        return list({row.id: row for row in self._ledger.outcomes(policy=self._policy)}.values())

    def keep(self, row: Outcome, tier: str, verdict: Verdict) -> None:
        """On disk when this returns; without the reasons where the row was to keep no content."""
        self._ledger.label(row.id, tier, without_reasons(verdict, row.content))


class _Line(Record, frozen=True, kw_only=True):
    """One line of a journal."""

    id: str
    tier: str
    verdict: Verdict


class OutcomesFile:
    """An outcomes file under labelling, by one process at a time.

    Lines are changed only where they get a verdict, and keep what is no field of an outcome. Verdicts
    that were paid for are synced to the disk, free ones can be had again. Raises ``ConfigError``
    where the file cannot be read or written, an id stands twice, or another process labels it.
    """

    def __init__(self, path: Path, output: Path | None = None) -> None:
        self._path = path
        self._target = (output or path).resolve()  # a symbolic link stays one
        self._journal = self._target.with_name(self._target.name + JOURNAL)
        self._fd = -1
        self._read = False
        self._new: defaultdict[str, list[tuple[str, Verdict]]] = defaultdict(list)

    def __enter__(self) -> OutcomesFile:
        try:
            self._fd = os.open(self._journal, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise ConfigError(f"{self._journal}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = bool(os.fstat(self._fd).st_nlink)  # else another run has just ended and removed it
        except BlockingIOError:
            alone = False
        if not alone:
            os.close(self._fd)
            raise ConfigError(f"{self._target}: another process is labelling it; try again when it has ended")
        return self

    def __exit__(self, *error: object) -> None:
        try:
            elsewhere = self._target != self._path.resolve() and error[0] is None
            if self._read and (self._new or elsewhere):
                self._rewrite()
            if self._read or not os.fstat(self._fd).st_size:
                self._journal.unlink()  # only now: should the rewriting fail, the next run still has them
        finally:
            os.close(self._fd)

    def rows(self) -> list[Outcome]:
        """All rows, with the verdicts that an interrupted run has left in the journal."""
        rows: dict[str, Outcome] = {}
        self._new.clear()  # the journal has them all
        for number, row in enumerate(read_outcomes(self._path), 1):
            if row.id in rows:
                raise ConfigError(f"{self._path}, row {number}: the id {row.id!r} stands twice, whose is a verdict?")
            rows[row.id] = row
        for line in self._left_behind():
            if line.id not in rows:
                raise ConfigError(f"{self._journal}: {line.id!r} is no row of {self._path}; move the journal aside")
            row = rows[line.id]
            if line.verdict not in _verdicts(row, line.tier):
                self._new[line.id].append((line.tier, line.verdict))
                rows[line.id] = _labelled(row, line.tier, line.verdict)
        self._read = True
        return list(rows.values())

    def keep(self, row: Outcome, tier: str, verdict: Verdict) -> None:
        """One line of the journal."""
        verdict = without_reasons(verdict, row.content)
        line = msgspec.json.encode(_Line(id=row.id, tier=tier, verdict=verdict)) + b"\n"
        if os.write(self._fd, line) != len(line):
            raise ConfigError(f"{self._journal}: the disk is full; what was kept before is safe")
        if verdict.cost:
            os.fsync(self._fd)
        self._new[row.id].append((tier, verdict))

    def _left_behind(self) -> Iterator[_Line]:
        """What a run that broke off has kept; a line that it could not finish was never promised."""
        body = self._journal.read_bytes()
        whole = body[: body.rfind(b"\n") + 1]
        if whole != body:
            os.ftruncate(self._fd, len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                yield msgspec.json.decode(line, type=_Line)
            except msgspec.DecodeError as error:
                raise ConfigError(f"{self._journal}, line {number}: no verdict: {error}; move the file aside") from None

    def _rewrite(self) -> None:
        part = self._target.with_name(f"{self._target.name}.{os.getpid()}.part")
        try:
            with _lines(self._path, "rb") as old, _lines(part, "wb", packed=_packed(self._target)) as new:
                new.writelines(self._patched(line) for line in old)
            shutil.copymode(self._path, part)
            part.replace(self._target)
        except (OSError, EOFError) as error:
            raise ConfigError(f"{self._target}: cannot be written: {error}; run it again, nothing is lost") from error
        finally:
            part.unlink(missing_ok=True)

    def _patched(self, line: bytes) -> bytes:
        """The line with its new verdicts; as a plain table, for a data set's own fields are no ``Outcome``'s."""
        if not line.strip():
            return line
        row: dict[str, Any] = msgspec.json.decode(line)
        new = self._new.get(row["id"])
        if not new:
            return line if line.endswith(b"\n") else line + b"\n"
        for tier, verdict in new:
            model = row.setdefault("models", {}).setdefault(tier, {})
            model["verdicts"] = [*(model.get("verdicts") or []), msgspec.to_builtins(verdict)]
        return msgspec.json.encode(row) + b"\n"


def _verdicts(row: Outcome, tier: str) -> list[Verdict]:
    return row.models.get(tier, ModelOutcome()).verdicts


def _labelled(row: Outcome, tier: str, verdict: Verdict) -> Outcome:
    model = row.models.get(tier, ModelOutcome())
    return replace(row, models={**row.models, tier: replace(model, verdicts=[*model.verdicts, verdict])})


def _packed(path: Path) -> bool:
    return path.name.endswith(".gz")


@contextmanager
def _lines(path: Path, mode: str, *, packed: bool | None = None) -> Iterator[IO[bytes]]:
    """A file's lines, synced when written. The same lines give the same bytes, compressed or not."""
    with path.open(mode) as raw:
        if _packed(path) if packed is None else packed:
            with gzip.GzipFile("", mode, fileobj=cast(IO[bytes], raw), mtime=0) as file:
                yield cast(IO[bytes], file)
        else:
            yield cast(IO[bytes], raw)
        if mode == "wb":
            raw.flush()
            os.fsync(raw.fileno())
