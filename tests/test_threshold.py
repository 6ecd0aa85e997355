"""Certification on bare arrays takes the steps that calibration takes, and keeps its promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cascade.learning.issue import Scored, Terms, issue
from cascade.learning.populations import Population as Stratum
from cascade.learning.rows import Rows
from cascade.learning.threshold import certified
from cascade.simulate import GRADED_PAIRS, LADDER, OVERCONFIDENT, PAIRED, TIED, TYPICAL, Population
from tests.building import policy_of, scorer_of, tier


def as_rows(quality: Any) -> Rows:
    n = quality.shape[1]
    empty: dict[str, Any] = {name: [""] * n for name in ("outcomes", "requests", "splits", "units")}
    return Rows(
        **empty, slices=["s"] * n, signals=[[None] * (len(quality) - 1)] * n, routed=[-1] * n, quality=quality,
        cost=np.full(quality.shape, np.nan), people=np.full(quality.shape, np.nan), propensity=np.ones(n),
    )  # fmt: skip


def issued(population: Population, fit: Any, rows: Any, kind: str, level: float) -> float | None:
    names = [f"t{i}" for i in range(len(population.heads))]
    policy = policy_of(*(tier(name) for name in [*names, "last"]), target={f"max_{kind}": level})
    terms = Terms(
        policy=policy, kind="right", prefix="x", judge="", truth="", conflict="", shares={}, issued_at="", identity={}
    )
    stratum = Stratum(name="all", gate_slice="*", slices=["s"], signal_sets=["text"], delta=0.05, alone=False)
    some = (np.empty((len(names), 0)), np.empty((len(names) + 1, 0)))
    parts = [Scored(rows=as_rows(quality), scores=scores) for scores, quality in (fit or some, rows, some)]
    found = issue(stratum, [scorer_of(name, "text") for name in names], [], parts[0], parts[1], parts[2], terms)
    return found.gates[0].threshold


@pytest.mark.parametrize("fitted", [True, False])
@pytest.mark.parametrize(
    ("population", "kind", "level"),
    [
        (TYPICAL, "error", 0.05),
        (OVERCONFIDENT, "error", 0.1),
        (TIED, "error", 0.05),
        (LADDER, "error", 0.05),
        (PAIRED, "regret", 0.05),
        (GRADED_PAIRS, "regret", 0.05),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_it_is_the_threshold_that_calibration_would_issue(
    population: Population, kind: str, level: float, fitted: bool
) -> None:
    found = []
    for seed in range(4):
        random = np.random.default_rng(seed)
        fit, rows = population.draw(900, random) if fitted else None, population.draw(900, random)
        target = policy_of(target={f"max_{kind}": level}).target
        found.append(certified(fit, rows, target, 0.05))
        assert found[-1] == issued(population, fit, rows, kind, level)
    assert not fitted or any(threshold is not None for threshold in found)
