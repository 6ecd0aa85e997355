"""From the signals of many drafts to a table, and which of its columns carry no information."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cascade.confidence import CROSSED, LOGIT_FEATURE, SLICE_FEATURE, derived
from cascade.evidence import RefusedSignal
from cascade.learning.rows import Rows
from cascade.metrics import auroc
from cascade.signals import DIRECTIONS
from cascade.types import Record, Signals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Z95 = 1.959963984540054
LOTS = 0.5
"""AUROC of drawing lots."""

WORTHWHILE = 0.53
"""An AUROC that costs a regression more in noise than it brings."""

FEW_VALUES = 2
"""A signal with at most so many values is a flag, and its logit is the same flag again."""


class Table(Record, frozen=True, kw_only=True):
    """Raw features of the rows that have one tier's signal set: ``values`` of shape (rows, features).

    ``places`` are the rows' places in the ``Rows`` that the table was made of.
    """

    tier: str
    signal_set: str
    places: list[int]
    signals: list[Signals]
    slices: list[str]
    features: list[str]
    values: Any


def places_of(rows: Rows, tier: int, signal_set: str) -> list[int]:
    """Where the rows are whose draft of this tier has exactly this signal set."""
    found = ((i, signals[tier]) for i, signals in enumerate(rows.signals))
    return [i for i, signals in found if signals is not None and signals.set_name == signal_set]


def names_of(drafts: list[Signals]) -> list[str]:
    """The raw signals of the set's families that every one of these drafts has, sorted."""
    shared = set.intersection(*(set(signals.values) for signals in drafts))
    return sorted(name for name in shared if name.partition(".")[0] in drafts[0].families)


def refused(rows: Rows, places: list[int], tier: int, tier_name: str) -> list[RefusedSignal]:
    """Signals that should rank right answers above wrong ones and do not, on these rows.

    Those whose direction is known or that somebody brought as a confidence: refused where the whole
    95 % interval of their AUROC (Hanley and McNeil 1982) lies under ``WORTHWHILE``; where the rows are
    too few to tell, the regression weighs them, as it does what may point either way (lengths, digits).
    """
    import numpy as np

    right = rows.quality[tier, places] >= 0.5
    found = []
    for name in names_of([s for i in places if (s := rows.signals[i][tier]) is not None]):
        direction = DIRECTIONS.get(name, "+")
        if direction == "?":
            continue
        values = np.array([_value(rows, i, tier, name) for i in places])
        area = auroc(values if direction == "+" else -values, right)
        if area is None:
            continue
        most = area + Z95 * _spread(area, int(right.sum()), int((~right).sum()))
        if most >= WORTHWHILE:
            continue
        why = "it ranks wrong answers above right ones" if most < LOTS else "it carries no information"
        found.append(RefusedSignal(tier=tier_name, signal=name, auroc=area, why=why))
    return found


def table_of(rows: Rows, places: list[int], tier: int, tier_name: str, leave_out: set[str], *, crossed: bool) -> Table:
    """Signals, their logits where they are shares, the slices, and with ``crossed`` their products."""
    import numpy as np

    signals = [s for i in places if (s := rows.signals[i][tier]) is not None]
    slices = [rows.slices[i] for i in places]
    names = [name for name in names_of(signals) if name not in leave_out]
    raw = np.array([[s.values[name] for name in names] for s in signals]).reshape(len(signals), len(names))
    shares = [
        name
        for column, name in enumerate(names)
        if raw[:, column].min() >= 0 and raw[:, column].max() <= 1 and len(np.unique(raw[:, column])) > FEW_VALUES
    ]
    features = [*names, *(LOGIT_FEATURE + name for name in shares)]
    kinds = sorted(set(slices))
    features += [SLICE_FEATURE + kind for kind in kinds]
    if crossed:
        features += [f"{SLICE_FEATURE}{kind}{CROSSED}{name}" for kind in kinds for name in names]
    values = np.array([[_feature(f, s, where) for f in features] for s, where in zip(signals, slices, strict=True)])
    varies = values.std(axis=0) > 0 if len(values) else np.zeros(0, dtype=bool)
    return Table(
        tier=tier_name,
        signal_set=signals[0].set_name,
        places=places,
        signals=signals,
        slices=slices,
        features=[name for name, keep in zip(features, varies, strict=True) if keep],
        values=values[:, varies],
    )


def _spread(area: float, ones: int, zeros: int) -> float:
    """Standard error of an AUROC. Source: Hanley and McNeil, Radiology 1982."""
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (ones - 1) * (one - area**2) + (zeros - 1) * (two - area**2)
    return float(max(variance / (ones * zeros), 0.0) ** 0.5)


def _value(rows: Rows, place: int, tier: int, name: str) -> float:
    signals = rows.signals[place][tier]
    return float("nan") if signals is None else signals.values[name]


def _feature(name: str, signals: Signals, slice_name: str) -> float:
    value = signals.values.get(name)
    found = derived(name, signals.values, slice_name) if value is None else value
    return float("nan") if found is None else found
