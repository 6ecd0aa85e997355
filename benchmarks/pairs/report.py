"""The figures as tables for people and as JSON for programs. No recorded answer goes into either."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pairs.draws import ROWS, drawn
from benchmarks.pairs.fits import DELTA
from benchmarks.pairs.pairs import MMLU, OPENQA, PAIRS, load, rows_of
from benchmarks.pairs.splits import KINDS, split
from benchmarks.speed.report import machine

METHOD = f"""
Recorded answers of real models, with verdicts, costs and signals:

- {MMLU.origin};
- {OPENQA.origin}.

The data are not part of this project; only figures are. Rows without a signal of the pair's set escalate. Regret is
what is lost against always asking the frontier, over all rows; error is the share of unacceptable answers among those
served cheap; saving is against always asking the frontier, and pays for the cheap call of every row. Confidence 95 %.
"""
DRAWS = f"""
## Does the promise hold?

60 % of a pair's rows are the population, whose risk at every threshold is known; the others fit the score, which the
contest picks. {ROWS:,} certification rows are drawn from the population with replacement, again and again. A violation
is a certified threshold whose risk over the whole population is above the target; at most 5 % may be. The
naive rule takes the loosest threshold at which the drawn rows keep the target. The oracle knows the population and
uses the same score; the raw signal is the best single one at its best threshold, in hindsight.
"""
SPLITS = """
## What is saved?

40 % of the rows fit, 30 % certify, and all figures are of the 30 % that no step has seen; means over random splits.
The reference is another implementation (logistic regression on the same signals, power-started test). The contest picks
one kind of score on the fit rows; beside it stands what each kind saves when it is always taken.
"""


def measure(folder: Path, splits: int, repetitions: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Both parts for every pair."""
    began, outcomes = time.monotonic(), load(folder, say)
    draws: list[dict[str, Any]] = []
    saved: list[dict[str, Any]] = []
    for place, pair in enumerate(PAIRS):
        rows = rows_of(pair, outcomes[pair.source.folder])
        draws += drawn(pair, rows, repetitions, place)
        saved += split(pair, rows, splits, place)
        say(f"{pair.name}: {len(rows):,} rows, {time.monotonic() - began:.0f} s")
    return document(draws, saved, splits, repetitions, time.monotonic() - began)


def document(
    draws: Sequence[dict[str, Any]], saved: Sequence[dict[str, Any]], splits: int, repetitions: int, seconds: float
) -> dict[str, Any]:
    """Everything that was found, for ``pairs.json``."""
    return {
        "command": f"python -m benchmarks pairs DIR --splits {splits} --repetitions {repetitions}",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "seconds": round(seconds),
        "sources": {source.folder: source.origin for source in (MMLU, OPENQA)},
        "bars": [*map(_held, draws), *(_beaten(line) for line in saved if line["reference"] is not None)],
        "draws": list(draws),
        "splits": list(saved),
    }


def _held(line: dict[str, Any]) -> dict[str, Any]:
    limit = DELTA + 3 * (DELTA * (1 - DELTA) / line["repetitions"]) ** 0.5
    found = line["certified"]["violations"]
    return {"what": f"{_of(line)}: violations", "limit": limit, "found": found, "met": found <= limit}


def _beaten(line: dict[str, Any]) -> dict[str, Any]:
    found, limit = line["saving"], line["reference"]
    return {"what": f"{_of(line)}: saving", "limit": limit, "found": found, "met": found >= limit}


def _of(line: dict[str, Any]) -> str:
    return f"{line['pair']}, {line['kind']} {line['level']:g}"


def markdown(made: dict[str, Any]) -> str:
    """The page ``pairs.md``."""
    missed = [bar for bar in made["bars"] if not bar["met"]]
    lines = [
        "# Pairs of real models",
        "",
        f"`{made['command']}`, {made['date']}, {made['seconds'] / 60:.0f} minutes on one core.",
        METHOD,
        f"{len(made['bars']) - len(missed)} of {len(made['bars'])} bars are met.",
        *(f"Missed: {bar['what']} {bar['found']:.3f} against {bar['limit']:.3f}." for bar in missed),
        DRAWS,
        "| pair | target | score | violations | certifies | served | saves | naive: violations | naive: saves "
        "| oracle saves | raw signal in hindsight |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
        *map(_draw, made["draws"]),
        SPLITS,
        "| pair | target | saves | reference | served | regret | certifies | picked: right / gain / gain a dollar "
        "| always right | always gain | always gain a dollar | best of each split |",
        "|---|---|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|",
        *map(_split, made["splits"]),
        "",
    ]
    return "\n".join(lines)


def _draw(line: dict[str, Any]) -> str:
    ours, naive, raw = line["certified"], line["naive"], line["raw"]
    return (
        f"| {line['pair']} | {line['kind']} {line['level']:g} | {line['score']}, {line['shape']} | "
        f"{ours['violations']:.3f} | {ours['certified']:.2f} | {ours['served']:.1%} | {ours['saving']:.1%} | "
        f"{naive['violations']:.2f} | {naive['saving']:.1%} | {line['oracle']['saving']:.1%} | "
        f"{raw['signal']}, {raw['saving']:.1%} |"
    )


def _split(line: dict[str, Any]) -> str:
    reference = "" if line["reference"] is None else f"{line['reference']:.1%}"
    always = " | ".join(f"{line['always'][kind]:.1%}" if kind in line["always"] else "" for kind in KINDS)
    return (
        f"| {line['pair']} | regret {line['level']:g} | **{line['saving']:.1%}** ± {line['saving_error']:.1%} | "
        f"{reference} | {line['served']:.1%} | {line['regret']:.4f} | {line['certified']:.2f} | "
        f"{' / '.join(str(line['won'][kind]) for kind in KINDS)} | {always} | {line['best_in_hindsight']:.1%} |"
    )
