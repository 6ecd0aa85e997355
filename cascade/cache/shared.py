"""The store and what memory holds of it, for many threads: one at a time, and nobody waits for long."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cascade.cache.disk import PATIENCE
from cascade.cache.store import Store
from cascade.cache.stored import Found, Row
from cascade.cache.view import View
from cascade.types import Record

if TYPE_CHECKING:
    from cascade.cache.answers import Answers
    from cascade.cache.semantic import SemanticIndex
    from cascade.embedding import Embedder

T = TypeVar("T")

FRONT_BYTES = 16 * 2**20
"""Most memory that the front takes, which answers exact hits without asking SQLite."""

FOLLOW_EVERY = 0.25
"""Seconds between looks at what other processes have changed."""

AT_ONCE = 256
"""Most entries that are removed, or whose hits are counted, in one transaction."""


ROUNDING = 1e-5
"""Most that two ways to add up the same similarity differ in float32."""


class Near(Record, frozen=True):
    """The nearest entry to a vector, how similar the two are, and both vectors, shape (2, d)."""

    id: int
    found: Found
    similarity: float
    vectors: Any


class Shared:
    """Rows by key and by vector. No method raises: what fails is None or nothing, and is counted.

    ``lock`` is over the database and over whatever changes the view. The front and the index are read
    without it, so a scan keeps nobody waiting; what it finds is held against the store.
    """

    def __init__(self, folder: Path | None, size_limit: int, embedder: Embedder | None, faults: Counter[str]) -> None:
        self.lock = threading.Lock()
        self.faults = faults
        self._store = Store(folder, size_limit, faults)
        self._view = View(min(size_limit, FRONT_BYTES), embedder, faults)
        self._served: dict[str, int] = {}
        self._follow_again = 0.0
        _all.add(self)

    @property
    def place(self) -> str:
        """Where the rows are, for people."""
        return str(self._store.folder or "memory")

    def run(self, fault: str, work: Callable[[Answers], T], otherwise: Callable[[], object] = lambda: None) -> T | None:
        """What ``work`` returns; where the database fails or no turn comes, None, after ``otherwise``."""
        if not self.lock.acquire(timeout=PATIENCE):
            self.faults["busy"] += 1
            return None
        try:
            done = self._store.run(fault, work)
            if done is None:
                otherwise()
            return done
        finally:
            self.lock.release()

    def follow(self, expired: float) -> None:
        """Learn what others have changed and what has expired, unless that was done just now."""
        now = time.monotonic()
        if now < self._follow_again:
            return
        self._follow_again = now + FOLLOW_EVERY
        self.run("read", self._view.follow)
        self.expire(expired)
        self.flush()

    def expire(self, until: float, *ids: int) -> None:
        """Take what was stored until then out of the index, and ``ids`` whatever the store says."""
        if self._view.index is not None:
            self.run("read", lambda answers: self._view.expire(answers, until, ids))

    def count(self, key: str) -> None:
        """Note that an entry has served a hit; ``flush`` tells the store."""
        if key in self._served or len(self._served) < AT_ONCE:  # beyond, a sample ranks as well
            self._served[key] = self._served.get(key, 0) + 1

    def flush(self) -> None:
        """Tell the store which hits were served."""
        served, self._served = self._served, {}
        if served:
            self.run("write", lambda answers: answers.serve(served))

    def in_front(self, key: str) -> bytes | None:
        """The row's bytes if memory has them."""
        return self._view.front.get(key)

    def find(self, key: str) -> bytes | None:
        """The row's bytes as the store has them; memory has them from then on."""

        def find(answers: Answers) -> bytes | None:
            for found in answers.find(key):
                self._view.front.put(key, found.row)
                return found.row
            return None

        return self.run("read", find)

    def nearest(self, context: bytes, vector: Any) -> list[Near] | None:
        """The nearest proven entry; an empty list if it changed meanwhile, None if there is none."""
        index = self._view.index
        try:
            found = None if index is None else index.nearest(context, vector)
        except Exception:
            self.faults["read"] += 1
            return None
        if index is None or found is None:
            return None
        return self.run("read", lambda answers: self._settle(index, answers, vector, *found))

    def _settle(self, index: SemanticIndex, answers: Answers, vector: Any, id: int, similarity: float) -> list[Near]:
        """What a scan without the lock has found, if that is still so."""
        from cascade.cache.semantic import pair

        there = index.vector(id)
        if there is None or abs(float(there @ vector) - similarity) > ROUNDING:
            return []
        rows = answers.at(id)
        if not rows:
            index.remove(id)
        return [Near(id=id, found=found, similarity=similarity, vectors=pair(vector, there)) for found in rows]

    def put(self, row: Row, expired: float) -> bool | None:
        """Whether there is room for the row, which is then stored; None where the store fails.

        Then memory serves it all the same.
        """
        front = self._view.front

        def put(answers: Answers) -> bool:
            made = answers.put(row, expired)
            self._view.apply(made, answers, row.place if row.proven else None)
            if made:
                front.put(row.key, row.bytes)
            return bool(made)

        return self.run("write", put, otherwise=lambda: front.put(row.key, row.bytes))

    def prove(self, key: str) -> None:
        """Count an audit that the entry has stood; the first proves it."""

        def prove(answers: Answers) -> bool:
            self._view.apply(answers.prove(key), answers)
            return True

        self.run("write", prove)

    def remove(self, keys: Sequence[str]) -> list[str] | None:
        """Remove these everywhere; returns the keys that the store had, None where it fails."""
        gone: list[str] = []
        for start in range(0, len(keys), AT_ONCE):
            part = self._remove(keys[start : start + AT_ONCE])
            if part is None:
                return None
            gone += part
        return gone

    def _remove(self, keys: Sequence[str]) -> list[str] | None:
        def forget() -> None:
            for key in keys:
                self._view.front.remove(key)

        def remove(answers: Answers) -> list[str]:
            made = answers.remove(keys)
            self._view.apply(made, answers)
            forget()  # what the store never had as well
            return [change.key for change in made]

        return self.run("write", remove, otherwise=forget)

    def check(self, expired: float) -> list[str]:
        """What is inconsistent, one line each, among the rows and in how memory differs from them."""
        failures: list[str] = []

        def check(answers: Answers) -> list[str]:
            try:
                self._view.follow(answers)
                return answers.check() + self._view.check(answers, expired)
            except Exception as error:
                failures.append(str(error))
                raise

        found = self.run("read", check)
        return found if found is not None else failures or ["cannot be opened"]

    def close(self) -> None:
        """Give back the file and the memory. One in a folder may be used again."""
        self.flush()
        with self.lock:
            self._store.close()
            self._view.forget()
        self._follow_again = 0.0

    def after_fork(self) -> None:
        """In the child: locks are copied as they are, and connections cannot be shared."""
        held, self.lock = self.lock.locked(), threading.Lock()
        self._store.leave_behind()
        if held or self._store.folder is None:  # another thread was changing the view; or its rows stay behind
            self._view.forget()
        self._follow_again = 0.0


_all: weakref.WeakSet[Shared] = weakref.WeakSet()


def _after_fork() -> None:
    for shared in list(_all):
        shared.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
