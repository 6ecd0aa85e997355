"""The promise over many draws: what is certified breaks no more often than it says, what is naive does."""

from __future__ import annotations

from typing import Any

import pytest
from scipy.stats import binom

from benchmarks.coverage import methods
from benchmarks.coverage.cases import DELTA, NAIVE, OURS, Case, Way, cases
from benchmarks.coverage.report import bars, document, markdown
from benchmarks.coverage.runs import measure
from cascade.policy import Target
from cascade.simulate import GRADED_PAIRS, LADDER, OVERCONFIDENT, PAIRED, TIED, TYPICAL

REPETITIONS = 300
SURE = 0.9999
MOST = int(binom.ppf(SURE, REPETITIONS, DELTA))
ERROR, REGRET = Target(max_error=0.05), Target(max_regret=0.02)
WAYS = (NAIVE, OURS, Way("ours, 40/60 split of n", methods.ours_split))
SHORT = [
    Case("A", (TYPICAL,), ERROR, 300, WAYS),
    Case("A", (TYPICAL,), ERROR, 1000, WAYS),
    Case("C", (OVERCONFIDENT,), ERROR, 1000, WAYS),
    Case("D", (PAIRED,), REGRET, 300, WAYS),
    Case("graded", (GRADED_PAIRS,), REGRET, 300, (NAIVE, OURS)),
    Case("tiers", (LADDER,), ERROR, 300, (NAIVE, OURS)),
    Case("ties", (TIED,), ERROR, 1000, (OURS,)),
    Case("slices", (TYPICAL, OVERCONFIDENT, TIED), ERROR, 500, (NAIVE, OURS)),
]


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    return measure(REPETITIONS, lambda line: None, SHORT)


def test_certified_thresholds_break_their_promise_no_more_often_than_they_say(lines: list[dict[str, Any]]) -> None:
    broken = {(line["case"], line["n"], line["method"]): line["violations"] for line in lines if line["promises"]}
    assert {name: share for name, share in broken.items() if round(share * REPETITIONS) > MOST} == {}
    assert sum(line["nothing"] < 1 for line in lines if line["promises"]) > len(broken) / 2


def test_naive_thresholds_break_theirs_in_a_third_of_the_runs_and_more(lines: list[dict[str, Any]]) -> None:
    """Else the populations would be too kind to show anything."""
    assert min(line["violations"] for line in lines if line["method"] == NAIVE.name) > 0.3


def test_labels_that_a_gate_chose_break_the_promise_unless_they_are_thinned() -> None:
    (case,) = (case for case in cases() if case.labelled is not None)
    found = {line["method"]: line["violations"] for line in measure(40, lambda line: None, [case])}
    assert found[OURS.name] <= binom.ppf(SURE, 40, DELTA) / 40
    assert found["the same rows, not thinned"] > 0.5


def test_the_page_names_every_bar_that_is_missed(lines: list[dict[str, Any]]) -> None:
    bad = [line | {"violations": 0.2} if line["promises"] else line for line in lines]
    assert all(bar["met"] for bar in bars(lines) if bar["kind"] == "at most")
    missed = [bar for bar in bars(bad) if not bar["met"]]
    page = markdown(document(bad, REPETITIONS, 1.0))
    assert len(missed) >= sum(line["promises"] for line in lines)
    assert all(f"Missed: {bar['what']}" in page for bar in missed)
