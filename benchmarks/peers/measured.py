"""What a peer's words about recorded answers are worth: ranking, calibration, and what it would have served wrongly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.peers.cases import Case, Row
from cascade.intervals import Bootstrap, Figure, proportion

BINS = 10
HALF = 0.5
"""The confidence from which on a peer's answer is taken where nothing else is said."""


class Word(NamedTuple):
    """A peer's word on one answer. ``threshold`` is its default for the question's complexity; ``asked`` and
    ``accepted`` say what its own agent did with the draft. A scorer alone has only a ``confidence``."""

    confidence: float
    threshold: float | None = None
    asked: bool | None = None
    accepted: bool | None = None


def line(case: Case, peer: str, given: str, rows: Sequence[Row], words: Sequence[Word]) -> dict[str, Any]:
    """One line of the table: ``rows`` as they are, beside what ``peer`` said of each."""
    right = np.array([row.right for row in rows])
    own, said = np.array([row.own for row in rows]), np.array([word.confidence for word in words])
    drawn = Bootstrap([row.unit for row in rows])
    return {
        "source": case.source,
        "model": case.model,
        "peer": peer,
        "given": given,
        "rows": len(rows),
        "right": _plain(proportion(int(right.sum()), len(rows))),
        "auroc": _plain(drawn.figure(lambda w: area(said, right, w), right)),
        "own": case.own,
        "own_auroc": _plain(drawn.figure(lambda w: area(own, right, w), right)),
        "difference": _plain(drawn.figure(lambda w: area(said, right, w) - area(own, right, w), right)),
        "ece": ece(said, right),
        "rules": rules(words, right),
    }


def rules(words: Sequence[Word], right: Any) -> dict[str, dict[str, Any]]:
    """Share accepted and wrong among them, for each rule that the peer has; none where it names no threshold."""
    if any(word.threshold is None for word in words):
        return {}
    kinds: dict[str, Callable[[Word], bool]] = {
        "half": lambda word: word.confidence >= HALF,
        "complexity": lambda word: word.threshold is not None and word.confidence >= word.threshold,
        "agent": lambda word: bool(word.accepted),
    }
    found: dict[str, dict[str, Any]] = {}
    for kind, takes in kinds.items():
        taken = np.array([takes(word) for word in words])
        found[kind] = {
            "accepted": _plain(proportion(int(taken.sum()), len(words))),
            "wrong": _plain(proportion(int((taken & ~right).sum()), int(taken.sum()))) if taken.any() else None,
        }
    found["agent"]["not_asked"] = sum(word.asked is False for word in words) / len(words)
    return found


def area(values: Any, right: Any, weights: Any) -> Any:
    """AUROC of ``values`` (n,) for ``right`` (n,) under row weights (..., n), ties half; shape (...)."""
    _, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    ones, zeros = (
        np.add.reduceat((weights * kind)[..., order], starts, axis=-1) for kind in (right.astype(float), ~right)
    )
    below = np.cumsum(zeros, axis=-1) - zeros
    return ((below + zeros / 2) * ones).sum(-1) / (ones.sum(-1) * zeros.sum(-1))


def ece(confidence: Any, right: Any) -> float:
    """Expected calibration error: mean over rows of |mean confidence - share right| of their bin of equal size."""
    bins = np.array_split(np.argsort(confidence, kind="stable"), BINS)
    return float(sum(abs(confidence[b].mean() - right[b].mean()) * len(b) for b in bins if len(b)) / len(right))


def _plain(figure: Figure) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(figure)
    return plain
