"""``cascade replay``: what would this policy have done with that traffic?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cascade.cli.intake import EVERY, Columns, SliceBy, named_columns, report
from cascade.cli.places import AsJson, PolicyFile, policy_file
from cascade.cli.printing import emit, note, status
from cascade.errors import ConfigError

if TYPE_CHECKING:
    from cascade.asks import Answers
    from cascade.embedding import Embedder
    from cascade.policy import Policy
    from cascade.replay import Replayed
    from cascade.run import Rules
    from cascade.types import Outcome

Source = Annotated[
    str,
    typer.Argument(metavar="SOURCE", help="A ledger (folder or ledger.sqlite), .jsonl, .csv, .parquet; - is stdin."),
]
LockFile = Annotated[
    Path | None, typer.Option("--lock", metavar="LOCK", help="Default: beside the policy.", show_default=False)
]
Reprice = Annotated[
    bool, typer.Option("--reprice", help="Every call at the price that the policy has, by its recorded tokens.")
]
CacheKind = Annotated[
    Literal["recorded", "simulated", "none"],
    typer.Option("--cache", help="What a look-up finds: what it found then, what this traffic has stored, or nothing."),
]
Spacing = Annotated[
    float,
    typer.Option("--spacing", metavar="SECONDS", min=0.001, help="Between requests without a recorded time."),
]
Show = Annotated[int, typer.Option("--show", metavar="N", min=0, help="So many changed requests by name.")]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Every request as a JSON line.", show_default=False),
]


def replay(  # noqa: PLR0913, PLR0917  every parameter is an option of the command line
    source: Source,
    policy: PolicyFile = None,
    lock: LockFile = None,
    reprice: Reprice = False,
    cache: CacheKind = "recorded",
    spacing: Spacing = 1.0,
    show: Show = 10,
    output: Output = None,
    slice_by: SliceBy = None,
    column: Columns = None,
    json: AsJson = False,
) -> None:
    """What would this policy have done with recorded traffic? The same flow, no call made.

    Requests for which the policy would ask something that is not recorded are counted and not guessed.
    The saving against always-frontier is told only where both answers were had or drawn by a known coin.

    JSON: `policy`, `requests`, `replayed`, `left_out` (rows by what is missing), `flow` (who served then
    -> now -> rows), `then` and `now` (`rows`, `cost`, `unpriced`, `latency`), `spent` (`now.cost` in its
    parts: `served`, `wasted`, `extras`, `embedding`, `frontier`), `saving` and `quality` (against
    always-frontier: `rows`, `figure`, `why` there is none, `left_out`), `changed`, `changes` (`id`,
    `slice`, `then`, `now`, `why`).

    Lines of -o: `id`, `slice`, `at`, `then`, `now`, `served`, `why`, `cost_then`, `cost`, `cost_known`,
    `latency_then`, `latency`, `quality`, `missing`, `error`.
    """
    from cascade.hindsight import Gathering
    from cascade.policyfile import load_policy
    from cascade.report.hindsight import tables

    file = policy_file(policy)
    loaded = load_policy(file)
    rules, embedder = _rules(loaded, file, lock)
    gathering = Gathering(rules, reprice=reprice, shown=show)
    with _taken(source, named_columns(column or []), slice_by) as outcomes, _lines(output) as write:
        for row in _replayed(outcomes, rules, embedder, cache, spacing, reprice):
            gathering.add(row)
            write(row)
    found = gathering.found()
    if not found.requests:
        raise ConfigError(f"{source}: no request in it can be replayed")
    if json:
        emit(found)
        return
    from cascade.cli.printing import show as shown

    shown(tables(found))


def _rules(policy: Policy, file: Path, lock: Path | None) -> tuple[Rules, Embedder | None]:
    """The policy with its lock, compiled; what it cannot do is said aloud."""
    from cascade.engine import embedder_of
    from cascade.gates import Gates
    from cascade.intents import fit_intents
    from cascade.ladder import Ladder
    from cascade.lock import load_lock, lock_path
    from cascade.run import Rules

    place = lock if lock is not None else lock_path(file)
    found = load_lock(place)
    if found is None and lock is not None:
        raise ConfigError(f"{lock} is not there")
    if found is None:
        note(f"There is no lock ({place}): every request goes to {policy.last.name}.")
    if policy.mode == "observe" or policy.rollout < 100.0:
        note("The policy observes (mode or rollout): such requests are answered by the last tier, as it says.")
    embedder = embedder_of(policy)
    gates = Gates(policy, found, embedder=embedder.name if embedder is not None else None)
    for name, reason in gates.reasons.items():
        note(f"closed: {name}: {reason}")
    intents = fit_intents(policy, embedder) if embedder is not None else None
    return Rules(policy=policy, gates=gates, ladder=Ladder(policy), intents=intents), embedder


def _replayed(
    outcomes: Iterable[Outcome], rules: Rules, embedder: Embedder | None, kind: str, spacing: float, reprice: bool
) -> Iterator[Replayed]:
    from cascade.cache.opening import cache_of
    from cascade.replay import replay as through
    from cascade.traffic import Clock, Nothing

    clock = Clock()
    cache: Answers | None = Nothing() if kind == "none" else None
    if kind == "simulated":
        cache = cache_of(rules.policy, rules.ladder, None, embedder=embedder, clock=clock) or Nothing()
    try:
        yield from through(outcomes, rules, embedder, cache, clock=clock, spacing=spacing, reprice=reprice)
    finally:
        if cache is not None:
            cache.close()


@contextmanager
def _taken(source: str, columns: dict[str, str], slice_by: str | None) -> Iterator[Iterator[Outcome]]:
    """The rows one by one, counted on stderr; what could not be used is told at the end."""
    from cascade.intake import Found, each

    found = Found()
    with status(f"replaying {source}") as shown:

        def counted() -> Iterator[Outcome]:
            for count, outcome in enumerate(each(source, found, columns=columns, slice_by=slice_by), 1):
                yield outcome
                if count % EVERY == 0:
                    shown(f"replaying {source}: {count:,} requests")

        yield counted()
    for line in report(found.intake([], 0)):
        note(f"{source}: {line}")


@contextmanager
def _lines(path: Path | None) -> Iterator[Callable[[Replayed], object]]:
    """Writes rows into a file that appears under its name when it is complete."""
    if path is None:
        yield lambda row: None
        return
    import msgspec

    from cascade.hindsight import told

    part, encode = path.with_name(f"{path.name}.{os.getpid()}.part"), msgspec.json.Encoder().encode
    try:
        with part.open("wb") as file:
            yield lambda row: file.write(encode(told(row)) + b"\n")
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
