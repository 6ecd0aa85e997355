"""Does it pay? Three answers, and for the third how many labels it would take and what they cost.

It *pays* where a promise is certified and the saving's lower limit is above what audits cost. It *does
not pay* where the evidence says so: no share served cheap would cover the cheap calls and the audits; the
cheap model is right too seldom for any scorer; or every threshold of a well-fed scorer that would serve
enough is refuted, its risk being above the target with confidence. All of them being refuted, the best
one is, so no correction for looking at many is due. Else nobody can tell yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil, log, sqrt
from typing import Literal

from msgspec.structs import replace

from cascade.economics import CallCosts, break_even
from cascade.evidence import BreakEven, PathPoint, Stratum
from cascade.exact import lower_limit, rows_with_power, upper_limit
from cascade.intervals import proportion
from cascade.learning.drawn import CERTIFY, FIT, SHARES, TEST
from cascade.paired import paired_lower
from cascade.policy import Policy
from cascade.types import Record

Word = Literal["pays", "does not pay", "cannot tell yet"]

HOPE, POWER = 0.5, 0.8
"""A true risk of this share of the target is told, with this chance, by as many rows as are asked for."""

LEAST_FIT = 20
"""Judged answers without which no scorer is fitted at all."""

ENOUGH_FIT = 100
"""Judged answers to fit on from which a refuted scorer is taken for what it is; one of fewer may get better."""

STEP, FAR = 1.25, 1000.0
"""Numbers of labels are sought in steps of a quarter, up to a thousand times as many as there are."""


class Conclusion(Record, frozen=True, kw_only=True):
    """The verdict. ``labels`` are further prompts, recorded and judged, after which it will probably be
    told, and ``cost`` their dollars; both None unless it cannot be told yet, or where no affordable
    number would do. ``why`` is a sentence.
    """

    word: Word
    why: str
    labels: int | None = None
    cost: float | None = None

    @property
    def headline(self) -> str:
        """The first line of everything: ``cannot tell yet: 214 labels, $1.90``."""
        if self.labels is None:
            return self.word
        return f"{self.word}: {self.labels:,} labels, {dollars(self.cost or 0.0)}"


def dollars(amount: float) -> str:
    """``$1.90``; with as many digits as a small amount needs."""
    return f"${amount:,.2f}" if amount >= 0.1 or not amount else f"${amount:.2g}"


def needed_share(costs: CallCosts, policy: Policy) -> float | None:
    """The share served cheap from which the policy's cascade pays, its audits included; None if none does."""
    return break_even(costs, policy.audit.accepted, policy.audit.escalated)


def conclude(
    strata: list[Stratum],
    found: BreakEven | None,
    rows: dict[str, int],
    policy: Policy,
    costs: CallCosts,
    *,
    judged: int = 0,
    bad: int = 0,
) -> Conclusion:
    """The verdict on a calibration: its strata, its break-even on held-out rows, and rows by split.

    ``costs`` are dollars of one call each, ``costs.label`` those of one more label. Of ``judged`` cheap
    answers ``bad`` count against the target.
    """
    needed = needed_share(costs, policy)
    if needed is None:
        return Conclusion(
            word="does not pay",
            why="even if every cheap answer were served, the cheap calls and the audits would cost what the "
            "frontier does",
        )
    if any(stratum.chosen is not None and not stratum.refusal for stratum in strata):
        return _certified(found, needed, rows, costs)
    doubted = next((stratum.refusal for stratum in strata if stratum.chosen is not None), "")
    if doubted:  # held-out rows contradict it, or the judge is no witness: more of the same labels do not help
        return _told_later(doubted, None, costs)
    if (at_best := _at_best(judged, bad, policy)) < needed:
        return Conclusion(
            word="does not pay",
            why=f"at most {at_best:.1%} of the prompts could be served cheap however well bad answers were told from "
            f"good ones, {needed:.1%} are needed to pay",
        )
    open_ = [stratum for stratum in strata if not _refuted(stratum.path, stratum.rows, needed, policy)]
    if strata and not open_:
        return _refused(needed, rows, costs)
    counts = [count for one in open_ if (count := _missing(one, needed, rows, policy)) is not None]
    return _more(min(counts, default=None), rows, policy, costs)


def unfitted(judged: int, bad: int, rows: dict[str, int], policy: Policy, costs: CallCosts, why: str) -> Conclusion:
    """The verdict where nothing could be fitted: ``why``, unless no scorer whatever would make it pay."""
    found = conclude([], None, rows, policy, costs, judged=judged, bad=bad)
    if found.word == "does not pay":
        return found
    return replace(_more(None, rows, policy, costs, least=ceil(LEAST_FIT / dict(SHARES)[FIT])), why=why)


def _at_best(judged: int, bad: int, policy: Policy) -> float:
    """Upper limit of the share that the best of all scorers would serve cheap.

    It serves the good answers, and as many bad ones as the target allows.
    """
    target = policy.target
    good = upper_limit(judged - bad, judged, 1.0 - target.confidence)
    return good / (1.0 - target.level) if target.kind == "error" else good + target.level


