"""Do promises hold on real answers? Certification rows are drawn from a recorded population, many times.

60 % of a pair's rows are the population, whose risk at every threshold is known; the others fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.pairs.fits import DELTA, Kinds, Scored
from benchmarks.pairs.pairs import Pair
from cascade.learning.rows import Rows
from cascade.policy import Target

ROWS = 3000
TARGETS = (Target(max_regret=0.01), Target(max_regret=0.02), Target(max_error=0.05), Target(max_error=0.1))
FEASIBLE = 0.05
"""An error target takes part where the oracle can serve this share under it."""


def drawn(pair: Pair, rows: Rows, repetitions: int, seed: int) -> list[dict[str, Any]]:
    """One line for each target."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(rows))
    cut = int(0.6 * len(rows))
    population, fit = rows.take(order[:cut].tolist()), rows.take(order[cut:].tolist())
    kinds = Kinds(pair, fit, ROWS)
    lines = []
    for target in TARGETS:
        kind = kinds.won(target)
        pool = kinds.score(kind, population)
        oracle = pool.outcome(_loosest(pool, target), target.kind)
        if target.kind == "error" and oracle["served"] < FEASIBLE:
            continue
        found = {"certified": [], "naive": []}
        for _ in range(repetitions):
            certify = pool.take(random.integers(0, cut, ROWS))
            found["certified"].append(kinds.threshold(kind, certify, target))
            found["naive"].append(_loosest(certify, target))
        raw = _raw(population, pair, target)
        lines.append(
            {
                "pair": pair.name,
                "kind": target.kind,
                "level": target.level,
                "population": cut,
                "fit": len(fit),
                "rows": ROWS,
                "repetitions": repetitions,
                "delta": DELTA,
                "score": kind,
                "shape": kinds.base,
                "oracle": oracle,
                "raw": raw,
                **{name: _summary(pool, thresholds, target) for name, thresholds in found.items()},
            }
        )
    return lines


def _summary(pool: Scored, thresholds: list[float | None], target: Target) -> dict[str, float]:
    found = [pool.outcome(threshold, target.kind) for threshold in thresholds]
    return {
        "violations": float(np.mean([one["risk"] > target.level for one in found])),
        "certified": float(np.mean([threshold is not None for threshold in thresholds])),
        **{name: float(np.mean([one[name] for one in found])) for name in ("served", "saving", "risk")},
    }


def _loosest(pool: Scored, target: Target) -> float | None:
    """The loosest score at which the risk on these very rows keeps the target."""
    line, place = np.unique(-pool.scores, return_inverse=True)
    n = np.cumsum(np.bincount(place))
    if target.kind == "error":
        allowed = np.cumsum(np.bincount(place, 1.0 - pool.quality[0])) <= target.level * n
    else:
        allowed = np.cumsum(np.bincount(place, pool.quality[1] - pool.quality[0])) <= target.level * len(pool.scores)
    passed = np.flatnonzero(allowed & np.isfinite(line))
    return float(-line[passed[-1]]) if len(passed) else None


def _raw(population: Rows, pair: Pair, target: Target) -> dict[str, Any]:
    """The raw signal and threshold that save most on the population itself: nobody could know them."""
    best: dict[str, Any] = {"signal": "none", "served": 0.0, "saving": 0.0, "risk": 0.0}
    for name in pair.signals:
        signal = name if name != "size" else "size.draft"
        values = [found[0].values.get(signal) if found[0] is not None else None for found in population.signals]
        sign = -1.0 if name == "size" else 1.0
        scores = np.array([-np.inf if value is None else sign * value for value in values])
        pool = Scored(scores, population.quality, population.cost)
        outcome = pool.outcome(_loosest(pool, target), target.kind)
        if outcome["saving"] > best["saving"]:
            best = {"signal": signal, **outcome}
    return best
