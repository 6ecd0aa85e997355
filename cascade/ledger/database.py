"""One SQLite file: its tables, how it is opened, and which of its errors pass by themselves."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cascade.errors import ConfigError

SCHEMA = 1
BUSY_SECONDS = 0.25  # short, for a thread that waits here keeps this process's readers out

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE outcomes (
  seq INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, id TEXT NOT NULL, policy TEXT, slice TEXT,
  at REAL, served TEXT, served_by TEXT, shadow_of TEXT, body TEXT NOT NULL);
CREATE INDEX outcomes_id ON outcomes (id);
CREATE INDEX outcomes_shadow_of ON outcomes (shadow_of) WHERE shadow_of IS NOT NULL;
CREATE TABLE verdicts (
  seq INTEGER PRIMARY KEY, decision TEXT NOT NULL, tier TEXT NOT NULL, judge TEXT NOT NULL,
  verdict TEXT NOT NULL);
CREATE INDEX verdicts_decision ON verdicts (decision);
CREATE TABLE segments (name TEXT PRIMARY KEY, moved INTEGER NOT NULL) WITHOUT ROWID;
"""

# Stores of older releases lack it, and older releases do not mind it: the schema stays what it is.
_WATCHES = "CREATE TABLE IF NOT EXISTS watches (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID"


def busy(error: sqlite3.Error) -> bool:
    """Whether this is another process's lock, which passes, and not a fault, which stays."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Everything in the block, or nothing; raises ``sqlite3.Error`` at once if another one writes."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def connect(path: Path | None) -> sqlite3.Connection:
    """Open a store, made first where there is none; in memory for None.

    Raises ``sqlite3.Error``, or ``ConfigError`` for a store that a newer release has made.
    """
    if path is not None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its -wal the same mode
    db = sqlite3.connect(path or ":memory:", timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        if not _has_tables(db):
            with transaction(db):
                if not _has_tables(db):  # another process may have been quicker
                    for statement in _TABLES.split(";"):
                        db.execute(statement)
                    db.execute("INSERT INTO meta VALUES ('schema', ?), ('torn', 0)", (SCHEMA,))
        db.execute(_WATCHES)  # writes, and waits for others who do, only where there is none
        (schema,) = db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    except BaseException:
        db.close()
        raise
    if schema > SCHEMA:
        db.close()
        raise ConfigError(f"{path}: schema {schema} is newer than this release: upgrade cascade-gate")
    return db


def reading(path: Path) -> sqlite3.Connection:
    """A store's file, or a copy of one under any name, to be read and nothing else; its tables are never made.

    Raises ``sqlite3.Error``, or ``ConfigError`` for a file that is no store.
    """
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        if not _has_tables(db) or not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'outcomes'").fetchone():
            raise ConfigError(f"{path}: a SQLite file, but no ledger")
    except BaseException:
        db.close()
        raise
    return db


def _has_tables(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is not None
