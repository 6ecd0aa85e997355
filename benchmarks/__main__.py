"""Benchmarks of this project, each a subcommand; without one those whose tables the README shows.

With a file of outcomes instead the rest of the line is that of ``cascade bench``, which this then is.
Results go to ``benchmarks/results/``, progress to stderr, and ``--json`` to stdout.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.cache.commands import declare
from benchmarks.cache.replayed import declare as declare_replayed
from benchmarks.peers.commands import declare as declare_peers
from benchmarks.savings import declare as declare_savings


def say(line: str) -> None:
    """Progress, for whoever watches."""
    print(line, file=sys.stderr, flush=True)


def speed(arguments: argparse.Namespace) -> None:
    """Measure, write both files, print one of them."""
    from benchmarks.speed import bars, report, rounds

    together = dict.fromkeys(case for bar in bars.BARS for case in (bar.ours, bar.beside))
    found = rounds.measure(arguments.rounds, say, list(together))
    judged = bars.judge(found.figures)
    made = report.document(found, judged, arguments.rounds, "python -m benchmarks speed")
    page = report.markdown(made, judged)
    report.write(made, page)
    print(msgspec.json.encode(made).decode() if arguments.json else page)


def coverage(arguments: argparse.Namespace) -> None:
    """Simulate, write both files, print one of them."""
    from benchmarks.coverage import report, runs

    began = time.monotonic()
    lines = runs.measure(arguments.repetitions, say)
    made = report.document(lines, arguments.repetitions, time.monotonic() - began)
    page = report.markdown(made)
    report.write(made, page, "coverage")
    print(msgspec.json.encode(made).decode() if arguments.json else page)


def pairs(arguments: argparse.Namespace) -> None:
    """Read recorded answers, write both files, print one of them."""
    from benchmarks.coverage.report import write
    from benchmarks.pairs import report
    from cascade.errors import ConfigError

    try:
        made = report.measure(arguments.folder, arguments.splits, arguments.repetitions, say)
    except ConfigError as error:
        raise SystemExit(f"benchmarks pairs: {error}") from None
    page = report.markdown(made)
    write(made, page, "pairs")
    print(msgspec.json.encode(made).decode() if arguments.json else page)


def intervals(arguments: argparse.Namespace) -> None:
    """Simulate, write both files, print one of them."""
    from benchmarks import intervals as simulated
    from benchmarks.coverage.report import write

    made = simulated.document(simulated.measure(say))
    page = simulated.markdown(made)
    write(made, page, "intervals")
    print(msgspec.json.encode(made).decode() if arguments.json else page)


def fitting(arguments: argparse.Namespace) -> None:
    """Measure, write both files, print one of them."""
    from benchmarks.fitting import report

    made, page = report(arguments.rows, arguments.rounds, say)
    print(msgspec.json.encode(made).decode() if arguments.json else page)


def replaying(arguments: argparse.Namespace) -> None:
    """Measure, write both files, print one of them."""
    from benchmarks import replaying as replays

    made, page = replays.report(arguments.requests, arguments.rounds, say)
    print(msgspec.json.encode(made).decode() if arguments.json else page)


def cache_kill(arguments: argparse.Namespace) -> None:
    """Kill, look, write both files, print one of them."""
    from benchmarks.cache import kill
    from benchmarks.coverage.report import write

    made = kill.measure(arguments.rounds, say)
    page = kill.markdown(made)
    write(made, page, "cache_kill")
    print(msgspec.json.encode(made).decode() if arguments.json else page)


def cache_speed(arguments: argparse.Namespace) -> None:
    """Measure, write both files, print one of them."""
    from benchmarks.cache import speed
    from benchmarks.coverage.report import write

    made = speed.measure(arguments.data, arguments.rounds, arguments.most, say)
    page = speed.markdown(made)
    write(made, page, "cache_speed")
    print(msgspec.json.encode(made).decode() if arguments.json else page)


def field_notes(arguments: argparse.Namespace) -> None:
    """Compute, write both files, print one of them."""
    from benchmarks.coverage.report import write
    from benchmarks.field_notes import page as pages
    from benchmarks.field_notes import report

    found = report.document()
    made, page = report.as_json(found), pages.markdown(found)
    write(made, page, "field_notes")
    print(msgspec.json.encode(made).decode() if arguments.json else page)


def readme(arguments: argparse.Namespace) -> None:
    """What needs nothing but this checkout, and no quiet machine."""
    from benchmarks import savings

    savings.run(say)
    field_notes(argparse.Namespace(json=False))


def of_the_cache(commands: Any) -> None:
    """The benchmarks of the semantic cache."""
    asked = commands.add_parser(
        "cache", help="the semantic cache: what it costs, what it survives, what its gate lets through"
    )
    kinds = asked.add_subparsers(required=True, metavar="WHAT")
    asked = kinds.add_parser("speed", help="look-ups, inserts, reload, memory and recall, beside GPTCache")
    asked.add_argument("--data", type=Path, metavar="DIR", help="folder of questions, for recall on real embeddings")
    asked.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    asked.add_argument("--most", type=int, default=1_000_000, help="largest index (default: 1,000,000)")
    asked.add_argument("--json", action="store_true", help="print cache_speed.json instead of the tables")
    asked.set_defaults(run=cache_speed)
    asked = kinds.add_parser("kill", help="writers killed at random points")
    asked.add_argument("--rounds", type=int, default=200, help="default: 200")
    asked.add_argument("--json", action="store_true", help="print cache_kill.json instead of the table")
    asked.set_defaults(run=cache_kill)
    declare(kinds, say)
    declare_replayed(kinds, say)


def main() -> None:
    """One subcommand a kind of benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(metavar="KIND")
    asked = commands.add_parser("speed", help="what a request, a hit and an import cost, beside peers and floors")
    asked.add_argument("--rounds", type=int, default=40, help="interleaved rounds (default: 40)")
    asked.add_argument("--json", action="store_true", help="print speed.json instead of the table")
    asked.set_defaults(run=speed)
    asked = commands.add_parser("coverage", help="how often a certified threshold breaks its promise, by simulation")
    asked.add_argument("--repetitions", type=int, default=2000, help="of each case (default: 2000)")
    asked.add_argument("--json", action="store_true", help="print coverage.json instead of the table")
    asked.set_defaults(run=coverage)
    asked = commands.add_parser("intervals", help="how often each interval of a report covers the truth, by simulation")
    asked.add_argument("--json", action="store_true", help="print intervals.json instead of the tables")
    asked.set_defaults(run=intervals)
    asked = commands.add_parser("pairs", help="promises and savings on recorded pairs of real models")
    asked.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("../shared/data"),
        metavar="DIR",
        help="folder of recorded answers (default: ../shared/data)",
    )
    asked.add_argument("--splits", type=int, default=30, help="of each pair (default: 30)")
    asked.add_argument("--repetitions", type=int, default=200, help="draws from each population (default: 200)")
    asked.add_argument("--json", action="store_true", help="print pairs.json instead of the tables")
    asked.set_defaults(run=pairs)
    asked = commands.add_parser("fitting", help="what fitting, threshold selection and reading a million rows cost")
    asked.add_argument("--rows", type=int, default=1_000_000, help="default: 1,000,000")
    asked.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    asked.add_argument("--json", action="store_true", help="print fitting.json instead of the table")
    asked.set_defaults(run=fitting)
    asked = commands.add_parser(
        "field_notes", help="published measurements of four models: ratios, and what scores hide"
    )
    asked.add_argument("--json", action="store_true", help="print field_notes.json instead of the page")
    asked.set_defaults(run=field_notes)
    asked = commands.add_parser("replaying", help="requests a second of a replay, and its memory over a million")
    asked.add_argument("--requests", type=int, default=1_000_000, help="of the longest stream (default: 1,000,000)")
    asked.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    asked.add_argument("--json", action="store_true", help="print replaying.json instead of the tables")
    asked.set_defaults(run=replaying)
    of_the_cache(commands)
    declare_peers(commands, say)
    declare_savings(commands, say)
    parser.set_defaults(run=readme)
    words = sys.argv[1:]
    if words and words[0] not in commands.choices and not words[0].startswith("-"):
        from cascade.cli import app

        app(["bench", *words], prog_name="python -m benchmarks")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
