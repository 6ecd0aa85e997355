"""Swaps: how often a gate of the cache lets a question through that differs in the one thing that matters."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.cache.gates import COSINE, DELTA, PAIRED, Fits, Scored, rows_of, threshold
from benchmarks.cache.pairs import Say
from benchmarks.cache.templates import KINDS, Swap, swaps
from benchmarks.cache.traffic import CERTIFY, FIT, SHARES, TEST, Part, Vectors, divided, labelled, read
from benchmarks.speed.report import machine
from cascade.embedding import Embedder

LEVELS = (0.05, 0.10, 0.20)
AS_MANY = "cosine, as many hits"
TRAFFIC, SWAPPED = "traffic", "swaps"
GATES = {
    "own": "fitted to both, certified on swaps as a slice of its own",
    "pooled": "fitted to both, certified on both together",
    "blind": "fitted to and certified on Quora alone, which has few of them",
}
METHOD = """
Questions from templates of this project (`benchmarks/cache/swaps.txt`): half of the pairs differ in a negation, a
number, a name, a unit, a date, a direction or a polarity and are wrong; the other half are rewordings and right. Of the
wrong ones as of the right ones half keep the form that was asked and half come in other words. They are mixed with
pairs of Quora, and divided as those are. Confidence 95 %, shared by the two slices where each has its own threshold;
means over random splits, counted on pairs that no step has seen. The templates are the same in all parts, as the kinds
of questions are in traffic that is labelled; the gate "blind" shows what is left where no label has told of them.

"Swapped served" is the share of the pairs with a swap that the gate serves: each is a wrong hit. "Reworded served" is
the share of true rewordings that it serves. Wrong is the share of wrong hits among all hits. A dash says that nothing
was certified in any split. "As many hits" is a threshold on cosine, certified by nobody, that serves as many of these
pairs as the gate with match and pair does.
"""


def measure(folder: Path, embedders: Sequence[Embedder], splits: int, rows: int, each: int, say: Say) -> dict[str, Any]:
    """Every gate at every level, for every kind of swap."""
    began, found = time.monotonic(), []
    traffic, made = labelled(read(folder, "Quora", rows)), swaps(each)
    for embedder in embedders:
        vectors = Vectors(embedder)
        for seed in range(splits):
            found += split(divided(traffic, seed), shared_out(made, seed), vectors)
            say(f"{vectors.name}: split {seed + 1} of {splits}, {time.monotonic() - began:.0f} s")
    return {
        "command": f"python -m benchmarks cache swaps DIR --splits {splits} --rows {rows} --each {each}",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "seconds": round(time.monotonic() - began),
        "gates": GATES,
        "lines": _lines(found),
    }


def shared_out(made: Sequence[Swap], seed: int) -> list[list[Swap]]:
    """The swaps in three parts."""
    where = np.random.default_rng(seed).choice(3, size=len(made), p=SHARES)
    return [[swap for swap, place in zip(made, where, strict=True) if place == part] for part in (FIT, CERTIFY, TEST)]


def split(traffic: Sequence[Part], swapped: Sequence[Sequence[Swap]], vectors: Vectors) -> list[dict[str, Any]]:
    """One split: what each gate serves of each kind of swap, by each score."""
    mixed = [_mixed(part, some) for part, some in zip(traffic, swapped, strict=True)]
    kinds = np.array([swap.kind for swap in swapped[TEST]])
    found = []
    for names, parts in ((("own", "pooled"), mixed), (("blind",), [*traffic[:TEST], mixed[TEST]])):
        sizes = [len(part.pairs) for part in parts]
        # What a gate is blind to comes to it as ordinary traffic.
        slices = [_slices(size, len(traffic[p].pairs), names == ("blind",)) for p, size in enumerate(sizes)]
        rows = [rows_of(p, vectors.similarities(p.pairs), s) for p, s in zip(parts, slices, strict=True)]
        fits = Fits(parts[FIT], rows[FIT])
        swapped_rows = np.arange(len(traffic[TEST].pairs), sizes[TEST])
        held = {score: fits.score(score, parts[TEST], rows[TEST]).of(swapped_rows) for score in (COSINE, PAIRED)}
        certify = {score: fits.score(score, parts[CERTIFY], rows[CERTIFY]) for score in (COSINE, PAIRED)}
        for gate, level in itertools.product(names, LEVELS):
            least = {score: _threshold(gate, fits.own(score), certify[score], slices, level) for score in certify}
            named = {"gate": gate, "level": level, "embedder": vectors.name}
            for score, threshold_ in least.items():
                found += _kinds(held[score], kinds, threshold_, score=score, **named)
            as_many = _as_many(held[COSINE].scores, held[PAIRED].scores, least[PAIRED])
            found += _kinds(held[COSINE], kinds, as_many, score=AS_MANY, **named)
    return found


def _as_many(scores: Any, others: Any, least: float | None) -> float | None:
    """The threshold on ``scores`` that serves as many as ``least`` does on the ``others``."""
    count = int((others >= least).sum()) if least is not None else 0
    return float(np.sort(scores)[-count]) if count else None


def _mixed(part: Part, swapped: Sequence[Swap]) -> Part:
    pairs = [*part.pairs, *((swap.asked, swap.stored) for swap in swapped)]
    return Part(pairs, np.concatenate([part.right, np.array([swap.right for swap in swapped])]))


def _slices(rows: int, traffic: int, blind: bool) -> list[str]:
    return [TRAFFIC] * rows if blind else [TRAFFIC] * traffic + [SWAPPED] * (rows - traffic)


def _threshold(gate: str, fit: Scored, certify: Scored, slices: Sequence[list[str]], level: float) -> float | None:
    if gate != "own":
        return threshold(fit, certify, level)
    mine, theirs = (np.array(slices[place]) == SWAPPED for place in (FIT, CERTIFY))
    return threshold(fit.of(mine), certify.of(theirs), level, DELTA / 2)


def _kinds(held: Scored, kinds: Any, least: float | None, **named: Any) -> list[dict[str, Any]]:
    served = held.scores >= least if least is not None else np.zeros(len(kinds), dtype=bool)
    right = held.quality[0] > 0
    return [
        {**named, "kind": kind, "certified": least is not None, **_shares(served[here], right[here])}
        for kind in (*KINDS, "all")
        if (here := (kinds == kind) | (kind == "all")).any()
    ]


def _shares(served: Any, right: Any) -> dict[str, float]:
    return {
        "swapped": float(served[~right].mean()),
        "reworded": float(served[right].mean()),
        "hits": int(served.sum()),
        "wrong": int((served & ~right).sum()),
    }


def _lines(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the splits; wrong among all hits of all splits."""
    keys = ("embedder", "gate", "level", "kind", "score")
    named = list(dict.fromkeys(tuple(one[key] for key in keys) for one in found))
    lines = []
    for name in named:
        some = [one for one in found if tuple(one[key] for key in keys) == name]
        hits, wrong = (sum(one[key] for one in some) for key in ("hits", "wrong"))
        means = {key: fmean(one[key] for one in some) for key in ("swapped", "reworded", "certified")}
        lines.append({**dict(zip(keys, name, strict=True)), **means, "wrong": wrong / hits if hits else None})
    return lines


