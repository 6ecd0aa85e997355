"""The vectors of one context, and the search among them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]

LEAST, FIRST, NEXT = 4, 4_096, 16_384
"""Rows with which the first block begins, which it has when it is full, and which every other has.

Up to one block the search compares with every row.
"""

CANDIDATES = 256
"""How many rows, of those whose signs agree best, are compared with in full."""

WIDEST_TURN = 192
"""Most dimensions that one rotation mixes. Wider ones find no more on real embeddings, and cost more than the scan."""

HOLE = -1
"""In the place of an id: nothing lies there."""

FAR = np.uint16(0x4000)
"""Added to the distance of a hole. More than any two codes can differ in."""


class Shelf:
    """Unit vectors by id, in blocks of a bounded size: no step but the scan grows with their number.

    A look-up compares with every row while they fit in the first block. Beyond, codes of one bit a
    dimension choose ``CANDIDATES`` rows, which are then compared with in full. A code holds the
    signs of the vector less the shelf's centre, turned by a fixed rotation: without the centre the
    signs of real embeddings are nearly all equal, without the rotation those of a few dimensions
    that matter are outvoted by many that do not. The codes lie word by word, so that a scan is a
    few passes over 1/32 of the bytes.

    The scan takes no lock, so a row may change under it. Who looks up has to compare ``vector`` with
    what was found. Everything that changes the shelf must come from one thread at a time.
    """

    def __init__(self, context: bytes, dimensions: int) -> None:
        self.context = context
        self._blocks: list[_Block] = [_Block(LEAST, dimensions)]
        self._used = 0
        self._holes: list[int] = []
        self._centre: Vector | None = None
        self._dimensions = dimensions

    def __len__(self) -> int:
        return self._used - len(self._holes)

    def add(self, ids: npt.NDArray[np.int64], rows: Vector) -> list[int]:
        """Put rows of shape (n, d) on the shelf and return where each lies; holes are filled first."""
        slots = [self._holes.pop() for _ in range(min(len(self._holes), len(ids)))]
        for slot, id, row in zip(slots, ids, rows, strict=False):
            block, offset = self._at(slot)
            block.put(offset, np.array([id]), row[None], self._codes(row[None]))
        done = len(slots)
        while done < len(ids):
            block, offset = self._room()
            n = min(len(ids) - done, len(block.ids) - offset)
            new = rows[done : done + n]
            block.put(offset, ids[done : done + n], new, self._codes(new))
            slots += range(self._used, self._used + n)
            self._used, done = self._used + n, done + n
        return slots

    def remove(self, slot: int) -> None:
        """Leave a hole, for the next row to fill."""
        block, offset = self._at(slot)
        block.clear(offset)
        self._holes.append(slot)

    def vector(self, slot: int) -> Vector:
        """A copy of the row that lies there, shape (d,)."""
        block, offset = self._at(slot)
        copied: Vector = block.rows[offset].copy()
        return copied

    def nearest(self, query: Vector) -> tuple[int, float]:
        """Id and cosine similarity of the row nearest to a unit vector; ``HOLE`` where none is."""
        used = self._used  # first: whatever is added in between has its blocks in the list
        blocks = list(self._blocks)
        if blocks[0].codes is None:
            return _best(blocks[0].rows[:used] @ query, blocks[0].ids[:used])
        distances = _distances(blocks, used, self._code(query))
        chosen = _smallest(distances)
        rows, ids = np.empty((len(chosen), len(query)), np.float32), np.empty(len(chosen), np.int64)
        edges = np.searchsorted(chosen, [0, *(FIRST + NEXT * i for i in range(len(blocks)))])
        for i in np.flatnonzero(np.diff(edges)):
            part = slice(edges[i], edges[i + 1])
            offsets = chosen[part] - (FIRST + NEXT * (i - 1) if i else 0)
            rows[part], ids[part] = blocks[i].rows[offsets], blocks[i].ids[offsets]
        return _best(rows @ query, ids)

    def _at(self, slot: int) -> tuple[_Block, int]:
        if slot < FIRST:
            return self._blocks[0], slot
        number, offset = divmod(slot - FIRST, NEXT)
        return self._blocks[number + 1], offset

    def _room(self) -> tuple[_Block, int]:
        """The block that the next row comes into, and where in it, after making room if there is none."""
        if self._used == FIRST and self._centre is None:
            self._encode()
        number = 0 if self._used < FIRST else 1 + (self._used - FIRST) // NEXT
        offset = self._used if number == 0 else (self._used - FIRST) % NEXT
        if number == len(self._blocks):
            # Whole, since pages that are not written to yet take no memory, and copies leave holes in the heap.
            self._blocks.append(_Block(NEXT, self._dimensions, coded=True))
        block = self._blocks[number]
        if offset == len(block.ids):  # by a quarter: doubling would leave half of it empty
            self._blocks[0] = block = block.grown(min(FIRST, offset + offset // 4 + LEAST))
        return block, offset

    def _encode(self) -> None:
        """Fix the centre at the mean of the first block, which is full, and give its rows their codes."""
        first = self._blocks[0].grown(FIRST, coded=True)
        self._centre = first.rows[first.ids != HOLE].mean(axis=0)
        assert first.codes is not None
        first.codes[:] = self._codes(first.rows)
        self._blocks[0] = first

    def _code(self, query: Vector) -> npt.NDArray[np.uint64]:
        code: npt.NDArray[np.uint64] = self._codes(query[None])[:, 0]
        return code

    def _codes(self, rows: Vector) -> Any:
        """Signs of the rows, as words of shape (words, n); None while the shelf needs none."""
        return None if self._centre is None else signs(rows - self._centre)


class _Block:
    """Some rows, their ids and, on a large shelf, their codes."""

    def __init__(self, size: int, dimensions: int, coded: bool = False) -> None:
        self.rows: Vector = np.empty((size, dimensions), np.float32)
        self.ids = np.empty(size, np.int64)
        self.codes = np.empty((-(-dimensions // 64), size), np.uint64) if coded else None
        self.far = np.zeros(size if coded else 0, np.uint16)

    def grown(self, size: int, coded: bool = False) -> _Block:
        """A copy with room for ``size`` rows: who reads this one meanwhile is not disturbed."""
        n = len(self.ids)
        larger = _Block(size, self.rows.shape[1], coded)
        larger.rows[:n], larger.ids[:n] = self.rows, self.ids
        if coded:
            larger.far[:n][self.ids == HOLE] = FAR
        return larger

    def put(self, offset: int, ids: npt.NDArray[np.int64], rows: Vector, codes: Any) -> None:
        part = slice(offset, offset + len(ids))
        self.rows[part], self.ids[part] = rows, ids
        if codes is not None and self.codes is not None:
            self.codes[:, part], self.far[part] = codes, 0

    def clear(self, offset: int) -> None:
        self.ids[offset] = HOLE
        if self.codes is not None:
            self.far[offset] = FAR


def _best(similarities: Vector, ids: npt.NDArray[np.int64]) -> tuple[int, float]:
    if not len(ids):
        return HOLE, -np.inf
    best = int(similarities.argmax())
    if ids[best] == HOLE:
        similarities = np.where(ids == HOLE, -np.inf, similarities).astype(np.float32)
        best = int(similarities.argmax())
    return int(ids[best]), float(similarities[best])


def _distances(blocks: list[_Block], used: int, code: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint16]:
    """In how many bits each row's code differs from ``code``; shape (used,)."""
    found = np.empty(used, np.uint16)
    differing, count = np.empty(NEXT, np.uint64), np.empty(NEXT, np.uint8)
    start = 0
    for block in blocks:
        n = min(len(block.ids), used - start)
        into, bits, counted = found[start : start + n], differing[:n], count[:n]
        total = block.far[:n]
        assert block.codes is not None
        for word, wanted in zip(block.codes, code, strict=True):
            np.bitwise_xor(word[:n], wanted, out=bits)
            np.bitwise_count(bits, out=counted)
            total = np.add(total, counted, out=into)
        start += n
    return found


