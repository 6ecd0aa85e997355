"""What a policy would have done with recorded traffic, gathered one replayed row after another.

Only rows of which everything that the policy would have asked for is recorded are told about; the rest
is counted, by what is missing. A saving against always-frontier needs the frontier's answer to every
request that stands in it: traffic that a gate has enforced seldom has it where a cheap answer was
served, and what nobody asked for is not extrapolated.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from typing import TYPE_CHECKING, Literal

from cascade.intervals import Z95, Figure, paired_difference
from cascade.learning.drawn import CERTIFY, FIT, ONE_SIDED, answered, gated, one_sided, propensity
from cascade.prices import Price, cost
from cascade.replay import Replayed, Spent
from cascade.run import Rules
from cascade.types import Outcome, Record, Usage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NOT_RECORDED = "not recorded"
"""Who served a request, where the row has no decision."""

FAILED = "nobody"
"""Who served a request that failed."""

UNASKED = "the last tier's answer, or its cost, is not recorded"
IN_SAMPLE = "of split fit or certify, which locks are made from"
UNDRAWN = "no coin drew the missing tiers' answers, so the row stands for no other"


class Told(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One request, as it was and as it would have been; costs in dollars, latency in seconds.

    ``missing`` names what is not recorded: what is told of ``now`` is then no prediction.
    """

    id: str
    slice: str
    at: float | None
    then: str
    now: str
    served: str
    why: str
    cost_then: float | None
    cost: float
    cost_known: bool
    latency_then: float | None
    latency: float
    quality: float | None
    missing: list[str]
    error: str


class Change(Record, frozen=True, kw_only=True, omit_defaults=False):
    """A request that another tier would have answered, and why."""

    id: str
    slice: str
    then: str
    now: str
    why: str


class Latency(Record, frozen=True, kw_only=True):
    """Seconds of a request, all its calls together."""

    mean: float
    p50: float
    p95: float
    p99: float


class Side(Record, frozen=True, kw_only=True):
    """One side of the comparison, over the same ``rows``; ``cost`` in dollars for all of them.

    ``unpriced`` counts rows of which some step's cost is not known and counts as nothing here.
    """

    rows: int
    cost: float
    unpriced: int
    latency: Latency | None


class Against(Record, frozen=True, kw_only=True, omit_defaults=False):
    """A figure against always-frontier over ``rows``, or ``why`` there is none; ``left_out`` by reason."""

    rows: int
    figure: Figure | None
    why: str
    left_out: dict[str, int]


class Hindsight(Record, frozen=True, kw_only=True, omit_defaults=False):
    """All of it. ``flow`` counts rows by who served them then, and now; ``left_out`` those that cannot be told of."""

    policy: str
    requests: int
    replayed: int
    left_out: dict[str, int]
    flow: dict[str, dict[str, int]]
    then: Side | None
    now: Side
    spent: Spent
    saving: Against
    quality: Against
    changed: int
    changes: list[Change]


def told(row: Replayed) -> Told:
    """One replayed row, for a file of them."""
    was, now = row.outcome.decision, row.decision
    return Told(
        id=row.outcome.id,
        slice=now.slice if now is not None else row.outcome.slice,
        at=was.at if was is not None else None,
        then=_then(row.outcome),
        now=_now(row),
        served=now.served if now is not None else "failed",
        why=now.why if now is not None else row.error,
        cost_then=was.cost if was is not None else None,
        cost=row.cost,
        cost_known=row.cost_known,
        latency_then=_seconds(row.outcome),
        latency=row.latency,
        quality=row.quality,
        missing=row.missing,
        error=row.error,
    )