def _refused(needed: float, rows: dict[str, int], costs: CallCosts) -> Conclusion:
    """The verdict where every threshold that would pay is refuted, which speaks of this scorer alone."""
    fitted = rows.get(FIT, 0)
    bad = f"wherever enough were served cheap to pay ({needed:.1%}), too many of the answers are bad"
    if fitted >= ENOUGH_FIT:
        return Conclusion(word="does not pay", why=bad)
    why = f"{bad}, but {fitted} prompts are few to learn from which those are: {ENOUGH_FIT} are enough"
    return _told_later(why, ceil((ENOUGH_FIT - fitted) / dict(SHARES)[FIT]), costs)


def _certified(found: BreakEven | None, needed: float, rows: dict[str, int], costs: CallCosts) -> Conclusion:
    held_out = rows.get(TEST, 0)
    if found is None or not held_out:
        return _told_later("a promise is certified, but no held-out row says what it saves", 1, costs)
    share = f"{found.reached.estimate:.1%} of held-out prompts are served cheap, {needed:.1%} are needed to pay"
    if found.pays == "pays":
        return Conclusion(word="pays", why=share)
    if found.pays == "does not pay":
        return Conclusion(word="does not pay", why=share)
    good = found.reached.estimate * held_out

    def apart(factor: float) -> bool:
        figure = proportion(round(good * factor), round(held_out * factor))
        return bool(figure.low is not None and figure.high is not None and not figure.low <= needed <= figure.high)

    factor = _factor(apart)
    labels = None if factor is None else ceil(held_out * (factor - 1) / dict(SHARES)[TEST])
    return _told_later(f"{share}, which is too near to be told apart", labels, costs)


def _told_later(why: str, labels: int | None, costs: CallCosts) -> Conclusion:
    cost = None if labels is None else labels * costs.label
    return Conclusion(word="cannot tell yet", why=why, labels=labels, cost=cost)


def _more(found: int | None, rows: dict[str, int], policy: Policy, costs: CallCosts, least: int = 0) -> Conclusion:
    """So many certification rows more, or as many as tell a model that is as good as one may hope.

    Of few rows the rates are so uncertain that what would follow if they stayed is a number from nowhere:
    it counts where it is the smaller one. ``least`` is how many rows there have to be in all.
    """
    have, share = rows.get(CERTIFY, 0), dict(SHARES)[CERTIFY]
    target = policy.target
    hoped = rows_with_power(target.level, target.level * HOPE, (1.0 - target.confidence) / target.refits, POWER)
    counts = [count for count in (found, None if hoped is None else hoped - have) if count is not None and count > 0]
    missing = min(counts, default=None)
    if missing is None:
        return _told_later("at these rates no affordable number of labels would tell", None, costs)
    missing = max(missing, ceil(have * (STEP - 1)))  # a few rows more would only be another throw of the dice
    why = (
        f"nothing is certified and nothing is refuted; about {missing:,} more prompts to certify on would tell, and in "
        "proportion to them some to fit and some to check with"
    )
    return _told_later(why, max(ceil(missing / share), least - sum(rows.values())), costs)


def _missing(stratum: Stratum, needed: float, rows: dict[str, int], policy: Policy) -> int | None:
    """Certification rows after which it is certified or refuted, if the rates stay as they are.

    For refuting, the scorer needs its rows too, of which as many are dealt out.
    """
    within = any(_could_pay(p, stratum.rows, needed, FAR) and p.risk <= policy.target.level for p in stratum.path)
    factor = None if within else _factor(lambda n: _refuted(stratum.path, stratum.rows, needed, policy, n))
    refuting = None if factor is None else max(ceil(stratum.rows * (factor - 1)), ENOUGH_FIT - rows.get(FIT, 0))
    known = [count for count in (stratum.missing_labels, refuting) if count is not None]
    return min(known, default=None)


def _factor(holds: Callable[[float], bool]) -> float | None:
    """The first multiple of the rows there are at which this holds; None where none up to ``FAR`` does."""
    factor = 1.0
    while factor < FAR:
        factor *= STEP
        if holds(factor):
            return factor
    return None


def _refuted(path: Iterable[PathPoint], rows: int, needed: float, policy: Policy, times: float = 1.0) -> bool:
    """Is the risk of every threshold that could pay above the target, with the target's confidence?

    ``times`` as many rows with the same rates are looked at.
    """
    paying = [point for point in path if _could_pay(point, rows, needed, times)]
    asked = any(point.n for point in path)
    return asked and all(_lowest(point, policy, times) > policy.target.level for point in paying)


def _could_pay(point: PathPoint, rows: int, needed: float, times: float) -> bool:
    high = proportion(round(point.served * rows * times), max(round(rows * times), 1)).high
    return high is None or high >= needed


def _lowest(point: PathPoint, policy: Policy, times: float) -> float:
    """Lower confidence limit of a threshold's risk, of one such look."""
    delta = 1.0 - policy.target.confidence
    n, bad, better = (int(count * times) for count in (point.n, point.bad, point.better))
    if policy.target.kind == "error":
        return lower_limit(bad, n, delta)
    whole = (point.bad - point.better) / point.n if point.n else 0.0
    if abs(point.risk - whole) > 1e-9 and n:
        # Graded losses lie in [-1, 1]; the path keeps their mean alone, so Hoeffding's limit must do.
        return point.risk - sqrt(2.0 * log(1.0 / delta) / n)
    return paired_lower(bad, better, n, delta)
