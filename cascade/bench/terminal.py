"""A benchmark for a terminal: whether it pays first, then everything that this rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cascade.bench import words
from cascade.bench.document import Bench, Concentration, Discriminated, Pays, Scenario
from cascade.bench.field import CASCADE, FRONTIER
from cascade.compare import Strategy
from cascade.intervals import Figure
from cascade.report.tabulated import add, below, cell, decimal, left_out, share, table, text
from cascade.report.words import NOTHING, STANDINGS

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

COLOURS: dict[Pays, str] = {"pays": "green", "does not pay": "red", "cannot tell yet": "yellow"}

HIDDEN = 3
"""Critical misses behind equal scores that a terminal names; the page and the JSON have all."""

NAME = 17
"""Widest name of a strategy before it is folded: every row has two lines anyway."""


def tables(bench: Bench) -> list[RenderableType]:
    """What ``cascade bench`` prints, top to bottom, within 100 columns; what has no rows is left out.

    Nothing that comes from data is read as rich's markup.
    """
    return [
        *_verdict(bench),
        *_strategies(bench),
        *_ablation(bench),
        text(words.escalations(bench.escalations)),
        *_waterfall(bench),
        *_slices(bench),
        *_tails(bench),
        *_scenarios(bench.scenarios),
        *_confidence(bench.confidence),
        text(words.secondary(bench.curve)),
        *([text(bench.noise.sentence)] if bench.noise else []),
        *(text(words.flattered(one)) for one in bench.flattered),
        *_labels(bench),
        *map(text, bench.notes),
        *left_out(bench.left_out),
    ]


def _verdict(bench: Bench) -> list[RenderableType]:
    """Whether it pays, and what is promised."""
    from rich.text import Text

    pays, promise = words.STANDINGS[bench.verdict.pays], STANDINGS[bench.status]
    first = Text(bench.verdict.sentence, style=f"bold {COLOURS[bench.verdict.pays]}")
    first.append(f" {pays.meaning}", style="not bold default")
    second = Text(f"{promise.word}. ", style="bold")
    second.append(f"{bench.statement} Asked for: {bench.target}.", style="not bold")
    rows = Text(f"On {bench.measured:,} held-out rows that nothing was fitted on.")
    return [first, second, rows]


def _strategies(bench: Bench) -> list[RenderableType]:
    columns = ("USD a\n1,000", "saving\n%", "quality\n%", "against\nfrontier\npoints", "served\ncheap\n%")
    lines = table("strategy", *columns, "of these\nwrong\n%", "latency s\np50 / p95\np99", name=NAME)
    for one in bench.strategies:
        name = f"{one.name} *" if words.breaks(one, bench) else one.name
        served = cell(one.accept_rate), cell(one.accepted_error)
        _strategy(lines, one, name, bench, (share(one.quality.estimate), _delta(one), *served, _latency(one)))
    broken = any(words.breaks(one, bench) for one in bench.strategies)
    star = [f"* {words.BREAKS} on these rows: {bench.target}."] if broken else []
    return below(lines, *star, words.READING)


def _strategy(lines: Table, one: Strategy, name: str, bench: Bench, rest: tuple[str, ...]) -> None:
    """Cost and saving of a strategy, and then the rest; the cascade's in bold."""
    dollars = f"{one.cost.estimate * 1000:.{words.digits(bench.strategies[0].cost.estimate * 1000)}f}"
    saving = NOTHING if one.name == FRONTIER else cell(one.saving)
    add(lines, name, dollars, saving, *rest, style="bold" if one.name == CASCADE else "")


def _delta(one: Strategy) -> str:
    return NOTHING if one.name == FRONTIER else cell(one.quality_delta, signed=True)


def _latency(one: Strategy) -> str:
    p50, p95, p99 = map(words.seconds, (one.latency_p50, one.latency_p95, one.latency_p99))
    return f"{p50} / {p95}\n{p99}"


def _ablation(bench: Bench) -> list[RenderableType]:
    columns = ("USD a\n1,000", "saving\n%", "against\nfrontier\npoints")
    gain = "saved\nagainst the\ncascade"
    lines = table("parts", *columns, gain, "drafts\nthrown\naway %", "p95\ns", "certi-\nfied", name=NAME)
    for one in bench.ablation:
        strategy = one.strategy
        slow = cell(strategy.latency_p95, scale=1.0, digits=2)
        gained, thrown = cell(one.saving_gain, signed=True), cell(strategy.escalation_rate)
        rest = (_delta(strategy), gained, thrown, slow, "yes" if one.certified else "no")
        _strategy(lines, strategy, one.name, bench, rest)
    what = (f"{one.name}: {one.what.rstrip('.')}." for one in bench.ablation)
    return below(lines, *bench.claims, "\n".join(what))


