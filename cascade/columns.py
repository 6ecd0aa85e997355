"""What each way of answering does with the same rows, as columns: who answered, how well, at what price.

A strategy here is whatever turns rows into a ``Column``: one model for all of them, lots, somebody's
threshold, or the replayed flow. How columns are summed up and compared is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cascade.policy import Policy
from cascade.replay import Replayed
from cascade.types import Outcome, Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Column(Record, frozen=True, kw_only=True):
    """One strategy over n rows; every array has shape (n,).

    ``quality`` in [0, 1], ``cost`` in dollars with all that the caller's request brought about, ``cheap`` the
    share served without the last tier (0 or 1, or a probability where lots are drawn), ``latency`` and ``cpu``
    in seconds, None unless every row has them. ``asked`` says whether a cheap draft was paid for, so that
    ``asked`` and not ``cheap`` is an escalation. ``aside`` is what comes on top, off the caller's path
    (audits, labels), in dollars, expected; None for a strategy that has none.
    """

    name: str
    quality: Any
    cost: Any
    cheap: Any
    asked: Any
    latency: Any = None
    cpu: Any = None
    aside: Any = None

    def take(self, places: Any) -> Column:
        """These rows, in this order."""
        kept = {
            name: None if (array := getattr(self, name)) is None else array[places]
            for name in ("quality", "cost", "latency", "cheap", "asked", "cpu", "aside")
        }
        return Column(name=self.name, **kept)

    @property
    def spent(self) -> Floats:
        """Dollars of each row, with what comes on top."""
        found: Floats = self.cost if self.aside is None else self.cost + self.aside
        return found


def always(outcomes: Sequence[Outcome], tier: str, name: str, *, last: bool) -> Column:
    """Every row answered by one model, as recorded."""
    import numpy as np

    models = [outcome.models[tier] for outcome in outcomes]
    return Column(
        name=name,
        quality=np.array([model.quality for model in models], dtype=float),
        cost=np.array([model.cost for model in models], dtype=float),
        latency=whole([model.latency_ms for model in models], 1e-3),
        cpu=whole([model.cpu_ms for model in models], 1e-3),
        cheap=np.full(len(models), 0.0 if last else 1.0),
        asked=np.full(len(models), not last),
    )


def flowed(rows: Sequence[Replayed], policy: Policy, name: str = "cascade", aside: Any = None) -> Column:
    """What the replayed flow did."""
    import numpy as np

    last = policy.last.name
    served = [row.decision.served_by if row.decision is not None else last for row in rows]
    return Column(
        name=name,
        quality=np.array([row.quality for row in rows], dtype=float),
        cost=np.array([row.cost for row in rows], dtype=float),
        latency=np.array([row.latency for row in rows], dtype=float) if all(map(_timed, rows)) else None,
        cpu=whole([row.cpu for row in rows], 1.0),
        cheap=np.array([float(by != last) for by in served]),
        asked=np.array([_drafted(row, last) for row in rows]),
        aside=aside,
    )


def lots(cheap: Column, frontier: Column, spent: float) -> Column:
    """Lots drawn between one cheap model and the frontier so that the mean cost is ``spent``.

    Quality and cost are exact means over the lots; latencies are those of one seeded draw, since the
    quantiles of a mixture are not the mixture of quantiles. The share is cut off at 0 and 1 where the
    two cannot be mixed to that cost.
    """
    import numpy as np

    gap = float(frontier.cost.mean() - cheap.cost.mean())
    share = min(max((float(frontier.cost.mean()) - spent) / gap, 0.0), 1.0) if gap > 0 else 0.0
    mixed = {name: share * getattr(cheap, name) + (1 - share) * getattr(frontier, name) for name in ("quality", "cost")}
    n = len(cheap.cost)
    drawn = np.random.default_rng(0).random(n) < share
    return Column(
        name="lots at equal cost",
        **mixed,
        latency=picked(drawn, cheap.latency, frontier.latency),
        cheap=np.full(n, share),
        asked=np.zeros(n, dtype=bool),
    )


def gated(name: str, accepts: Any, cheap: Column, frontier: Column) -> Column:
    """The cheap model is asked for every row, and its draft served where ``accepts`` (n,) says so."""
    import numpy as np

    return Column(
        name=name,
        quality=np.where(accepts, cheap.quality, frontier.quality),
        cost=cheap.cost + np.where(accepts, 0.0, frontier.cost),
        latency=_after(accepts, cheap.latency, frontier.latency),
        cpu=_after(accepts, cheap.cpu, frontier.cpu),
        cheap=np.asarray(accepts, dtype=float),
        asked=np.ones(len(cheap.cost), dtype=bool),
    )


def routed(name: str, accepts: Any, cheap: Column, frontier: Column) -> Column:
    """One call for every row: the cheap model's where ``accepts`` (n,) says so, else the frontier's."""
    import numpy as np

    return Column(
        name=name,
        quality=np.where(accepts, cheap.quality, frontier.quality),
        cost=np.where(accepts, cheap.cost, frontier.cost),
        latency=picked(accepts, cheap.latency, frontier.latency),
        cpu=picked(accepts, cheap.cpu, frontier.cpu),
        cheap=np.asarray(accepts, dtype=float),
        asked=np.asarray(accepts, dtype=bool),
    )


def oracle(models: Sequence[Column], frontier: Column) -> Column:
    """Knows every outcome beforehand: the cheapest model that is as good as the best, and one call.

    No method can be better at that quality; what it leaves between itself and the others is what a
    better confidence could still save.
    """
    import numpy as np

    everyone = [*models, frontier]
    quality = np.stack([one.quality for one in everyone])
    cost = np.stack([one.cost for one in everyone])
    best = np.where(quality >= quality.max(axis=0), cost, np.inf).argmin(axis=0)
    n = np.arange(len(best))
    return Column(
        name="oracle",
        quality=quality[best, n],
        cost=cost[best, n],
        latency=None if any(one.latency is None for one in everyone) else _stacked(everyone)[best, n],
        cheap=(best < len(models)).astype(float),
        asked=best < len(models),
    )


def whole(values: list[float | None], scale: float) -> Floats | None:
    """A column, or None unless every row has it."""
    import numpy as np

    known = [value for value in values if value is not None]
    return np.array(known) * scale if len(known) == len(values) else None


def picked(accepts: Any, cheap: Any, frontier: Any) -> Any:
    """The one where accepted, else the other; None where either is not known."""
    import numpy as np

    return None if cheap is None or frontier is None else np.where(accepts, cheap, frontier)


def _stacked(columns: Sequence[Column]) -> Any:
    import numpy as np

    return np.stack([column.latency for column in columns])


def _after(accepts: Any, cheap: Any, frontier: Any) -> Any:
    """The one, and the other after it unless accepted; None where either is not known."""
    import numpy as np

    return None if cheap is None or frontier is None else cheap + np.where(accepts, 0.0, frontier)


def _timed(row: Replayed) -> bool:
    """Does every answered call of this row have a recorded latency? One without counts as no time at all."""
    steps = row.decision.steps if row.decision is not None else []
    asked = [row.outcome.models.get(step.tier) for step in steps if step.kind == "call"]
    return all(model is None or model.latency_ms is not None for model in asked)


def _drafted(row: Replayed, last: str) -> bool:
    """Was a cheap tier called for this row?"""
    steps = row.decision.steps if row.decision is not None else []
    return any(step.kind == "call" and step.tier != last for step in steps)
