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
STORED = 0.25
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


def divided(whole: Part, seed: int, *, alone: bool = False) -> list[Part]:
    """Three parts by groups of connected questions, at random; with ``alone`` one pair of each group.

    Those are independent of each other, as the exact test has it. All pairs are the traffic that the data
    set is, with its popular questions; there the counted rows say whether the promise is kept.
    """
    random = np.random.default_rng(seed)
    groups = connected(whole.pairs)
    where = random.choice(3, size=len(np.unique(groups)), p=SHARES)
    order = random.permutation(len(groups))
    places = order[np.unique(groups[order], return_index=True)[1]] if alone else np.arange(len(groups))
    return [whole.take(sorted(places[where[groups[places]] == part].tolist())) for part in (FIT, CERTIFY, TEST)]


def stored(records: Sequence[dict[str, Any]], vectors: Vectors, seed: int) -> list[Part]:
    """A random quarter of the queries is stored; each other finds the nearest of them, right where the labels agree.

    One store for all parts, as in calibration: given what is stored, the rows are independent of each other and
    alike in every part. Where each looks among all that came before it, they are neither.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(records))
    held, asked = np.split(order, [int(STORED * len(records))])
    texts = [one["query"] for one in records]
    near = (vectors.of([texts[i] for i in asked]) @ vectors.of([texts[i] for i in held]).T).argmax(axis=1)
    found = [(int(i), int(held[best])) for i, best in zip(asked, near, strict=True)]
    right = np.array([records[i]["label"] == records[best]["label"] for i, best in found])
    whole = Part([(texts[i], texts[best]) for i, best in found], right)
    where = random.choice(3, size=len(found), p=SHARES)
    return [whole.take(np.flatnonzero(where == part).tolist()) for part in (FIT, CERTIFY, TEST)]
