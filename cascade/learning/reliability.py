"""Is a confidence of 0.8 right four times of five? Measured on rows that no fit has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cascade.confidence import Scorer
from cascade.evidence import Bin, Reliability
from cascade.intervals import proportion
from cascade.learning.fit import right_of
from cascade.learning.rows import Rows
from cascade.metrics import auroc, calibration_error_if_perfect, equal_mass_bins, expected_calibration_error
from cascade.policy import Policy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST = 20


def reliability(rows: Rows, scorers: list[Scorer], policy: Policy) -> list[Reliability]:
    """One diagram for each cheap tier that has enough scored rows."""
    found = []
    for index, source in enumerate(policy.sources):
        stated, places = confidences(rows, index, source.name, scorers)
        if len(places) >= LEAST:
            calibrators = {s.signal_set: str(s.calibrator.kind) for s in scorers if s.tier == source.name}
            right = right_of(rows.quality[index, places])
            found.append(_diagram(source.name, stated, right, calibrators))
    return found


def confidences(rows: Rows, index: int, name: str, scorers: list[Scorer]) -> tuple[Floats, list[int]]:
    """What the scorers say of one source's drafts, and the places of the rows that have such a draft."""
    import numpy as np

    by_key = {(scorer.tier, scorer.signal_set): scorer for scorer in scorers}
    stated, places = [], []
    for place, signals in enumerate(rows.signals):
        drafted = signals[index]
        scorer = by_key.get((name, drafted.set_name)) if drafted is not None else None
        one = scorer.confidence(drafted, rows.slices[place]) if scorer is not None and drafted is not None else None
        if one is not None:
            stated.append(one.probability)
            places.append(place)
    return np.array(stated), places


def _diagram(tier: str, p: Floats, right: NDArray[np.bool_], calibrators: dict[str, str]) -> Reliability:
    bins = equal_mass_bins(p)
    return Reliability(
        tier=tier,
        bins=[
            Bin(confidence=float(p[b].mean()), right=proportion(int(right[b].sum()), len(b)), rows=len(b)) for b in bins
        ],
        brier=float(((p - right) ** 2).mean()),
        ece=expected_calibration_error(p, right, bins),
        ece_if_perfect=calibration_error_if_perfect(p, bins),
        auroc=auroc(p, right),
        calibrators=calibrators,
    )
