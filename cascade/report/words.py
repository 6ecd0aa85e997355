"""Figures and findings in words: what the terminal and the page say alike."""

from __future__ import annotations

import datetime
import math

from cascade.evidence import BreakEven, Evidence, PathPoint, Saving, Status, Stratum
from cascade.types import Record

NOTHING = "-"
"""In the place of a figure where there was nothing to count."""


class Standing(Record, frozen=True, kw_only=True):
    """A status for people: a mark that needs no colour, a word, and what follows from it."""

    mark: str
    word: str
    meaning: str


STANDINGS: dict[Status, Standing] = {
    "certified": Standing(
        mark="✓", word="Certified", meaning="The evidence supports the promise; the certified gates may open."
    ),
    "refused": Standing(
        mark="\N{EN DASH}",
        word="Refused",
        meaning="The evidence does not support the promise yet; every gate that it does not cover stays closed, "
        "and those requests go to the last tier.",
    ),
    "contradicted": Standing(
        mark="!",
        word="Contradicted",
        meaning="Held-out rows speak against the promise: serve nothing under it before the reason is known.",
    ),
}

LIMITS = (
    "It says nothing about one request, one user or one day: it is about the average over future requests.",
    "It holds for traffic like that which its rows were drawn from. Traffic drifts, models and prompts change; "
    "then it is void until it is certified again.",
    "It is about the verdict of the judges named here. Where a judge is wrong, so is the promise.",
)
"""What a promise does not say."""

VERDICTS = {
    "pays": "pays: even the lower limit of the share served cheap is above what is needed.",
    "does not pay": "does not pay: switch it off, or make the cheap tier better or the audits rarer.",
    "cannot tell yet": "may pay: it cannot be told yet. The interval of the share served cheap holds what is needed.",
}


def percent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage."""
    return NOTHING if share is None or math.isnan(share) else f"{share * 100:.{digits}f} %"


def points(difference: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    return NOTHING if difference is None or math.isnan(difference) else f"{difference * 100:+.1f} points"


def dollars(amount: float | None) -> str:
    """US dollars: cents from one cent on, two significant digits below that, whole ones from a hundred."""
    if amount is None or math.isnan(amount):
        return NOTHING
    size = abs(amount)
    digits = 0 if size >= 100 else 2 if size >= 0.01 or size == 0 else 1 - math.floor(math.log10(size))
    return f"{'-' if amount < 0 else ''}${size:,.{digits}f}"


def moment(issued_at: str) -> str:
    """A time in ISO 8601 as ``2026-03-01, 12:00 UTC``; anything else as it is."""
    try:
        found = datetime.datetime.fromisoformat(issued_at)
    except ValueError:
        return issued_at
    if found.tzinfo is None:
        return f"{found:%Y-%m-%d, %H:%M}"
    return f"{found.astimezone(datetime.UTC):%Y-%m-%d, %H:%M} UTC"


def chosen(stratum: Stratum) -> PathPoint | None:
    """The point at which a stratum is certified, None where it is not."""
    return None if stratum.chosen is None else stratum.path[stratum.chosen]


def tested(stratum: Stratum) -> str:
    """How far the sequence of tests came on the path, in words."""
    count = sum(point.tested for point in stratum.path)
    if not stratum.path:
        return "There was no threshold to test."
    if not count:
        return f"None of {len(stratum.path):,} thresholds was tested."
    passed = sum(point.tested and point.passed for point in stratum.path)
    return f"{count:,} of {len(stratum.path):,} thresholds were tested, {passed:,} passed."


def finding(stratum: Stratum, kind: str) -> str:
    """What was found out about a stratum, in a sentence or two."""
    point = chosen(stratum)
    if point is None:
        why = f": {stratum.refusal.rstrip('.')}" if stratum.refusal else ""
        labels = f" About {stratum.missing_labels:,} more labels are missing." if stratum.missing_labels else ""
        return f"Nothing is certified here{why}.{labels}"
    sure = f"{100 * (1 - stratum.delta):.4g} % confidence"
    if kind == "regret":
        return (
            f"Of {point.n:,} judged rows {point.bad:,} lose against the last tier and {point.better:,} gain: "
            f"{point.risk * 100:.2f} points of quality are lost, and at most {point.bound * 100:.2f} with {sure}."
        )
    return (
        f"Of {point.n:,} judged rows {point.bad:,} are not acceptable: {percent(point.risk, 2)}, and at most "
        f"{percent(point.bound, 2)} with {sure}."
    )


def headline(evidence: Evidence) -> Saving | None:
    """The saving that stands beside the promise: the best certified one."""
    certified = [saving for saving in evidence.savings if saving.certified]
    return max(certified, key=lambda saving: saving.saving.estimate, default=None)


def break_even(found: BreakEven) -> list[str]:
    """Does the cascade pay, and why, one sentence an item."""
    reached = f"Reached on held-out rows: {percent(found.reached.estimate)}"
    if found.reached.low is not None:
        reached += f", at least {percent(found.reached.low)} with 95 % confidence"
    needed = (
        "No share served cheap would pay: the audits alone cost more than the cascade can save."
        if found.needed is None
        else f"Needed: more than {percent(found.needed)} of the requests served without the last tier."
    )
    costs = (found.cost_cheap, found.cost_frontier, found.cost_judge)
    cheap, frontier, judge = (dollars(cost * 1000) for cost in costs)
    return [
        f"The cascade {VERDICTS[found.pays]}",
        needed,
        f"{reached}.",
        f"For 1,000 requests the cheap tier costs {cheap}, the last tier {frontier}, the judge {judge}; "
        f"{percent(found.audit_rate)} of what is served cheap is audited.",
    ]
