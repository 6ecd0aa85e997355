"""The database under a persisted cache: diskcache with a ``Disk`` that never unpickles.

CVE-2025-69872: diskcache unpickles what it reads, so whoever can write to the folder runs code in
every process that opens it. Its ``JSONDisk`` is no way out: a row planted with the pickle mode is
unpickled before it is parsed. ``RawDisk`` overrides all four conversions (``put`` and ``get`` of
keys, ``store`` and ``fetch`` of values); text keys and inline bytes are all that it lets through.

diskcache nevertheless, since the rest of it is what one would write: SQLite in WAL mode shared by
threads, processes and their forks, a size limit that is counted in the transaction that stores, a
``check`` for consistency. Rejected: a table of our own (the same, untested by others), an LMDB (its
map must be sized beforehand and a full one is an error), a file a row (no bound without a scan).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import DBNAME, DEFAULT_SETTINGS, METADATA, MODE_RAW

PATIENCE = 0.25
"""Seconds to wait for another process's write. diskcache's 60 would outlast the request."""


class RefusedError(ValueError):
    """A row that this package never wrote: pickled, not inline, or of another type."""


class RawDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Text keys and bytes values, inline in the row. Anything else is refused, unread.

    Inline at any size: a file beside the database could be named by a planted row, and would then
    be read (or removed) wherever the name points.
    """

    def put(self, key: Any) -> tuple[str, bool]:
        """The key as it is; raises ``RefusedError`` for anything but text."""
        if type(key) is not str:
            raise RefusedError(f"key is a {type(key).__name__}, not text")
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        """The key as it was put; raises ``RefusedError`` for a pickled or foreign one."""
        if not raw or type(key) is not str:
            raise RefusedError("key in the database is not raw text")
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> tuple[int, int, None, bytes]:
        """The value inline; raises ``RefusedError`` for anything but bytes."""
        if read or type(value) is not bytes:
            raise RefusedError(f"value is a {type(value).__name__}, not bytes")
        return 0, MODE_RAW, None, value

    def fetch(self, mode: Any, filename: Any, value: Any, read: bool) -> bytes:
        """The value as it was stored; raises ``RefusedError`` for any other mode or type."""
        if read or mode != MODE_RAW or filename is not None or type(value) is not bytes:
            raise RefusedError(f"row of mode {mode!r} is not inline bytes")
        return value

    def remove(self, file_path: str) -> None:
        """Nothing: no row of ours has a file, and a planted name is not followed."""


def connect(folder: Path) -> sqlite3.Connection:
    """A plain connection to the database in ``folder``, in autocommit mode. Close it."""
    return sqlite3.connect(folder / DBNAME, timeout=PATIENCE, isolation_level=None)


def open_database(folder: Path, size_limit: int) -> Any:
    """The ``diskcache.Cache`` in ``folder``, which is created and made private (0700).

    A database with garbage in it is discarded and begun anew. Raises ``OSError`` or
    ``sqlite3.Error`` where the folder cannot be used or is locked for longer than ``PATIENCE``.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    try:
        return _open(folder, size_limit)
    except sqlite3.DatabaseError as error:
        if not is_garbage(error):
            raise
        discard(folder)
        return _open(folder, size_limit)


def _open(folder: Path, size_limit: int) -> Any:
    _purge(folder)
    return diskcache.Cache(
        str(folder),
        timeout=PATIENCE,
        disk=RawDisk,
        size_limit=size_limit,
        eviction_policy="least-recently-stored",  # by use would make every read a write
        statistics=0,
        tag_index=0,
        sqlite_mmap_size=0,  # a mapped file that somebody truncates kills the process by SIGBUS
    )


def _purge(folder: Path) -> None:
    """Take out planted rows and settings, before diskcache reads them.

    It comes first for a second reason: diskcache's own start waits 60 seconds for a lock, whatever
    its timeout; this one waits ``PATIENCE``. A pickled key matches no look-up of ours, so one that
    is planted later lies there unread until the next start.
    """
    with closing(connect(folder)) as connection:
        # Fixed by the first write, so said before it: without, the file never shrinks, and a size
        # limit once reached would drop every row there is.
        connection.execute("PRAGMA auto_vacuum = FULL")
        connection.execute("BEGIN IMMEDIATE")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "Cache" in tables:  # the inner select reads the index on (key, raw) only, not the rows
            connection.execute(
                "DELETE FROM Cache WHERE rowid IN (SELECT rowid FROM Cache WHERE raw IS NOT 1 OR typeof(key) <> 'text')"
            )
        if "Settings" in tables:  # diskcache sets an attribute for every name that it finds there
            known = [*DEFAULT_SETTINGS, *METADATA]
            marks = ",".join("?" * len(known))
            connection.execute(f"DELETE FROM Settings WHERE key NOT IN ({marks})", known)  # noqa: S608  only marks
        connection.execute("COMMIT")


def is_garbage(error: BaseException) -> bool:
    """Whether the error says that the file is not, or no longer, a sound database."""
    code = getattr(error, "sqlite_errorcode", None)  # absent where Python itself raised
    return code is not None and code & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def discard_if_unsound(folder: Path) -> None:
    """Discard the database if a fresh look finds it corrupt.

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


def discard(folder: Path) -> None:
    """Remove the database. Processes that have it open keep their own copy until they close it."""
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            (folder / (DBNAME + suffix)).unlink()
