"""The cache that the flow's ``Lookup`` and ``Keep`` speak to."""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import structs

from cascade.cache.identity import Identity
from cascade.cache.memory import Memory
from cascade.cache.stored import Near, Stored, decodes, pack, unpack
from cascade.errors import ConfigError
from cascade.types import Entry, Hit, Request

if TYPE_CHECKING:
    from cascade.cache.semantic import Neighbours
    from cascade.cache.store import Store
    from cascade.embedding import Embedder

FRONT_BYTES = 16 * 2**20
"""Most memory that the front of a persisted cache takes."""


class Cache:
    """Stored answers, found by identity and, where a threshold is given, by similarity.

    ``identity`` is the engine's digest of its tier ladder. Without ``folder`` the rows live in
    memory, least recently used out first; with one they live in ``folder/answers`` (0700), shared
    by processes, oldest out first, behind a small front in memory. ``size_limit`` is in bytes,
    ``ttl`` in seconds of ``clock``. ``metadata`` names the metadata that can change an answer
    (None: all). Requests above ``max_temperature`` (``default_temperature`` where they name none),
    with n > 1, or with tools unless ``tools_cacheable``, are neither stored nor answered.

    ``semantic_threshold`` is the cosine similarity from which a question in an identical context
    counts as the same one; infinity, the default, is off: nothing is embedded.

    Whatever breaks is a miss, counted in ``faults``: ``key`` (the request has no canonical form),
    ``encode`` (nor has the answer), ``oversize``, ``open``, ``read`` and ``write`` (the disk),
    ``refused`` and ``decode`` (rows that this package did not write), ``embed``.

    Threads may share it. A forked child may go on using it. What another process stores is found at
    once by identity; one that it *removes or replaces* may be answered from the front until its
    ttl, and its questions join the semantic index when the cache is next opened. Raises
    ``ConfigError`` for arguments that make no sense, and for nothing else.
    """

    def __init__(  # noqa: PLR0913  one argument for each line of a policy's cache table
        self,
        *,
        identity: str,
        folder: Path | None,
        ttl: float | None,
        size_limit: int,
        max_temperature: float,
        default_temperature: float = 1.0,
        tools_cacheable: bool = False,
        metadata: Collection[str] | None = None,
        embedder: Embedder | None = None,
        semantic_threshold: float = math.inf,
        clock: Callable[[], float] = time.time,
    ) -> None:
        _refuse_nonsense(size_limit, ttl, semantic_threshold, embedder)
        self.faults: Counter[str] = Counter()
        self._identity = Identity(identity, metadata)
        self._ttl = math.inf if ttl is None else ttl
        self._size_limit = size_limit
        self._max_temperature = max_temperature
        self._default_temperature = default_temperature
        self._tools_cacheable = tools_cacheable
        self._clock = clock
        self._lock = threading.Lock()  # over writes to the front, and over the semantic index
        self._front = Memory(size_limit if folder is None else min(size_limit, FRONT_BYTES))
        self._store: Store | None = None
        self._neighbours: Neighbours | None = None
        if embedder is not None and semantic_threshold < math.inf:
            from cascade.cache.semantic import Neighbours

            self._neighbours = Neighbours(embedder, semantic_threshold, size_limit)
        if folder is not None:
            from cascade.cache.store import Store

            self._store = Store(folder / "answers", size_limit, ttl, self.faults, clock)
            self._store.open()  # now rather than in the first request
            self._rebuild()
        _caches.add(self)

    def key(self, request: Request) -> str:
        """Digest of everything that can change the answer, 64 hexadecimal digits.

        Raises TypeError, ValueError, OverflowError or RecursionError where the request holds
        something without a canonical form.
        """
        return self._identity.key(request)

    def context(self, request: Request, embedder: str) -> str:
        """The same of all but the text of the last user turn, for one embedder's vectors. Raises as ``key`` does."""
        return self._identity.context(request, embedder)

    def cacheable(self, request: Request) -> bool:
        """Whether answers to this request may be kept, and served again."""
        params = request.params
        temperature = params.get("temperature")
        if temperature is None:
            temperature = self._default_temperature
        if not (isinstance(temperature, (int, float)) and temperature <= self._max_temperature):
            return False
        if params.get("n") not in (None, 1):
            return False
        return self._tools_cacheable or not (params.get("tools") or params.get("functions"))

    def lookup(self, request: Request) -> Hit | None:
        """The stored answer to this request, or None. Never raises."""
        key = self._key_if_cacheable(request)
        if key is None:
            return None
        stored = self._find(key)
        if stored is not None:
            return self._hit(key, stored, "exact", 1.0)
        return None if self._neighbours is None else self._similar(request, self._neighbours)

    def keep(self, request: Request, entry: Entry) -> None:
        """Store the answer to this request, without the provider's own object. Never raises."""
        key = self._key_if_cacheable(request)
        if key is None:
            return
        near = None if self._neighbours is None else self._place(request, self._neighbours)
        if entry.draft.raw is not None:
            entry = structs.replace(entry, draft=structs.replace(entry.draft, raw=None))
        try:
            row = pack(Stored(at=self._clock(), entry=entry, near=near))
        except Exception:
            self.faults["encode"] += 1
            return
        if len(row) > self._size_limit:  # keeping it would drop everything else
            self.faults["oversize"] += 1
            return
        with self._lock:
            self._front.put(key, row)
            if self._neighbours is not None and near is not None:
                self._neighbours.add(key, near)
        if self._store is not None:
            self._store.set(key, row)

    def check(self) -> list[str]:
        """What is inconsistent, one line each; empty when all is well. For users, not for requests.

        Reads every row, and holds off writers meanwhile. Never raises.
        """
        with self._lock:
            found = self._front.check()
        if self._store is None:
            return found
        try:
            found += self._store.check()
            broken = sum(not decodes(row) for _, row in self._store.rows())
        except Exception as error:
            return [*found, f"disk: {error}"]
        return found + ([f"disk: {broken} rows do not decode"] if broken else [])

    def close(self) -> None:
        """Give back the file and the front's memory. A persisted cache may be used again."""
        if self._store is not None:
            self._store.close()
        with self._lock:
            self._front.clear()

    def _key_if_cacheable(self, request: Request) -> str | None:
        try:
            return self.key(request) if self.cacheable(request) else None
        except Exception:
            self.faults["key"] += 1
            return None

    def _find(self, key: str) -> Stored | None:
        """The row if it is fresh: from the front, else from disk, where others may have renewed it."""
        row = self._front.get(key)
        if row is not None and (stored := self._fresh(key, row)) is not None:
            return stored
        row = None if self._store is None else self._store.get(key)
        stored = None if row is None else self._fresh(key, row)
        if row is not None and stored is not None:
            with self._lock:
                self._front.put(key, row)
        return stored

    def _fresh(self, key: str, row: bytes) -> Stored | None:
        """The row decoded, unless it is too old: that one stays until a newer takes its place."""
        try:
            stored = unpack(row)
        except Exception:
            self.faults["decode"] += 1
            self._forget(key)
            return None
        return stored if self._clock() - stored.at < self._ttl else None

    def _forget(self, key: str) -> None:
        with self._lock:
            self._front.remove(key)
        if self._store is not None:
            self._store.remove(key)

    def _hit(self, key: str, stored: Stored, kind: Literal["exact", "semantic"], similarity: float) -> Hit:
        entry = stored.entry
        return Hit(
            key=key,
            draft=entry.draft,
            kind=kind,
            similarity=similarity,
            age=max(0.0, self._clock() - stored.at),
            slice=entry.slice,
            confidence=entry.confidence,
            certificate=entry.certificate,
        )

    def _similar(self, request: Request, neighbours: Neighbours) -> Hit | None:
        near = self._place(request, neighbours)
        if near is None:
            return None
        with self._lock:
            found = neighbours.nearest(near)
        while found is not None:
            key, similarity = found
            stored = self._find(key)
            if stored is not None:
                return self._hit(key, stored, "semantic", similarity)
            with self._lock:  # evicted or expired since it was indexed
                neighbours.remove(key)
                found = neighbours.nearest(near)
        return None

    def _place(self, request: Request, neighbours: Neighbours) -> Near | None:
        try:
            question = request.question
            if not question:
                return None
            context = self._identity.context(request, neighbours.embedder)
            return neighbours.place(context, question)
        except Exception:
            self.faults["embed"] += 1
            return None

    def _rebuild(self) -> None:
        """Fill the semantic index from the rows on disk."""
        if self._neighbours is None or self._store is None:
            return
        try:
            for key, row in self._store.rows():
                stored = self._fresh(key, row)
                if stored is not None and stored.near is not None:
                    self._neighbours.add(key, stored.near)
        except Exception:
            self.faults["read"] += 1


def _refuse_nonsense(size_limit: int, ttl: float | None, threshold: float, embedder: Embedder | None) -> None:
    if size_limit <= 0:
        raise ConfigError(f"size_limit is {size_limit} bytes; it must be positive")
    if ttl is not None and not ttl > 0:
        raise ConfigError(f"ttl is {ttl} seconds; it must be positive, or None for no end")
    if math.isnan(threshold):
        raise ConfigError("semantic_threshold is not a number; infinity is off")
    if threshold < math.inf and embedder is None:
        raise ConfigError("semantic_threshold is given without an embedder; give one, or leave both out")


_caches: weakref.WeakSet[Cache] = weakref.WeakSet()


def _unlock() -> None:
    """A fork copies locks as they are: one that another thread held would never open in the child."""
    for cache in _caches:
        cache._lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_unlock)
