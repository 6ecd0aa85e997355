"""What a user would save: fit on 40 %, certify on 30 %, count on the 30 % that no step has seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.pairs.fits import Kinds
from benchmarks.pairs.pairs import Pair
from cascade.learning.rows import Rows
from cascade.policy import Target

TARGETS = (Target(max_regret=0.01), Target(max_regret=0.02))
KINDS = ("right", "gain", "gain a dollar")


def split(pair: Pair, rows: Rows, splits: int, seed: int) -> list[dict[str, Any]]:
    """One line for each target: the contest's pick, beside always taking each kind of score."""
    found: dict[float, list[dict[str, Any]]] = {target.level: [] for target in TARGETS}
    for place in range(splits):
        order = np.random.default_rng([seed, place]).permutation(len(rows))
        first, second = int(0.4 * len(rows)), int(0.7 * len(rows))
        fit, certify, test = (rows.take(part.tolist()) for part in np.split(order, [first, second]))
        kinds = Kinds(pair, fit, len(certify))
        scored = {kind: (kinds.score(kind, certify), kinds.score(kind, test)) for kind in kinds.fitted}
        for target in TARGETS:
            by_kind = {
                kind: unseen.outcome(kinds.threshold(kind, judged, target), target.kind)
                for kind, (judged, unseen) in scored.items()
            }
            found[target.level].append({"won": kinds.won(target), "base": kinds.base, "by_kind": by_kind})
    return [_line(pair, target, found[target.level], place) for place, target in enumerate(TARGETS)]


def _line(pair: Pair, target: Target, found: list[dict[str, Any]], place: int) -> dict[str, Any]:
    picked = [one["by_kind"][one["won"]] for one in found]
    savings = [one["saving"] for one in picked]
    return {
        "pair": pair.name,
        "kind": target.kind,
        "level": target.level,
        "splits": len(found),
        "saving": float(np.mean(savings)),
        "saving_error": float(np.std(savings, ddof=1) / len(savings) ** 0.5) if len(savings) > 1 else float("nan"),
        "served": float(np.mean([one["served"] for one in picked])),
        "regret": float(np.mean([one["risk"] for one in picked])),
        "certified": float(np.mean([one["served"] > 0 for one in picked])),
        "reference": pair.reference[place] if pair.reference is not None else None,
        "won": {kind: sum(one["won"] == kind for one in found) for kind in KINDS},
        "boosted": sum(one["base"] == "boosting" for one in found),
        "always": {
            kind: float(np.mean([one["by_kind"][kind]["saving"] for one in found]))
            for kind in KINDS
            if all(kind in one["by_kind"] for one in found)
        },
        "best_in_hindsight": float(np.mean([max(o["saving"] for o in one["by_kind"].values()) for one in found])),
    }
