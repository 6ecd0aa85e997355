"""The commands of ``python -m benchmarks cache`` that replay traffic: ``traffic`` and ``poisoning``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from benchmarks.cache.commands import EMBEDDERS, _named, _write, declare_folder


def declare(kinds: Any, say: Callable[[str], None]) -> None:
    """Add both to the commands of ``cache``."""
    made = kinds.add_parser("traffic", help="traffic with repeats: hits, and how many of them are wrong, beside rivals")
    declare_folder(made)
    made.add_argument("--embedder", action="append", help=f"again for more (default: {' and '.join(EMBEDDERS)})")
    made.add_argument("--requests", type=int, default=20_000, help="of each stream (default: 20,000)")
    made.add_argument("--seeds", type=int, default=3, help="streams of each kind (default: 3)")
    made.set_defaults(run=lambda arguments: _traffic(arguments, say))
    asked = kinds.add_parser("poisoning", help="how often a planted wrong answer is served before an audit finds it")
    asked.add_argument("--repetitions", type=int, default=200, help="of each case (default: 200)")
    asked.set_defaults(run=lambda arguments: _poisoning(arguments, say))
    for one in (made, asked):
        one.add_argument("--json", action="store_true", help="print the JSON instead of the tables")


def _traffic(arguments: argparse.Namespace, say: Callable[[str], None]) -> None:
    from benchmarks.cache import repeats
    from cascade.errors import ConfigError

    try:
        found = _named(arguments.embedder)
        made = repeats.measure(arguments.folder, found, arguments.requests, arguments.seeds, say)
        made["command"] += "".join(f" --embedder {name}" for name in arguments.embedder or ())
    except ConfigError as error:
        raise SystemExit(f"benchmarks cache traffic: {error}") from None
    _write("traffic", made, repeats.markdown, arguments.json)


def _poisoning(arguments: argparse.Namespace, say: Callable[[str], None]) -> None:
    from benchmarks.cache import poisoning

    _write("poisoning", poisoning.measure(arguments.repetitions, say), poisoning.markdown, arguments.json)
