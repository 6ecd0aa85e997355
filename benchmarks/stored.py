"""What a cache would have found for each recorded question: ``python -m benchmarks.stored`` adds it to the recordings.

The frontier's answers to the other questions are the cache (see ``cascade.learning.recalled``); whether the one that
is found is right for the question is judged by the question's own gold answer.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from benchmarks.record import POLICY, RECORDINGS
from cascade.engine import embedder_of
from cascade.judging.gold import matches
from cascade.learning.recalled import recalled
from cascade.policyfile import load_policy
from cascade.types import CACHE, ModelOutcome, Outcome

DIGITS = 6
"""Decimal places of a signal that is committed."""


def found(lines: list[dict[str, Any]]) -> list[ModelOutcome | None]:
    """The stored answer that was nearest to each question, judged; None where nothing was stored in its context."""
    policy = load_policy(POLICY)
    embedder = embedder_of(policy)
    assert embedder is not None, "the demo's cache is semantic"
    rows = [msgspec.convert({**line, "models": _tiers(line)}, Outcome) for line in lines]
    stored = [row.models.get(CACHE) for row in recalled(rows, policy, embedder)]
    return [
        None if one is None else _judged(one, line["match"], str(line["reference"]))
        for one, line in zip(stored, lines, strict=True)
    ]


def _tiers(line: dict[str, Any]) -> dict[str, Any]:
    return {name: model for name, model in line["models"].items() if name != CACHE}


def _judged(stored: ModelOutcome, match: str, reference: str) -> ModelOutcome:
    right = int(matches(match, stored.answer or "", reference))
    signals = {name: round(value, DIGITS) for name, value in stored.signals.items()}
    return replace(stored, correct=right, signals=signals)


def main(path: Path = RECORDINGS / "demo.jsonl.gz") -> None:
    """Rewrite the recordings; the same file for the same answers."""
    lines = [msgspec.json.decode(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    for line, stored in zip(lines, found(lines), strict=True):
        line["models"] = _tiers(line) | ({} if stored is None else {CACHE: msgspec.to_builtins(stored)})
    path.write_bytes(gzip.compress(b"".join(msgspec.json.encode(line) + b"\n" for line in lines), 9, mtime=0))
    kept = sum(CACHE in line["models"] for line in lines)
    print(f"{kept:,} of {len(lines):,} questions have a stored answer in their context")


if __name__ == "__main__":
    main()
