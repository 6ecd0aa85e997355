"""Which answers are put before a judge, and with which probability each was drawn."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from cascade.decide import coin
from cascade.judging.case import Case, answered
from cascade.types import Outcome


class Docket(NamedTuple):
    """The cases to be heard, each with its propensity, in the order of the rows; and what was passed over.

    ``skipped`` have a verdict of this judge, ``undrawn`` lost the draw, ``unanswered`` hold nothing to
    be judged (rows of a tier that was asked, in a ledger that keeps no content).
    """

    cases: list[tuple[Case, float]]
    skipped: int
    undrawn: int
    unanswered: int


def draw(
    rows: Iterable[Outcome],
    judge: str,
    *,
    tiers: Collection[str] = (),
    slice: str | None = None,
    against: str | None = None,
    share: float | None = None,
    limit: int | None = None,
    salt: str = "",
) -> Docket:
    """Draw rows, and of those drawn put every answer of ``tiers`` (none named: of all) on the docket.

    A coin by the row's id decides, so it is the same row in every run and for every judge, and nobody
    can draw again until the rows please. ``share`` draws each row with that probability, ``limit`` the
    so many rows with the smallest coins out of all that have an answer (propensity: limit / rows).
    The draw comes before what is judged already is taken out, or a second run would draw others.
    With ``against`` that tier is what others are measured by: rows without its answer hold nothing.
    """
    candidates = [(row, _tiers(row, tiers, against)) for row in rows if slice in (None, row.slice)]
    unanswered = sum(len(asked) - len(able) for _, (asked, able) in candidates)
    able = [(row, names) for row, (_, names) in candidates if names]
    drawn, propensity = able, 1.0
    if share is not None:
        propensity = share
        drawn = [(row, names) for row, names in able if coin(salt, "judge", row.id) < share]
    elif limit is not None and limit < len(able):
        propensity = limit / len(able)
        chosen = sorted(able, key=lambda one: coin(salt, "judge", one[0].id))[:limit]
        kept = {row.id for row, _ in chosen}
        drawn = [(row, names) for row, names in able if row.id in kept]
    cases = [Case(outcome=row, tier=name, against=against) for row, names in drawn for name in names]
    new = [(case, propensity) for case in cases if not judged_by(case.outcome, case.tier, judge)]
    undrawn = sum(len(names) for _, names in able) - len(cases)
    return Docket(cases=new, skipped=len(cases) - len(new), undrawn=undrawn, unanswered=unanswered)


def judged_by(row: Outcome, tier: str, judge: str) -> bool:
    """Is there a verdict of this judge on this tier's answer?"""
    model = row.models.get(tier)
    return model is not None and any(verdict.judge == judge for verdict in model.verdicts)


def _tiers(row: Outcome, tiers: Collection[str], against: str | None) -> tuple[list[str], list[str]]:
    """The tiers that are asked for and were asked, and those of them whose answer can be judged."""
    asked = [name for name in row.models if name != against and (not tiers or name in tiers)]
    able = [name for name in asked if answered(row.models[name])]
    return asked, able if against is None or answered(row.models.get(against)) else []
