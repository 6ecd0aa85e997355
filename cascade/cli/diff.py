"""``cascade diff``: what a candidate lock changes, in values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli.places import AsJson, PolicyFile, policy_file
from cascade.cli.printing import emit, page
from cascade.errors import ConfigError

if TYPE_CHECKING:
    from cascade.difference import Change, Difference, ScorerChange
    from cascade.lock import Lock

Line = tuple[str, str, str, str]

SHOWN = 6
"""Weights of one scorer in the table; the JSON has them all."""


def diff(
    a: Annotated[
        Path | None, typer.Argument(metavar="A", help="Lock before. Default: the one in force.", show_default=False)
    ] = None,
    b: Annotated[
        Path | None,
        typer.Argument(
            metavar="B", help="Lock after. Default: NAME.candidate.lock.json beside the policy.", show_default=False
        ),
    ] = None,
    policy: PolicyFile = None,
    json: AsJson = False,
) -> None:
    """Compare two locks: gates, promises and their evidence, scorers, and what they are bound to.

    Alone: from the lock in force to its candidate, or, where no candidate waits, from the lock before
    to the one in force. With A alone: from the lock in force to A. Of scorers the table shows the
    weights that changed most, of those that turned their sign or changed by half and more.

    JSON: `a`, `b` (the files), `same`, `difference` (`gates`, `certificates` with `promise`,
    `evidence`, `judge` and `identity`, `scorers` with every weight that differs, `other`; what is
    empty is left out).
    """
    from cascade.difference import difference

    first, second = (a, b) if a is not None and b is not None else _meant(a, policy_file(policy))
    found = difference(_read(first), _read(second))
    if json:
        emit({"a": str(first), "b": str(second), "same": not found, "difference": found})
        return
    print(f"from {first} to {second}{'' if found else ': nothing that matters differs'}")
    if found:
        _print(found)


def _meant(given: Path | None, policy: Path) -> tuple[Path, Path]:
    """Which two locks, where they were not both named."""
    from cascade.history import History, bytes_of
    from cascade.lock import candidate_path, lock_path

    in_force, candidate = lock_path(policy), candidate_path(policy)
    if given is not None:
        return in_force, given
    waiting = bytes_of(candidate)
    if waiting is not None and waiting != bytes_of(in_force):
        return in_force, candidate
    history = History(in_force)
    numbers = history.numbers()
    if not numbers:
        raise ConfigError(f"what is {in_force} to be compared with? There is no {candidate} and no lock before it")
    return history.file(numbers[-1]), in_force


def _read(path: Path) -> Lock:
    from cascade.lock import load_lock

    lock = load_lock(path)
    if lock is None:
        raise ConfigError(f"{path} is not there")
    return lock


def _print(found: Difference) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("what", overflow="fold")
    table.add_column("change", overflow="fold")
    table.add_column("was", justify="right", overflow="fold")
    table.add_column("is", justify="right", overflow="fold")
    above = ""
    for what, *rest in _lines(found):
        table.add_row(*map(Text, ("" if what == above else what, *rest)))
        above = what
    page().print(table)


def _lines(found: Difference) -> Iterator[Line]:
    for gate in found.gates:
        yield f"gate {gate.gate}", gate.change, _shown(gate.was), _shown(gate.now)
    for one in found.certificates:
        if one.change != "changed":
            yield "certificate", one.change, _shown(one.was), _shown(one.now)
        for name in ("promise", "evidence", "judge", "identity"):
            changes: list[Change] = getattr(one, name)
            for change in changes:
                yield name, change.field, _shown(change.was), _shown(change.now)
    for scorer in found.scorers:
        yield from ((f"scorer {scorer.scorer}", *line) for line in _of_scorer(scorer))
    for change in found.other:
        yield "lock", change.field, _shown(change.was), _shown(change.now)


def _of_scorer(scorer: ScorerChange) -> Iterator[tuple[str, str, str]]:
    if scorer.change != "changed":
        yield scorer.change, "", ""
    for name in scorer.came:
        yield f"{name} came", "-", ""
    for name in scorer.went:
        yield f"{name} went", "", "-"
    for field in scorer.fields:
        yield f"another {field}", "", ""
    telling = [weight for weight in scorer.weights if weight.turned or weight.much]
    shown = sorted(telling, key=lambda weight: -abs(weight.now - weight.was))[:SHOWN]
    for weight in shown:
        yield f"{weight.feature}{' turned' if weight.turned else ''}", _shown(weight.was), _shown(weight.now)
    if rest := len(scorer.weights) - len(shown):
        yield f"{rest} more weights, {len(telling) - len(shown)} of them by much", "", ""


def _shown(value: Any) -> str:
    """Short enough for a column; the JSON has it whole."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) if value else "-"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    held = getattr(value, "bad", None)  # of a certificate's held-out rows
    return str(value) if held is None else f"{held} bad of {value.n}"
