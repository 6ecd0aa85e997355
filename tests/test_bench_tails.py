"""The search for where the misses are: it finds what is there, and rarely anything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact, hypergeom

from cascade.bench.field import CASCADE, FRONTIER, Measured
from cascade.bench.tails import FAMILYWISE, LEAST, Part, chances, detectable, parts, rare, search, tails
from cascade.columns import Column
from cascade.compare import Table
from cascade.policy import Policy
from cascade.replay import Replayed
from cascade.types import Decision, Outcome
from tests.building import policy_of

REGRET = policy_of(target={"max_regret": 0.05})
ERROR = policy_of(target={"max_error": 0.05})


def column(name: str, quality: Any, cheap: Any) -> Column:
    zeros = np.zeros(len(quality))
    return Column(name=name, quality=np.asarray(quality, float), cost=zeros, latency=zeros, cheap=cheap, asked=cheap)


def measured(outcomes: list[Outcome], ours: Any, frontier: Any, cheap: Any) -> Measured:
    """Rows of which the cascade serves those that ``cheap`` (1.0) names, with these qualities."""
    rows = [
        Replayed(outcome=o, decision=decided(o, c), quality=float(q), cost=0.0, latency=0.0, cpu=None)
        for o, q, c in zip(outcomes, ours, cheap, strict=True)
    ]
    columns = [column(FRONTIER, frontier, np.zeros(len(rows))), column(CASCADE, ours, np.asarray(cheap, float))]
    return Measured(
        rows=rows,
        outcomes=outcomes,
        slices=[o.slice for o in outcomes],
        columns={one.name: one for one in columns},
        table=Table(outcomes, columns[0]),
    )


def decided(outcome: Outcome, cheap: float) -> Decision:
    by = "cheap" if cheap else "frontier"
    return Decision(
        id=outcome.id, at=0.0, policy="p", mode="enforce", slice=outcome.slice, served="accepted", served_by=by, why=""
    )


def traffic(n: int, seed: int = 0) -> list[Outcome]:
    """Questions of some slices and teams, one in sixteen of them at high stakes."""
    random = np.random.default_rng(seed)
    return [
        Outcome(
            id=f"q{i:04}",
            slice=f"s{random.integers(4)}",
            query="why? " + "x" * int(random.integers(1, 60)) + ("7" if random.random() < 0.4 else ""),
            metadata={"team": str(random.integers(3))},
            stakes="high" if random.random() < 1 / 16 else None,
        )
        for i in range(n)
    ]


def planted(n: int = 900, seed: int = 0, rate: float = 0.4) -> tuple[list[Outcome], Any]:
    """Where the stakes are high this share is missed, elsewhere 3 %."""
    rows, random = traffic(n, seed), np.random.default_rng(seed + 1)
    return rows, np.array([float(random.random() >= (rate if row.stakes else 0.03)) for row in rows])


def test_a_rare_part_with_many_misses_is_found_and_named() -> None:
    rows, right = planted()
    found = tails(measured(rows, right, np.ones(len(rows)), np.ones(len(rows))), REGRET)
    first = found.found[0]
    assert first.rule == "stakes high"
    assert first.significant
    assert first.rows == sum(row.stakes is not None for row in rows) < 0.1 * len(rows)
    assert first.rate.estimate > 5 * first.elsewhere.estimate
    assert "stakes high" in found.sentence


def test_what_says_the_same_again_is_not_told_twice() -> None:
    """Every other significant part would name the same misses in other words."""
    rows, right = planted()
    found = tails(measured(rows, right, np.ones(len(rows)), np.ones(len(rows))), REGRET)
    assert [one.rule for one in found.found if one.significant] == ["stakes high"]


def test_familywise_error_without_a_concentration_is_held() -> None:
    """Under equal chances in all parts, something is called significant in at most 5 % of all searches."""
    rows = traffic(300)
    served = [replayed(row) for row in rows]
    candidates = parts(served, [row.slice for row in rows])
    assert len(candidates) > 30
    random = np.random.default_rng(7)
    repeats, wrong = 400, 0
    for seed in range(repeats):
        found = search(candidates, random.random(len(rows)) < 0.1, lots=199, seed=seed)
        wrong += any(one.significant for one in found.found)
    # P(Bin(400, 0.05) > 29) is 2 %: the limit is for chance, and a search without correction would have hundreds.
    assert wrong <= 29
    assert wrong >= 4  # one that never finds anything would hold it as well


def replayed(row: Outcome) -> Replayed:
    return Replayed(outcome=row, decision=decided(row, 1.0), quality=1.0, cost=0.0, latency=0.0, cpu=None)


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(random: Any) -> None:
    rows, right = planted(300)
    order = list(range(len(rows)))
    random.shuffle(order)
    ones = np.ones(len(rows))
    assert tails(measured(rows, right, ones, ones), REGRET) == tails(
        measured([rows[i] for i in order], right[order], ones, ones), REGRET
    )


def test_a_part_that_holds_all_rows_or_hardly_any_is_none() -> None:
    rows = [Outcome(id=str(i), slice="one", query="what?", tenant="t" if i < LEAST - 1 else "u") for i in range(50)]
    assert not parts([replayed(row) for row in rows], [row.slice for row in rows])


def test_a_miss_of_a_regret_is_one_that_the_last_tier_has_right() -> None:
    """Wrong on both sides loses nothing against always-frontier, but is an error."""
    rows = traffic(100)
    ours, frontier = np.zeros(100), np.array([1.0] * 30 + [0.0] * 70)
    found = measured(rows, ours, frontier, np.ones(100))
    assert tails(found, REGRET).misses == 30
    assert tails(found, ERROR).misses == 100


def test_only_what_was_served_without_the_last_tier_is_searched() -> None:
    rows = traffic(100)
    cheap = np.array([1.0] * 60 + [0.0] * 40)
    found = tails(measured(rows, np.zeros(100), np.ones(100), cheap), REGRET)
    assert (found.served, found.misses) == (60, 60)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_the_chance_of_a_table_is_fishers(a: int, b: int, c: int, d: int) -> None:
    """A part with a misses and b hits, the rest with c and d."""
    n, misses, size = a + b + c + d, a + c, a + b
    if min(size, n - size) == 0:
        return
    expected = fisher_exact([[a, b], [c, d]], alternative="greater").pvalue
    assert chances([size], n, misses)[0, a] == pytest.approx(expected, rel=1e-6)


def test_the_rate_that_would_be_found_is_found_as_often_as_it_says() -> None:
    n, misses, limit = 600, 60, 1e-3
    least = detectable(n, misses, limit)
    assert least is not None
    size = rare(n)
    elsewhere = round(misses / n * (n - size))
    held = np.random.default_rng(0).binomial(size, least, 4000)
    p = hypergeom.sf(held - 1, n, held + elsewhere, size)
    assert (p < limit).mean() == pytest.approx(0.8, abs=0.02)


def test_nothing_found_says_what_would_have_been() -> None:
    rows = traffic(300)
    right = np.array([float(i % 10 != 0) for i in range(300)])
    found = tails(measured(rows, right, np.ones(300), np.ones(300)), REGRET)
    assert not any(one.significant for one in found.found)
    assert found.detectable is not None
    assert f"{found.detectable:.0%}" in found.sentence
    assert all(one.p > FAMILYWISE for one in found.found)


@pytest.mark.parametrize("policy", [REGRET, ERROR])
@pytest.mark.parametrize(("ours", "cheap"), [(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_without_misses_or_served_answers_it_says_so(policy: Policy, ours: float, cheap: float) -> None:
    rows = traffic(40)
    found = tails(measured(rows, np.full(40, ours), np.ones(40), np.full(40, cheap)), policy)
    assert (found.misses, found.found) == (0, [])
    assert "miss" in found.sentence


def test_a_few_rows_are_no_part() -> None:
    found = search([], np.array([True, False]))
    assert (found.searched, found.found) == (0, [])
    assert "no part" in found.sentence


def test_no_lots_prove_nothing() -> None:
    """The p-value is a rank among the lots, so a few of them cannot make it small."""
    part = Part("all of it", np.arange(200) < 20)
    assert search([part], np.arange(200) < 20, lots=10).found[0].p == pytest.approx(1 / 11)
