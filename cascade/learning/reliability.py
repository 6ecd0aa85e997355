"""Is a confidence of 0.8 right four times of five? Measured on rows that no fit has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cascade.confidence import Scorer
from cascade.evidence import Bin, Reliability
from cascade.intervals import proportion
from cascade.learning.features import auroc
from cascade.learning.fit import right_of
from cascade.learning.rows import Rows
from cascade.policy import Policy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BINS = 10
LEAST = 20
DRAWS = 200


def reliability(rows: Rows, scorers: list[Scorer], policy: Policy) -> list[Reliability]:
    """One diagram for each cheap tier that has enough scored rows."""
    import numpy as np

    by_key = {(scorer.tier, scorer.signal_set): scorer for scorer in scorers}
    found = []
    for index, source in enumerate(policy.sources):
        confidences, places = [], []
        for place, signals in enumerate(rows.signals):
            drafted = signals[index]
            scorer = by_key.get((source.name, drafted.set_name)) if drafted is not None else None
            one = scorer.confidence(drafted, rows.slices[place]) if scorer is not None and drafted is not None else None
            if one is not None:
                confidences.append(one.probability)
                places.append(place)
        if len(places) >= LEAST:
            calibrators = {s.signal_set: str(s.calibrator.kind) for s in scorers if s.tier == source.name}
            right = right_of(rows.quality[index, places])
            found.append(_diagram(source.name, np.array(confidences), right, calibrators))
    return found


def _diagram(tier: str, p: Floats, right: NDArray[np.bool_], calibrators: dict[str, str]) -> Reliability:
    """Bins of equal size: bins of equal width leave some with a handful of rows and a wide interval."""
    import numpy as np

    order = np.argsort(p, kind="stable")
    groups = [group for group in np.array_split(order, min(BINS, len(p) // 5)) if len(group)]
    return Reliability(
        tier=tier,
        bins=[
            Bin(confidence=float(p[g].mean()), right=proportion(int(right[g].sum()), len(g)), rows=len(g))
            for g in groups
        ],
        brier=float(((p - right) ** 2).mean()),
        ece=_ece(p, right, groups),
        ece_if_perfect=_ece_if_perfect(p, groups),
        auroc=auroc(p, right),
        calibrators=calibrators,
    )


def _ece(p: Floats, right: NDArray[np.bool_], groups: list[NDArray[np.int64]]) -> float:
    """Expected calibration error: mean over rows of |mean confidence - share right| of their bin."""
    return float(sum(abs(p[g].mean() - right[g].mean()) * len(g) for g in groups) / len(p))


def _ece_if_perfect(p: Floats, groups: list[NDArray[np.int64]]) -> float:
    """What the same figure is on average when every confidence is exactly right: its bias, simulated."""
    import numpy as np

    random = np.random.default_rng(0)
    return float(np.mean([_ece(p, random.random(len(p)) < p, groups) for _ in range(DRAWS)]))
