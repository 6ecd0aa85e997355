"""``cascade promote`` and ``cascade rollback``: which lock is in force."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli.places import AsJson, PolicyFile, policy_file
from cascade.cli.printing import emit, note, page, status, tracked
from cascade.errors import ConfigError
from cascade.promise import verdict

if TYPE_CHECKING:
    from rich.table import Table

    from cascade.intervals import Figure
    from cascade.lock import Lock
    from cascade.policy import Policy
    from cascade.promotion import Weighed


Candidate = Annotated[Path, typer.Argument(metavar="LOCK", help="The candidate, as cascade calibrate -o wrote it.")]
Outcomes = Annotated[
    Path | None,
    typer.Option(
        "--outcomes",
        metavar="FILE",
        help="Labelled outcomes, .jsonl or .jsonl.gz; - is stdin. Rows of split `test` are used.",
        show_default=False,
    ),
]
HeldOut = Annotated[
    bool, typer.Option("--held-out", help="Use all rows: neither lock was fitted or certified on any of them.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Promote in spite of every refusal; the lock's notes then say so.")
]


def promote(
    candidate: Candidate,
    policy: PolicyFile = None,
    outcomes: Outcomes = None,
    held_out: HeldOut = False,
    force: Force = False,
    json: AsJson = False,
) -> None:
    """Put a candidate lock in force, if held-out rows show that it loses next to nothing.

    Candidate and lock in force (without one: the last tier alone) answer the same rows through the
    flow that serves. The 95 % interval of the difference in quality must lie above minus the policy's
    `[promotion] margin`. A candidate that is void under the policy or not certified is refused. The
    lock before is kept beside, in `NAME.lock.d/`, for `cascade rollback`; running processes follow
    within a second. Exit status 1: refused.

    JSON: `lock` (the file), `promoted`, `forced`, `refusals` (in words), `evidence` (null without
    any; `rows`, `left_out`, `margin`, `difference`, `current` and `candidate` with cost, served share
    and quality, `more_rows` that would decide), `statement` (what is in force, in words).
    """
    from cascade.history import History, bytes_of
    from cascade.lock import load_lock, lock_path
    from cascade.policyfile import load_policy

    if outcomes is None and not force:
        raise typer.BadParameter("a promotion needs evidence: --outcomes FILE")
    file = policy_file(policy)
    loaded, target = load_policy(file), lock_path(file)
    before, body = bytes_of(target), bytes_of(candidate)
    current, wanted = load_lock(target), load_lock(candidate)
    if wanted is None or body is None:
        raise ConfigError(f"{candidate} is not there: write it with cascade calibrate -o {candidate}")
    refusals, weighed = _weighed(loaded, current, wanted, outcomes, held_out)
    promoted = force or not refusals
    if promoted:
        wanted, body = _forced(wanted, refusals, weighed) if force else (wanted, body)
        History(target).promote(body, before)
    in_force = wanted if promoted else current
    if json:
        emit(
            {
                "lock": str(target),
                "promoted": promoted,
                "forced": promoted and force,
                "refusals": refusals,
                "evidence": weighed,
                "statement": _in_force(in_force),
            }
        )
    else:
        _show(weighed, refusals, promoted)
        print(f"In force: {_in_force(in_force)}")
    if not promoted:
        raise typer.Exit(1)


def rollback(
    policy: PolicyFile = None,
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="N", help="Number in NAME.lock.d. Default: the newest.", show_default=False),
    ] = None,
    json: AsJson = False,
) -> None:
    """Put the lock before back in force; the two change places, so that a second rollback undoes the first.

    JSON: `lock` (the file), `number` (what it was in the history), `statement` (what is in force, in
    words), `history` (the numbers that can be rolled back to, newest last).
    """
    from cascade.history import History
    from cascade.lock import load_lock, lock_path

    target = lock_path(policy_file(policy))
    history = History(target)
    number = history.rollback(to)
    statement = _in_force(load_lock(target))
    if json:
        emit({"lock": str(target), "number": number, "statement": statement, "history": history.numbers()})
    else:
        print(f"In force: {statement}")
        note(f"{target} is lock {number} of {history.folder}")


def _weighed(
    policy: Policy, current: Lock | None, candidate: Lock, outcomes: Path | None, held_out: bool
) -> tuple[list[str], Weighed | None]:
    """Refusals in words, and the evidence where there is any."""
    from cascade.engine import embedder_of
    from cascade.ledger import read_outcomes
    from cascade.promotion import standing, weigh

    embedder = embedder_of(policy)
    refusals = standing(candidate, policy, embedder.name if embedder is not None else None)
    if outcomes is None:
        return [*refusals, "no outcomes were given, so nothing was compared"], None
    rows = list(tracked("outcomes")(read_outcomes(outcomes)))
    with status("replaying both locks"):
        found = weigh(rows, policy, current, candidate, held_out=held_out, embedder=embedder)
    return [*refusals, *found.refusals], found


def _forced(lock: Lock, refusals: list[str], weighed: Weighed | None) -> tuple[Lock, bytes]:
    """The lock with a note of what it was promoted in spite of, and its file's content."""
    from msgspec.structs import replace

    from cascade.lock import encoded

    if refusals:
        rows = f" ({weighed.rows:,} rows compared)" if weighed is not None else ""
        lock = replace(lock, notes=[*lock.notes, f"promoted by force in spite of this{rows}: {'; '.join(refusals)}"])
    return lock, encoded(lock)


def _in_force(lock: Lock | None) -> str:
    return verdict(lock) if lock is not None else "no lock: everything goes to the last tier."


def _show(weighed: Weighed | None, refusals: list[str], promoted: bool) -> None:
    if weighed is not None:
        for one in weighed.left_out:
            note(f"left out: {one.rows:,} rows: {one.reason} ({', '.join(one.examples)})")
        page().print(_table(weighed))
        print(
            f"Difference in quality on {weighed.rows:,} held-out rows: {_points(weighed.difference)} points; "
            f"more than -{weighed.margin * 100:g} is required."
        )
    for reason in refusals:
        print(f"{'Promoted in spite of this' if promoted else 'Refused'}: {reason}.")


def _table(weighed: Weighed) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("lock")
    for name in ("quality %", "served cheap %", "USD a 1,000"):
        table.add_column(name, justify="right")
    for side in (weighed.current, weighed.candidate):
        cells: list[Any] = [side.quality, side.accept_rate]
        table.add_row(side.name, *(_points(cell) for cell in cells), _points(side.cost, 1000.0))
    return table


def _points(figure: Figure, scale: float = 100.0) -> str:
    ends = (
        "" if figure.low is None or figure.high is None else f" ({figure.low * scale:.4g} to {figure.high * scale:.4g})"
    )
    return f"{figure.estimate * scale:.4g}{ends}"