class Gathering:
    """Takes replayed rows one by one and keeps no more of each than a few numbers.

    ``shown`` is how many changes are listed by name.
    """

    def __init__(self, rules: Rules, *, reprice: bool = False, shown: int = 10) -> None:
        self._policy = rules.policy
        self._tiers = [tier.name for tier in rules.policy.tiers]
        self._cheap = [source.name for source in rules.policy.sources]
        last = rules.policy.last
        self._price = rules.ladder.endpoint(last, last).price if reprice else None
        self._reprice, self._shown = reprice, shown
        self._requests = self._changed = 0
        self._left: dict[str, int] = defaultdict(int)
        self._flow: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._sides = {"then": _Sums(), "now": _Sums()}
        self._spent = dict.fromkeys(Spent.__struct_fields__, 0.0)
        self._saving, self._quality = _Pairs(self._cheap), _Pairs(self._cheap)
        self._changes: list[Change] = []

    def add(self, row: Replayed) -> None:
        """Count one row."""
        self._requests += 1
        self._saving.heard_of(row.outcome)
        self._quality.heard_of(row.outcome)
        for reason in row.missing[:1]:
            self._left[f"{reason} is not recorded"] += 1
        if row.missing:
            return
        was, now = row.outcome.decision, _now(row)
        self._flow[_then(row.outcome)][now] += 1
        self._sides["now"].add(row.cost, row.cost_known, row.latency)
        if was is not None:
            self._sides["then"].add(was.cost, was.cost_known, _seconds(row.outcome) or 0.0)
        spent = row.spent
        for name in self._spent:
            self._spent[name] += getattr(spent, name)
        if was is not None and _then(row.outcome) != now:
            self._change(row, now)
        if not row.error:
            self._compare(row)

    def found(self) -> Hindsight:
        """What all rows together say."""
        then, now = (self._sides[name].side() for name in ("then", "now"))
        return Hindsight(
            policy=self._policy.name,
            requests=self._requests,
            replayed=now.rows,
            left_out=dict(self._left),
            flow={was: dict(row) for was, row in self._flow.items()},
            then=then if then.rows else None,
            now=now,
            spent=Spent(**self._spent),
            saving=self._saving.against("saving"),
            quality=self._quality.against("difference"),
            changed=self._changed,
            changes=self._changes,
        )

    def _change(self, row: Replayed, now: str) -> None:
        self._changed += 1
        if len(self._changes) < self._shown:
            one = told(row)
            self._changes.append(Change(id=one.id, slice=one.slice, then=one.then, now=now, why=one.why))

    def _compare(self, row: Replayed) -> None:
        """Beside what the last tier would have cost, and how good it would have been, where that is recorded."""
        outcome, last = row.outcome, self._policy.last.name
        if outcome.split in (FIT, CERTIFY):
            self._saving.left[IN_SAMPLE] += 1
            self._quality.left[IN_SAMPLE] += 1
            return
        dear = self._frontier(outcome)
        if dear is None or not row.cost_known:
            self._saving.left[UNASKED if dear is None else "the cost of some step is not known"] += 1
        else:
            self._saving.add(outcome, row.cost, dear, answered(outcome, self._tiers))
        model = outcome.models.get(last)
        theirs = model.quality if model is not None else None
        if row.quality is None or theirs is None:
            who = "what would have been served" if row.quality is None else "the last tier's answer"
            self._quality.left[f"{who} was never judged"] += 1
        else:
            served = row.decision.served_by if row.decision is not None else last
            drawn = propensity(outcome, [served, last], self._policy.audit.salt)
            self._quality.add(outcome, row.quality, theirs, drawn)

    def _frontier(self, outcome: Outcome) -> float | None:
        model = outcome.models.get(self._policy.last.name)
        if model is None or not self._reprice:
            return model.cost if model is not None else None
        if self._price is None or model.prompt_tokens is None or model.completion_tokens is None:
            return None
        cached = model.cached_prompt_tokens or 0
        usage = Usage(
            prompt_tokens=model.prompt_tokens, completion_tokens=model.completion_tokens, cached_tokens=cached
        )
        return cost(usage, Price(*self._price))


class _Sums:
    """One side's sums; of latencies, eight bytes a row."""

    def __init__(self) -> None:
        self._cost, self._unpriced, self._seconds = 0.0, 0, array("d")

    def add(self, dollars: float, known: bool, seconds: float) -> None:
        self._cost += dollars
        self._unpriced += not known
        self._seconds.append(seconds)

    def side(self) -> Side:
        import numpy as np

        rows, latency = len(self._seconds), None
        if rows:
            seconds = np.frombuffer(self._seconds)
            p50, p95, p99 = map(float, np.quantile(seconds, (0.5, 0.95, 0.99)))
            latency = Latency(mean=float(seconds.mean()), p50=p50, p95=p95, p99=p99)
        return Side(rows=rows, cost=self._cost, unpriced=self._unpriced, latency=latency)


