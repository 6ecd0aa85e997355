"""A benchmark's figures and findings in words: what the terminal and the page say alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor, isnan, log10

from cascade.bench.document import Bench, Curve, Flattered, Pays, Scenario, Verdict, Waterfall
from cascade.bench.field import CASCADE, FRONTIER, ORACLE
from cascade.compare import Strategy
from cascade.intervals import Figure
from cascade.metrics import Escalations
from cascade.report.words import NOTHING, Standing, dollars, percent, points
from cascade.types import Record
from cascade.urgency import LabelComparison, Missed, MissesCompared

STANDINGS: dict[Pays, Standing] = {
    "pays": Standing(
        mark="✓", word="This cascade pays", meaning="Even the lower limit of what it saves is more than nothing."
    ),
    "does not pay": Standing(
        mark="!",
        word="This cascade does not pay",
        meaning="Always asking the last tier costs no more. Switch the cascade off, or change what it is made of.",
    ),
    "cannot tell yet": Standing(
        mark="?",
        word="It cannot be told yet whether this cascade pays",
        meaning="The interval of what it saves holds nothing saved at all: measure more rows.",
    ),
}

READING = (
    "Quality, saving and latency are of the same held-out rows for every strategy, beneath each figure its 95 % "
    "interval. Cost holds every call, those thrown away and audits; latency holds escalated requests."
)

BREAKS = "breaks the target"

OTHERS = 2
"""Strategies beside the cascade that the table of scenarios on a terminal has room for."""


class Step(Record, frozen=True, kw_only=True):
    """One bar of the waterfall, in dollars a request: what is added to the bars before it."""

    name: str
    amount: float
    what: str


def ours(strategies: Sequence[Strategy]) -> Strategy | None:
    """The certified cascade among them."""
    return next((one for one in strategies if one.name == CASCADE), None)


def breaks(one: Strategy, bench: Bench) -> bool:
    """Did a strategy break the cascade's target on these rows, by its estimates?

    The oracle is no method and has no target. A loss of more than the level breaks both kinds: the error rate of
    what is served cheap is never less than the quality that is lost by it over all rows.
    """
    if one.name == ORACLE:
        return False
    wrong = one.accepted_error.estimate if bench.kind == "error" and one.accepted_error is not None else 0.0
    return wrong > bench.level or -one.quality_delta.estimate > bench.level


def per_thousand(figure: Figure) -> Figure:
    """Dollars a request as dollars for 1,000 of them."""
    low, high = (None if end is None else end * 1000 for end in (figure.low, figure.high))
    return Figure(estimate=figure.estimate * 1000, low=low, high=high)


def cost_share(one: Strategy) -> str:
    """What a strategy costs, as a percentage of always-frontier."""
    return percent(1 - one.saving.estimate)


def seconds(found: Figure | float | None) -> str:
    """To the hundredth."""
    known = found.estimate if isinstance(found, Figure) else found
    return NOTHING if known is None or isnan(known) else f"{known:.2f}"


def steps(found: Waterfall) -> list[Step]:
    """From always-frontier to the cascade; the amounts between add up to the difference of the two ends."""
    return [
        Step(name="frontier calls avoided", amount=-found.avoided, what="answered without the last tier"),
        Step(name="cheap calls served", amount=found.served, what="their answer was served"),
        Step(name="cheap calls wasted", amount=found.wasted, what="paid for, and their draft thrown away"),
        Step(name="samples and checks", amount=found.extras, what="further samples, verifiers, checks"),
        Step(name="embedding", amount=found.embedding, what="vectors of hosted embedders"),
        Step(name="audits", amount=found.audits, what="expected: the last tier and a verdict on a sample"),
        Step(name="labels", amount=found.labels, what="of the calibration, spread over the requests that were stated"),
    ]


def alike(whole: float) -> Callable[[float], str]:
    """Dollars with as many digits as three significant ones of ``whole`` have: amounts that are compared."""
    places = digits(whole)
    return lambda amount: f"{'-' if amount < 0 else ''}${abs(amount):,.{places}f}"


def digits(whole: float) -> int:
    """Decimal places of three significant digits."""
    return 2 if whole <= 0 else max(0, 2 - floor(log10(whole)))


def saved(found: Waterfall) -> str:
    """What is left of it, in a sentence."""
    left = found.frontier - found.cascade
    share = f", {percent(abs(left) / found.frontier)} of that" if found.frontier else ""
    labels = " with its labels counted" if found.labels else ""
    done = "saves" if left >= 0 else "costs more by"
    return (
        f"For 1,000 requests always-frontier costs {dollars(found.frontier * 1000)} and the cascade "
        f"{dollars(found.cascade * 1000)}{labels}: it {done} {dollars(abs(left) * 1000)}{share}."
    )


def economy(found: Verdict) -> list[tuple[str, str]]:
    """Under which conditions it pays: a name and a value each."""
    ratio = NOTHING if found.price_ratio is None else f"{found.price_ratio:,.1f} times the price of a cheap call"
    least = "no ratio would do" if found.least_price_ratio is None else f"{found.least_price_ratio:,.1f} times"
    needed = "no share would do" if found.break_even is None else f"more than {percent(found.break_even)}"
    payback = "never, or not known" if found.payback is None else f"after {found.payback:,.0f} requests"
    priced = [(name, "not known" if cost is None else dollars(cost)) for name, cost in _costs(found)]
    return [
        ("Served cheap", with_interval(found.accept_rate)),
        ("Needed to break even", needed),
        ("A frontier call costs", ratio),
        ("It stops paying below", least),
        *priced,
        ("The saving has paid for the labels", payback),
    ]


def _costs(found: Verdict) -> list[tuple[str, float | None]]:
    return [("Labels of the calibration", found.labels), ("One verdict of the judge", found.judge_cost)]


def with_interval(figure: Figure | None, *, signed: bool = False) -> str:
    """``43.1 % (40.0 to 46.2)``, or a difference in points."""
    if figure is None or figure.estimate != figure.estimate:
        return NOTHING
    said = points(figure.estimate) if signed else percent(figure.estimate)
    if figure.low is None or figure.high is None:
        return said
    form = "+.1f" if signed else ".1f"
    return f"{said} ({figure.low * 100:{form}} to {figure.high * 100:{form}})"


def escalations(found: Escalations) -> str:
    """What the cascade got for the drafts that it threw away."""
    if not found.escalated:
        return "Escalations: no draft was thrown away."
    return (
        f"Of {found.escalated:,} escalations {with_interval(found.useful)} were useful (the frontier was right, the "
        f"draft was not), {with_interval(found.wasted)} wasted (both right or both wrong) and "
        f"{with_interval(found.harmful)} harmful (the draft was right, the frontier was not)."
    )


def secondary(curve: Curve | None) -> str:
    """RouterBench's and RouteLLM's figures in a sentence, or why there are none."""
    if curve is None:
        return "Secondary figures: this policy has no path of thresholds to take them over."
    if curve.refused:
        return f"Secondary figures (AIQ, APGR, CPT) are refused: {curve.refused.rstrip('.')}."
    found = (
        ("AIQ", None if curve.aiq is None else f"{curve.aiq:.3f}"),
        ("APGR", None if curve.apgr is None else f"{curve.apgr:.3f}"),
        ("CPT(50 %)", None if curve.cpt50 is None else percent(curve.cpt50)),
        ("CPT(80 %)", None if curve.cpt80 is None else percent(curve.cpt80)),
    )
    said = ", ".join(f"{name} {value or 'not reached'}" for name, value in found)
    return f"Secondary figures, over a path of thresholds that nobody chose: {said}. None of them counts audits."


def flattered(found: Flattered) -> str:
    """How the same cascade would look in a flattering report."""
    return (
        f"With {found.trick} it would read {percent(found.saving)} saved at {points(found.quality_delta)}; honestly it "
        f"is {percent(found.honest_saving)} at {points(found.honest_quality_delta)}."
    )


def variance(bench: Bench) -> list[tuple[str, float]]:
    """Parts of the variance that the rows can tell apart, by what they come from."""
    noise = bench.noise
    if noise is None:
        return []
    parts = (("which questions", noise.question), ("which draw", noise.draw), ("the judge", noise.judge))
    return [(name, share) for name, share in parts if share is not None]


def label(one: LabelComparison) -> str:
    """Where the served label is another than the frontier's, in words."""
    if one.uninformative:
        return f"{one.field}: no answer has another label than all the others, so that agreement shows nothing."
    two = one.ambiguous_served, one.ambiguous_frontier
    ambiguous = f" Two values in one answer: {two[0]:,} served, {two[1]:,} of the frontier." if any(two) else ""
    missing = f" {one.left_out:,} rows have no label on some side." if one.left_out else ""
    return (
        f"{one.field}: on {with_interval(one.differs)} of {one.rows:,} rows the served label is another than the "
        f"frontier's. {one.symmetry.said.rstrip('.')}.{ambiguous}{missing}"
    )


