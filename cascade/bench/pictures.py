"""A benchmark's pictures: what each strategy costs and is worth, where the money goes, where it hurts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cascade.bench import words
from cascade.bench.charts import WIDTH, Panel, height, label, mark, rows
from cascade.bench.document import Ablated, Bench, Curve, Scenario, SliceTable, Waterfall
from cascade.bench.field import CASCADE, FRONTIER
from cascade.bench.scatter import cost_quality
from cascade.compare import Strategy
from cascade.errors import ConfigError
from cascade.evidence import Choice
from cascade.report import pictures as calibration
from cascade.report.drawing import BOUND, CHOSEN, CURVE, GRID, INK, KINDS, QUIET, TARGET, Mark, Picture, plain, wrapped
from cascade.report.rendering import put_bytes
from cascade.report.words import dollars

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

NAME = 24
"""Characters of a line of a row's name."""

FEW = 50
"""Rows of a slice below which its picture says that they are few."""


def pictures(bench: Bench) -> dict[str, Picture]:
    """Every picture that this benchmark has something to draw in, by the name of its file."""
    found = {"cost-quality": cost_quality(bench), "waterfall": waterfall(bench.waterfall)}
    if bench.slices:
        found["slices"] = slices(bench.slices)
    if any(one.latency_p95 is not None for one in bench.strategies):
        found["latency"] = latency(bench.strategies)
    if bench.ablation:
        found["ablation"] = ablation(bench.ablation)
    if bench.scenarios:
        found["scenarios"] = scenarios(bench.scenarios)
    if bench.curve is not None and bench.curve.places:
        found["path"] = path(bench.curve, bench.strategies[0])
    return found | {f"reliability-{i}": calibration.reliability(one) for i, one in enumerate(bench.reliability)}


