"""How well the confidence of each source ranks and how well it is calibrated, and the whole path at a glance."""

from __future__ import annotations

from collections.abc import Sequence

from cascade.bench.document import Curve, Discriminated, Place
from cascade.bench.field import Field, Measured
from cascade.bench.rivals import best_signal
from cascade.evidence import Choice
from cascade.intervals import Bootstrap
from cascade.learning.fit import right_of
from cascade.learning.reliability import LEAST, confidences
from cascade.learning.rows import Rows
from cascade.metrics import LEAST_GAP, aiq, apgr, auroc, cpt, discrimination
from cascade.types import CACHE

HALF, MOST = 0.5, 0.8
"""The two shares of the gap that RouteLLM reports the price of."""


def discriminated(field: Field, seen: Rows, unseen: Rows) -> list[Discriminated]:
    """One line for each source with enough scored rows; the raw signal is chosen on the rows ``seen``."""
    import numpy as np

    found = []
    for place, source in enumerate(field.policy.sources):
        stated, places = confidences(unseen, place, source.name, field.lock.scorers)
        right = right_of(unseen.quality[place, places]) if places else np.empty(0, dtype=bool)
        if len(places) < LEAST or source.asked:
            continue
        boot = Bootstrap([unseen.units[i] for i in places])
        raw = best_signal(seen, place) if source.name != CACHE else None
        value = raw.read(unseen.take(places), place) if raw is not None else None
        found.append(
            Discriminated(
                source=source.name,
                of=discrimination(stated, stated, right, boot),
                best_raw=raw.name if raw is not None else None,
                best_raw_auroc=auroc(value, right) if value is not None else None,
            )
        )
    return found


def curve(choices: Sequence[Choice], measured: Measured) -> Curve | None:
    """The path as cost against quality; None where the calibration has no single path."""
    if not choices:
        return None
    frontier = measured.frontier
    dear, good = float(frontier.cost.mean()), float(frontier.quality.mean())
    places = [
        Place(
            frontier_share=1.0 - choice.served,
            cost=dear * (1.0 - choice.saving),
            quality=good + choice.quality_delta,
            chosen=choice.chosen,
        )
        for choice in choices
    ]
    weak = float(measured.cheap.quality.mean())
    shares, qualities = [p.frontier_share for p in places], [p.quality for p in places]
    gap = good - weak
    few = (
        f"APGR and CPT divide by the quality gap, {gap * 100:.1f} points; under {LEAST_GAP * 100:.0f} they say nothing"
    )
    return Curve(
        places=places,
        aiq=aiq([(p.cost, p.quality) for p in places]),
        apgr=apgr(shares, qualities, weak, good),
        cpt50=cpt(shares, qualities, weak, good, HALF),
        cpt80=cpt(shares, qualities, weak, good, MOST),
        refused="" if gap >= LEAST_GAP else few,
    )
