"""The database under a cache: SQLite with a schema of our own, in a folder or in memory.

Rows are typed bytes and numbers (``STRICT`` tables); nothing in them is ever executed or unpickled.
A file whose schema differs in a single character, a trigger or a view too many, is not ours: it is
discarded as garbage is. Rejected: diskcache, which unpickles what it reads (CVE-2025-69872) and
neither tells others what was removed nor weighs what a row is worth; an LMDB, whose map must be
sized beforehand; sqlite-vec, which a Python built without extension loading cannot load.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

NAME = "cache.db"
PAGE = 4_096
"""Bytes of a page. Limits are kept in pages, since pages are what the file consists of."""

LEAST_PAGES = 32
"""Pages below which the tables themselves leave no room for answers."""

PATIENCE = 0.25
"""Seconds to wait for another's write, process or thread. Longer, and the request had better ask."""

SCHEMA = (
    # Every insertion, proof (live = 1) and removal (live = 0), in order: what other processes follow.
    "CREATE TABLE changes (seq INTEGER PRIMARY KEY, id INTEGER NOT NULL, key TEXT NOT NULL, live INTEGER NOT NULL)"
    " STRICT",
    # id is the seq of the insertion, so none is ever used twice.
    "CREATE TABLE answers (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, at REAL NOT NULL, rank REAL NOT NULL,"
    " worth REAL NOT NULL, size INTEGER NOT NULL, hits INTEGER NOT NULL, passed INTEGER NOT NULL,"
    " labels INTEGER NOT NULL, row BLOB NOT NULL) STRICT",
    "CREATE INDEX by_age ON answers (at)",
    "CREATE INDEX by_rank ON answers (rank)",
    "CREATE INDEX by_labels ON answers (labels)",
    # Apart from the answers, so that all vectors are read without reading a single answer.
    "CREATE TABLE places (id INTEGER PRIMARY KEY, proven INTEGER NOT NULL, embedder TEXT NOT NULL,"
    " context BLOB NOT NULL, echo INTEGER NOT NULL, vector BLOB NOT NULL) STRICT",
    "CREATE INDEX by_echo ON places (echo)",
    # One set of tags for all the answers that share it: a tag more costs an insertion nothing.
    "CREATE TABLE tags (labels INTEGER NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (labels, tag)) STRICT, WITHOUT ROWID",
    "CREATE INDEX by_tag ON tags (tag)",
    "CREATE TABLE inflation (one INTEGER PRIMARY KEY CHECK (one = 1), rank REAL NOT NULL) STRICT",
)


class ForeignError(Exception):
    """The file is a sound database, but not one of ours."""


def open_database(folder: Path | None, size_limit: int) -> sqlite3.Connection:
    """The database in ``folder``, which is created and made private (0700), or a new one in memory.

    Raises ``OSError`` or ``sqlite3.Error`` where the folder cannot be used or is locked for longer than
    ``PATIENCE``, and what ``is_garbage`` knows where the file is not a database of ours.
    """
    if folder is None:
        return _open(None, size_limit)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return _open(folder, size_limit)


def connect(folder: Path | None) -> sqlite3.Connection:
    """A plain connection in autocommit mode, for whichever thread holds the lock. Close it."""
    place = ":memory:" if folder is None else folder / NAME
    return sqlite3.connect(place, timeout=PATIENCE, isolation_level=None, check_same_thread=False)


def _open(folder: Path | None, size_limit: int) -> sqlite3.Connection:
    db = connect(folder)
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA mmap_size = 0")  # a mapped file that somebody truncates kills the process by SIGBUS
        if not (ours := _schema(db)):  # these write, and would wait for others who do
            db.execute(f"PRAGMA page_size = {PAGE}")
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # else a limit that is lowered would not shrink the file
            _to_wal(db)
        db.execute("PRAGMA synchronous = NORMAL")  # survives kill -9; a loss of power may take the last answers
        db.execute(f"PRAGMA journal_size_limit = {1000 * PAGE}")
        if not ours:
            _create(db)
        if sorted(_schema(db)) != sorted(SCHEMA) or db.execute("PRAGMA page_size").fetchone() != (PAGE,):
            raise ForeignError(f"{folder}: not a cache of this release")
        db.execute(f"PRAGMA max_page_count = {min(size_limit // PAGE, 2**32 - 2)}")
    except BaseException:
        db.close()
        raise
    return db


def _to_wal(db: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; SQLite does not wait there while another process does the same."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if not is_passing(error) or time.monotonic() > until:
                raise
            time.sleep(PATIENCE / 50)


def _schema(db: sqlite3.Connection) -> list[str]:
    """What was said to make each table, index, view and trigger; indexes that SQLite made have no text."""
    return [sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]


def _create(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    if not _schema(db):  # another process may have been quicker
        for statement in SCHEMA:
            db.execute(statement)
        db.execute("INSERT INTO inflation VALUES (1, 0.0)")
        db.execute("INSERT INTO changes VALUES (1, 0, '', 0)")  # never empty, so that seq never starts again
        db.execute(f"PRAGMA application_id = {secrets.randbits(31)}")  # tells this database from its successor
    db.execute("COMMIT")


def is_garbage(error: BaseException) -> bool:
    """Whether the error says that the file is not, or no longer, a sound database of ours."""
    code = getattr(error, "sqlite_errorcode", None)  # absent where Python itself raised
    garbage = code is not None and code & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
    return garbage or isinstance(error, ForeignError)


def is_passing(error: BaseException) -> bool:
    """Whether the connection is as good as before: another held the lock, or there was no room."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL)


def discard_if_unsound(folder: Path) -> bool:
    """Discard the database if a fresh look finds it corrupt, and say so.

    The error that led here may come from a file that another process has replaced meanwhile; that
    one's new database must survive.
    """
    try:
        with closing(connect(folder)) as connection:
            sound = connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.DatabaseError as error:
        if not is_garbage(error):
            raise
        sound = False
    if not sound:
        discard(folder)
    return not sound


def discard(folder: Path) -> None:
    """Remove the database. Processes that have it open notice and open its successor."""
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            (folder / (NAME + suffix)).unlink()
