"""The figures as a table for people and as JSON for programs, with the bars that they are held against."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.coverage.cases import DELTA
from benchmarks.speed.report import machine

RESULTS = Path(__file__).parent.parent / "results"
WANTED = {1000: 0.57, 5000: 0.87}
"""Least share of the oracle's accept rate on A with a fit set of n (statistics, 3.4), within Monte Carlo error."""

METHOD = """
A violation is a certified threshold whose true risk exceeds the target; the populations' true risk is an integral over
their law (`cascade/simulate.py`), or, for two tiers, a mean over a million fixed points. Served is the mean true share
served, beside what an oracle that knows the risk would serve; a run that certifies nothing serves nothing. Methods of
one case see the same draws. Every promise is made at delta = 5 %, shared by the slices where there are several.
"Ours" are the functions that calibration calls (candidates, start, sweep, walk), with each test's answer remembered.
± is one Monte Carlo standard error.
"""


def bars(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is asked for, what was found, and whether that meets it."""
    found = []
    for line in lines:
        name = f"{line['case']}, {line['kind']} {line['level']:g}, n = {line['n']}: {line['method']}"
        if line["promises"]:
            most = DELTA + 3 * (DELTA * (1 - DELTA) / line["repetitions"]) ** 0.5
            found.append(_bar(f"{name}: violations", "at most", most, line["violations"]))
        elif line["method"].startswith("naive") and not line["tied"]:
            # About half: it stops on the boundary. Among few different scores there is no boundary to stop on.
            found.append(_bar(f"{name}: violations", "at least", 0.3, line["violations"]))
        elif not line["method"].startswith("naive"):
            found.append(_bar(f"{name}: violations", "at least", DELTA, line["violations"]))
        if line["case"].startswith("A, typical") and line["method"] == "ours, fit set of n" and line["n"] in WANTED:
            least = WANTED[line["n"]] - 3 * line["relative_error"]
            found.append(_bar(f"{name}: share of the oracle", "at least", least, line["relative"]))
    return found


def _bar(what: str, kind: str, limit: float, value: float) -> dict[str, Any]:
    met = value <= limit if kind == "at most" else value >= limit
    return {"what": what, "kind": kind, "limit": limit, "found": value, "met": bool(met)}


def document(lines: Sequence[dict[str, Any]], repetitions: int, seconds: float) -> dict[str, Any]:
    """Everything that was found, for ``coverage.json``."""
    return {
        "command": f"python -m benchmarks coverage --repetitions {repetitions}",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "repetitions": repetitions,
        "seconds": round(seconds),
        "delta": DELTA,
        "bars": bars(lines),
        "lines": list(lines),
    }


def markdown(made: dict[str, Any]) -> str:
    """The page ``coverage.md``."""
    missed = [bar for bar in made["bars"] if not bar["met"]]
    head = [
        "# Coverage",
        "",
        f"`{made['command']}`, {made['date']}, {made['repetitions']:,} repetitions, {made['seconds'] / 60:.0f} minutes "
        f"on one core.",
        METHOD,
        f"{len(made['bars']) - len(missed)} of {len(made['bars'])} bars are met.",
        *(f"Missed: {bar['what']} {bar['found']:.3f}, asked for {bar['kind']} {bar['limit']:.3f}." for bar in missed),
        "",
        "| population | target | n | method | promises | violations | served, of the oracle's | certifies nothing |",
        "|---|---|---:|---|---|---:|---:|---:|",
    ]
    return "\n".join([*head, *map(_row, made["lines"]), ""])


def _row(line: dict[str, Any]) -> str:
    name = f"**{line['method']}**" if line["method"].startswith("ours") else line["method"]
    return (
        f"| {line['case']} | {line['kind']} {line['level']:g} | {line['n']:,} | {name} | "
        f"{'yes' if line['promises'] else 'no'} | {line['violations']:.3f} ± {line['violations_error']:.3f} | "
        f"{line['relative']:.2f} ± {line['relative_error']:.2f} | {line['nothing']:.2f} |"
    )


def write(made: dict[str, Any], page: str, name: str, folder: Path = RESULTS) -> None:
    """Write both files."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(page)
    (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
