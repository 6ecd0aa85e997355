"""``cascade cache``: look into the store of answers, and take answers out of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli.places import AsJson, PolicyFile, StoreFolder, policy_file
from cascade.cli.printing import emit, note, status, tracked
from cascade.errors import ConfigError

if TYPE_CHECKING:
    from cascade.cache import Cache

UNBOUNDED = sys.maxsize
"""Size limit of a cache whose policy is not known."""

cache = typer.Typer(
    no_args_is_help=True,
    help="Look into the cache of a policy, and take answers out of it.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@cache.command()
def check(policy: PolicyFile = None, store: StoreFolder = None, json: AsJson = False) -> None:
    """Look for what is inconsistent: the file, its counters, rows and vectors that do not decode, its size.

    Reads every row. Exit status 1 when something is found.

    JSON: `ok`, `findings` (one line each).
    """
    with cache_of(policy, store) as found, status("reading every row"):
        findings = found.check()
        if found.faults["discarded"]:
            findings.append("the file was not a sound database of this release; it has been begun anew")
    if json:
        emit({"ok": not findings, "findings": findings})
    else:
        for line in findings or ["nothing is inconsistent"]:
            typer.echo(line)
    if findings:
        raise typer.Exit(1)


@cache.command()
def stats(policy: PolicyFile = None, store: StoreFolder = None, json: AsJson = False) -> None:
    """Show what the cache holds and what it has served.

    JSON: `entries`, `semantic` (how many of them are found by similarity), `bytes`, `hits` (of the
    entries still there), `oldest` (seconds).
    """
    with cache_of(policy, store) as found:
        held = found.stats()
        _refuse_faults(found)
    rows = {
        "entries": held.entries,
        "semantic": held.semantic,
        "bytes": held.bytes,
        "hits": held.hits,
        "oldest": held.oldest,
    }
    if json:
        emit(rows)
        return
    shown = {**rows, "oldest": f"{held.oldest / 3600:,.1f} hours"}
    for name, value in shown.items():
        typer.echo(f"{name:<10} {value if isinstance(value, str) else format(value, ',')}")


@cache.command()
def invalidate(
    tag: Annotated[str, typer.Argument(help="As tenant=acme, slice=billing, model=gpt-5, product=widget.")],
    policy: PolicyFile = None,
    store: StoreFolder = None,
    json: AsJson = False,
) -> None:
    """Remove every answer that has a tag. Running engines follow within a second.

    JSON: `tag`, `removed` (how many).
    """
    if "=" not in tag:
        raise ConfigError(f"a tag is NAME=VALUE, as tenant=acme; got {tag}")
    with cache_of(policy, store) as found:
        removed = found.invalidate(tag)
        _refuse_faults(found)
    if json:
        emit({"tag": tag, "removed": removed})
    else:
        note(f"{removed:,} answers removed")


@cache.command()
def retract(
    key: Annotated[str, typer.Argument(help="Key of a stored answer, as outcomes name it.")],
    policy: PolicyFile = None,
    store: StoreFolder = None,
    json: AsJson = False,
) -> None:
    """Remove one answer, and those of its context that say the same. Exit status 1 when there is none.

    JSON: `removed` (keys).
    """
    with cache_of(policy, store) as found:
        removed = found.retract(key)
        _refuse_faults(found)
    if json:
        emit({"removed": removed})
    else:
        note(f"{len(removed):,} answers removed")
    if not removed:
        raise typer.Exit(1)


@cache.command()
def recall(
    outcomes: Annotated[Path, typer.Argument(metavar="OUTCOMES", help="Recorded outcomes, .jsonl or .jsonl.gz.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where the rows go.")],
    policy: PolicyFile = None,
    json: AsJson = False,
) -> None:
    """Add to recorded outcomes what a semantic cache would have found, so that its gate can be calibrated.

    Live traffic records the nearest stored answer by itself. Here the last tier's answers of split `fit`
    are the cache; a row also finds the earlier rewordings of its own question. A stored answer is labelled
    where the row's own labelled answers contain it word for word; the others need a judge:
    `cascade judge FILE --tier cache`.

    JSON: `file`, `outcomes`, `found` (rows with a stored answer), `labelled` (how many of those are).
    """
    from cascade.engine import embedder_of
    from cascade.learning.recalled import recalled
    from cascade.ledger import read_outcomes, write_outcomes
    from cascade.policyfile import load_policy
    from cascade.types import CACHE

    loaded = load_policy(policy_file(policy))
    embedder = embedder_of(loaded)
    if embedder is None or not loaded.cache.semantic:
        raise ConfigError(f"policy {loaded.name!r} has no semantic cache: set semantic = true in its [cache]")
    read = list(tracked("outcomes")(read_outcomes(outcomes)))
    with status("looking up"):
        rows = recalled(read, loaded, embedder)
    stored = [row.models[CACHE] for row in rows if CACHE in row.models]
    labelled = sum(one.quality is not None for one in stored)
    written = write_outcomes(output, rows)
    if json:
        emit({"file": str(output), "outcomes": written, "found": len(stored), "labelled": labelled})
        return
    note(
        f"{written:,} outcomes written to {output}; {len(stored):,} have a stored answer, {labelled:,} of them a label"
    )
    if labelled < len(stored):
        note(f"label the others: cascade judge {output} --tier cache")


@contextmanager
def cache_of(policy: Path | None, store: Path | None) -> Iterator[Cache]:
    """The cache meant; ``ConfigError`` where there is none: looking never makes one.

    Without a policy its size limit is unknown, and none is held against it.
    """
    from cascade.cache import Cache
    from cascade.policy import store_folder
    from cascade.policyfile import load_policy

    file = policy if store is not None else policy_file(policy)
    loaded = load_policy(file) if file is not None else None
    folder = store if store is not None or loaded is None else store_folder(loaded, file)
    assert folder is not None  # a policy has been found where no store was given
    if not (folder / "answers" / "cache.db").is_file():
        raise ConfigError(f"{folder} holds no cache: it begins with the first answer, or name another with --store")
    limit = UNBOUNDED if loaded is None else int(loaded.cache.size_limit_mb * 2**20)
    ttl = loaded.cache.ttl if loaded is not None else None
    found = Cache(identity="", folder=folder, ttl=ttl, size_limit=limit, max_temperature=0.0)
    try:
        yield found
    finally:
        found.close()


def _refuse_faults(cache: Cache) -> None:
    """Say what failed, since the cache itself only counts it."""
    if cache.faults:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in cache.faults.items())
        raise ConfigError(f"the cache could not be read or changed: {kinds}; see cascade cache check")
