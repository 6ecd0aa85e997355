"""Verdicts that a command keeps in a ledger reach the cache beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cascade.cli.printing import note

if TYPE_CHECKING:
    from cascade.heeding import Heeding
    from cascade.judging.source import Source
    from cascade.policy import Policy
    from cascade.run import Rules
    from cascade.types import Outcome, Verdict


class Heeded:
    """The ``source``; its verdicts are heeded before they are kept, so that a crash in between loses no retraction."""

    def __init__(self, source: Source, heeding: Heeding) -> None:
        self._source, self._heeding = source, heeding
        self.retracted = 0

    def rows(self) -> list[Outcome]:
        """The source's."""
        return self._source.rows()

    def keep(self, row: Outcome, tier: str, verdict: Verdict) -> None:
        """Retract or prove the stored answer, then keep the verdict."""
        self.retracted += len(self._heeding.heed(row, tier, verdict))
        self._source.keep(row, tier, verdict)


@contextmanager
def heeded(source: Source, path: Path, policy: Policy | None, file: Path | None) -> Iterator[Source]:
    """The source of a command, with the cache of the store at ``path``, if it is one and holds one.

    Without a ``policy`` (read from ``file``) nobody knows what a gate would serve in a retracted
    answer's place, so that only the answer itself goes, and those that say the same.
    """
    from cascade.cache import Cache
    from cascade.cache.opening import cache_of
    from cascade.engine import embedder_of
    from cascade.heeding import Heeding
    from cascade.ladder import Ladder

    folder = path.parent if path.name == "ledger.sqlite" else path
    if not (folder / "answers" / "cache.db").is_file():
        yield source
        return
    cache, rules = None, None
    if policy is not None:
        embedder = embedder_of(policy)
        cache = cache_of(policy, Ladder(policy, priced=False), folder, embedder=embedder)
        rules = _rules(policy, file, embedder.name if embedder is not None else None)
    if cache is None:
        from cascade.cli.cache import UNBOUNDED

        cache = Cache(identity="", folder=folder, ttl=None, size_limit=UNBOUNDED, max_temperature=0.0)
    made = Heeded(source, Heeding(cache, None if rules is None else lambda: rules))
    try:
        yield made
    finally:
        cache.close()
        if made.retracted:
            note(f"{made.retracted:,} stored answers failed and are retracted")


def _rules(policy: Policy, file: Path | None, embedder: str | None) -> Rules:
    from cascade.gates import Gates
    from cascade.ladder import Ladder
    from cascade.lock import load_lock, lock_path
    from cascade.run import Rules

    lock = None if file is None else load_lock(lock_path(file))
    return Rules(policy=policy, gates=Gates(policy, lock, embedder=embedder), ladder=Ladder(policy, priced=False))
