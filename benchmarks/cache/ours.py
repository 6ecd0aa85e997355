"""The worker for our cache: fills one of each size, then takes turns; see ``speed``."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks.cache.population import DIMENSIONS, Clusters, asked, stored
from benchmarks.speed import turns
from cascade.cache import Cache
from cascade.cache.semantic import SemanticIndex
from cascade.types import Draft, Entry, Request

ASKED = 512
CONTEXT = b"context"


class Given:
    """An embedder that costs a look-up in an array."""

    name = "given"
    dimensions = DIMENSIONS

    def __init__(self, rows: Any, questions: Any) -> None:
        self._rows, self._questions = rows, questions

    def embed(self, texts: list[str]) -> Any:
        number = int(texts[0].rpartition(" ")[2])
        return (self._questions if texts[0].startswith("Please") else self._rows)[number, None]


def open_cache(folder: Path, embedder: Any) -> Cache:
    """The cache that is measured, without a limit that would matter."""
    return Cache(
        identity="speed", folder=folder, ttl=86_400.0, size_limit=2**33, max_temperature=0.0, embedder=embedder
    )


def request_of(text: str) -> Request:
    return Request(id="r", messages=[{"role": "user", "content": text}], params={"temperature": 0})


def fill(cache: Cache, size: int) -> dict[str, float]:
    """Keep so many answers; milliseconds an insert over the last tenth."""
    walls, cpus = [], []
    for i in range(size):
        request = request_of(stored(i))
        entry = Entry(draft=Draft(tier="strong", model="large", text=f"Order {i} left on Tuesday. " * 8, cost=0.001))
        wall, cpu = time.perf_counter(), time.thread_time()
        cache.keep(request, entry)
        if i >= size - size // 10:
            walls.append((time.perf_counter() - wall) * 1e3)
            cpus.append((time.thread_time() - cpu) * 1e3)
    assert not cache.faults
    return {"mean": mean(walls), "median": median(walls), "worst": max(walls), "cpu": mean(cpus)}


def of_size(size: int, folder: Path, whole: int) -> tuple[dict[str, turns.Case], dict[str, float] | None]:
    """Cases of one size, and what inserting cost; the whole cache is filled up to ``whole`` entries."""
    clusters = Clusters(size)
    rows = np.concatenate([clusters.draw(min(10_000, size - i)) for i in range(0, size, 10_000)])
    questions, numbers = clusters.draw(ASKED), count()
    index = SemanticIndex(DIMENSIONS)
    for i in range(0, size, 10_000):
        part = rows[i : i + 10_000]
        index.fill([CONTEXT] * len(part), list(range(i, i + len(part))), part)

    def turn(ask: Callable[[int], object]) -> turns.Case:
        return lambda: ask(next(numbers) % ASKED)

    cases = {
        f"index, {size:,}": turn(lambda i: index.nearest(CONTEXT, questions[i])),
        f"X @ q, {size:,}": turn(lambda i: int((rows @ questions[i]).argmax())),
    }
    if size > whole:
        return cases, None
    cache = open_cache(folder / str(size), Given(rows, questions))
    inserted = fill(cache, size)
    requests = [request_of(asked(i)) for i in range(ASKED)]
    hit = cache.lookup(requests[0])
    assert hit is not None
    assert hit.kind == "semantic"
    cases[f"cache, {size:,}"] = turn(lambda i: cache.lookup(requests[i]))
    known = [request_of(stored(i)) for i in range(min(ASKED, size))]
    cases[f"exact, {size:,}"] = turn(lambda i: cache.lookup(known[i]))
    return cases, inserted


def main(folder: str, whole: str, *sizes: str) -> None:
    """Serve every case until told to stop."""
    cases: dict[str, turns.Case] = {}
    inserts = {}
    for size in map(int, sizes):
        made, inserted = of_size(size, Path(folder), int(whole))
        cases |= made
        if inserted is not None:
            inserts[f"{size:,}"] = inserted
    loop = asyncio.new_event_loop()
    turns.serve(cases, {"inserts": json.dumps(inserts)}, loop)


if __name__ == "__main__":
    main(*sys.argv[1:])