def missed(found: MissesCompared) -> str:
    """What each side missed, counted."""
    served, frontier = found.missed_by_served, found.missed_by_frontier
    return (
        f"On {found.judged:,} of {found.rows:,} rows some judge has judged both sides. Served answers missed "
        f"{_counted(served)} that the frontier did not, the frontier {_counted(frontier)} that they did not. On "
        f"{len(found.hidden):,} rows two scores that hardly differ hide a critical miss of one side alone."
    )


def _counted(misses: Sequence[Missed]) -> str:
    return f"{len(misses):,} things ({sum(one.critical for one in misses):,} critical)"


def a_miss(bench: Bench) -> str:
    """What is searched for where misses concentrate, in a sentence."""
    unless = "" if bench.kind == "error" else " where that one is right"
    return f"A miss is a wrong answer served without the last tier{unless}."


def telling(scenarios: Sequence[Scenario]) -> list[str]:
    """The strategies, always-frontier aside, that lose most beside the cascade: by quality, then by saving."""
    worst: dict[str, tuple[float, float]] = {}
    for one in (lost for scenario in scenarios for lost in scenario.lost):
        if one.name not in {CASCADE, FRONTIER}:
            before = worst.get(one.name, (0.0, 0.0))
            worst[one.name] = max(before[0], one.quality_lost), max(before[1], one.saving_lost)
    return sorted(worst, key=lambda name: worst[name], reverse=True)[:OTHERS]


def kept(promise: bool | None) -> str:
    """Whether a promise still holds in a scenario, in a word."""
    return NOTHING if promise is None else "kept" if promise else "broken"
