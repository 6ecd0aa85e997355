"""The commands of ``python -m benchmarks cache`` that measure its gate."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

EMBEDDERS = ("wordllama", "minilm")


def declare(kinds: Any, say: Callable[[str], None]) -> None:
    """Add ``pairs``, ``same`` and ``swaps`` to the commands of ``cache``."""
    for name, run, what in (
        ("pairs", _pairs, "hits at a certified rate of wrong ones, beside a plain threshold on similarity"),
        ("same", _same, "what a local model's word on borderline hits adds to the signals that are free"),
        ("swaps", _swaps, "wrong hits on questions that differ in the one thing that matters"),
    ):
        made = kinds.add_parser(name, help=what)
        _declare_data(made)
        if name == "same":
            made.add_argument("--pairs", type=int, default=300, help="pairs to ask about (default: 300)")
        made.set_defaults(run=lambda arguments, run=run, name=name: _write(name, *run(arguments, say), arguments.json))
    made.add_argument("--each", type=int, default=600, help="swaps and rewordings of each kind (default: 600)")


def declare_folder(made: argparse.ArgumentParser) -> None:
    """The argument that says where the labelled data are."""
    made.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("../shared/data/semantic_cache"),
        metavar="DIR",
        help="folder of the labelled data (default: ../shared/data/semantic_cache)",
    )


def _declare_data(made: argparse.ArgumentParser) -> None:
    declare_folder(made)
    made.add_argument("--embedder", action="append", help=f"again for more (default: {' and '.join(EMBEDDERS)})")
    made.add_argument("--splits", type=int, default=5, help="random splits (default: 5)")
    made.add_argument("--rows", type=int, default=40_000, help="pairs of Quora that are read (default: 40,000)")
    made.add_argument("--json", action="store_true", help="print the JSON instead of the tables")


def _pairs(arguments: argparse.Namespace, say: Callable[[str], None]) -> tuple[dict[str, Any], Callable[..., str]]:
    from benchmarks.cache import pairs

    found = _named(arguments.embedder)
    return pairs.measure(arguments.folder, found, arguments.splits, arguments.rows, say), pairs.markdown


def _same(arguments: argparse.Namespace, say: Callable[[str], None]) -> tuple[dict[str, Any], Callable[..., str]]:
    from benchmarks.cache import same
    from cascade.local import CHEAP, FRONTIER, home

    found, models = _named(arguments.embedder or EMBEDDERS[:1]), (CHEAP, FRONTIER)
    return same.measure(arguments.folder, found, arguments.rows, arguments.pairs, models, home(), say), same.markdown


def _swaps(arguments: argparse.Namespace, say: Callable[[str], None]) -> tuple[dict[str, Any], Callable[..., str]]:
    from benchmarks.cache import swaps

    found = _named(arguments.embedder)
    return swaps.measure(arguments.folder, found, arguments.splits, arguments.rows, arguments.each, say), swaps.markdown


def _named(names: list[str] | None) -> list[Any]:
    from cascade.embedders import embedder_named

    return [embedder_named(name) for name in names or EMBEDDERS]


def _write(name: str, made: dict[str, Any], markdown: Callable[..., str], as_json: bool) -> None:
    """Write both files, print one of them."""
    from benchmarks.coverage.report import write

    page = markdown(made)
    write(made, page, f"cache_{name}")
    print(msgspec.json.encode(made).decode() if as_json else page)
