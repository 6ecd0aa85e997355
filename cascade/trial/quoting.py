"""What a trial will cost, from the prompts that have been recorded: before the rest is paid for.

The mean cost of a recorded prompt stands for that of the others, which chance alone has put later.
How many verdicts the rest needs is known, so the judge is projected by the verdict. The error of the
projection is that of the sum over the others: of the mean that was seen, and of the ones to come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

from cascade.batch.recording import RowCost
from cascade.types import Record

LEAST, MOST = 20, 50
"""Prompts of a pilot: below the least their spread is not known, beyond the most it is said instead."""

CLOSE = 0.07
"""Standard error of the projected total, as a share of it, at which a pilot ends: twice that is below 20 %."""

WIDTH = 2.4
"""Standard errors to either side of a quote. Not 1.96: a pilot ends when its spread looks small, and lengths
of answers are skewed; on simulated lognormal ones so many hold the real cost 19 times of 20.
"""


class Quote(Record, frozen=True, kw_only=True):
    """Dollars of the whole trial: all ``prompts``, what is spent already included.

    ``low`` and ``high`` are the ends of a 95 % interval. ``reach`` is how many prompts the budget is
    expected to complete and ``within`` what they cost: all of them and ``total`` where it suffices.
    ``seconds`` is how long what is left of them takes.
    """

    prompts: int
    recorded: int
    cheap: float
    frontier: float
    judge: float
    total: float
    low: float
    high: float
    reach: int
    within: float
    seconds: float

    @property
    def close(self) -> bool:
        """Whether the total is known well enough to be quoted."""
        return self.recorded >= min(self.prompts, LEAST) and (self.high - self.total) / WIDTH <= CLOSE * self.total


def quote(
    rows: Sequence[RowCost],
    prompts: int,
    verdicts: int,
    spent: Mapping[str, float],
    *,
    unknown: float = 0.0,
    budget: float | None = None,
    reserve: float = 0.0,
    seconds_a_prompt: float = 0.0,
) -> Quote:
    """A quote from at least one complete row.

    ``verdicts`` is how many the remaining prompts need; ``spent`` holds the real dollars of ``cheap``,
    ``frontier`` and ``judge`` so far, failures and abstentions included, ``unknown`` what calls of an
    unknown bill can have cost. ``reserve`` is left of the budget, so that the last call cannot pass it.
    """
    n, left = len(rows), prompts - len(rows)
    heard = sum(row.verdicts for row in rows)
    verdict = spent["judge"] / heard if heard else 0.0
    cheap, frontier = (spent[part] * (1 + left / n) for part in ("cheap", "frontier"))
    judge = spent["judge"] + verdict * verdicts
    total = cheap + frontier + judge + unknown
    error = _spread(rows, (heard + verdicts) / prompts) * sqrt(left * prompts / n)
    already = sum(spent.values()) + unknown
    one = (total - already) / left if left else 0.0
    reach = (
        prompts
        if budget is None or not left or total + reserve <= budget
        else n + int(max(budget - reserve - already, 0.0) / one)
    )
    return Quote(
        prompts=prompts,
        recorded=n,
        cheap=cheap,
        frontier=frontier,
        judge=judge,
        total=total,
        low=max(total - WIDTH * error, already),
        high=total + WIDTH * error,
        reach=reach,
        within=already + (reach - n) * one,
        seconds=(reach - n) * seconds_a_prompt,
    )


def _spread(rows: Sequence[RowCost], verdicts: float) -> float:
    """Standard deviation of a prompt's cost; 0.0 where there is one alone, which says nothing of it.

    A prompt that happened to need more verdicts than others is no spread: how many come is known.
    """
    costs = [row.cheap + row.frontier + (row.judge / row.verdicts * verdicts if row.verdicts else 0.0) for row in rows]
    mean = sum(costs) / len(costs)
    return sqrt(sum((cost - mean) ** 2 for cost in costs) / max(len(costs) - 1, 1))