def markdown(made: dict[str, Any]) -> str:
    """The page ``cache_swaps.md``."""
    lines = [
        "# Questions that differ in the one thing that matters",
        "",
        f"`{made['command']}`, {made['date']}, {made['seconds'] / 60:.0f} minutes on one core.",
        METHOD,
        "The gates are:",
        "",
        *(f"- {name}: {what}" for name, what in made["gates"].items()),
        "",
        "| embedder | gate | wrong hits at most | kind | swapped served: cosine | as many hits | match and pair "
        "| reworded served: cosine | as many hits | match and pair | wrong: cosine | as many hits | match and pair |",
        "|---|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *_rows(made["lines"]),
        "",
    ]
    return "\n".join(lines)


def _rows(lines: Sequence[dict[str, Any]]) -> list[str]:
    """All kinds together first, then each."""
    by: dict[Any, dict[str, Any]] = defaultdict(dict)
    for line in lines:
        by[line["embedder"], line["gate"], line["level"], line["kind"]][line["score"]] = line
    found = []
    for (embedder, gate, level, kind), scores in sorted(by.items(), key=lambda one: one[0][3] != "all"):
        shown = (scores[COSINE], scores[AS_MANY], scores[PAIRED])
        cells = " | ".join(_cell(one, key) for key in ("swapped", "reworded", "wrong") for one in shown)
        found.append(f"| {embedder} | {gate} | {level:.0%} | {kind} | {cells} |")
    return found


def _cell(line: dict[str, Any], key: str) -> str:
    return "-" if not line["certified"] or line[key] is None else f"{line[key]:.1%}"
