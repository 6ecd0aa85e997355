"""The ledger that the engine writes to and everything that learns reads from."""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType

from msgspec.structs import replace

from cascade.errors import ConfigError
from cascade.ledger import redact
from cascade.ledger.database import busy
from cascade.ledger.records import encode
from cascade.ledger.spool import Spool, abandoned, segments
from cascade.ledger.store import Health, Store
from cascade.ledger.writer import Writer
from cascade.types import Outcome, Verdict

log = logging.getLogger("cascade")

MEMORY_ROWS = 10_000
"""How many of the newest rows a ledger in memory keeps."""

READ_SECONDS = 5.0
"""How long reading and closing wait for a locked store."""

ADOPT_SECONDS = 5.0
"""How often a process that writes looks for segments that others have left behind."""

_said: set[str] = set()
_all: weakref.WeakSet[Ledger] = weakref.WeakSet()


class Ledger:
    """Outcomes in a folder of one's own, shared by any number of processes and threads.

    ``content`` is what may be written down: ``full``, ``hashed`` (no text, a keyed hash of the
    question) or ``none``. Where ``folder`` is None or cannot be written the newest 10,000 rows are
    kept in memory, ``durable`` is False and the log says so once. ``faults`` counts outcomes that
    could not be recorded. After a fork the child goes on with files, or an empty memory, of its own.
    """

    def __init__(self, folder: Path | None, *, content: redact.Content = "full") -> None:
        self.folder = folder if folder is not None and _writable(folder) else None
        self.content = content
        self.faults = 0
        self._waiting: deque[bytes] = deque(maxlen=MEMORY_ROWS)
        self._keys = count()
        self._salt = b""
        self._spool = Spool(self.folder / "spool") if self.folder else None
        self._store = Store(self.folder / "ledger.sqlite" if self.folder else None)
        self._writer = Writer(self._tick)
        self._mine: Path | None = None
        self._adopted = 0.0
        if self.folder is None:
            where = "no folder was given" if folder is None else f"{folder} cannot be written"
            _say(f"the ledger is kept in memory only and ends with the process: {where}")
        _all.add(self)
        weakref.finalize(self, _let_go, self._writer, self._spool, self._store)

    @property
    def durable(self) -> bool:
        """Whether what was appended survives this process."""
        return self.folder is not None

    def append(self, outcome: Outcome) -> bool:
        """Record an outcome; True means that it survives ``kill -9`` of this process.

        Never raises: what could not be recorded is False and counted in ``faults``. What
        ``content`` and the rule on credentials forbid is taken out first.
        """
        try:
            record = encode(redact.redacted(outcome, self.content, self._key()))
            if self._spool is None:
                self._waiting.append(record)
            else:
                self._spool.append(record)
                self._writer.notice()
        except Exception as error:  # whatever it is, the request goes on
            self.faults += 1
            if self.faults == 1:
                log.warning("an outcome could not be recorded: %s: %s", type(error).__name__, error)
            return False
        return True

    def flush(self, timeout: float | None = None) -> bool:
        """Move what any process has appended before into the store; whether that was done.

        Waits up to ``timeout`` seconds (None: without end) for another process's lock. A store that
        is damaged or full is False at once; the rows stay in the spool.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                self._move(everything=True)
                return True
            except (sqlite3.Error, OSError, ConfigError) as error:
                passing = isinstance(error, sqlite3.Error) and busy(error)
                if not passing or (deadline is not None and time.monotonic() >= deadline):
                    log.warning("the ledger's rows stay in the spool for now: %s", error)
                    return False
            time.sleep(0.02)

    def close(self) -> None:
        """Flush, end the thread and close the files; a closed ledger may be used again."""
        self._writer.stop()
        if self._spool is not None:
            self._spool.close()
            self.flush(READ_SECONDS)
            self._store.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, id: str) -> Outcome | None:
        """The outcome with this id, with its shadow calls and verdicts; a shadow's id finds it too."""
        with self._reading() as store:
            return store.get(id)

    def outcomes(
        self, *, policy: str | None = None, slice: str | None = None, since: float | None = None
    ) -> Iterator[Outcome]:
        """Outcomes with their shadow calls and verdicts, one by one.

        Those of one process come in the order of recording. ``since`` is in seconds since 1970 and,
        like ``policy``, leaves out outcomes without a decision.
        """
        with self._reading() as store:
            yield from store.outcomes(policy, slice, since)

    def find(self, prefix: str, limit: int = 100) -> list[str]:
        """The first ``limit`` ids that begin with ``prefix``, sorted."""
        with self._reading() as store:
            return store.find(prefix, limit)

    def label(self, decision_id: str, tier: str, verdict: Verdict) -> None:
        """Add a judge's verdict on one tier's answer; on disk when this returns.

        Every verdict is kept, also a second one of the same judge. Raises ``ConfigError`` for an id
        that the ledger does not have, or when the store is locked or damaged.
        """
        with self._reading() as store:
            if not store.label(decision_id, tier, redact.without_reasons(verdict, self.content)):
                raise ConfigError(f"no decision with id {decision_id!r} in the ledger ({self._where})")

    def watch(self, key: str) -> str | None:
        """What ``keep_watch`` has kept under this key, or None; what it means is the watcher's affair."""
        with self._reading() as store:
            return store.watch(key)

    def keep_watch(self, key: str, body: str) -> None:
        """Keep what is known of something that is watched, instead of what was. ``ConfigError`` as for ``label``."""
        with self._reading() as store:
            store.keep_watch(key, body)

    def check(self) -> Health:
        """Move what waits, then say how the ledger is; reads the whole file, so not for every minute."""
        moved = self.flush(READ_SECONDS)
        try:
            health = self._store.health()
            paths = segments(self._spool.folder) if self._spool else []
            waiting = 0 if moved else sum(self._store.waiting(path) for path in paths)
        except (sqlite3.Error, OSError) as error:
            return Health(durable=self.durable, rows=0, problems=(str(error),), faults=self.faults)
        return replace(health, waiting_bytes=waiting, segments=len(paths), faults=self.faults)

    @property
    def _where(self) -> str:
        return str(self._store.path or "in memory")

    @contextmanager
    def _reading(self) -> Iterator[Store]:
        self.flush(READ_SECONDS)
        try:
            yield self._store
        except sqlite3.Error as error:
            remedy = "try again later" if busy(error) else "move the file aside; what is spooled is kept"
            raise ConfigError(f"the ledger cannot be used ({self._where}): {error}: {remedy}") from error

    def _tick(self) -> bool:
        """One round of the writer's thread: whether all could be moved."""
        try:
            self._move(everything=False)
        except Exception as error:  # the thread outlives whatever happens; the rows wait in the spool
            if not (isinstance(error, sqlite3.Error) and busy(error)):
                _say(f"the ledger's rows stay in the spool ({self._where}): {error}")
            return False
        return True

    def _move(self, *, everything: bool) -> None:
        """Move segments: this process's own, now and then those left behind, or really all."""
        if self._spool is None:
            rows = ((f"memory:{next(self._keys)}", row) for row in _drained(self._waiting))
            self._store.add(rows, keep=MEMORY_ROWS)
            return
        mine, now = self._spool.path, time.monotonic()
        if everything or mine != self._mine or now - self._adopted > ADOPT_SECONDS:
            self._mine, self._adopted = mine, now
            paths = segments(self._spool.folder)
        else:
            paths = [mine] if mine else []
        for path in paths:
            try:
                self._take(path, everything or path == mine)
            except FileNotFoundError:
                continue  # another process has moved it meanwhile

    def _take(self, path: Path, living: bool) -> None:
        with abandoned(path) as dead:
            if not dead and not living:
                return
            self._store.move(path, whole=dead)
            if dead:
                path.unlink()
                self._store.forget(path)

    def _key(self) -> bytes:
        if not self._salt and self.content == "hashed":
            self._salt = redact.salt(self.folder / "salt") if self.folder else secrets.token_bytes(32)
        return self._salt

    def _after_fork(self) -> None:
        self._waiting = deque(maxlen=MEMORY_ROWS)
        self._writer.reset()
        self._store.after_fork()
        if self._spool is not None:
            self._spool.after_fork()


def _forked() -> None:
    for ledger in list(_all):
        ledger._after_fork()


os.register_at_fork(after_in_child=_forked)


def _let_go(writer: Writer, spool: Spool | None, store: Store) -> None:
    """What ``close`` does, without waiting: the rows are safe in the spool for whoever comes next."""
    writer.stop(wait=False)
    if spool is not None:
        spool.close()
    store.close()


def _say(message: str) -> None:
    if message not in _said:
        _said.add(message)
        log.warning(message)


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _drained(rows: deque[bytes]) -> Iterator[bytes]:
    while rows:
        yield rows.popleft()
