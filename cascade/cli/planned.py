"""A plan in words, as a page, and as the command's JSON object."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from cascade.cli.printing import page

if TYPE_CHECKING:
    from rich.table import Table

    from cascade.cli.assumed import Assumption
    from cascade.plan import Labels, Plan

WHENCE = {"given": "given", "policy": "from the policy", "measured": "measured", "assumed": "assumed"}


def record(plan: Plan, assumptions: list[Assumption]) -> dict[str, object]:
    """The JSON object of the command."""
    return {
        "answer": answer(plan),
        "promise": plan.promise,
        "delta": plan.promise.delta,
        "power": plan.power,
        "traffic": plan.traffic,
        "floor": plan.floor,
        "needed": plan.needed,
        "table": plan.table,
        "first_days": plan.first_days,
        "days": plan.days,
        "drift": plan.drift,
        "costs": plan.costs,
        "economics": plan.economics,
        "assumptions": assumptions,
    }


def draw(plan: Plan, assumptions: list[Assumption]) -> None:
    """The whole page: the answer in words, then the tables, then what a reader must know."""
    console = page()
    for paragraph in answer(plan):
        console.print(paragraph + "\n", markup=False)
    tables = {"labels": _labels(plan), "alarms": _alarms(plan), "money": _money(plan)}
    for about, table in tables.items():
        if table.row_count:
            console.print(table)
            console.print(_rests_on(about, assumptions) + "\n", markup=False)
    console.print(_assumptions(assumptions))
    console.print()
    for note in notes(plan):
        console.print(note, markup=False)


def answer(plan: Plan) -> list[str]:
    """The answers in words: labels, days and dollars, whether it pays, how soon a drift shows."""
    return [_needed(plan), _first(plan), _pays(plan), *_noticed(plan)]


def _needed(plan: Plan) -> str:
    promise, needed = plan.promise, plan.needed
    many = len(promise.slices) > 1
    where = " in each slice" if many else ""
    chance = f"with a chance of {percent(plan.power)} %"
    if promise.kind == "regret":
        claim = f"At most {points(promise.level)} of quality lost over all traffic"
        count = f"{needed.accepted:,} judged rows{where}, if it is {points(needed.true_rate)} in truth"
        least = f"Below {plan.floor.accepted:,} judged rows"
        split = ""
    else:
        claim = f"At most {percent(promise.level)} % wrong among what is served cheap"
        count = f"{needed.accepted:,} accepted labels{where}, if {percent(needed.true_rate)} % are wrong in truth"
        least = f"Below {plan.floor.accepted:,} accepted labels"
        split = f"{needed.certify:,} judged rows at an accept rate of {percent(plan.traffic.accept)} %, and "
    total = f", {needed.total:,} in all {len(promise.slices)} slices" if many else ""
    return (
        f"{claim}, with {percent(promise.confidence)} % confidence: {chance} the test passes on {count}. That is "
        f"{split}{needed.rows:,} rows with those that fit the scorer and those held out{total}. "
        f"{least}{where} nothing can be certified, not even without a single bad one."
    )


def _first(plan: Plan) -> str:
    text = f"The first certificate comes after {in_days(plan.first_days)}"
    if len(plan.promise.slices) > 1:
        text += f", that of the last slice after {in_days(plan.days)},"
    text += f" at {plan.traffic.requests:,.0f} requests a day"
    found = plan.economics
    if found is None:
        return f"{text}. What it costs needs prices: --cheap, --frontier and --judge name models, or give dollars."
    return (
        f"{text}; the labels cost {usd(found.labels)}, of which {percent(found.frontier_share)} % are the frontier's "
        "own answers, which observe mode serves anyway."
    )


def _pays(plan: Plan) -> str:
    found = plan.economics
    if found is None:
        return "Whether it pays needs prices too."
    if found.payback is None:
        return f"It never pays at these prices, because {found.why}."
    eaten = f"auditing eats {percent(found.audit_share or 0.0)} % of the saving"
    text = (
        f"It pays after {in_days(found.payback)} of serving, day {ceil(plan.days + found.payback):,} in all: it saves "
        f"{usd(found.net_a_day)} a day, {percent(found.net_share)} % of always-frontier; {eaten}, and the accept rate "
        f"must stay above {percent(found.break_even or 0.0)} %."
    )
    between = 365 / plan.promise.refits
    if plan.promise.refits > 1 and found.payback > between:
        text += f" But the next of {plan.promise.refits} calibrations a year is due after {in_days(between)}."
    return text


def _noticed(plan: Plan) -> list[str]:
    """The drift that is noticed soonest and the one noticed last, where it takes longest."""
    slowest = min(plan.promise.slices, key=plan.promise.slices.__getitem__)
    alarms = sorted((one for one in plan.drift.alarms if one.slice == slowest), key=lambda one: one.rate)
    if not alarms:
        return ["No drift can break this promise: even if every accepted answer were wrong, less would be lost."]
    said = []
    for one in dict.fromkeys((alarms[-1].rate, alarms[0].rate)):
        alarm = next(a for a in alarms if a.rate == one)
        after = "later than was simulated" if alarm.median_days is None else f"after {in_days(alarm.median_days)}"
        said.append(f"a rise to {percent(one)} % {after}")
    where = f" of {slowest}" if len(plan.promise.slices) > 1 else ""
    every = f"auditing {percent(plan.traffic.audit)} % of the accepted answers{where}"
    return [f"By {every}, the alarm notices {' and '.join(said)} (medians)."]


def notes(plan: Plan) -> list[str]:
    """What a reader must know to take the figures for what they are."""
    promise, drift = plan.promise, plan.drift
    lines = [
        "Labels are of rows drawn at random from the traffic, one of each conversation, dealt out 40 % to fit, 40 % "
        "to certify, 20 % held out. The chance is that of one exact binomial test at a threshold that keeps the "
        "assumed truth; a poor scorer accepts fewer, and then more labels are needed.",
    ]
    if promise.refits * len(promise.slices) > 1:
        lines.append(
            f"Slices ({len(promise.slices)}) and calibrations a year ({promise.refits}) share the doubt of "
            f"{1 - promise.confidence:.3g}: each certificate may be wrong with probability {promise.delta:.3g}."
        )
    if promise.kind == "regret":
        lines.append(
            "For regret every judged row counts, and every row that the frontier alone got right counts in full. The "
            "paired test usually needs fewer. The alarm watches accepted answers, of which "
            f"{percent(drift.level)} % may lose against the frontier."
        )
    if drift.delays:
        lines.append(
            f"Alarms are simulated: {percent(drift.before)} % wrong for 1,000 audits, then the rise at once. No valid "
            "alarm has fewer audits on average than the bound."
        )
    return lines


def _labels(plan: Plan) -> Table:
    regret = plan.promise.kind == "regret"
    first = "true regret\npoints" if regret else "truly wrong\n%"
    table = _table(
        first, "judged" if regret else "accepted\nlabels", "judged to\ncertify", "rows a\nslice", "rows in\nall", "USD"
    )
    rows: dict[float, Labels] = {row.true_rate: row for row in (plan.needed, *plan.table) if row is not None}
    for row in (plan.floor, *sorted(rows.values(), key=lambda row: row.true_rate)):
        name = "0, by luck or in truth" if row is plan.floor else percent(row.true_rate)
        counts = [f"{count:,}" for count in (row.accepted, row.certify, row.rows, row.total)]
        price = "-" if plan.economics is None else f"{row.total * plan.economics.label:,.2f}"
        table.add_row(name, *counts, price, style="bold" if row is plan.needed else None)
    return table


def _alarms(plan: Plan) -> Table:
    """Audits for each rise, and days: one column of days for all slices where they are of one size."""
    shares = plan.promise.slices
    names = list(shares) if len(set(shares.values())) > 1 else list(shares)[:1]
    heads = [f"days in\n{name}" if len(names) > 1 else "days a\nslice" if len(shares) > 1 else "days" for name in names]
    table = _table("wrong, of\naccepted %", "bound\naudits", "audits\nmedian", "audits\n90 %", *heads)
    for found in plan.drift.delays:
        beyond = f"> {found.horizon:,}"
        counts = [beyond if count is None else f"{count:,}" for count in (found.median, found.p90)]
        days = []
        for name in names:
            alarm = next(one for one in plan.drift.alarms if one.slice == name and one.rate == found.rate)
            within = [beyond if d is None else f"{d:,.1f}" for d in (alarm.median_days, alarm.p90_days)]
            days.append(f"{within[0]} ({within[1]})".replace(beyond, "?"))
        table.add_row(percent(found.rate), f"{found.bound:,.0f}", *counts, *days)
    return table


def _money(plan: Plan) -> Table:
    found, costs = plan.economics, plan.costs
    table = _table("USD", "each", "a day")
    if found is None or costs is None:
        return table
    a_day = plan.traffic.requests
    lines = [
        ("label: both answers and a verdict", found.label, None),
        ("request, always the frontier", costs.frontier, costs.frontier * a_day),
        ("saved a request, before audits", found.saving, found.saving * a_day),
        ("audits, a request", found.audits, found.audits * a_day),
        ("saved a request, net", found.net, found.net_a_day),
    ]
    for name, each, daily in lines:
        table.add_row(name, f"{each:.6f}", "-" if daily is None else f"{daily:,.2f}")
    return table


def _assumptions(assumptions: list[Assumption]) -> Table:
    table = _table("this rests on", "value")
    table.add_column("where from")
    table.add_column("change it with")
    for one in assumptions:
        table.add_row(one.name, f"{one.value:,.6g}", WHENCE[one.source], one.option)
    return table


def _rests_on(about: str, assumptions: list[Assumption]) -> str:
    """The line under a table."""
    resting = [one for one in assumptions if about in one.bears_on]
    named = [f"{one.name} {one.value:,.6g}{' (assumed)' if one.source == 'assumed' else ''}" for one in resting]
    return f"Rests on {', '.join(named)}."


def _table(first: str, *rest: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(first)
    for name in rest:
        table.add_column(name, justify="right")
    return table


def percent(share: float) -> str:
    """Three digits at most."""
    return f"{share * 100:.3g}"


def points(share: float) -> str:
    """Hundredths of quality."""
    return "1 point" if percent(share) == "1" else f"{percent(share)} points"


def usd(dollars: float) -> str:
    """Dollars, with as many digits as small amounts need."""
    return f"{dollars:,.2f} USD" if dollars >= 1 or dollars == 0 else f"{dollars:.2g} USD"


def in_days(days: float) -> str:
    """Whole days, begun ones counted."""
    whole = max(ceil(days), 1)
    return "1 day" if whole == 1 else f"{whole:,} days"
