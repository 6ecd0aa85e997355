"""Pairs of an asked and a stored question, labelled, in three parts that have no question in common."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from cascade.embedding import Embedder
from cascade.errors import ConfigError
from cascade.learning.pairing import connected

SHARES = (0.4, 0.3, 0.3)
FIT, CERTIFY, TEST = range(3)
FILES = {
    "Quora": ("qqp_pairs.jsonl.gz", "Quora question pairs, by way of github.com/zilliztech/GPTCache"),
    "MRPC": ("mrpc_pairs.jsonl.gz", "Microsoft Research Paraphrase Corpus: sentences of news, not questions"),
    "Banking77": ("banking77.jsonl.gz", "github.com/PolyAI-LDN/task-specific-datasets (CC BY 4.0)"),
}


class Part(NamedTuple):
    """Pairs (asked, stored) and whether the stored one's answer is right, (n,) of bool."""

    pairs: list[tuple[str, str]]
    right: Any

    def take(self, places: Sequence[int]) -> Part:
        return Part([self.pairs[place] for place in places], self.right[list(places)])


class Vectors:
    """An embedder's vectors of texts that come again and again."""

    def __init__(self, embedder: Embedder) -> None:
        self.name = embedder.name
        self._embedder = embedder
        self._known: dict[str, Any] = {}

    def of(self, texts: Sequence[str]) -> Any:
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        for start in range(0, len(new), 4096):
            some = new[start : start + 4096]
            self._known.update(zip(some, self._embedder.embed(some), strict=True))
        return np.array([self._known[text] for text in texts])

    def similarities(self, pairs: Sequence[tuple[str, str]]) -> Any:
        asked, stored = self.of([pair[0] for pair in pairs]), self.of([pair[1] for pair in pairs])
        return (asked * stored).sum(axis=1)


def read(folder: Path, name: str, rows: int | None = None) -> list[dict[str, Any]]:
    """The records of a data set; ``ConfigError`` where the folder lacks it."""
    file = folder / FILES[name][0]
    if not file.is_file():
        raise ConfigError(f"{file} is missing; name the folder that holds it: python -m benchmarks cache pairs DIR")
    return [msgspec.json.decode(line) for line in gzip.decompress(file.read_bytes()).splitlines()[:rows]]


def labelled(records: Sequence[dict[str, Any]]) -> Part:
    """Pairs as a data set has them."""
    return Part(
        [(one["text_a"], one["text_b"]) for one in records], np.array([one["equivalent"] == 1 for one in records])
    )


def divided(whole: Part, seed: int) -> list[Part]:
    """Three parts by groups of connected questions, at random.

    Of a group one pair certifies or tests, as calibration counts one row of a unit: others of it would
    be no further draws. All of them may fit.
    """
    random = np.random.default_rng(seed)
    groups = connected(whole.pairs)
    where = random.choice(3, size=groups.max() + 1, p=SHARES)[groups]
    order = random.permutation(len(groups))
    ones = np.zeros(len(groups), dtype=bool)
    ones[order[np.unique(groups[order], return_index=True)[1]]] = True
    return [
        whole.take(np.flatnonzero((where == part) & (ones | (part == FIT))).tolist()) for part in (FIT, CERTIFY, TEST)
    ]


def streams(records: Sequence[dict[str, Any]], vectors: Vectors, seed: int) -> list[Part]:
    """Three random streams of queries, each with the nearest earlier one of its own; right where the labels agree."""
    order = np.random.default_rng(seed).permutation(len(records))
    bounds = np.cumsum([int(share * len(records)) for share in SHARES[:-1]])
    return [_stream([records[place] for place in some], vectors) for some in np.split(order, bounds)]


def _stream(records: Sequence[dict[str, Any]], vectors: Vectors) -> Part:
    texts, labels = [one["query"] for one in records], [one["label"] for one in records]
    near = np.where(np.tri(len(texts), k=-1, dtype=bool), (found := vectors.of(texts)) @ found.T, -np.inf).argmax(
        axis=1
    )
    later = range(1, len(texts))
    return Part(
        [(texts[place], texts[near[place]]) for place in later],
        np.array([labels[place] == labels[near[place]] for place in later]),
    )
