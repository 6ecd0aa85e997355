"""``cascade demo``: what the gate saves on real models' answers, and what that costs in quality."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli.places import AsJson
from cascade.cli.printing import emit, note, page, status, tracked
from cascade.errors import ConfigError
from cascade.promise import verdict

if TYPE_CHECKING:
    from rich.table import Table

    from cascade.compare import Comparison, Strategy
    from cascade.demo import Demo
    from cascade.intervals import Figure

GIVEN = "always-frontier"
FIRST_COLUMN = 15
"""Widest name before it is wrapped: every row has two lines anyway."""


def demo(
    live: Annotated[bool, typer.Option("--live", help="Ask the two models here and now; under four minutes.")] = False,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="DIR", help="Folder of the weight files, for --live.", show_default=False),
    ] = None,
    json: AsJson = False,
) -> None:
    """Replay recorded answers of real models through the real flow: no key, no download, seconds.

    With --live two small models answer on this machine instead (1.6 GB of weights, fetched unless
    --weights has them; needs the extra `local`).

    JSON: `kind` (replayed or live), `policy`, `questions`, `level` (of the intervals), `promise`
    (in words), `certificates` (as in the lock), `stored` (answers served from the cache: `served`,
    `right`), `overall` and `slices` (by name). A comparison holds
    `rows`, `left_out` (reason to count) and `strategies`: `name`, `cost` (dollars a request),
    `saving`, `quality`, `quality_delta` (against always-frontier), `accept_rate` (share not
    answered by the last tier), `accepted_error`, `latency` and `cpu` (seconds), each `estimate`,
    `low`, `high`.
    """
    shown = _live(weights) if live else None
    if shown is None:
        from cascade.demo import replayed_demo

        shown = replayed_demo(tracked("replaying"))
    emit(_record(shown)) if json else _draw(shown)


def _live(folder: Path | None) -> Demo | None:
    """The live demo, or None where no weights can be had: then the recorded one must do."""
    from importlib.util import find_spec

    from cascade import local

    if find_spec("xllamacpp") is None:  # before anything is fetched
        raise ConfigError(local.EXTRA)
    try:
        files = local.weights(folder)
    except local.WeightsUnavailable as error:
        note(f"cascade: {error} Replaying the recorded answers instead.")
        return None
    from cascade.demo import live_demo
    from cascade.judging.gold import matches

    small, large = files.cheap, files.frontier
    with status("loading two models") as say, local.serve(small) as cheap, local.serve(large) as frontier:
        servers = {small.name: cheap, large.name: frontier}
        return live_demo(servers, matches, lambda asked, left: say(f"{asked} answered, {left:.0f} s left"))


def _record(shown: Demo) -> dict[str, object]:
    return {
        "kind": shown.kind,
        "policy": shown.policy.name,
        "questions": shown.overall.rows,
        "level": 0.95,
        "promise": verdict(shown.lock),
        "certificates": shown.lock.certificates,
        "overall": shown.overall,
        "slices": shown.slices,
        "stored": shown.stored,
    }


def _draw(shown: Demo) -> None:
    """The whole page."""
    console = page()
    for paragraph in (_intro(shown), verdict(shown.lock)):
        console.print(paragraph + "\n", markup=False)
    for table in (_strategies(shown.overall), _slices(shown)):
        console.print(table)
        console.print()
    for paragraph in _reading(shown):
        console.print(paragraph, markup=False)


def _intro(shown: Demo) -> str:
    rungs = ", then ".join(tier.name for tier in shown.policy.tiers)
    if shown.kind == "live":
        return (
            f"{shown.overall.rows:,} held-out questions, as many as fit into the time, answered just now by two local "
            f"models through the real flow ({rungs}); the single-tier rows are the recorded answers to the same "
            "questions."
        )
    return (
        f"{shown.overall.rows:,} held-out questions through the real flow ({rungs}), answered with what "
        "two real models said when they were recorded."
    )


def _reading(shown: Demo) -> list[str]:
    """What a reader must know to take the figures for what they are."""
    priced = {}
    for tier in shown.policy.tiers:
        if tier.price is not None:
            priced[tier.model] = f"{tier.model} at {tier.price.input:.2f}/{tier.price.output:.2f}"
    lines = [
        f"Under each figure its 95 % interval; {shown.overall.rows:,} held-out questions. Quality is the share "
        "judged right, points are differences of it; served cheap means not answered by the last tier.",
        "Lots at equal cost: a coin sends each question to the first tier or the last, at the cascade's cost.",
    ]
    if priced:
        lines.append(
            "The two local models stand in for a hosted pair and are priced as one, in dollars a million tokens "
            f"in/out: {', '.join(priced.values())}. CPU seconds are what they really took."
        )
    if shown.stored.served:
        lines.append(
            f"{shown.stored.served:,} questions were answered from the cache with the answer to a near one, "
            f"{shown.stored.right:,} of them right."
        )
    if left_out := shown.overall.left_out:
        reasons = "; ".join(f"{count:,} ({reason})" for reason, count in left_out.items())
        lines.append(f"Left out: {reasons}.")
    return lines


def _strategies(comparison: Comparison) -> Table:
    columns = ("quality\n%", "against\nfrontier\npoints", "USD a\n1,000", "saving\n%", "served\ncheap\n%")
    table = _table("strategy", *columns, "of these\nwrong\n%", "latency\nmean s\n(p95)", "CPU\ns")
    for one in comparison.strategies:
        given = one.name == GIVEN
        table.add_row(
            one.name,
            cell(one.quality, 100),
            "-" if given else cell(one.quality_delta, 100, signed=True),
            cell(one.cost, 1000, digits=3, interval=False),
            "-" if given else cell(one.saving, 100),
            cell(one.accept_rate, 100, interval=one.name == "cascade"),
            cell(one.accepted_error, 100),
            _seconds(one),
            cell(one.cpu, 1, digits=2, interval=False),
            style="bold" if one.name == "cascade" else None,
        )
    return table


def _slices(shown: Demo) -> Table:
    singles = {tier.name: GIVEN if tier is shown.policy.last else f"always {tier.name}" for tier in shown.policy.tiers}
    table = _table("slice", "questions", "served\ncheap\n%", "of these\nwrong\n%", "saving\n%", "quality\ncascade\n%")
    for name in reversed(singles):
        table.add_column(name.replace("-", "-\n") + "\n%", justify="right")
    for name, comparison in shown.slices.items():
        by_name = {one.name: one for one in comparison.strategies}
        ours = by_name["cascade"]
        table.add_row(
            name,
            f"{comparison.rows:,}",
            cell(ours.accept_rate, 100),
            cell(ours.accepted_error, 100),
            cell(ours.saving, 100),
            cell(ours.quality, 100),
            *(cell(by_name[single].quality, 100, interval=False) for single in reversed(singles.values())),
        )
    return table


def _seconds(one: Strategy) -> str:
    if one.latency is None or one.latency_p95 is None:
        return "-"
    return f"{one.latency.estimate:.2f}\n({one.latency_p95.estimate:.2f})"


def _table(first: str, *rest: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(first, vertical="top", max_width=FIRST_COLUMN, overflow="fold")
    for name in rest:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def cell(figure: Figure | None, scale: float, *, digits: int = 1, signed: bool = False, interval: bool = True) -> str:
    """An estimate and, beneath it, its interval; ``-`` where there is none."""
    if figure is None or figure.estimate != figure.estimate:  # not a number: there was nothing to count
        return "-"
    form = f"{'+' if signed else ''}.{digits}f"
    estimate = f"{figure.estimate * scale:{form}}"
    if not interval or figure.low is None or figure.high is None:
        return estimate
    between = " to " if signed or figure.low < 0 else "-"
    return f"{estimate}\n{figure.low * scale:{form}}{between}{figure.high * scale:{form}}"
