"""Hits at a certified rate of wrong ones: the signals of a pair against a plain threshold on similarity."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from benchmarks.cache.gates import COSINE, LEVELS, PAIRED, SCORES, Fits, Scored, outcome, rows_of, threshold
from benchmarks.cache.traffic import CERTIFY, FILES, FIT, TEST, Part, Vectors, divided, labelled, read, stored
from benchmarks.speed.report import machine
from cascade.embedding import Embedder

WANTED = 1.5
PRECISIONS = (0.8, 0.9, 0.95)
Say = Callable[[str], None]
METHOD = """
A pair is an asked and a stored question; right says that the stored one's answer would do. 40 % of the pairs fit the
score, 30 % certify its threshold and the rest, which no step has seen, are counted; no asked question stands in two
parts, and of Quora and MRPC no stored one either. Pairs that share questions are not independent, as the exact test
has it: "one of each group" keeps one of those that are connected. Of Banking77 a quarter of the queries is stored, and
each other finds the nearest of them, right where both have the same label. Confidence 95 %, means over random splits.

Every score goes through the same test: fixed sequence, exact binomial, start laid out by the fit rows. "cosine" is the
plain similarity; "match" the family of signals; "match and pair" with the learned weights of words. The latter two are
fitted and picked (regression or boosting) as calibration does it. Most is what a score that knew the labels could
serve. A dash says that no split certified anything.
"""


def measure(folder: Path, embedders: Sequence[Embedder], splits: int, rows: int, say: Say) -> dict[str, Any]:
    """All data sets under all embedders."""
    began = time.monotonic()
    records = {name: read(folder, name, rows if name == "Quora" else None) for name in FILES}
    lines: list[dict[str, Any]] = []
    ranks: list[dict[str, Any]] = []
    for embedder in embedders:
        vectors = Vectors(embedder)
        for name, divide in _data(records, vectors).items():
            found = []
            for seed in range(splits):
                found.append(split(divide(seed), vectors))
                say(f"{name}, {vectors.name}: split {seed + 1} of {splits}, {time.monotonic() - began:.0f} s")
            lines += [_line(name, vectors.name, level, found) for level in LEVELS]
            ranks.append(_rank(name, vectors.name, found))
    return document(lines, ranks, splits, rows, time.monotonic() - began)


def _data(records: dict[str, Any], vectors: Vectors) -> dict[str, Callable[[int], list[Part]]]:
    """The data sets, each as what divides it for a seed."""
    quora, mrpc = labelled(records["Quora"]), labelled(records["MRPC"])
    return {
        "Quora": lambda seed: divided(quora, seed),
        "Quora, one of each group": lambda seed: divided(quora, seed, alone=True),
        "MRPC": lambda seed: divided(mrpc, seed),
        "Banking77": lambda seed: stored(records["Banking77"], vectors, seed),
    }


def split(parts: Sequence[Part], vectors: Vectors) -> dict[str, Any]:
    """One split: every score at every level, and how each ranks."""
    rows = [rows_of(part, vectors.similarities(part.pairs), ["pairs"] * len(part.pairs)) for part in parts]
    fits = Fits(parts[FIT], rows[FIT])
    found: dict[str, Any] = {
        "rows": [len(one) for one in rows],
        "right": float(rows[TEST].quality[0].mean()),
        "kind": fits.kind,
    }
    for name in SCORES:
        certify, test = (fits.score(name, parts[place], rows[place]) for place in (CERTIFY, TEST))
        least = [threshold(fits.own(name), certify, level) for level in LEVELS]
        found[name] = {level: outcome(test, one) for level, one in zip(LEVELS, least, strict=True)}
        found[name]["recall"] = [recall(test, precision) for precision in PRECISIONS]
    return found


def recall(found: Scored, precision: float) -> float:
    """The most right answers, of all, that any threshold finds at this precision: in hindsight, without a promise."""
    order = np.argsort(-found.scores, kind="stable")
    right = np.cumsum(found.quality[0][order])
    last = np.append(np.diff(found.scores[order]) != 0, True)  # a threshold cannot part equal scores
    kept = right[last & (right / np.arange(1, len(right) + 1) >= precision)]
    return float(kept.max() / right[-1]) if len(kept) else 0.0


def _line(name: str, embedder: str, level: float, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    scores = {score: _summed([one[score][level] for one in found]) for score in SCORES}
    plain, ours = scores[COSINE]["hits"], scores[PAIRED]["hits"]
    return {
        "data": name, "embedder": embedder, "level": level, "rows": found[0]["rows"],
        "right": fmean(one["right"] for one in found), "scores": scores,
        "most": fmean(min(1.0, one["right"] / (1 - level)) for one in found),
        "boosted": sum(one["kind"] == "boosting" for one in found), "ratio": ours / plain if plain else None,
    }  # fmt: skip


def _summed(found: Sequence[dict[str, float]]) -> dict[str, float | None]:
    hits = [one["hits"] for one in found]
    served = [one["wrong"] for one in found if one["hits"] > 0]
    return {
        "hits": fmean(hits),
        "spread": stdev(hits) if len(hits) > 1 else None,
        "recall": fmean(one["recall"] for one in found),
        "wrong": fmean(served) if served else None,
        "certified": sum(hit > 0 for hit in hits) / len(hits),
    }


def _rank(name: str, embedder: str, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    recalls = {s: np.mean([one[s]["recall"] for one in found], axis=0).tolist() for s in SCORES}
    return {"data": name, "embedder": embedder, "precisions": PRECISIONS, "recall": recalls}


def document(
    lines: Sequence[dict[str, Any]], ranks: Sequence[dict[str, Any]], splits: int, rows: int, seconds: float
) -> dict[str, Any]:
    """Everything that was found, for ``cache_pairs.json``."""
    return {
        "command": f"python -m benchmarks cache pairs DIR --splits {splits} --rows {rows}",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "seconds": round(seconds),
        "sources": {name: origin for name, (_, origin) in FILES.items()},
        "bars": [_bar(line) for line in lines if line["ratio"] is not None],
        "lines": list(lines),
        "ranks": list(ranks),
    }


def _bar(line: dict[str, Any]) -> dict[str, Any]:
    plain = line["scores"][COSINE]["hits"]
    return {
        "what": f"{line['data']}, {line['embedder']}, {line['level']:.0%}", "limit": WANTED, "found": line["ratio"],
        "most": line["most"] / plain, "met": line["ratio"] >= WANTED,
    }  # fmt: skip


def markdown(made: dict[str, Any]) -> str:
    """The page ``cache_pairs.md``."""
    missed = [bar for bar in made["bars"] if not bar["met"]]
    lines = [
        "# Hits of the semantic cache at a certified rate of wrong ones",
        "",
        f"`{made['command']}`, {made['date']}, {made['seconds'] / 60:.0f} minutes on one core.",
        METHOD,
        *(f"- {name}: {origin}" for name, origin in made["sources"].items()),
        "",
        "The data are not part of this project; only figures are.",
        "",
        f"Wanted: {WANTED} times the hits of cosine wherever it certifies anything. {len(made['bars']) - len(missed)} "
        f"of {len(made['bars'])} bars are met.",
        *(f"Missed: {b['what']}: {b['found']:.2f} times; {b['most']:.2f} is the most there is." for b in missed),
        "",
        "| data | embedder | wrong hits at most | cosine: hits | match: hits | match and pair: hits | times cosine "
        "| most | recall: cosine | match and pair | wrong: cosine | match and pair | certifies: cosine "
        "| match and pair |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *map(_row, made["lines"]),
        "",
        "Recall at a precision on the counted rows, in hindsight and without a promise:",
        "",
        "| data | embedder | precision | cosine | match | match and pair |",
        "|---|---|---:|---:|---:|---:|",
        *(row for rank in made["ranks"] for row in _ranked(rank)),
        "",
    ]
    return "\n".join(lines)


def _row(line: dict[str, Any]) -> str:
    scores = line["scores"]
    plain, ours = scores[COSINE], scores[PAIRED]
    hits = " | ".join(_hits(scores[name]) for name in SCORES)
    ratio = "" if line["ratio"] is None else f"**{line['ratio']:.2f}**"
    return (
        f"| {line['data']} | {line['embedder']} | {line['level']:.0%} | {hits} | {ratio} | {line['most']:.1%} | "
        f"{plain['recall']:.2f} | {ours['recall']:.2f} | {_wrong(plain)} | {_wrong(ours)} | "
        f"{plain['certified']:.1f} | {ours['certified']:.1f} |"
    )


def _hits(found: dict[str, Any]) -> str:
    if not found["certified"]:
        return "-"
    return f"{found['hits']:.1%}" + ("" if found["spread"] is None else f" ± {found['spread']:.1%}")


def _wrong(found: dict[str, Any]) -> str:
    return "-" if found["wrong"] is None else f"{found['wrong']:.1%}"


def _ranked(rank: dict[str, Any]) -> list[str]:
    return [
        f"| {rank['data']} | {rank['embedder']} | {precision:.0%} | "
        + " | ".join(f"{rank['recall'][name][place]:.2f}" for name in SCORES)
        + " |"
        for place, precision in enumerate(rank["precisions"])
    ]
