"""How much of the measured difference is the luck of the draw: which questions, which answer, which judge."""

from __future__ import annotations

from math import sqrt

from msgspec.structs import replace

from cascade.bench.document import Noise
from cascade.bench.field import Measured
from cascade.intervals import Z95
from cascade.policy import Policy
from cascade.replay import Replayed
from cascade.types import CACHE, Outcome
from cascade.variance import drawn_qualities, paired_split

OURS = "what was served"


def noise(measured: Measured, policy: Policy) -> Noise:
    """The quality difference to always-frontier, split by its sources, from further draws and further verdicts.

    Read from rows that were served a cheap tier's answer: there the two sides are two draws. On the others
    both sides are the same answer, so that drawing again moves the mean over all rows by the square root
    of the share served.
    """
    last = policy.last.name
    served = [_served(row, policy) for row in measured.rows]
    both = [
        replace(row.outcome, models={OURS: row.outcome.models[tier], last: row.outcome.models[last]})
        for row, tier in zip(measured.rows, served, strict=True)
        if tier is not None and _again(row.outcome, tier, last)
    ]
    if not both:
        return Noise(
            questions=0,
            sentence="No row has a second draw or a second judge: the intervals hold the choice of the questions, "
            "and what drawing or judging again would change is not known.",
        )
    found = paired_split(drawn_qualities(both, OURS), drawn_qualities(both, last))
    share = sum(tier is not None for tier in served) / len(served)
    redrawing = None if found.draw is None else Z95 * sqrt(found.draw * share / len(served))
    delta = measured.table.delta(measured.cascade).estimate
    return Noise(
        questions=found.questions,
        question=found.of_mean.get("question"),
        draw=found.of_mean.get("draw"),
        judge=found.of_mean.get("judge"),
        redrawing=redrawing,
        sentence=_sentence(delta, redrawing, found.questions),
    )


def _served(row: Replayed, policy: Policy) -> str | None:
    """The cheap tier that answered, or None where the last one or the cache did."""
    by = row.decision.served_by if row.decision is not None else CACHE
    return None if by in (CACHE, policy.last.name) else by


def _again(outcome: Outcome, ours: str, last: str) -> bool:
    """Has either side been drawn or judged more than once?"""
    return any(
        len(outcome.models[name].samples) > 1 or len(outcome.models[name].verdicts) > 1
        for name in (ours, last)
        if name in outcome.models
    )


def _sentence(delta: float, redrawing: float | None, questions: int) -> str:
    if redrawing is None:
        return f"No answer was drawn twice; {questions} questions were judged more than once."
    moved = f"drawing all answers again would move it by up to {redrawing * 100:.1f} points (95 %)"
    if abs(delta) <= redrawing:
        return f"The difference of {delta * 100:+.1f} points is smaller than the noise of drawing: {moved}."
    return f"The difference of {delta * 100:+.1f} points is larger than the noise of drawing: {moved}."
