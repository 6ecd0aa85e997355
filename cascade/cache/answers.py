"""What is done with the tables: each method is a few statements, none of which reads them all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from cascade.cache.disk import LEAST_PAGES, PAGE
from cascade.cache.stored import Change, Found, Row, decodes, small_digest

SPARE_PAGES = 8
"""Pages kept free for what an insertion adds to the indexes."""

EXPIRED_AT_ONCE = 8
"""Rows past their time that one insertion takes away: more than it adds, so they run out."""

PAGES_A_CHANGE = 4
"""One change is remembered for so many pages of the limit: the log takes less than a hundredth of it."""

UNKNOWN_WORTH = 1e-12
"""Dollars that a hit saves where no price is known: less than any known one, and still more if used more."""

BATCH = 5_000
"""Rows that are read, or pages that are given back, at a time."""

_ORPHANS = {
    "places without an entry": "SELECT COUNT(*) FROM places WHERE id NOT IN (SELECT id FROM answers)",
    "tags without an entry": "SELECT COUNT(*) FROM tags WHERE labels NOT IN (SELECT labels FROM answers)",
    "entries with an id of the future": "SELECT COUNT(*) FROM answers WHERE id > (SELECT MAX(seq) FROM changes)",
    "entries whose size is miscounted": "SELECT COUNT(*) FROM answers LEFT JOIN places USING (id)"
    " WHERE size <> LENGTH(row) + COALESCE(LENGTH(vector), 0)",
    "vectors of no whole number of float32": "SELECT COUNT(*) FROM places WHERE LENGTH(vector) % 4 <> 0",
}


class Answers:
    """The open database. Raises ``sqlite3.Error``; the owner serialises calls.

    Each call that changes something is one transaction, whose changes it returns.

    Who is in excess of the limit goes by GreedyDual-Size-Frequency (Cherkasova, HP Labs report
    HPL-98-69R1, 1998): rank = inflation + uses x dollars a hit saves / bytes; the least rank goes
    first, and inflation becomes the rank of whoever went last, so that what is not used ages. It has
    no constant to tune, and an index on rank makes it O(log n).
    """

    def __init__(self, db: sqlite3.Connection, size_limit: int) -> None:
        self._db = db
        self._limit = size_limit // PAGE
        self._made: list[Change] = []
        self._version = -1
        (self.name,) = db.execute("PRAGMA application_id").fetchone()
        """Random, drawn when the database was made."""

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    # Reading

    def find(self, key: str) -> list[Found]:
        """The row under a key, or nothing."""
        return self._found("key = ?", key)

    def at(self, id: int) -> list[Found]:
        """The row under an id, or nothing."""
        return self._found("id = ?", id)

    def _found(self, where: str, value: str | int) -> list[Found]:
        rows = self._db.execute(f"SELECT key, row, passed FROM answers WHERE {where}", (value,))  # noqa: S608  constants
        return [Found(key=key, row=row, passed=passed) for key, row, passed in rows]

    def foreign_news(self) -> bool:
        """Whether another connection has changed anything since this was asked last."""
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        before, self._version = self._version, version
        return bool(before != version)

    def last_change(self) -> int:
        """The seq of the newest change."""
        return int(self._db.execute("SELECT MAX(seq) FROM changes").fetchone()[0])

    def changes(self, seen: int) -> list[Change] | None:
        """Those after ``seen``, oldest first; None where some of them are no longer remembered."""
        (first,) = self._db.execute("SELECT MIN(seq) FROM changes").fetchone()
        if seen + 1 < first:
            return None
        rows = self._db.execute("SELECT seq, id, key, live FROM changes WHERE seq > ? ORDER BY seq", (seen,))
        return [Change(*row) for row in rows]

    def place(self, id: int, embedder: str) -> list[tuple[bytes, bytes]]:
        """Context and vector of a proven entry, or nothing."""
        return self._db.execute(
            "SELECT context, vector FROM places WHERE id = ? AND proven = 1 AND embedder = ?", (id, embedder)
        ).fetchall()

    def places(self, embedder: str) -> Iterator[list[tuple[int, bytes, bytes]]]:
        """Id, context and vector of every proven entry, some thousands at a time."""
        last, wanted = 0, "SELECT id, context, vector FROM places WHERE id > ? AND proven = 1 AND embedder = ?"
        while rows := self._db.execute(f"{wanted} ORDER BY id LIMIT {BATCH}", (last, embedder)).fetchall():
            yield rows
            last = rows[-1][0]

    def expired(self, after: float, until: float) -> list[int]:
        """Ids of the rows stored after one moment and no later than the other."""
        return [id for (id,) in self._db.execute("SELECT id FROM answers WHERE at > ? AND at <= ?", (after, until))]

    def echoes(self, key: str) -> list[str]:
        """Keys of all entries that give the same answer within the same context."""
        wanted = (
            "SELECT answers.key FROM answers JOIN places AS other USING (id) JOIN places AS one"
            " ON one.echo = other.echo AND one.context = other.context"
            " WHERE one.id = (SELECT id FROM answers WHERE key = ?) ORDER BY answers.id"
        )
        return [found for (found,) in self._db.execute(wanted, (key,))]

    def context(self, key: str) -> bytes | None:
        """The context in which an entry is found by similarity; None where it is not."""
        wanted = "SELECT context FROM places JOIN answers USING (id) WHERE key = ?"
        found = self._db.execute(wanted, (key,)).fetchone()
        return None if found is None else bytes(found[0])

    def tagged(self, tag: str) -> list[str]:
        """Keys of entries that have the tag, at most some thousands of them."""
        wanted = "SELECT key FROM answers WHERE labels IN (SELECT labels FROM tags WHERE tag = ?) LIMIT ?"
        return [key for (key,) in self._db.execute(wanted, (tag, BATCH))]

    def totals(self) -> tuple[int, int, int, int, float | None]:
        """Entries, how many of them are found by similarity, bytes, hits, and when the oldest was stored."""
        entries, hits, oldest = self._db.execute("SELECT COUNT(*), TOTAL(hits), MIN(at) FROM answers").fetchone()
        (semantic,) = self._db.execute("SELECT COUNT(*) FROM places WHERE proven = 1").fetchone()
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        return entries, semantic, pages * PAGE, int(hits), oldest

    def check(self) -> list[str]:
        """What is inconsistent, one line each. Reads every row."""
        found = [line for (line,) in self._db.execute("PRAGMA integrity_check(10)") if line != "ok"]
        for what, count in _ORPHANS.items():
            (number,) = self._db.execute(count).fetchone()
            if number:
                found.append(f"{number} {what}")
        broken = sum(not decodes(row) for (row,) in self._db.execute("SELECT row FROM answers"))
        if broken:
            found.append(f"{broken} rows do not decode")
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        if pages > self._limit:
            found.append(f"{pages * PAGE} bytes pass the limit of {self._limit * PAGE}")
        return found

    # Writing

    def put(self, row: Row, expired: float) -> list[Change]:
        """Store the row instead of what was under its key, at the cost of the least worth keeping.

        The last of the changes is the row's own, with its id. Without room for it nothing changes and
        none is returned. ``expired`` is when the oldest rows that are still good were stored.
        """
        needed = SPARE_PAGES + sum(
            -(-len(part) // PAGE) for part in (row.bytes, row.place.vector if row.place else b"")
        )
        if needed > self._limit - LEAST_PAGES // 2:
            return []
        with self._changing() as made:
            self._drop_all("SELECT id FROM answers WHERE at <= ? ORDER BY at LIMIT ?", (expired, EXPIRED_AT_ONCE))
            self._drop_all("SELECT id FROM answers WHERE key = ?", (row.key,))
            self._make_room(needed)
            self._insert(row)
            kept = max(64, self._limit // PAGES_A_CHANGE)
            self._db.execute("DELETE FROM changes WHERE seq <= ?", (made[-1].seq - kept,))
        return made

    def prove(self, key: str) -> list[Change]:
        """Count an audit that the entry has stood; its first one proves it."""
        with self._changing() as made:
            stood = "UPDATE answers SET passed = passed + 1 WHERE key = ? RETURNING id"
            for (id,) in self._db.execute(stood, (key,)).fetchall():
                if self._db.execute("UPDATE places SET proven = 1 WHERE id = ? AND proven = 0", (id,)).rowcount:
                    self._note(id, key, live=1)
        return made

    def remove(self, keys: Iterable[str]) -> list[Change]:
        """Remove these entries."""
        with self._changing() as made:
            for key in keys:
                self._drop_all("SELECT id FROM answers WHERE key = ?", (key,))
        return made

    def serve(self, hits: Mapping[str, int]) -> None:
        """Count hits, which rank the entries that served them higher."""
        with self._changing():
            self._db.executemany(
                "UPDATE answers SET hits = hits + ?1, rank = (SELECT rank FROM inflation)"
                " + (1 + hits + ?1) * worth / size WHERE key = ?2",
                [(count, key) for key, count in hits.items()],
            )

    def shrink(self) -> None:
        """Remove what is in excess of a limit that was lowered, and give the file's pages back."""
        while self._room() < 0:
            with self._changing():
                self._make_room(min(0, self._room() + BATCH))  # in parts, so that others come in between
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        if pages > self._limit:
            self._db.executescript("PRAGMA incremental_vacuum")  # execute() would give back a single page
            self._db.execute(f"PRAGMA max_page_count = {self._limit}")

    def _insert(self, row: Row) -> None:
        id = self._note(None, row.key, live=1)
        worth, place = max(row.worth, UNKNOWN_WORTH), row.place
        labels = small_digest(*(tag.encode() for tag in row.tags))
        self._db.execute(
            "INSERT INTO answers SELECT ?, ?, ?, rank + ?, ?, ?, 0, 0, ?, ? FROM inflation",
            (id, row.key, row.at, worth / row.size, worth, row.size, labels, row.bytes),
        )
        if place is not None:
            self._db.execute(
                "INSERT INTO places VALUES (?, ?, ?, ?, ?, ?)",
                (id, row.proven, place.embedder, place.context, place.echo, place.vector),
            )
        if not self._db.execute("SELECT 1 FROM tags WHERE labels = ? LIMIT 1", (labels,)).fetchone():
            self._db.executemany("INSERT INTO tags VALUES (?, ?)", {(labels, tag) for tag in row.tags})

    def _drop(self, id: int) -> None:
        ((key, labels),) = self._db.execute("DELETE FROM answers WHERE id = ? RETURNING key, labels", (id,)).fetchall()
        self._db.execute("DELETE FROM places WHERE id = ?", (id,))
        if not self._db.execute("SELECT 1 FROM answers WHERE labels = ? LIMIT 1", (labels,)).fetchone():
            self._db.execute("DELETE FROM tags WHERE labels = ?", (labels,))
        self._note(id, key, live=0)

    def _drop_all(self, select: str, values: tuple[str | float, ...]) -> None:
        for (id,) in self._db.execute(select, values).fetchall():
            self._drop(id)

    def _make_room(self, pages: int) -> None:
        """Drop the least worth keeping until so many pages are free."""
        while self._room() < pages:
            least = self._db.execute("SELECT id, rank FROM answers ORDER BY rank LIMIT 1").fetchone()
            if least is None:
                return
            self._drop(least[0])
            self._db.execute("UPDATE inflation SET rank = ?", (least[1],))

    def _room(self) -> int:
        """Pages that may still be filled."""
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        return int(self._limit - pages + free)

    def _note(self, id: int | None, key: str, live: int) -> int:
        """Log a change; an insertion's own seq is the id."""
        (seq,) = self._db.execute("SELECT MAX(seq) + 1 FROM changes").fetchone()
        change = Change(seq=seq, id=seq if id is None else id, key=key, live=live)
        self._db.execute("INSERT INTO changes VALUES (?, ?, ?, ?)", (change.seq, change.id, key, live))
        self._made.append(change)
        return change.id

    @contextmanager
    def _changing(self) -> Iterator[list[Change]]:
        """A transaction that is rolled back where it fails, and the changes that it makes."""
        made = self._made = []
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield made
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
