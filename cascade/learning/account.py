"""What a calibration found out, told from rows that no step of it has seen.

The held-out rows go through the real flow under the new lock (``cascade.replay``), and every figure
here is of what came out: served share, errors, cost with every wasted cheap call in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cascade.compare import Comparison, Strategy, compare
from cascade.economics import CallCosts, break_even
from cascade.embedding import Embedder
from cascade.errors import ConfigError
from cascade.evidence import BreakEven, Choice, Evidence, NextLabels, Saving, SliceLine, Stratum, WrongRow
from cascade.gates import Gates
from cascade.intents import fit_intents
from cascade.intervals import Figure
from cascade.ladder import Ladder
from cascade.learning.calibrate import Learned
from cascade.learning.path import bounded
from cascade.learning.reliability import reliability
from cascade.learning.rows import Rows
from cascade.learning.scores import scores_of, skipped
from cascade.lock import Lock
from cascade.policy import Policy
from cascade.promise import verdict
from cascade.replay import Replayed, replay
from cascade.run import Rules
from cascade.types import RIGHT, ModelOutcome

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SHOWN_WRONG = 30
CURVE = 40
HALF = 0.5
"""Counts of right and wrong give whole sums; a sum that is off by more comes of grades."""


def account(
    learned: Learned, policy: Policy, *, embedder: Embedder | None = None, without: dict[str, Learned] | None = None
) -> Evidence:
    """The evidence of a calibration, for a report.

    ``without`` are calibrations of the same rows under fewer signal sets, by a name for people
    (``without log-probabilities``); their savings stand beside the chosen one's.
    """
    replayed = replay_test(learned, policy, embedder)
    whole = _compared(replayed, policy)
    target = policy.target
    certificates = learned.lock.certificates
    return Evidence(
        policy=policy.name,
        kind=target.kind,
        level=target.level,
        status=learned.status,
        statement=verdict(learned.lock),
        target=f"max_{target.kind} {target.level:g} with confidence {target.confidence:g}",
        issued_at=certificates[0].issued_at if certificates else learned.at,
        judges=learned.judges,
        rows=learned.rows,
        strata=[_bounded(stratum, policy) for stratum in learned.strata],
        contest=learned.contestants,
        refused_signals=learned.refused,
        reliability=reliability(learned.test, learned.lock.scorers, policy),
        choices=choices(learned, policy),
        slices=_slices(replayed, learned, policy),
        savings=_savings(whole, learned, policy, without or {}, embedder),
        break_even=_break_even(whole, learned.test, policy),
        confidently_wrong=_wrong(replayed, policy),
        next_labels=_next(learned),
        left_out=learned.left_out,
        notes=[
            *learned.lock.notes,
            *(c.truth for c in certificates[:1]),
            *(c.conflict for c in certificates[:1] if c.conflict),
        ],
    )


def _bounded(stratum: Stratum, policy: Policy) -> Stratum:
    """The stratum with the bound of every candidate, for its picture."""
    graded = any(abs(point.risk * point.n - point.bad + point.better) > HALF for point in stratum.path if point.n)
    kind_graded = graded and policy.target.kind == "regret"
    path = [bounded(point, policy.target, stratum.delta, graded=kind_graded) for point in stratum.path]
    return replace(stratum, path=path)


def replay_test(learned: Learned, policy: Policy, embedder: Embedder | None = None) -> list[Replayed]:
    """The held-out rows through the flow, as if every request were enforced."""
    return list(replay(learned.test.outcomes, rules_under(policy, learned.lock, embedder), embedder))


def rules_under(policy: Policy, lock: Lock, embedder: Embedder | None = None) -> Rules:
    """The policy as it decides where every request is enforced, under this lock, at recorded prices."""
    enforced = policy.model_copy(update={"mode": "enforce", "rollout": 100.0})
    return Rules(
        policy=enforced,
        gates=Gates(enforced, lock, embedder=embedder.name if embedder is not None else None),
        ladder=Ladder(enforced, priced=False),
        intents=fit_intents(enforced, embedder) if embedder is not None else None,
    )


def _compared(replayed: list[Replayed], policy: Policy) -> Comparison | None:
    """None where no row has the prices and labels that a comparison needs."""
    try:
        return compare(replayed, policy)
    except ConfigError:
        return None


def strategy(found: Comparison | None, name: str) -> Strategy | None:
    """One line of a comparison."""
    return next((one for one in found.strategies if one.name == name), None) if found is not None else None


def _savings(
    whole: Comparison | None, learned: Learned, policy: Policy, without: dict[str, Learned], embedder: Embedder | None
) -> list[Saving]:
    sets = " or ".join("+".join(sorted(families)) for families in policy.signals.sets)
    found = [_saving(sets, whole, learned)]
    for name, other in without.items():
        narrowed = policy.model_copy(update={"signals": policy.signals.model_copy(update={"sets": other.sets})})
        found.append(_saving(name, _compared(replay_test(other, narrowed, embedder), narrowed), other))
    return [one for one in found if one is not None]


def _saving(name: str, found: Comparison | None, learned: Learned) -> Saving | None:
    cascade = strategy(found, "cascade")
    if cascade is None:
        return None
    return Saving(
        signals=name,
        served=cascade.accept_rate,
        saving=cascade.saving,
        quality_delta=cascade.quality_delta,
        certified=learned.status == "certified",
    )


def choices(learned: Learned, policy: Policy) -> list[Choice]:
    """Cost against quality along the path, where one population has it to itself."""
    import numpy as np

    rows = learned.test
    if len(learned.strata) != 1 or not learned.strata[0].path or not len(rows):
        return []
    scores = scores_of(rows, learned.lock.scorers, learned.lock.scouts, learned.lock.gates, policy)
    usable = np.isfinite(rows.cost).all(axis=0) & np.isfinite(rows.quality).all(axis=0)
    if not usable.any() or not rows.cost[-1, usable].sum() > 0:
        return []
    stratum = learned.strata[0]
    places = {int(place) for place in np.linspace(0, len(stratum.path) - 1, CURVE)}
    if stratum.chosen is not None:
        places.add(stratum.chosen)
    asked = ~skipped(rows, learned.lock.scouts, policy)
    paid = np.cumsum(np.where(asked, np.nan_to_num(rows.cost[:-1]), 0.0), axis=0)
    columns = (scores[:, usable], rows.quality[:, usable], paid[:, usable], rows.cost[-1, usable])
    lines = [_choice(stratum.path[i].threshold, *columns, chosen=i == stratum.chosen) for i in sorted(places)]
    return [Choice(threshold=None, served=0.0, saving=0.0, quality_delta=0.0), *lines]


def _choice(
    threshold: float, scores: Floats, quality: Floats, paid: Floats, frontier: Floats, *, chosen: bool
) -> Choice:
    """Every cheap tier up to the one that serves is paid, and the last one where none does."""
    import numpy as np

    passed = scores >= threshold
    served = passed.any(axis=0)
    first = np.where(served, passed.argmax(axis=0), scores.shape[0])
    n = np.arange(scores.shape[1])
    spent = np.where(served, paid[np.minimum(first, scores.shape[0] - 1), n], paid[-1] + frontier)
    got = quality[first, n]
    return Choice(
        threshold=threshold,
        served=float(served.mean()),
        saving=float(1 - spent.sum() / frontier.sum()),
        quality_delta=float((got - quality[-1]).mean()),
        chosen=chosen,
    )


def _slices(replayed: list[Replayed], learned: Learned, policy: Policy) -> list[SliceLine]:
    lines = []
    for name in sorted(set(learned.test.slices)):
        some = [row for row, where in zip(replayed, learned.test.slices, strict=True) if where == name]
        cascade = strategy(_compared(some, policy), "cascade")
        lines.append(
            SliceLine(
                name=name,
                rows=len(some),
                served=cascade.accept_rate if cascade is not None else Figure(estimate=float("nan")),
                wrong=cascade.accepted_error if cascade is not None else None,
                saving=cascade.saving if cascade is not None else None,
                quality_delta=cascade.quality_delta if cascade is not None else None,
                covered=covered(name, learned),
            )
        )
    return lines


def covered(name: str, learned: Learned) -> str:
    """Which promise speaks about a slice: its own, a pooled one, or none."""
    for stratum in learned.strata:
        if name in stratum.slices:
            if stratum.chosen is None or learned.status == "refused":
                return "closed"
            return "its own promise" if stratum.slices == [name] else "the pooled promise only"
    return "closed"


def _break_even(whole: Comparison | None, rows: Rows, policy: Policy) -> BreakEven | None:
    """The share served cheap from which it pays, and whether the held-out rows reach it.

    It is the saving net of audits that decides, with every tier's cost in it; the formula's accept
    rate is for people, and exact for one cheap tier.
    """
    import numpy as np

    cascade, frontier = strategy(whole, "cascade"), strategy(whole, "always-frontier")
    if cascade is None or frontier is None:
        return None
    mean = np.nanmean(rows.cost, axis=1)
    verdicts = [v.cost for row in rows.outcomes for m in row.models.values() for v in m.verdicts if v.cost is not None]
    judge = float(np.mean(verdicts)) if verdicts else float(mean[-1])
    audit = policy.audit.accepted
    costs = CallCosts(cheap=float(mean[:-1].sum()), frontier=float(mean[-1]), judge=judge, extra=0.0)
    needed = break_even(costs, audit, policy.audit.escalated)
    share = cascade.accept_rate.estimate
    audits = share * audit * (mean[-1] + judge) + (1 - share) * policy.audit.escalated * judge
    low, high = ((end or 0.0) * frontier.cost.estimate - audits for end in (cascade.saving.low, cascade.saving.high))
    return BreakEven(
        needed=needed,
        reached=cascade.accept_rate,
        pays="pays" if low > 0 else "does not pay" if high <= 0 and share > 0 else "cannot tell yet",
        audit_rate=audit,
        cost_cheap=costs.cheap,
        cost_frontier=costs.frontier,
        cost_judge=judge,
    )


def _wrong(replayed: Iterable[Replayed], policy: Policy) -> list[WrongRow]:
    """Held-out answers that would be served cheap and are not acceptable, the surest first."""
    found = []
    for row in replayed:
        decision = row.decision
        if decision is None or decision.served_by == policy.last.name or row.quality is None or row.quality >= RIGHT:
            continue
        confidence = decision.confidence.probability if decision.confidence is not None else float("nan")
        models = row.outcome.models
        found.append(
            WrongRow(
                id=row.outcome.id,
                slice=decision.slice,
                tier=decision.served_by,
                confidence=confidence,
                question=row.outcome.query or _last_turn(row),
                answer=models[decision.served_by].answer or "",
                reference="" if row.outcome.reference is None else str(row.outcome.reference),
                frontier=models.get(policy.last.name, ModelOutcome()).answer or "",
            )
        )
    return sorted(found, key=lambda row: -row.confidence)[:SHOWN_WRONG]


def _last_turn(row: Replayed) -> str:
    from cascade.replay import request_of

    return request_of(row.outcome).question


def _next(learned: Learned) -> list[NextLabels]:
    """What to label next: for each population without a promise, as many rows as it is missing."""
    import numpy as np

    rows = learned.test
    one = float(np.nansum(np.nanmean(rows.cost, axis=1))) if len(rows) and np.isfinite(rows.cost).any() else None
    return [
        NextLabels(
            stratum=stratum.name,
            rows=stratum.missing_labels,
            cost=None if one is None else one * stratum.missing_labels,
            why="if the rates stay as they are, about so many more rows drawn at random would certify it",
        )
        for stratum in learned.strata
        if stratum.chosen is None and stratum.missing_labels is not None
    ]
