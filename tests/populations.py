"""Labelled outcomes of made-up models for the laws of calibration: seeded, with known true rates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cascade.types import ModelOutcome, Outcome, Verdict

SPLITS = ("fit", "certify", "test")


def outcomes(
    seed: int,
    sizes: tuple[int, int, int] = (400, 600, 300),
    *,
    slices: tuple[str, ...] = ("a",),
    strength: float = 2.0,
    base: float = 1.2,
    frontier: float = 0.95,
    more: Callable[[np.random.Generator, bool, float], dict[str, float]] | None = None,
    **fields: Any,
) -> list[Outcome]:
    """A signal ``sure.value`` in [0, 1] that knows, by ``strength``, how likely the cheap answer is right."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(sum(sizes)):
        z = float(random.normal())
        right = bool(random.random() < 1 / (1 + np.exp(-(base + strength * z))))
        signals = {"sure.value": float(1 / (1 + np.exp(-z))), **(more(random, right, z) if more else {})}
        tokens = int(random.integers(5, 200))
        models = {
            "cheap": ModelOutcome(
                correct=int(right), signals=signals, cost=1e-5, completion_tokens=tokens, prompt_tokens=20,
                finish_reason="stop", answer="x",
            ),
            "frontier": ModelOutcome(
                correct=int(random.random() < frontier), cost=1e-4 * (1 + tokens / 100), answer="y",
                completion_tokens=tokens, prompt_tokens=20, finish_reason="stop",
            ),
        }  # fmt: skip
        split = SPLITS[int(np.searchsorted(np.cumsum(sizes), i, side="right"))]
        name = slices[i % len(slices)]
        rows.append(Outcome(id=f"q{i:05d}", slice=name, query=f"question {i}?", split=split, models=models, **fields))
    return rows


def judged(model: ModelOutcome, judge: str, acceptable: bool | None = None, **fields: Any) -> ModelOutcome:
    """The same answer with one more verdict; by default the judge is right."""
    word = bool(model.correct) if acceptable is None else acceptable
    verdicts = [*model.verdicts, Verdict(judge=judge, acceptable=word, **fields)]
    return ModelOutcome(**{f: getattr(model, f) for f in model.__struct_fields__} | {"verdicts": verdicts})
