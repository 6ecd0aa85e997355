"""What a certified threshold serves on the GSM8K answers: fit on 40 %, certify on 30 %, count on the other 30 %."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.pairs.fits import Kinds
from benchmarks.pairs.pairs import Pair
from cascade.learning.rows import Rows
from cascade.policy import Target

TARGETS = (
    *(Target(max_regret=level) for level in (0.01, 0.02, 0.05)),
    *(Target(max_error=level) for level in (0.1, 0.2)),
)
MEANS = ("saving", "served", "risk", "quality")


def certified(pair: Pair, rows: Rows, splits: int, seed: int = 0) -> list[dict[str, Any]]:
    """One line for each target: means over the splits, and how often something was certified at all."""
    found: list[list[dict[str, float]]] = [[] for _ in TARGETS]
    for place in range(splits):
        order = np.random.default_rng([seed, place]).permutation(len(rows))
        parts = np.split(order, [int(0.4 * len(rows)), int(0.7 * len(rows))])
        fit, certify, test = (rows.take(part.tolist()) for part in parts)
        kinds = Kinds(pair, fit, len(certify))
        for target, outcomes in zip(TARGETS, found, strict=True):
            kind = kinds.won(target)
            threshold = kinds.threshold(kind, kinds.score(kind, certify), target)
            unseen = kinds.score(kind, test)
            served = unseen.scores >= (np.inf if threshold is None else threshold)
            quality = float(np.where(served, test.quality[0], test.quality[1]).mean())
            outcomes.append(unseen.outcome(threshold, target.kind) | {"quality": quality})
    return [_line(pair, target, outcomes) for target, outcomes in zip(TARGETS, found, strict=True)]


def _line(pair: Pair, target: Target, outcomes: list[dict[str, float]]) -> dict[str, Any]:
    savings = [one["saving"] for one in outcomes]
    return {
        "signals": "+".join(pair.signals),
        "kind": target.kind,
        "level": target.level,
        "splits": len(outcomes),
        "certifies": float(np.mean([one["served"] > 0 for one in outcomes])),
        "saving_error": float(np.std(savings, ddof=1) / len(savings) ** 0.5) if len(savings) > 1 else float("nan"),
        **{name: float(np.mean([one[name] for one in outcomes])) for name in MEANS},
    }
