"""How often the index finds what comparing with every vector finds."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.cache.population import Clusters
from cascade.cache.semantic import SemanticIndex

ASKED = 1_000
FILES = ("qqp_pairs", "banking77", "mrpc_pairs")

Say = Callable[[str], None]


KINDS = {
    "isotropic clusters": (0.0, 0.0),
    "variance 1/i": (1.0, 0.0),
    "variance 1/i, shifted": (1.0, 1.0),
    "variance 1/i^2": (2.0, 0.0),
}
"""Synthetic populations: decay of the variance over the dimensions, and shift of all centres."""


def synthetic(sizes: list[int]) -> Iterator[tuple[str, Any, Any]]:
    """Name, stored rows and asked rows; in the last ones no question is like a stored one."""
    for name, (decay, shift) in KINDS.items():
        for size in sizes:
            clusters = Clusters(size, decay, shift, seed=1)
            yield name, clusters.draw(size), clusters.draw(ASKED)
    for size in sizes:
        yield (
            "isotropic, asked for what is not there",
            Clusters(size, seed=1).draw(size),
            Clusters(size, seed=2).draw(ASKED),
        )


def questions(folder: Path) -> list[str]:
    """Every distinct question of the recorded pairs, in a random order."""
    found = set()
    for name in FILES:
        with gzip.open(folder / f"{name}.jsonl.gz", "rb") as lines:
            for line in lines:
                row = msgspec.json.decode(line)
                found |= {row[field] for field in ("text_a", "text_b", "query") if isinstance(row.get(field), str)}
    texts = sorted(found)
    np.random.default_rng(0).shuffle(texts)
    return texts


def real(folder: Path, say: Say) -> tuple[Any, Any]:
    """Embeddings of real questions by the packaged embedder; those asked are not among those stored."""
    from cascade.embedding import WordLlamaEmbedder

    texts = questions(folder)
    say(f"embedding {len(texts):,} questions")
    embedder = WordLlamaEmbedder()
    rows = np.concatenate([embedder.embed(texts[i : i + 2_000]) for i in range(0, len(texts), 2_000)])
    rows = rows[np.linalg.norm(rows, axis=1) > 0]
    return rows[ASKED:], rows[:ASKED]


def recall(rows: Any, asked: Any) -> dict[str, float]:
    """recall@1, the largest similarity lost, and seconds to fill the index."""
    index = SemanticIndex(rows.shape[1])
    began = time.thread_time()
    index.fill([b"x"] * len(rows), list(range(len(rows))), rows)
    took = time.thread_time() - began
    best = np.concatenate([(rows @ asked[i : i + 50].T).max(axis=0) for i in range(0, len(asked), 50)])
    found = np.array([(index.nearest(b"x", query) or (0, -1.0))[1] for query in asked])
    lost = np.maximum(best - found, 0)
    return {"recall": float((lost < 1e-5).mean()), "lost": float(lost.max()), "fill": took}


def measure(data: Path | None, most: int, say: Say) -> list[dict[str, Any]]:
    """One row a population and size."""
    rows = []
    for name, stored, asked in synthetic([10_000, most] if most > 10_000 else [most]):
        say(f"recall: {name}, {len(stored):,}")
        rows.append({"population": name, "size": len(stored), **recall(stored, asked)})
    if data is not None:
        stored, asked = real(data, say)
        for size in (10_000, len(stored)):
            rows.append({"population": "real questions", "size": size, **recall(stored[:size], asked)})
    return rows
