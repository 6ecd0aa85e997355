"""Repeating a case: how often each method broke its promise, and how much it served."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from benchmarks.coverage.cases import DELTA, Case, accept, cases, oracle

SEED = 2026


def measure(repetitions: int, say: Callable[[str], None], chosen: Iterable[Case] | None = None) -> list[dict[str, Any]]:
    """One line for each case and method; the methods of a case see the same draws."""
    lines: list[dict[str, Any]] = []
    for place, case in enumerate(cases() if chosen is None else chosen):
        began = time.monotonic()
        lines += repeated(case, repetitions, np.random.default_rng([SEED, place]))
        say(f"{case.name}, n = {case.n}: {time.monotonic() - began:.0f} s")
    return lines


def repeated(case: Case, repetitions: int, random: np.random.Generator) -> list[dict[str, Any]]:
    """The figures of one case."""
    share = DELTA / len(case.populations)
    served = np.zeros((len(case.ways), repetitions))
    broken = np.zeros((len(case.ways), repetitions), dtype=bool)
    nothing = np.zeros((len(case.ways), repetitions))
    for repetition in range(repetitions):
        for place, population in enumerate(case.populations):
            rows = case.draw(population, random, f"{repetition}-{place}-")
            for way, (_, method, _) in enumerate(case.ways):
                threshold = method(rows, case.target, share)
                accepted, risk = accept(case, place, threshold)
                served[way, repetition] += accepted / len(case.populations)
                broken[way, repetition] |= risk > case.target.level
                nothing[way, repetition] += (threshold is None) / len(case.populations)
    best = oracle(case)
    return [
        {
            "case": case.name,
            "kind": case.target.kind,
            "level": case.target.level,
            "n": case.n,
            "method": way.name,
            "promises": way.promises,
            "tied": any(population.values for population in case.populations),
            "repetitions": repetitions,
            "violations": float(broken[at].mean()),
            "violations_error": float((broken[at].mean() * (1 - broken[at].mean()) / repetitions) ** 0.5),
            "served": float(served[at].mean()),
            "oracle": best,
            "relative": float(served[at].mean() / best),
            "relative_error": float(served[at].std() / best / repetitions**0.5),
            "nothing": float(nothing[at].mean()),
        }
        for at, way in enumerate(case.ways)
    ]
