"""The store: rows in SQLite, each moved out of the spool exactly once, merged when read.

The rows of a segment and the offset up to which it has been read are committed in one transaction,
so a crash at any point moves nothing twice; the unique key (segment and offset, which no two
records share) says the same once more to the database. WAL, so that reading never waits for a
writer. Reading goes page by page: a statement left open for the length of a long export would keep
the write-ahead log growing.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from cascade.errors import ConfigError
from cascade.ledger import spool
from cascade.ledger.database import connect, reading, transaction
from cascade.ledger.records import decode
from cascade.types import SAME, ModelOutcome, Outcome, Record, Verdict

PAGE = 256

_INSERT = """INSERT OR IGNORE INTO outcomes (key, id, policy, slice, at, served, served_by, shadow_of, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_PAGE = """SELECT seq, id, body FROM outcomes WHERE seq > :seq AND shadow_of IS NULL
AND (:policy IS NULL OR policy = :policy) AND (:slice IS NULL OR slice = :slice)
AND (:since IS NULL OR at >= :since) ORDER BY seq LIMIT :page"""


class Health(Record, frozen=True, kw_only=True):
    """What ``Ledger.check`` found.

    ``problems`` are SQLite's own words, empty when the file is sound. ``torn`` counts records that
    were cut short and never acknowledged, ``waiting_bytes`` what is spooled and not yet moved,
    ``faults`` the appends of this process that failed.
    """

    durable: bool
    rows: int
    problems: tuple[str, ...] = ()
    torn: int = 0
    waiting_bytes: int = 0
    segments: int = 0
    faults: int = 0

    @property
    def sound(self) -> bool:
        """Whether SQLite finds nothing wrong; torn records do not count, nobody was promised them."""
        return not self.problems


class _DecisionHead(msgspec.Struct):
    policy: str
    at: float
    served: str
    served_by: str


class _Head(msgspec.Struct):
    """The columns; decoding only these spares decoding the whole outcome."""

    id: str
    slice: str = ""
    shadow_of: str | None = None
    decision: _DecisionHead | None = None


_head = msgspec.json.Decoder(_Head)
_verdict = msgspec.json.Decoder(Verdict)


class Store:
    """One SQLite file, or memory for ``path`` None; opened on first use, safe between threads.

    A ``copied`` file is only read, and never made. Methods raise ``sqlite3.Error``, for which
    ``database.busy`` tells whether trying again helps.
    """

    def __init__(self, path: Path | None, *, copied: bool = False) -> None:
        self.path = path
        self._copied = copied
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the file; the next use opens it again. What was in memory is gone."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def after_fork(self) -> None:
        """In the child: SQLite connections must be neither used nor closed across a fork."""
        _inherited.append(self._connection)
        self._connection = None
        self._lock = threading.RLock()

    def move(self, segment: Path, *, whole: bool) -> int:
        """Take over what is new in a segment, in one transaction; returns the offset reached."""
        with self._locked() as db:
            if self._moved(db, segment) == segment.stat().st_size:
                return self._moved(db, segment)
            with transaction(db):
                # The file is opened inside the transaction: whoever else moves it waits until then.
                batch = spool.read(segment, self._moved(db, segment), whole=whole)
                strange = self._insert(db, ((f"{segment.name}:{at}", row) for at, row in batch.rows))
                db.execute("INSERT OR REPLACE INTO segments VALUES (?, ?)", (segment.name, batch.end))
                db.execute("UPDATE meta SET value = value + ? WHERE key = 'torn'", (batch.torn + strange,))
        return batch.end

    def forget(self, segment: Path) -> None:
        """Drop the bookkeeping of a segment whose file is gone."""
        with self._locked() as db:
            db.execute("DELETE FROM segments WHERE name = ?", (segment.name,))

    def add(self, rows: Iterable[tuple[str, bytes]], keep: int) -> None:
        """Insert ``(key, record)`` rows and keep only the newest ``keep``: the store in memory."""
        with self._locked() as db, transaction(db):
            self._insert(db, rows)
            db.execute("DELETE FROM outcomes WHERE seq <= (SELECT max(seq) FROM outcomes) - ?", (keep,))

    def label(self, decision: str, tier: str, verdict: Verdict) -> bool:
        """Store a verdict and sync it to the disk; False where nothing has that id.

        The id of a shadow row means the decision that it belongs to. Verdicts are paid for, so they
        alone survive a loss of power too.
        """
        with self._locked() as db:
            db.execute("PRAGMA synchronous = FULL")
            try:
                with transaction(db):
                    found = db.execute(
                        "SELECT coalesce(shadow_of, id) FROM outcomes WHERE id = ? LIMIT 1", (decision,)
                    ).fetchone()
                    if found:
                        row = (*found, tier, verdict.judge, msgspec.json.encode(verdict).decode())
                        db.execute("INSERT INTO verdicts (decision, tier, judge, verdict) VALUES (?, ?, ?, ?)", row)
            finally:
                db.execute("PRAGMA synchronous = NORMAL")
        return bool(found)

    def get(self, decision: str) -> Outcome | None:
        """The latest row with this id, merged; a shadow row's id finds the row it belongs to."""
        with self._locked() as db:
            query = "SELECT id, body, shadow_of FROM outcomes WHERE id = ? ORDER BY seq DESC LIMIT 1"
            row = db.execute(query, (decision,)).fetchone()
            if row and row[2]:
                row = db.execute(query, (row[2],)).fetchone() or row
            return next(iter(self._merged(db, [row[:2]])), None) if row else None

    def outcomes(self, policy: str | None, slice: str | None, since: float | None) -> Iterator[Outcome]:
        """Merged rows in the order in which they were moved, a page at a time."""
        args = {"policy": policy, "slice": slice, "since": since, "page": PAGE, "seq": 0}
        while True:
            with self._locked() as db:
                rows = db.execute(_PAGE, args).fetchall()
                page = self._merged(db, [row[1:] for row in rows])
            yield from page
            if not rows:
                return
            args["seq"] = rows[-1][0]

    def find(self, prefix: str, limit: int) -> list[str]:
        """Ids that begin with ``prefix``, sorted, shadow rows left out."""
        with self._locked() as db:
            rows = db.execute(
                "SELECT DISTINCT id FROM outcomes WHERE id >= ? AND id < ? AND shadow_of IS NULL ORDER BY id LIMIT ?",
                (prefix, prefix + "\U0010ffff", limit),
            )
            return [id for (id,) in rows]

    def watch(self, key: str) -> str | None:
        """What was kept under this key, or None."""
        with self._locked() as db:
            row = db.execute("SELECT body FROM watches WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def keep_watch(self, key: str, body: str) -> None:
        """Keep a body under a key, instead of what was there."""
        with self._locked() as db:
            db.execute("INSERT OR REPLACE INTO watches VALUES (?, ?)", (key, body))

    def health(self) -> Health:
        """Rows, torn records and SQLite's own integrity check; ``durable`` if there is a file."""
        with self._locked() as db:
            words = [word for (word,) in db.execute("PRAGMA integrity_check")]
            (rows,) = db.execute("SELECT count(*) FROM outcomes").fetchone()
            (torn,) = db.execute("SELECT value FROM meta WHERE key = 'torn'").fetchone()
        problems = () if words == ["ok"] else tuple(words)
        return Health(durable=self.path is not None, rows=rows, torn=torn, problems=problems)

    def waiting(self, segment: Path) -> int:
        """Bytes of a segment that have not been moved yet."""
        with self._locked() as db:
            return segment.stat().st_size - self._moved(db, segment)

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._connection is None:
                self._connection = reading(self.path) if self._copied and self.path else connect(self.path)
            yield self._connection

    @staticmethod
    def _moved(db: sqlite3.Connection, segment: Path) -> int:
        row = db.execute("SELECT moved FROM segments WHERE name = ?", (segment.name,)).fetchone()
        return int(row[0]) if row else 0

    @staticmethod
    def _insert(db: sqlite3.Connection, rows: Iterable[tuple[str, bytes]]) -> int:
        """Insert the rows that can be read; returns how many could not, which only forgery explains."""
        strange = 0
        for key, body in rows:
            try:
                head = _head.decode(body)
            except msgspec.DecodeError:
                strange += 1
                continue
            made = head.decision
            decided = (made.policy, head.slice, made.at, made.served, made.served_by) if made else None
            values = decided or (None, head.slice, None, None, None)
            db.execute(_INSERT, (key, head.id, *values, head.shadow_of, body.decode()))
        return strange

    @staticmethod
    def _merged(db: sqlite3.Connection, rows: list[tuple[str, str]]) -> list[Outcome]:
        ids = msgspec.json.encode([id for id, _ in rows]).decode()
        shadows: defaultdict[str, list[Outcome]] = defaultdict(list)
        for id, body in db.execute(
            "SELECT shadow_of, body FROM outcomes WHERE shadow_of IN (SELECT value FROM json_each(?)) ORDER BY seq",
            (ids,),
        ):
            shadows[id].append(_decoded(id, body))
        verdicts: defaultdict[str, list[tuple[str, Verdict]]] = defaultdict(list)
        for id, tier, body in db.execute(
            "SELECT decision, tier, verdict FROM verdicts"
            " WHERE decision IN (SELECT value FROM json_each(?)) ORDER BY seq",
            (ids,),
        ):
            verdicts[id].append((tier, _verdict.decode(body)))
        return [merged(_decoded(id, body), shadows[id], verdicts[id]) for id, body in rows]


_inherited: list[sqlite3.Connection | None] = []  # kept from the collector, which would close them


def merged(base: Outcome, shadows: list[Outcome], verdicts: list[tuple[str, Verdict]]) -> Outcome:
    """A row with what came later: tiers that only shadow calls asked, and verdicts in their order.

    A tier that the row has already keeps its own entry: that is the answer the caller could get.
    """
    if not shadows and not verdicts:
        return base
    models = dict(base.models)
    for shadow in shadows:
        for tier, model in shadow.models.items():
            models[tier] = _checked(models[tier], model) if tier in models else model
    for tier, verdict in verdicts:
        model = models.get(tier, ModelOutcome())
        models[tier] = replace(model, verdicts=[*model.verdicts, verdict])
    return replace(base, models=models)


def _checked(known: ModelOutcome, aside: ModelOutcome) -> ModelOutcome:
    """A row's own entry; with what a check of its stored answer said aside, which it had not been told."""
    if SAME not in (aside.families or ()) or SAME in (known.families or ()):
        return known
    return replace(known, signals=aside.signals, families=aside.families, cost=aside.cost)


def _decoded(id: str, body: str) -> Outcome:
    try:
        return decode(body)
    except msgspec.DecodeError as error:
        raise ConfigError(f"ledger row {id} is not an outcome: {error}") from error
