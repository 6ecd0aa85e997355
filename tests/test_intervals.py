"""Intervals for comparisons on the same rows: they cover what they say, and pairs stay together."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from scipy.stats import binomtest

from benchmarks import intervals as simulated
from benchmarks.coverage.report import RESULTS
from cascade.intervals import Bootstrap, paired_difference, proportion


@pytest.mark.parametrize(("more", "fewer"), [(0.01, 0.02), (0.03, 0.03), (0.10, 0.02), (0.0, 0.01)])
def test_the_paired_interval_covers_the_difference_it_estimates(more: float, fewer: float) -> None:
    random = np.random.default_rng(7)
    covered, repetitions = 0, 1500
    for _ in range(repetitions):
        kind = random.random(200)
        ours, theirs = np.ones(200), np.ones(200)
        theirs[kind < more] = 0.0
        ours[(kind >= more) & (kind < more + fewer)] = 0.0
        found = paired_difference(ours, theirs)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= more - fewer <= found.high
    assert covered / repetitions >= 0.95 - 4 * (0.05 * 0.95 / repetitions) ** 0.5


def test_the_paired_interval_turns_round_with_its_sides_and_stays_in_range() -> None:
    random = np.random.default_rng(1)
    ours, theirs = (random.random(60) < 0.8).astype(float), (random.random(60) < 0.7).astype(float)
    one, other = paired_difference(ours, theirs), paired_difference(theirs, ours)
    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low))  # type: ignore[operator]
    every = paired_difference(np.ones(3), np.zeros(3))
    assert every.high == pytest.approx(1.0, abs=0.2)
    assert every.high is not None
    assert every.high <= 1.0


def test_the_paired_interval_of_five_rows_by_hand() -> None:
    """Two gains, one loss: 3/7 and 2/7, centre 1/7, half 1.96 sqrt((5/7 - 1/49) / 7) = .6171."""
    found = paired_difference(np.array([1.0, 1.0, 0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0, 1.0, 0.0]))
    assert found.estimate == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((1 / 7 - 0.6171, 1 / 7 + 0.6171), abs=1e-4)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
def test_the_paired_interval_covers_graded_differences_too(share: float) -> None:
    """Most rows graded alike, the others apart by a uniform amount between -1 and 1/2."""
    random = np.random.default_rng(8)
    covered, repetitions = 0, 1000
    for _ in range(repetitions):
        apart = np.where(random.random(200) < share, random.uniform(-1.0, 0.5, 200), 0.0)
        found = paired_difference(np.maximum(apart, 0.0), np.maximum(-apart, 0.0))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= -share / 4 <= found.high
    assert covered / repetitions >= 0.95 - 4 * (0.05 * 0.95 / repetitions) ** 0.5


def test_sides_that_agree_everywhere_are_not_certain_to_agree() -> None:
    found = paired_difference(np.ones(50), np.ones(50))
    assert found.estimate == 0.0
    assert found.low is not None
    assert found.low < 0.0


@pytest.mark.parametrize(("good", "n"), [(0, 10), (3, 10), (50, 50), (199, 400)])
def test_the_interval_of_a_share_is_wilsons(good: int, n: int) -> None:
    textbook = binomtest(good, n).proportion_ci(0.95, "wilson")
    found = proportion(good, n)
    assert (found.low, found.high) == pytest.approx((textbook.low, textbook.high))


def test_a_share_of_nothing_has_no_interval() -> None:
    assert proportion(0, 0).low is None


def test_rows_of_one_group_are_drawn_together() -> None:
    """A row twice in one group is worth no more than once: the interval is the same."""
    random = np.random.default_rng(3)
    values = random.random(80)
    alone = Bootstrap([str(i) for i in range(80)]).mean(values)
    twice = Bootstrap([str(i) for i in range(80)] * 2).mean(np.tile(values, 2))
    apart = Bootstrap([str(i) for i in range(160)]).mean(np.tile(values, 2))
    assert (twice.low, twice.high) == pytest.approx((alone.low, alone.high))
    assert alone.low is not None
    assert apart.low is not None
    assert apart.low > alone.low


def test_differences_on_the_same_rows_stay_paired() -> None:
    random = np.random.default_rng(4)
    theirs = random.random(100) * 100
    boot = Bootstrap([str(i) for i in range(100)])
    difference = boot.mean(theirs + 1.0 - theirs)
    assert (difference.low, difference.estimate, difference.high) == pytest.approx((1.0, 1.0, 1.0))
    saving = boot.saving(theirs / 4, theirs)
    assert (saving.low, saving.estimate, saving.high) == pytest.approx((0.75, 0.75, 0.75))


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(5).random(40)
    assert Bootstrap(["a"] * 20 + ["b"] * 20).mean(values) == Bootstrap(["a"] * 20 + ["b"] * 20).mean(values)


def test_the_bootstrap_covers_a_mean() -> None:
    random, covered = np.random.default_rng(6), 0
    for seed in range(200):
        found = Bootstrap([str(i) for i in range(60)], seed=seed, resamples=300).mean(random.exponential(size=60))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1.0 <= found.high
    assert covered / 200 >= 0.85


CLOSED = ("difference, Bonett-Price", "graded difference, Bonett-Price", "share, Wilson")
"""Those without resampling: simulated again within a second or two."""


def test_the_committed_coverage_is_what_the_command_finds_again() -> None:
    """Each case has a seed of its own, so that some of them can be had without the others."""
    committed = msgspec.json.decode((RESULTS / "intervals.json").read_bytes())
    page = (RESULTS / "intervals.md").read_text()
    assert page == simulated.markdown(committed)
    cases = simulated.cases()
    names = {(line["interval"], line["population"], line["n"]) for line in committed["lines"]}
    assert names == {(case.interval, case.population, case.n) for case in cases}
    chosen = [case for case in cases if case.interval in CLOSED and case.n == 100]
    again = {simulated.row(line) for line in simulated.measure(lambda line: None, chosen)}
    assert len(again) == 9
    assert again <= set(page.splitlines())


def test_the_intervals_of_right_and_wrong_cover_where_the_plain_bootstrap_does_not() -> None:
    """What the table is for: among few disagreements resampling sees none, and is sure of it."""
    lines = msgspec.json.decode((RESULTS / "intervals.json").read_bytes())["lines"]
    rare = {line["interval"]: line for line in lines if line["n"] == 100 and line["population"] == "1% disagree"}
    assert not simulated.short(rare["difference, Bonett-Price"])
    assert rare["difference, plain bootstrap"]["covers"] < 0.7
    assert not any(
        simulated.short(line) for line in lines if "Bonett" in line["interval"] or "order" in line["interval"]
    )
