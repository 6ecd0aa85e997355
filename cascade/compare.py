"""Strategies side by side on the same held-out rows, every cost counted.

The cascade's column comes out of the replayed flow: cheap calls that were thrown away, checks and
rescues are in it. The others are what a sceptic asks for: always the frontier, always the cheap
tier, and drawing lots between the two so that it costs the same as the cascade.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cascade.columns import Column, always, flowed, lots
from cascade.errors import ConfigError
from cascade.intervals import Bootstrap, Figure, paired_difference, proportion
from cascade.policy import Policy
from cascade.replay import Replayed
from cascade.types import CACHE, RIGHT, Outcome, Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Strategy(Record, frozen=True, kw_only=True):
    """One way of answering all the rows. Costs in dollars a request, latency and CPU in seconds.

    ``saving`` and ``quality_delta`` are against always-frontier; ``accepted_error`` is the share of
    wrong answers among those that the last tier did not give. ``cost`` and ``saving`` hold audits where
    a strategy has them, and ``saving_before_audits`` then says what it would be without. ``escalation_rate``
    is the share of rows for which a cheap draft was paid and thrown away. Latencies are of all rows,
    escalated ones included, and None where not recorded for every row.
    """

    name: str
    cost: Figure
    saving: Figure
    saving_before_audits: Figure | None = None
    quality: Figure
    quality_delta: Figure
    accept_rate: Figure
    escalation_rate: Figure
    accepted_error: Figure | None = None
    latency: Figure | None = None
    latency_p50: Figure | None = None
    latency_p95: Figure | None = None
    latency_p99: Figure | None = None
    cpu: Figure | None = None


class Comparison(Record, frozen=True, kw_only=True):
    """All strategies over one set of rows, and what was left out of it, by reason."""

    rows: int
    strategies: list[Strategy]
    left_out: dict[str, int] = {}


def compare(replayed: Sequence[Replayed], policy: Policy) -> Comparison:
    """Compare on the rows whose served and single-tier answers are all judged and priced."""
    rows, left_out = comparable(replayed, policy)
    outcomes = [row.outcome for row in rows]
    frontier = always(outcomes, policy.last.name, "always-frontier", last=True)
    singles = [always(outcomes, name, f"always {name}", last=False) for name in others(outcomes, policy)]
    ours = flowed(rows, policy)
    columns = [frontier, *singles, ours, *(lots(one, frontier, float(ours.cost.mean())) for one in singles[:1])]
    table = Table(outcomes, frontier)
    return Comparison(rows=len(rows), strategies=[table.strategy(one) for one in columns], left_out=left_out)


def comparable(replayed: Sequence[Replayed], policy: Policy) -> tuple[list[Replayed], dict[str, int]]:
    """The rows that every strategy can be measured on, and the others by reason; ``ConfigError`` for none."""
    left_out: dict[str, int] = {}
    rows = []
    for row in replayed:
        reason = unusable(row, policy)
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
        else:
            rows.append(row)
    if not rows:
        raise ConfigError(f"no row can be compared; left out: {left_out}")
    return rows, left_out


class Table:
    """Sums columns up, always against the same frontier and with the same resamples."""

    def __init__(self, outcomes: Sequence[Outcome], frontier: Column) -> None:
        self.frontier = frontier
        self.boot = Bootstrap([outcome.paraphrase_of or outcome.id for outcome in outcomes])

    def strategy(self, one: Column) -> Strategy:
        """The figures of one column."""
        import numpy as np

        whole = bool(np.isin(one.cheap, (0.0, 1.0)).all())
        accepted = one.quality[one.cheap == 1.0]
        n, boot = len(one.cheap), self.boot
        return Strategy(
            name=one.name,
            cost=boot.mean(one.spent),
            saving=boot.saving(one.spent, self.frontier.cost),
            saving_before_audits=None if one.aside is None else boot.saving(one.cost, self.frontier.cost),
            quality=boot.mean(one.quality),
            quality_delta=self.delta(one),
            accept_rate=proportion(int(one.cheap.sum()), n) if whole else Figure(estimate=float(one.cheap[0])),
            escalation_rate=proportion(int((one.asked & (one.cheap < 1.0)).sum()), n),
            accepted_error=proportion(int((accepted < RIGHT).sum()), len(accepted))
            if whole and len(accepted)
            else None,
            cpu=boot.mean(one.cpu) if one.cpu is not None else None,
            **self._slow(one.latency),
        )

    def delta(self, one: Column, other: Column | None = None) -> Figure:
        """Mean quality of one column less another's (the frontier's), paired."""
        return paired_difference(one.quality, (other or self.frontier).quality)

    def _slow(self, latency: Any) -> dict[str, Figure]:
        from cascade.metrics import quantile

        if latency is None:
            return {}
        shares = {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99}
        slow = {name: quantile(latency, share, self.boot) for name, share in shares.items()}
        return {"latency": self.boot.mean(latency), **slow}


def others(outcomes: Sequence[Outcome], policy: Policy) -> list[str]:
    """The cheap tiers, then whatever else every row has a judged and priced answer of."""
    cheap = [tier.name for tier in policy.tiers[:-1]]
    known = [
        {name for name, m in row.models.items() if m.quality is not None and m.cost is not None} for row in outcomes
    ]
    more = set.intersection(*known) - {tier.name for tier in policy.tiers} - {CACHE}
    return [*cheap, *sorted(more)]


def unusable(row: Replayed, policy: Policy) -> str:
    """Why a replayed row cannot be compared; empty where it can."""
    if row.error:
        return f"failed: {row.error}"
    if row.quality is None:
        return "what was served was never judged"
    for tier in policy.tiers:
        model = row.outcome.models.get(tier.name)
        if model is None or model.quality is None:
            return f"no judged answer of {tier.name}"
        if model.cost is None:
            return f"no cost of {tier.name}"
    return ""
