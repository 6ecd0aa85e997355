"""The commands of ``python -m benchmarks`` that set the cascade beside its peers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec


def declare(commands: Any, say: Callable[[str], None]) -> None:
    """Add ``peers`` and ``routers``."""
    made = commands.add_parser("peers", help="what peers from PyPI make of recorded answers, and what they would serve")
    _declare_folder(made)
    made.add_argument("--record", action="store_true", help="only ask again about this project's own recording")
    made.set_defaults(run=lambda arguments: _peers(arguments, say))
    made = commands.add_parser(
        "routers", help="the cascade beside RouteLLM's published routers: calls, quality, dollars"
    )
    _declare_folder(made)
    made.add_argument("--repetitions", type=int, default=5, help="foldings of the rows (default: 5)")
    made.add_argument("--splits", type=int, default=30, help="for certified thresholds (default: 30)")
    made.set_defaults(run=lambda arguments: _routers(arguments, say))


def _declare_folder(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("../shared/data"),
        metavar="DIR",
        help="folder of recorded answers (default: ../shared/data)",
    )
    made.add_argument("--json", action="store_true", help="print the JSON instead of the tables")


def _peers(arguments: argparse.Namespace, say: Callable[[str], None]) -> None:
    from benchmarks.peers import report
    from benchmarks.peers.recorded import keep

    if arguments.record:
        try:
            lines = report.record(say)
        except (OSError, RuntimeError) as error:
            raise SystemExit(f"benchmarks peers: {error}") from None
        keep(lines)
        print(f"{len(lines):,} lines of {lines[0].peer}")
        return
    _write("peers", lambda: report.measure(arguments.folder, say), report.markdown, arguments.json)


def _routers(arguments: argparse.Namespace, say: Callable[[str], None]) -> None:
    from benchmarks.peers import routers
    from benchmarks.peers.page import markdown

    _write(
        "routers",
        lambda: routers.measure(arguments.folder, arguments.repetitions, arguments.splits, say),
        markdown,
        arguments.json,
    )


def _write(name: str, measure: Callable[[], dict[str, Any]], markdown: Callable[..., str], as_json: bool) -> None:
    """Measure, write both files, print one of them."""
    from benchmarks.coverage.report import write
    from cascade.errors import ConfigError

    try:
        made = measure()
    except ConfigError as error:
        raise SystemExit(f"benchmarks {name}: {error}") from None
    page = markdown(made)
    write(made, page, name)
    print(msgspec.json.encode(made).decode() if as_json else page)
