"""Where the money goes, and whether the cascade pays: every part counted once, in dollars a request."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cascade.bench.document import Pays, Verdict, Waterfall
from cascade.bench.field import Field, Measured
from cascade.columns import Column
from cascade.economics import CallCosts, break_even
from cascade.intervals import Figure, proportion
from cascade.metrics import Spend, least_price_ratio
from cascade.types import Outcome

if TYPE_CHECKING:
    from cascade.learning.rows import Rows


def judge_cost(outcomes: Sequence[Outcome]) -> float | None:
    """Mean dollars of a recorded verdict; None where no verdict says what it cost."""
    known = [v.cost for row in outcomes for m in row.models.values() for v in m.verdicts if v.cost is not None]
    return fmean(known) if known else None


def label_cost(rows: Rows, judge: float | None) -> float | None:
    """Dollars that the labels of a calibration cost: an answer of every tier, and a verdict on each.

    None where some answer's cost is not known. A stored answer costs its verdict alone.
    """
    import numpy as np

    if not len(rows) or not np.isfinite(rows.cost).all():
        return None
    return float(rows.cost.sum()) + (judge or 0.0) * float(np.isfinite(rows.quality).sum())


def waterfall(measured: Measured, field: Field, labels: float | None) -> Waterfall:
    """From always-frontier to the cascade; the cascade's cost is the sum of the parts."""
    ours, frontier = measured.cascade, measured.frontier
    parts = [row.spent for row in measured.rows]
    spent = {name: fmean(getattr(part, name) for part in parts) for name in ("wasted", "extras", "embedding")}
    last = fmean(part.frontier for part in parts)
    audits = 0.0 if ours.aside is None else float(ours.aside.mean())
    spread = labels / field.prices.requests if labels is not None and field.prices.requests else 0.0
    total = float(ours.cost.mean())
    return Waterfall(
        frontier=float(frontier.cost.mean()),
        avoided=float(frontier.cost.mean()) - last,
        served=total - last - sum(spent.values()),
        **spent,
        audits=audits,
        labels=spread,
        cascade=total + audits + spread,
    )


def verdict(measured: Measured, field: Field, labels: float | None) -> Verdict:
    """Does it pay, from which accept rate on, and at which ratio of prices does it stop?"""
    ours, frontier = measured.cascade, measured.frontier
    falls = waterfall(measured, field, labels)
    saving = measured.table.boot.saving(ours.spent + falls.labels, frontier.cost)
    call = float(measured.cheap.cost.mean())
    asked = max(float((ours.asked | (ours.cheap == 1.0)).mean()), 1e-12)
    extra = (falls.served + falls.wasted + falls.extras) / asked - call
    audit = field.policy.audit
    costs = CallCosts(cheap=call, frontier=falls.frontier, judge=field.prices.judge or 0.0, extra=max(extra, 0.0))
    accept = proportion(int(ours.cheap.sum()), len(ours.cheap))
    needed = break_even(costs, audit.accepted, audit.escalated)
    before_labels = falls.frontier - (falls.cascade - falls.labels)
    return Verdict(
        pays=pays(saving, accept.estimate),
        sentence=_sentence(saving, measured, accept, needed, "audits and labels" if falls.labels else "audits"),
        saving=saving,
        break_even=needed,
        accept_rate=accept,
        price_ratio=falls.frontier / call if call else None,
        least_price_ratio=least_price_ratio(_spend(measured, field, falls, call)),
        labels=labels,
        payback=labels / before_labels if labels is not None and before_labels > 0 else None,
        judge_cost=field.prices.judge,
    )


def pays(saving: Figure, accepted: float) -> Pays:
    """By the interval: an estimate above zero that might as well be below is no answer."""
    if saving.low is not None and saving.low > 0.0:
        return "pays"
    if accepted == 0.0 or (saving.high is not None and saving.high <= 0.0):
        return "does not pay"
    return "cannot tell yet"


def flattering(measured: Measured) -> Column:
    """The cascade as it would look if drafts that were thrown away had been free."""
    import numpy as np

    wasted = np.array([row.spent.wasted for row in measured.rows])
    return replace(measured.cascade, cost=measured.cascade.cost - wasted, aside=None)


def _spend(measured: Measured, field: Field, falls: Waterfall, call: float) -> Spend:
    """The waterfall by what scales with the last tier's prices."""
    audit, judge = field.policy.audit, field.prices.judge or 0.0
    cheap = float(measured.cascade.cheap.mean())
    judged = judge * (cheap * audit.accepted + (1.0 - cheap) * audit.escalated)
    return Spend(
        frontier=falls.frontier,
        call=call,
        fixed=falls.served + falls.wasted + falls.extras + falls.embedding,
        escalated=falls.frontier - falls.avoided,
        audited=falls.audits - judged,
        judged=judged,
    )


def _sentence(saving: Figure, measured: Measured, accept: Figure, needed: float | None, counted: str) -> str:
    word = pays(saving, accept.estimate)
    least = "no accept rate would pay at these prices" if needed is None else f"it pays from {_percent(needed)} % on"
    served = f"{_percent(accept.estimate)} % are served without the frontier; {least}"
    if accept.estimate == 0.0:
        return f"This cascade does not pay: it serves nothing without the frontier ({least})."
    between = f"{_percent(saving.estimate)} % ({_percent(saving.low)} to {_percent(saving.high)})"
    delta = measured.table.delta(measured.cascade)
    quality = f"{delta.estimate * 100:+.1f} points of quality ({delta.low * 100:+.1f} to {delta.high * 100:+.1f})"
    if word == "pays":
        return f"This cascade pays: {between} of the cost is saved, {counted} included, for {quality}. {served}."
    if word == "does not pay":
        return f"This cascade does not pay: {between} of the cost is saved, {counted} included. {served}."
    return f"Whether this cascade pays cannot be told yet from these rows: {between} is saved. {served}."


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{share * 100:.1f}"
