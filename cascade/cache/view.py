"""What a process holds of the store in memory, kept up with what others do to the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cascade.cache.memory import Memory

if TYPE_CHECKING:
    from cascade.cache.answers import Answers
    from cascade.cache.semantic import SemanticIndex
    from cascade.cache.stored import Change, Place
    from cascade.embedding import Embedder


class View:
    """A front of whole rows by key, and the index of all proven entries of one embedder.

    Both follow the store's log of changes; where the log begins too late, or belongs to another
    database, they begin anew. The owner serialises calls, but for reads of ``front`` and ``index``.
    """

    def __init__(self, front_bytes: int, embedder: Embedder | None, faults: Counter[str]) -> None:
        self.front = Memory(front_bytes)
        self.index: SemanticIndex | None = None
        self._embedder = embedder.name if embedder is not None else ""
        self._length = 4 * embedder.dimensions if embedder is not None else 0
        self._faults = faults
        self._database: int | None = None
        self._seen = 0
        self._expired = float("-inf")
        if embedder is not None:
            from cascade.cache.semantic import SemanticIndex

            self.index = SemanticIndex(embedder.dimensions)

    def follow(self, answers: Answers) -> bool:
        """Catch up with whatever other processes have changed since."""
        if answers.foreign_news() or answers.name != self._database:
            changes = answers.changes(self._seen) if answers.name == self._database else None
            if changes is None:
                self._begin(answers)
            else:
                self.apply(changes, answers)
        return True

    def apply(self, changes: Iterable[Change], answers: Answers, known: Place | None = None) -> None:
        """Follow changes; ``known`` is the place of the last one, where that is an insertion of our own."""
        for change in changes:
            self.front.remove(change.key)
            if self.index is not None and not change.live:
                self.index.remove(change.id)
            elif self.index is not None and change.id not in self.index and known is None:
                for context, vector in answers.place(change.id, self._embedder):
                    self._add(change.id, context, vector)
            elif known is not None:
                self._add(change.id, known.context, known.vector)
            # Ours may be ahead of another's that are still unread: those are followed next time.
            self._seen += change.seq == self._seen + 1

    def expire(self, answers: Answers, until: float, ids: Iterable[int] = ()) -> bool:
        """Take what was stored until then out of the index, and ``ids`` as well."""
        if self.index is None:
            return False
        late = answers.expired(self._expired, until) if until > self._expired else []
        self._expired = max(until, self._expired)
        for id in [*late, *ids]:
            self.index.remove(id)
        return True

    def check(self, answers: Answers, since: float) -> list[str]:
        """How this process differs from the store, among entries stored after ``since``."""
        found = self.front.check()
        if self.index is None:
            return found
        old = set(answers.expired(float("-inf"), since))
        there, misfits = set[int](), 0
        for rows in answers.places(self._embedder):
            there.update(id for id, _, vector in rows if len(vector) == self._length)
            misfits += sum(len(vector) != self._length for _, _, vector in rows)
        here = set(self.index)
        if misfits:
            found.append(f"{misfits} vectors have not the embedder's length")
        if missing := len(there - here - old):
            found.append(f"{missing} entries are missing from the index of this process")
        if extra := len(here - there):
            found.append(f"{extra} entries of the index of this process are not in the store")
        return found

    def forget(self) -> None:
        """Hold nothing; the next ``follow`` begins anew."""
        self.front.clear()
        self._database = None
        if self.index is not None:
            self.index.clear()

    def _begin(self, answers: Answers) -> None:
        self.forget()
        # Before the places are read: what is changed meanwhile is followed, at worst once more.
        seen = answers.last_change()
        if self.index is not None:
            self._fill(self.index, answers)
        self._database, self._seen, self._expired = answers.name, seen, float("-inf")

    def _fill(self, index: SemanticIndex, answers: Answers) -> None:
        import numpy as np

        for rows in answers.places(self._embedder):
            fitting = [row for row in rows if len(row[2]) == self._length]
            if len(fitting) < len(rows):
                self._faults["refused"] += len(rows) - len(fitting)
            ids, contexts, vectors = zip(*fitting, strict=True) if fitting else ((), (), ())
            matrix = np.frombuffer(b"".join(vectors), np.float32).reshape(len(ids), self._length // 4)
            index.fill(list(contexts), list(ids), matrix)

    def _add(self, id: int, context: bytes, vector: bytes) -> None:
        import numpy as np

        if self.index is None:
            return
        if len(vector) != self._length:
            self._faults["refused"] += 1
            return
        self.index.add(context, id, np.frombuffer(vector, np.float32))
