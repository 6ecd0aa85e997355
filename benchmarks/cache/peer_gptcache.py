"""The worker for GPTCache as its README sets it up (SQLite, faiss), in an environment of its own; see ``speed``."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import count
from statistics import mean, median
from typing import Any

import numpy as np
from gptcache import Cache, Config
from gptcache.adapter.api import get, put
from gptcache.manager import CacheBase, VectorBase, get_data_manager
from gptcache.processor.pre import get_prompt
from gptcache.similarity_evaluation.distance import SearchDistanceEvaluation

from benchmarks.cache.population import DIMENSIONS, Clusters, asked, stored
from benchmarks.speed import turns

ASKED = 512
INSERTS = 400


def of_size(size: int, folder: str) -> tuple[turns.Case, dict[str, float]]:
    """A look-up in a cache of so many entries, and milliseconds an insert into it."""
    clusters = Clusters(size)
    rows = np.concatenate([clusters.draw(min(10_000, size - i)) for i in range(0, size, 10_000)])
    more, questions = clusters.draw(INSERTS), clusters.draw(ASKED)

    def embed(text: str, **_: Any) -> Any:
        number = int(text.rpartition(" ")[2])
        return questions[number] if text.startswith("Please") else more[number - size]

    kept = get_data_manager(
        CacheBase("sqlite", sql_url=f"sqlite:///{folder}/{size}.db"),
        VectorBase("faiss", dimension=DIMENSIONS, index_path=f"{folder}/{size}.index"),
        max_size=10 * size,  # its default of 1,000 would evict
    )
    cache = Cache()
    cache.init(
        pre_embedding_func=get_prompt,
        embedding_func=embed,
        data_manager=kept,
        similarity_evaluation=SearchDistanceEvaluation(),
        config=Config(similarity_threshold=0.0),
    )
    for i in range(0, size, 1_000):
        part = range(i, min(size, i + 1_000))
        kept.import_data(
            [stored(j) for j in part], [f"Order {j} left on Tuesday. " * 8 for j in part], list(rows[i : part.stop]),
            [None] * len(part),
        )  # fmt: skip
    assert get(asked(0), cache_obj=cache) is not None
    walls = []
    for i in range(size, size + INSERTS):
        began = time.perf_counter()
        put(stored(i), f"Order {i} left on Tuesday. " * 8, cache_obj=cache)
        walls.append((time.perf_counter() - began) * 1e3)
    numbers = count()
    ask: Callable[[], object] = lambda: get(asked(next(numbers) % ASKED), cache_obj=cache)  # noqa: E731
    return ask, {"mean": mean(walls), "median": median(walls), "worst": max(walls)}


def main(*sizes: str) -> None:
    """Serve every case until told to stop."""
    cases: dict[str, turns.Case] = {}
    inserts = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in map(int, sizes):
            cases[f"GPTCache, {size:,}"], inserts[f"{size:,}"] = of_size(size, folder)
        about = {"GPTCache": version("gptcache"), "inserts": json.dumps(inserts)}
        turns.serve(cases, about, asyncio.new_event_loop())


if __name__ == "__main__":
    main(*sys.argv[1:])