class _Pairs:
    """What the policy does beside what the last tier does, on the same rows, each weighed by one over the
    probability with which it got both: twenty-four bytes a row.
    """

    def __init__(self, cheap: list[str]) -> None:
        self._cheap = cheap
        self._ours, self._theirs, self._weights = array("d"), array("d"), array("d")
        self._complete: dict[str, Outcome] = {}
        self._gated: dict[str, Outcome] = {}
        self.left: dict[str, int] = defaultdict(int)

    def heard_of(self, outcome: Outcome) -> None:
        """Remember one row of each side of the gates, whether or not it can be compared."""
        decision = outcome.decision
        if decision is not None and decision.served_by not in self._gated and gated(outcome, self._cheap):
            self._gated[decision.served_by] = outcome

    def add(self, outcome: Outcome, ours: float, theirs: float, probability: float) -> None:
        if probability <= 0.0:
            self.left[UNDRAWN] += 1
            return
        decision = outcome.decision
        if decision is not None and decision.served_by not in self._complete and gated(outcome, self._cheap):
            self._complete[decision.served_by] = outcome
        self._ours.append(ours)
        self._theirs.append(theirs)
        self._weights.append(1.0 / probability)

    def against(self, kind: Literal["saving", "difference"]) -> Against:
        import numpy as np

        left, rows = dict(self.left), len(self._ours)
        if not rows:
            return Against(rows=0, figure=None, why="no row has both sides", left_out=left)
        if one_sided(self._complete.values(), self._gated.values(), self._cheap) or self._unheard():
            return Against(rows=rows, figure=None, why=ONE_SIDED, left_out=left)
        columns = (np.frombuffer(column) for column in (self._ours, self._theirs, self._weights))
        figure = saving(*columns) if kind == "saving" else difference(*columns)
        why = "" if figure is not None else "the last tier's answers cost nothing"
        return Against(rows=rows, figure=figure, why=why, left_out=left)

    def _unheard(self) -> bool:
        """Has no gated row both sides, while a gate ruled on some?"""
        return bool(self._gated) and not self._complete


def saving(ours: Floats, theirs: Floats, weights: Floats) -> Figure | None:
    """1 - sum(w ours) / sum(w theirs), its interval by linearisation; None where the denominator is nothing.

    Source: Cochran, Sampling Techniques (1977), section 6.3; rows are taken as independent. A bootstrap
    over a million rows was the alternative, at 2,000 numbers a row.
    """
    total = float(weights @ theirs)
    if not total > 0.0:
        return None
    ratio = float(weights @ ours) / total
    return _about(1.0 - ratio, weights * (ours - ratio * theirs) / total)


def difference(ours: Floats, theirs: Floats, weights: Floats) -> Figure:
    """Weighted mean of ours - theirs; Bonett-Price where every row counts the same and is right or wrong."""
    import numpy as np

    even = bool((weights == weights[0]).all())
    if even and np.isin(ours, (0.0, 1.0)).all() and np.isin(theirs, (0.0, 1.0)).all():
        return paired_difference(ours, theirs)
    total = float(weights.sum())
    mean = float(weights @ (ours - theirs)) / total
    return _about(mean, weights * (ours - theirs - mean) / total)


def _about(estimate: float, parts: Floats) -> Figure:
    """The estimate with the 95 % interval of a sum of independent parts around it."""
    rows = len(parts)
    if rows < 2:
        return Figure(estimate=estimate)
    half = Z95 * float((rows / (rows - 1) * (parts @ parts)) ** 0.5)
    return Figure(estimate=estimate, low=estimate - half, high=estimate + half)


def _then(outcome: Outcome) -> str:
    if outcome.decision is None:
        return NOT_RECORDED
    return outcome.decision.served_by or FAILED


def _now(row: Replayed) -> str:
    return row.decision.served_by if row.decision is not None else FAILED


def _seconds(outcome: Outcome) -> float | None:
    """How long the request took: steps one after another, but signals of one draft together."""
    if outcome.decision is None:
        return None
    total = together = 0.0
    for step in outcome.decision.steps:
        if step.kind == "signal":
            together = max(together, step.latency)
        else:
            total, together = total + together + step.latency, 0.0
    return total + together