def _smallest(distances: npt.NDArray[np.uint16]) -> npt.NDArray[np.intp]:
    """Places of the ``CANDIDATES`` smallest, in order, and of those that tie with the last of them.

    The smallest of each of many groups are few, and as many of them as are wanted bound the rest:
    cheaper than to partition all. Ties are cut at eight times as many.
    """
    width = max(1, min(128, len(distances) // (4 * CANDIDATES)))
    least = distances[: len(distances) // width * width].reshape(width, -1).min(axis=0)
    chosen = np.flatnonzero(distances <= np.partition(least, CANDIDATES - 1)[CANDIDATES - 1])
    if len(chosen) > 8 * CANDIDATES:
        chosen = np.sort(chosen[np.argpartition(distances[chosen], CANDIDATES)[: 8 * CANDIDATES]])
    return chosen


def signs(rows: Vector) -> npt.NDArray[np.uint64]:
    """One bit a dimension of rows of shape (n, d), after the rotation: words of shape (ceil(d / 64), n)."""
    n, d = rows.shape
    order, turns = _rotation(d)
    parts = rows[:, order].reshape(n, len(turns), -1).transpose(1, 0, 2)
    turned = (parts @ turns).transpose(1, 0, 2).reshape(n, d)
    packed = np.zeros((n, -(-d // 64) * 8), np.uint8)
    packed[:, : -(-d // 8)] = np.packbits(turned > 0, axis=1)
    return packed.view(np.uint64).T


@lru_cache(maxsize=4)
def _rotation(dimensions: int) -> tuple[npt.NDArray[np.intp], Vector]:
    """A random order of the dimensions, and a random orthogonal matrix for each part of them."""
    width = next(w for w in range(min(dimensions, WIDEST_TURN), 0, -1) if dimensions % w == 0)
    random = np.random.default_rng(0)
    order = random.permutation(dimensions)
    turns = np.linalg.qr(random.standard_normal((dimensions // width, width, width)))[0]
    return order, np.ascontiguousarray(turns, np.float32)
