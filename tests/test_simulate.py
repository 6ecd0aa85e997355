"""Simulated populations: their figures are those stated, and what is drawn from them obeys their law."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from cascade.learning import path as paths
from cascade.simulate import (
    GRADED_PAIRS,
    LADDER,
    OVERCONFIDENT,
    PAIRED,
    TIED,
    TYPICAL,
    WEAK,
    Judge,
    Population,
)

DRAWN = 400_000
EVERY = [TYPICAL, WEAK, OVERCONFIDENT, PAIRED, GRADED_PAIRS, LADDER, TIED]


@pytest.mark.parametrize(
    ("population", "auroc", "right", "oracle"),
    [(TYPICAL, 0.84, 0.81, 0.548), (WEAK, 0.76, 0.86, 0.444), (OVERCONFIDENT, None, None, 0.478)],
    ids=["A", "B", "C"],
)
def test_each_population_has_the_figures_it_stands_for(
    population: Population, auroc: float | None, right: float | None, oracle: float
) -> None:
    law = population.law()
    assert law.oracle("error", 0.05) == pytest.approx(oracle, abs=0.01)
    if auroc is not None:
        assert law.auroc() == pytest.approx(auroc, abs=0.01)
    if right is not None:
        assert law.expected[0].mean() == pytest.approx(right, abs=0.01)


def test_the_paired_population_has_the_gap_it_stands_for() -> None:
    cheap, last = PAIRED.law().expected.mean(axis=1)
    assert (cheap, last) == pytest.approx((0.807, 0.934), abs=0.01)


def test_the_overconfident_heads_risk_is_seven_per_cent_and_not_monotone() -> None:
    law = OVERCONFIDENT.law()
    thresholds = np.linspace(6.0, 0.0, 200)
    risk, served = law.risk(thresholds, "error"), law.served(thresholds)
    assert risk[(served > 0.01) & (served < 0.07)] == pytest.approx(0.07, abs=1e-3)
    assert risk[(served > 0.2) & (served < 0.4)].max() < 0.05


@pytest.mark.parametrize(
    ("population", "kind"),
    [(one, kind) for one in EVERY for kind in ("error", "regret") if not (one.graded and kind == "error")],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_is_drawn_obeys_the_law(population: Population, kind: str) -> None:
    """The counts that calibration makes of a large draw agree with the integral, four standard errors wide.

    A graded answer is no right or wrong one, so it has no error.
    """
    scores, quality = population.draw(DRAWN, np.random.default_rng(5))
    law = population.law()
    for threshold in np.quantile(scores.max(axis=0), [0.1, 0.5, 0.9]):
        found = paths.count(float(threshold), scores, quality, kind)
        assert found.served / DRAWN == pytest.approx(float(law.served(threshold)), abs=0.004)
        assert found.risk(kind) == pytest.approx(float(law.risk(threshold, kind)), abs=0.004)


def test_the_same_seed_draws_the_same_rows() -> None:
    once, again = (TYPICAL.draw(50, np.random.default_rng(3)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(once, again, strict=True))


def test_rounded_scores_have_as_many_values_as_they_should() -> None:
    scores, _ = TIED.draw(5000, np.random.default_rng(1))
    assert len(np.unique(scores)) == 5
    assert len(np.unique(replace(TIED, values=0).draw(5000, np.random.default_rng(1))[0])) == 5000


def test_a_judges_verdicts_have_the_law_of_its_mistakes() -> None:
    judge = Judge(catches=0.7, passes=0.95)
    _, quality = TYPICAL.draw(DRAWN, np.random.default_rng(2))
    verdicts = judge.verdicts(quality[0], np.random.default_rng(3))
    assert (1 - verdicts[quality[0] == 0]).mean() == pytest.approx(0.7, abs=0.01)
    assert verdicts[quality[0] == 1].mean() == pytest.approx(0.95, abs=0.01)
    assert verdicts.mean() == pytest.approx(float(TYPICAL.law(judge).expected[0].mean()), abs=0.004)
