"""The figures as a table for people and as JSON for programs."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from benchmarks.speed.bars import Judged
from benchmarks.speed.rounds import Measured

RESULTS = Path(__file__).parent.parent / "results"
UNITS = {"wall": "µs", "thread": "µs", "process": "µs", "cpu": "ms", "rss": "MB", "heavy": "modules"}
CLOCKS = {
    "thread": "CPU of the caller's thread",
    "process": "CPU of the process",
    "wall": "wall",
    "cpu": "CPU",
    "rss": "RSS",
    "heavy": "heavy modules",
}
METHOD = """
Median over the rounds; within a round every case takes its turn, and ratios are taken round by round. CPU time is the
figure that counts, for the machine is shared, and even that doubles while a neighbour is busy: where a figure stands
alone its best round is given too, and "best round only" means that the median missed the bar. The caller's thread does
everything that the caller waits for (signals, score, decision, one append to the spool); the ledger's own thread, which
moves rows into SQLite later, is in the CPU of the process. Every request asks another question, but for the hits.
The stub answers at once from a process of its own. Rows in bold block a release.
"""


def document(found: Measured, judged: Sequence[Judged], rounds: int, command: str) -> dict[str, Any]:
    """Everything that was found, for ``speed.json``."""
    return {
        "command": command,
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "rounds": rounds,
        "versions": found.versions,
        "missing": found.missing,
        "bars": [
            {
                **row.bar._asdict(),
                "found": row.ours,
                "found_beside": row.beside,
                "reached": row.reached,
                "best": row.best,
                "met": row.met,
            }
            for row in judged
        ],
        "figures": {
            case: {
                name: {"median": median(values), "best": min(values), "rounds": values} for name, values in by.items()
            }
            for case, by in found.figures.items()
        },
    }


def machine() -> dict[str, Any]:
    """What it ran on, and how busy that was."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load": [round(load, 1) for load in os.getloadavg()],
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def markdown(made: dict[str, Any], judged: Sequence[Judged]) -> str:
    """The page ``speed.md``."""
    on = made["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    head = [
        "# Speed",
        "",
        f"`{made['command']}`, {made['date']}, {made['rounds']} rounds. {on['cpu']}, {on['cores']} cores, "
        f"{on['system']}, Python {on['python']}, load {' '.join(map(str, on['load']))} at the end. {versions}.",
        METHOD,
    ]
    missing = [f"Not measured: {name} ({why}).\n" for name, why in made["missing"].items()]
    rows = [_row(row) for row in judged]
    table = [
        "| what | measured by | ours | beside | reached | asked for | met |",
        "|---|---|---:|---:|---:|---:|---|",
        *rows,
    ]
    return "\n".join([*head, *missing, *table, "", *_every_figure(made["figures"]), ""])


def _row(row: Judged) -> str:
    bar = row.bar
    unit = UNITS[bar.measure]
    ours = _number(row.ours, unit)
    beside = f"{bar.beside} {_number(row.beside, unit)}" if bar.beside else ""
    asked = {
        "times": f"at most {bar.limit:g} times",
        "faster": f"{bar.limit:g} times faster",
        "more": f"at most {bar.limit:,g} {unit}",
        "at most": f"at most {bar.limit:g} {unit}",
    }[bar.kind]
    ratio = bar.kind in ("times", "faster")
    reached = "" if row.reached is None else f"{row.reached:.3g}" if ratio else _number(row.reached, unit)
    if row.best is not None and UNITS[bar.measure] != "modules":
        reached += f" (best {_number(row.best, unit)})"
    met = "**missed**" if row.met == "missed" else row.met
    what = f"**{bar.what}**" if bar.blocks else bar.what
    return f"| {what} | {CLOCKS[bar.measure]} | {ours} | {beside} | {reached} | {asked} | {met} |"


def _every_figure(figures: dict[str, Any]) -> list[str]:
    """All cases of requests, with the parts of a hit among them."""
    lines = ["## Every case, µs a request (best round in brackets)", "", "| case | wall | thread | process |"]
    lines.append("|---|---:|---:|---:|")
    for case, by in figures.items():
        if "wall" in by:
            cells = (
                f"{by[clock]['median']:,.1f} ({by[clock]['best']:,.1f})" for clock in ("wall", "thread", "process")
            )
            lines.append(f"| {case} | {' | '.join(cells)} |")
    lines += ["", "## Every import", "", "| statement | CPU ms (best) | RSS MB | modules |", "|---|---:|---:|---:|"]
    for case, by in figures.items():
        if "cpu" in by:
            cpu, rss, modules = by["cpu"], by["rss"]["median"], by["modules"]["median"]
            lines.append(f"| `{case}` | {cpu['median']:.1f} ({cpu['best']:.1f}) | {rss:.1f} | {modules:.0f} |")
    return lines


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "none"
    return f"{value:,.0f} {unit}" if unit == "modules" or abs(value) >= 100 else f"{value:.1f} {unit}"


def write(made: dict[str, Any], page: str, folder: Path = RESULTS) -> None:
    """Write both files."""
    folder.mkdir(exist_ok=True)
    (folder / "speed.md").write_text(page)
    (folder / "speed.json").write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
