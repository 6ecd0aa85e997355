"""Strategies side by side on the same held-out rows, every cost counted.

The cascade's column comes out of the replayed flow: cheap calls that were thrown away, checks and
rescues are in it. The others are what a sceptic asks for: always the frontier, always the cheap
tier, and drawing lots between the two so that it costs the same as the cascade.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cascade.errors import ConfigError
from cascade.intervals import Bootstrap, Figure, paired_difference, proportion
from cascade.policy import Policy
from cascade.replay import Replayed
from cascade.types import CACHE, RIGHT, Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Strategy(Record, frozen=True, kw_only=True):
    """One way of answering all the rows. Costs in dollars a request, latency and CPU in seconds.

    ``saving`` and ``quality_delta`` are against always-frontier; ``accepted_error`` is the share of
    wrong answers among those that the last tier did not give.
    """

    name: str
    cost: Figure
    saving: Figure
    quality: Figure
    quality_delta: Figure
    accept_rate: Figure
    accepted_error: Figure | None = None
    latency: Figure
    latency_p95: float
    cpu: Figure | None = None


class Comparison(Record, frozen=True, kw_only=True):
    """All strategies over one set of rows, and what was left out of it, by reason."""

    rows: int
    strategies: list[Strategy]
    left_out: dict[str, int] = {}


def compare(replayed: Sequence[Replayed], policy: Policy) -> Comparison:
    """Compare on the rows whose served and single-tier answers are all judged and priced."""
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
    table = _Table(rows, policy)
    strategies = [table.single(policy.last.name, "always-frontier")]
    strategies += [table.single(name, f"always {name}") for name in _others(rows, policy)]
    strategies += [table.cascade(), table.lots(policy.tiers[0].name)]
    return Comparison(rows=len(rows), strategies=strategies, left_out=left_out)


class _Table:
    """The rows as columns."""

    def __init__(self, rows: Sequence[Replayed], policy: Policy) -> None:
        import numpy as np

        self._rows = rows
        self._last = policy.last.name
        self._boot = Bootstrap([row.outcome.paraphrase_of or row.outcome.id for row in rows])
        frontier = [row.outcome.models[self._last] for row in rows]
        self._frontier_cost: Floats = np.array([model.cost for model in frontier])
        self._frontier_quality: Floats = np.array([model.quality for model in frontier])

    def single(self, tier: str, name: str) -> Strategy:
        """Every row answered by one tier."""
        import numpy as np

        models = [row.outcome.models[tier] for row in self._rows]
        cheap = np.full(len(models), float(tier != self._last))
        return self._strategy(
            name,
            quality=np.array([model.quality for model in models]),
            cost=np.array([model.cost for model in models]),
            latency=np.array([model.latency_ms or 0.0 for model in models]) / 1e3,
            cpu=_column([model.cpu_ms for model in models], 1e-3),
            cheap=cheap,
        )

    def cascade(self) -> Strategy:
        """What the replayed flow did."""
        import numpy as np

        rows = self._rows
        served = [row.decision.served_by if row.decision is not None else self._last for row in rows]
        return self._strategy(
            "cascade",
            quality=np.array([row.quality for row in rows]),
            cost=np.array([row.cost for row in rows]),
            latency=np.array([row.latency for row in rows]),
            cpu=_column([row.cpu for row in rows], 1.0),
            cheap=np.array([float(name != self._last) for name in served]),
        )

    def lots(self, tier: str) -> Strategy:
        """Lots drawn between one cheap tier and the frontier, at the cascade's cost; exact means."""
        import numpy as np

        models = [row.outcome.models[tier] for row in self._rows]
        cost = np.array([model.cost for model in models])
        spent = float(np.mean([row.cost for row in self._rows]))
        gap = float(self._frontier_cost.mean() - cost.mean())
        share = min(max((float(self._frontier_cost.mean()) - spent) / gap, 0.0), 1.0) if gap > 0 else 0.0
        frontier = [row.outcome.models[self._last] for row in self._rows]

        def mixed(ours: Floats, theirs: Floats) -> Floats:
            return share * ours + (1 - share) * theirs

        slow = np.array([[m.latency_ms or 0.0 for m in models], [m.latency_ms or 0.0 for m in frontier]]) / 1e3
        quality = np.array([model.quality for model in models])
        return self._strategy(
            "lots at equal cost",
            quality=mixed(quality, self._frontier_quality),
            cost=mixed(cost, self._frontier_cost),
            latency=mixed(slow[0], slow[1]),
            cpu=None,
            cheap=np.full(len(models), share),
        )

    def _strategy(
        self, name: str, *, quality: Floats, cost: Floats, latency: Floats, cpu: Floats | None, cheap: Floats
    ) -> Strategy:
        import numpy as np

        binary = bool(np.isin(quality, (0.0, 1.0)).all() and np.isin(self._frontier_quality, (0.0, 1.0)).all())
        whole = bool(np.isin(cheap, (0.0, 1.0)).all())
        accepted = quality[cheap == 1.0]
        return Strategy(
            name=name,
            cost=self._boot.mean(cost),
            saving=self._boot.saving(cost, self._frontier_cost),
            quality=self._boot.mean(quality),
            quality_delta=(
                paired_difference(quality, self._frontier_quality)
                if binary
                else self._boot.mean(quality - self._frontier_quality)
            ),
            accept_rate=proportion(int(cheap.sum()), len(cheap)) if whole else Figure(estimate=float(cheap[0])),
            accepted_error=proportion(int((accepted < RIGHT).sum()), len(accepted))
            if whole and len(accepted)
            else None,
            latency=self._boot.mean(latency),
            latency_p95=float(np.quantile(latency, 0.95)),
            cpu=self._boot.mean(cpu) if cpu is not None else None,
        )


def _others(rows: Sequence[Replayed], policy: Policy) -> list[str]:
    """The cheap tiers, then whatever else every row has a judged and priced answer of."""
    cheap = [tier.name for tier in policy.tiers[:-1]]
    known = [
        {name for name, m in row.outcome.models.items() if m.quality is not None and m.cost is not None} for row in rows
    ]
    more = set.intersection(*known) - {tier.name for tier in policy.tiers} - {CACHE}
    return [*cheap, *sorted(more)]


def _column(values: list[float | None], scale: float) -> Floats | None:
    """A column, or None unless every row has it."""
    import numpy as np

    known = [value for value in values if value is not None]
    return np.array(known) * scale if len(known) == len(values) else None


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
