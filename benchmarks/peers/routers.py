"""The cascade beside RouteLLM's published routers on their evaluation log: calls, quality and dollars."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.pairs.splits import KINDS
from benchmarks.peers import gsm8k, published, queries
from benchmarks.peers.cases import Line, lines_of
from benchmarks.peers.certified import certified
from benchmarks.peers.curves import Answers, apgr, cpt, curve
from benchmarks.speed.report import machine
from cascade.intervals import Bootstrap, Figure

RESAMPLES = 500
LEVELS = (0.5, 0.8)
SAMPLES = 1500
"""About so many labelled MMLU questions the published routers with gold labels had learned from."""

POINTS = ("apgr", "cpt50", "cpt80", "dollars50", "dollars80")
OTHERS = "the other folds"

Needs = Sequence[Any]
"""One array (n,) a repetition: how much each question needs the strong model."""


def measure(folder: Path, repetitions: int, splits: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Both benchmarks; ``ConfigError`` where the log is missing."""
    began = time.monotonic()
    lines = lines_of(folder / gsm8k.LOG.folder / gsm8k.LOG.files[0])
    clean = [line for line in lines if not line.contaminated_for_arena_routers]
    maths, choices = ([line for line in clean if line.task == task] for task in ("gsm8k", "mmlu"))
    found, promises = _maths(maths, repetitions, splits)
    say(f"GSM8K: {len(maths):,} questions, {time.monotonic() - began:.0f} s")
    made = [
        _bench("GSM8K", maths, published.GSM8K, found),
        _bench("MMLU", choices, published.MMLU, _choices(choices, min(repetitions, 2))),
    ]
    return {
        "command": "python -m benchmarks routers DIR",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "seconds": round(time.monotonic() - began),
        "source": gsm8k.LOG.origin,
        "published": published.PAPER,
        "repetitions": repetitions,
        "benchmarks": made,
        "certified": promises,
    }


def _maths(lines: list[Line], repetitions: int, splits: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    found, promises = [], []
    answers, vectors = queries.answers_of(lines), queries.embedded(lines)
    for pair in gsm8k.PAIRS:
        rows = gsm8k.rows_of(lines, pair)
        folded = [gsm8k.needs(pair, rows, seed) for seed in range(repetitions)]
        for kind in KINDS:
            name = f"our cascade, {'+'.join(pair.signals)}, score of {kind}"
            found.append(ours(name, [one[kind] for one in folded], gsm8k.answers_of(rows), cascade=True))
        promises += certified(pair, rows, splits)
    needs = [queries.needs(vectors, answers, seed) for seed in range(repetitions)]
    found.append(ours("our query router", needs, answers, cascade=False))
    return found, promises


def _choices(lines: list[Line], repetitions: int) -> list[dict[str, Any]]:
    answers, vectors = queries.answers_of(lines), queries.embedded(lines)
    few = [queries.needs(vectors, answers, seed, SAMPLES) for seed in range(repetitions)]
    return [
        ours(f"our query router, {SAMPLES:,} labels", few, answers, cascade=False),
        ours("our query router", [queries.needs(vectors, answers, 0)], answers, cascade=False),
    ]


def ours(name: str, needs: Needs, answers: Answers, *, cascade: bool) -> dict[str, Any]:
    """A line of the table: means over the repetitions, intervals over the questions."""
    even = np.ones(len(answers.weak))
    drawn = Bootstrap([str(i) for i in range(len(even))], resamples=RESAMPLES)
    found: dict[int, Any] = {}

    def points(weights: Any) -> Any:
        """All points for every row of weights, found once for all figures."""
        if weights.ndim not in found:
            each = [[_points(one, answers, w, cascade) for one in needs] for w in np.atleast_2d(weights)]
            found[weights.ndim] = np.mean(each, axis=1).T
        return found[weights.ndim]

    def figure(place: int) -> dict[str, Any]:
        return _plain(drawn.figure(lambda w: points(w)[place] if w.ndim > 1 else points(w)[place, 0], even))

    figures = {what: figure(place) for place, what in enumerate(POINTS)}
    return {"name": name, "sees": "question and answer" if cascade else "question", "learned_from": OTHERS, **figures}


def _points(needs: Any, answers: Answers, weights: Any, cascade: bool) -> list[float]:
    """APGR, the strong shares at each level, and the dollars a question there."""
    made = curve(needs, answers, weights, cascade=cascade)
    weak, strong = made.quality[0], made.quality[-1]
    shares = [cpt(made.share, made.quality, weak, strong, level) for level in LEVELS]
    return [apgr(made.share, made.quality, weak, strong), *shares, *(made.dollars(share) for share in shares)]


def _bench(
    name: str, lines: list[Line], theirs: Sequence[published.Published], found: list[dict[str, Any]]
) -> dict[str, Any]:
    answers = queries.answers_of(lines)
    ends = {
        "weak": float(answers.weak.mean()),
        "strong": float(answers.strong.mean()),
        "weak_dollars": float(answers.weak_cost.mean()),
        "strong_dollars": float(answers.strong_cost.mean()),
    }
    knows = answers.strong - answers.weak
    oracle = ours("oracle", [knows], answers, cascade=False) | {"sees": "both outcomes", "learned_from": ""}
    return {
        "name": name,
        "questions": len(lines),
        **ends,
        "lines": [*found, *(_theirs(one, answers) for one in theirs), oracle],
    }


def _theirs(one: published.Published, answers: Answers) -> dict[str, Any]:
    """A published router at its points: what it sends to either model costs what the average question does there."""
    line: dict[str, Any] = {
        "name": f"RouteLLM {one.name}",
        "sees": "question",
        "learned_from": one.trained_on,
        "apgr": _plain(Figure(estimate=one.apgr)),
    }
    for share, level in ((one.cpt50, "50"), (one.cpt80, "80")):
        line[f"cpt{level}"] = _plain(Figure(estimate=share))
        dollars = (1 - share) * answers.weak_cost.mean() + share * answers.strong_cost.mean() + one.overhead
        line[f"dollars{level}"] = _plain(Figure(estimate=float(dollars)))
    return line


def _plain(figure: Figure) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(figure)
    return plain