def pictures_png(bench: Bench, folder: Path) -> list[Path]:
    """The same pictures as PNG files in a folder, which is made; the same benchmark gives the same bytes.

    Raises ``ConfigError`` when they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror or error}; name another folder") from error
    written = []
    for name, picture in pictures(bench).items():
        put_bytes(file := folder / f"{name}.png", picture.png())
        written.append(file)
    return written


def waterfall(found: Waterfall) -> Picture:
    """From the cost of always-frontier to the cascade's, in dollars for 1,000 requests."""
    taken = [step for step in words.steps(found) if step.amount]
    money = words.alike(found.frontier * 1000)
    names = [FRONTIER, *(step.name for step in taken), CASCADE]

    def draw(figure: Drawing) -> None:
        axes = figure.subplots()
        level = found.frontier
        spans = [(0.0, found.frontier, QUIET)]
        for step in taken:
            spans.append((level, step.amount, CURVE if step.amount < 0 else TARGET))
            level += step.amount
        spans.append((0.0, found.cascade, CHOSEN))
        for i, (start, amount, colour) in enumerate(spans):
            axes.barh(i, amount * 1000, left=start * 1000, height=0.62, color=colour, alpha=0.8, linewidth=0)
            sign = "" if i in (0, len(spans) - 1) else "\N{MINUS SIGN}" if amount < 0 else "+"
            right = max(start, start + amount) * 1000
            said = f"{sign}{money(abs(amount) * 1000)}"
            axes.annotate(said, (right, i), (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK)
            if i + 1 < len(spans):
                end = (start + amount) * 1000
                axes.vlines(end, i - 0.31, i + 1.31, color=QUIET, linewidth=0.8, linestyle=(0, (2, 2)))
        label(axes, names, len(names) - 1)
        axes.set_xlim(
            min(0.0, *(1000 * min(a, a + b) for a, b, _ in spans)),
            1180 * max(a + max(b, 0) for a, b, _ in spans) or 1.0,
        )
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("USD for 1,000 requests")

    parts = ", ".join(f"{step.name} {money(step.amount * 1000)}" for step in taken)
    return Picture(
        title="Where the money goes", says=f"{words.saved(found)} {parts}.", draw=draw, size=(WIDTH, height(len(names)))
    )


def slices(found: list[SliceTable]) -> Picture:
    """What the cascade saves and loses in each slice, and of how many rows."""
    kept = [(one, cascade) for one in found if (cascade := words.ours(one.strategies)) is not None]
    names = [_counted(one) for one, _ in kept]
    panels = [
        Panel("saving, %", [one.saving for _, one in kept], bars=True, line=0.0),
        Panel("quality, points against\nalways-frontier", [one.quality_delta for _, one in kept], bars=True, line=0.0),
    ]

    def draw(figure: Drawing) -> None:
        rows(figure, names, panels)

    said = "; ".join(
        f"{one.name}, {one.rows:,} rows: saving {words.with_interval(cascade.saving)}, quality "
        f"{words.with_interval(cascade.quality_delta, signed=True)}"
        for one, cascade in kept
    )
    return Picture(
        title="The cascade, slice by slice", says=f"{said}.", draw=draw, size=(WIDTH, height(len(kept)) + 0.15)
    )


def _counted(one: SliceTable) -> str:
    few = " only" if one.rows < FEW else ""
    return f"{wrapped(one.name or 'no slice', NAME, 1)}\n{one.rows:,} rows{few}"


LATENCIES = (
    ("latency_p50", "half of the requests within", "point", CURVE, "o", -0.22),
    ("latency_p95", "95 % within", "square", TARGET, "s", 0.0),
    ("latency_p99", "99 % within", "triangle", BOUND, "^", 0.22),
)
"""A field of ``Strategy`` and how its mark looks: quantiles differ by shape and place, not by colour alone."""


def latency(strategies: list[Strategy]) -> Picture:
    """Half, 95 % and 99 % of the requests are answered within so many seconds."""
    names = [wrapped(one.name, NAME) for one in strategies]

    def draw(figure: Drawing) -> None:
        axes = figure.subplots()
        for i, one in enumerate(strategies):
            for field, _, _, colour, marker, shift in LATENCIES:
                if (found := getattr(one, field)) is not None:
                    mark(axes, i + shift, found, 1.0, marker=marker, color=colour)
        label(axes, names, next((i for i, one in enumerate(strategies) if one.name == CASCADE), None))
        axes.hlines(
            [i + 0.5 for i in range(len(names) - 1)], 0, 1, GRID, linewidth=0.7, transform=axes.get_yaxis_transform()
        )
        axes.set_xlim(left=0.0)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("seconds, escalated requests included")

    said = "; ".join(
        f"{one.name}: {words.seconds(one.latency_p50)}, {words.seconds(one.latency_p95)} and "
        f"{words.seconds(one.latency_p99)} s"
        for one in strategies
    )
    key = tuple(Mark(colour, kind, name) for _, name, kind, colour, _, _ in LATENCIES)
    size = (WIDTH, height(len(names)) + 0.1 * len(names))
    return Picture(
        title="Seconds until an answer, with 95 % intervals",
        says=f"Median, 95 % and 99 % within: {said}.",
        draw=draw,
        size=size,
        key=key,
    )


def ablation(found: list[Ablated]) -> Picture:
    """What each part is worth: cost a task, 95 % latency and quality without it."""
    names = [wrapped(one.name, NAME) + ("" if one.certified else "\nnothing certified") for one in found]
    panels = [
        Panel("USD a\n1,000 tasks", [one.strategy.cost for one in found], 1000.0),
        Panel("95 % within,\nseconds", [one.strategy.latency_p95 for one in found], 1.0),
        Panel("quality, points\nagainst frontier", [one.strategy.quality_delta for one in found], line=0.0),
    ]

    def draw(figure: Drawing) -> None:
        rows(figure, names, panels)

    said = "; ".join(
        f"{one.name}: {dollars(one.strategy.cost.estimate * 1000)} for 1,000 tasks, 95 % within "
        f"{words.seconds(one.strategy.latency_p95)} s, quality "
        f"{words.with_interval(one.strategy.quality_delta, signed=True)}"
        for one in found
    )
    return Picture(title="Parts taken out", says=f"{said}.", draw=draw, size=(WIDTH, height(len(names), 0.46)))


LOST = (("quality_lost", "quality lost, points"), ("saving_lost", "saving lost, points"))
"""A field of ``Lost`` and the title of its panel."""


def scenarios(found: list[Scenario]) -> Picture:
    """Quality and saving that each strategy loses by what changed in the world; left of the line they gain."""
    told = words.telling(found)
    looks = [
        (CASCADE, CHOSEN, "ring"),
        (FRONTIER, TARGET, "square"),
        *zip(told, (CURVE, BOUND), ("triangle", "diamond"), strict=False),
    ]
    known = {name: (colour, kind) for name, colour, kind in looks}

    def draw(figure: Drawing) -> None:
        panels = figure.subplots(1, len(LOST), sharey=True)
        for axes, (field, title) in zip(panels, LOST, strict=True):
            axes.axvline(0.0, color=QUIET, linewidth=1.0)
            for i, scenario in enumerate(found):
                for one in sorted(scenario.lost, key=lambda lost: lost.name in known):
                    colour, kind = known.get(one.name, (QUIET, "hollow"))
                    axes.plot([getattr(one, field) * 100], [i], color=colour, **KINDS[kind])
            axes.set_xlabel(title)
        label(panels[0], [wrapped(one.name, NAME) for one in found])

    key = [
        Mark(colour, kind, plain(name, NAME))
        for name, colour, kind in looks
        if any(one.name == name for s in found for one in s.lost)
    ]
    if any(one.name not in {CASCADE, FRONTIER, *told} for scenario in found for one in scenario.lost):
        key.append(Mark(QUIET, "hollow", "other strategies"))
    said = "; ".join(
        f"{scenario.name}: "
        + ", ".join(
            f"{one.name} {one.quality_lost * 100:+.1f} and {one.saving_lost * 100:+.1f}" for one in scenario.lost
        )
        for scenario in found
    )
    return Picture(
        title="What is lost when the world changes", says=f"Points of quality and of saving lost. {said}.", draw=draw,
        size=(WIDTH, height(len(found))), key=tuple(key),
    )  # fmt: skip


def path(curve: Curve, frontier: Strategy) -> Picture:
    """Every threshold on the cascade's path, none of them chosen by looking at these rows."""
    choices = [
        Choice(
            threshold=None,
            served=1.0 - place.frontier_share,
            saving=1.0 - place.cost / frontier.cost.estimate if frontier.cost.estimate else 0.0,
            quality_delta=place.quality - frontier.quality.estimate,
            chosen=place.chosen,
        )
        for place in curve.places
    ]
    return replace(calibration.cost_quality(choices), title="Every threshold on the path")