def _waterfall(bench: Bench) -> list[RenderableType]:
    """Where the money goes, for 1,000 requests; amounts of nothing are left out."""
    found = bench.waterfall
    money = words.alike(found.frontier * 1000)
    lines = table("where the money goes", "USD a\n1,000", "what it is")
    add(lines, FRONTIER, money(found.frontier * 1000), "")
    for step in words.steps(found):
        if step.amount:
            add(lines, step.name, money(step.amount * 1000), step.what)
    add(lines, CASCADE, money(found.cascade * 1000), "", style="bold")
    economy = "; ".join(f"{name[0].lower()}{name[1:]} {value}" for name, value in words.economy(bench.verdict))
    return below(lines, words.saved(found), f"Economy: {economy}.")


def _slices(bench: Bench) -> list[RenderableType]:
    columns = ("rows", "served\ncheap\n%", "of these\nwrong\n%", "saving\n%", "against\nfrontier\npoints")
    lines = table("slice (cascade)", *columns, "covered by")
    for one in bench.slices:
        ours = words.ours(one.strategies)
        figures = _cascade(ours) if ours else (NOTHING,) * 4
        add(lines, one.name or "no slice", f"{one.rows:,}", *figures, one.covered)
    return below(lines)


def _cascade(ours: Strategy) -> tuple[str, ...]:
    wrong, delta = cell(ours.accepted_error), cell(ours.quality_delta, signed=True)
    return cell(ours.accept_rate), wrong, cell(ours.saving), delta


def _tails(bench: Bench) -> list[RenderableType]:
    if bench.tails is None:
        return []
    lines = table(
        "where misses are", "served", "misses", "here\n%", "elsewhere\n%", "p,\nadjusted", "more than\nchance"
    )
    for one in bench.tails.found:
        add(lines, one.rule, f"{one.rows:,}", f"{one.misses:,}", *_concentration(one))
    return [text(bench.tails.sentence), *below(lines, words.a_miss(bench))]


def _concentration(one: Concentration) -> tuple[str, ...]:
    return cell(one.rate), cell(one.elsewhere), decimal(one.p), "yes" if one.significant else "no"


def _scenarios(found: list[Scenario]) -> list[RenderableType]:
    """The cascade and the strategies that lose most; the page and the JSON have all of them."""
    told = words.telling(found)
    columns = (f"cascade\n{what}" for what in ("quality\nlost", "saving\nlost", "p95\ns", "promise"))
    lines = table("scenario", *columns, *(f"{name}\nquality\nlost" for name in map(_narrow, told)))
    for scenario in found:
        lost = {one.name: one for one in scenario.lost}
        ours = lost.get(CASCADE)
        figures = (
            (NOTHING,) * 4
            if ours is None
            else (
                _points(ours.quality_lost),
                _points(ours.saving_lost),
                words.seconds(ours.latency_p95),
                words.kept(ours.kept),
            )
        )
        others = (_points(lost[name].quality_lost) if name in lost else NOTHING for name in told)
        add(lines, scenario.name, *figures, *others)
    said = (f"{one.name}: {one.sentence}" for one in found)
    return below(lines, "Lost: points against the same rows untouched.", "\n".join(said))


def _narrow(name: str) -> str:
    """A name that heads a column, on lines of at most a dozen characters."""
    from textwrap import wrap

    return "\n".join(wrap(name, 12, max_lines=3, placeholder=" …"))


def _points(lost: float) -> str:
    return f"{lost * 100:+.1f}"


def _labels(bench: Bench) -> list[RenderableType]:
    """Same score, other label: what the served answers and the frontier's make their readers do."""
    missed = bench.misses
    critical = [] if missed is None else missed.hidden[:HIDDEN]
    return [
        *(text(words.label(one)) for one in bench.labels),
        *([] if missed is None else [text(words.missed(missed))]),
        *(text(f"{one.row}: missed by the {one.missed_by} answer: {'; '.join(one.what)}") for one in critical),
    ]


def _confidence(found: list[Discriminated]) -> list[RenderableType]:
    columns = ("rows", "AUROC", "best raw\nsignal's", "AURC", "E-AURC", "ECE\n%", "ECE if\nperfect\n%")
    lines = table("confidence", *columns)
    for one in found:
        raw = NOTHING if one.best_raw_auroc is None else f"{decimal(one.best_raw_auroc)}\n{one.best_raw}"
        figures = (_three(one.of.auroc), raw, _three(one.of.aurc), _three(one.of.e_aurc), cell(one.of.ece))
        add(lines, one.source, f"{one.of.rows:,}", *figures, share(one.of.ece_if_perfect))
    return below(lines)


def _three(figure: Figure | None) -> str:
    return cell(figure, scale=1.0, digits=3)
