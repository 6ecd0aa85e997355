"""Scorers at run time are what was fitted, and were fitted to what is known in time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cascade.confidence import Calibrator, Scorer
from cascade.learning.calibrators import fit_calibrator, probabilities
from cascade.learning.contest import GAIN, contest
from cascade.learning.features import Table, places_of, table_of
from cascade.learning.fit import fit_gain, fit_price, fit_right, fit_trees
from cascade.learning.rows import Rows, read_rows
from cascade.lock import Lock, load_lock, save_lock
from cascade.policy import Policy
from tests.building import policy_of
from tests.populations import outcomes

SETS = {"sets": [["size", "sure"]]}


def policy(**target: Any) -> Policy:
    return policy_of(target=target or {"max_regret": 0.05}, signals=SETS, preroute={"enabled": False})


def fit_rows(n: int = 2500, **more: Any) -> Rows:
    return read_rows(outcomes(1, (n, 20, 20), **more), policy())[0].of("fit")


def table(rows: Rows, *, crossed: bool = False) -> Table:
    return table_of(rows, places_of(rows, 0, "size+sure"), 0, "cheap", set(), crossed=crossed)


def at_run_time(scorer: Scorer, made: Table) -> list[float]:
    found = [scorer.score(s, name) for s, name in zip(made.signals, made.slices, strict=True)]
    return [value for value in found if value is not None]


@pytest.mark.parametrize("crossed", [False, True])
def test_the_run_time_score_is_scikit_learns_to_nine_digits(crossed: bool) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = fit_rows(600, slices=("a", "b", "c"))
    made, right = table(rows, crossed=crossed), rows.quality[0] >= 0.5
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000)).fit(made.values, right)
    ours = at_run_time(fit_right(made, right, np.ones(len(right))).scorer, made)
    assert ours == pytest.approx(list(model.decision_function(made.values)), abs=1e-9)


def test_boosted_trees_at_run_time_are_scikit_learns_to_nine_digits() -> None:
    rows = fit_rows(2400)
    made, right = table(rows), rows.quality[0] >= 0.5
    base = fit_right(made, right, np.ones(len(right)))
    boosted = fit_trees(base, made, right, np.ones(len(right)))
    assert boosted is not None
    from sklearn.ensemble import GradientBoostingClassifier

    standard = (made.values - base.scorer.means) / base.scorer.scales
    again = GradientBoostingClassifier(
        n_estimators=100, max_depth=3, learning_rate=0.07, subsample=0.7, min_samples_leaf=20, random_state=0
    ).fit(standard, right, sample_weight=np.ones(len(right)))
    assert at_run_time(boosted.scorer, made) == pytest.approx(list(again.decision_function(standard)), abs=1e-9)


def test_the_gain_at_run_time_is_the_multinomial_regressions_to_nine_digits() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = fit_rows(1500)
    made, difference = table(rows), rows.quality[0] - rows.quality[1]
    base = fit_right(made, rows.quality[0] >= 0.5, np.ones(len(difference)))
    gain = fit_gain(base, made, difference, np.ones(len(difference)))
    assert gain is not None
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000)).fit(
        made.values, np.sign(difference).astype(int)
    )
    chances = model.predict_proba(made.values)
    assert at_run_time(gain.scorer, made) == pytest.approx(list(chances[:, 2] - chances[:, 0]), abs=1e-9)


def test_a_row_of_weight_two_is_the_row_twice() -> None:
    rows = fit_rows(300)
    made, right = table(rows), rows.quality[0] >= 0.5
    weights = np.where(np.arange(300) % 3 == 0, 2.0, 1.0)
    twice = [i for i in range(300) for _ in range(int(weights[i]))]
    repeated = replace(
        made, places=twice, signals=[made.signals[i] for i in twice], slices=["a"] * len(twice),
        values=made.values[twice],
    )  # fmt: skip
    one, other = fit_right(made, right, weights).scorer, fit_right(repeated, right[twice], np.ones(len(twice))).scorer
    assert one.weights == pytest.approx(other.weights, abs=1e-3)
    assert (one.means, one.scales) == (pytest.approx(other.means), pytest.approx(other.scales))


def test_a_score_a_dollar_needs_no_price_that_is_known_only_afterwards() -> None:
    """Rows whose last tier was never asked, and so has no cost, are scored to the same number."""
    rows = fit_rows(1500)
    made = table(rows)
    base = fit_right(made, rows.quality[0] >= 0.5, np.ones(len(made.places)))
    priced = fit_price(base, made, rows.cost[-1])
    assert priced is not None
    assert priced.scorer.price is not None
    blind = [replace(o, models={"cheap": o.models["cheap"]}) for o in rows.outcomes]
    unseen = read_rows(blind, policy(max_error=0.05))[0]
    known = at_run_time(priced.scorer, made)
    assert [priced.scorer.score(s, "a") for (s,) in unseen.signals if s is not None] == known
    predicted = [priced.scorer.price.predicted(s.values) for s in made.signals]
    assert np.corrcoef(np.log([p or 0 for p in predicted]), np.log(rows.cost[-1]))[0, 1] > 0.95


def test_a_signal_without_information_and_one_with_negative_information_are_refused_by_name() -> None:
    def more(random: np.random.Generator, right: bool, z: float) -> dict[str, float]:
        return {"noise.value": float(random.random()), "liar.value": float(1 / (1 + np.exp(z)))}

    rows = read_rows(
        outcomes(2, (3000, 20, 20), more=more),
        policy_of(signals={"sets": [["liar", "noise", "sure"]]}, preroute={"enabled": False}),
    )[0].of("fit")
    asked = policy_of(signals={"sets": [["liar", "noise", "sure"]]}, preroute={"enabled": False})
    won = contest(rows, asked, delta=0.05, certifying=1000)
    said = {refused.signal: refused.why for refused in won.refused}
    assert said == {"noise.value": "it carries no information", "liar.value": "it ranks wrong answers above right ones"}
    assert not any("liar" in name or "noise" in name for name in won.scorers[0].features)


def test_a_gain_is_fitted_where_it_would_save_more() -> None:
    """Where the last tier fails on just the questions that the cheap one is unsure of, confidence misleads."""
    random = np.random.default_rng(0)
    rows = outcomes(3, (3000, 20, 20), base=0.0)
    swapped = []
    for row in rows:
        sure = row.models["cheap"].signals["sure.value"]
        last = replace(row.models["frontier"], correct=int(random.random() < (0.99 if sure > 0.5 else 0.1)))
        swapped.append(replace(row, models=row.models | {"frontier": last}))
    found = read_rows(swapped, policy())[0].of("fit")
    won = contest(found, policy(), delta=0.05, certifying=2000)
    assert next(line.name for line in won.contestants if line.chosen).startswith(GAIN)


LOGODDS = st.lists(st.floats(-30, 30), min_size=1, max_size=20)


@given(LOGODDS, st.floats(0.01, 3), st.floats(0, 3), st.floats(-3, 3))
def test_a_calibrated_probability_is_one_and_never_falls_as_the_score_rises(
    logodds: list[float], a: float, b: float, c: float
) -> None:
    ordered = sorted(logodds)
    for made in (Calibrator(kind="platt", a=a, b=c), Calibrator(kind="beta", a=a, b=b, c=c), Calibrator()):
        found = [made.probability(x) for x in ordered]
        assert found == pytest.approx(list(probabilities(made, np.array(ordered))), abs=1e-12)
        assert all(0.0 <= p <= 1.0 for p in found)
        assert all(x <= y + 1e-12 for x, y in pairwise(found))


@pytest.mark.parametrize(("n", "kinds"), [(150, 2), (1000, 3), (6000, 4)])
def test_more_labels_let_more_flexible_curves_into_the_contest(n: int, kinds: int) -> None:
    random = np.random.default_rng(n)
    truth = random.normal(size=n)
    right = random.random(n) < 1 / (1 + np.exp(-truth))
    made, losses = fit_calibrator(3 * truth + 1, right, np.ones(n))
    assert len(losses) == kinds
    assert losses["platt"] < losses["identity"]
    close = probabilities(made, 3 * truth + 1) - 1 / (1 + np.exp(-truth))
    assert np.sqrt((close**2).mean()) < 0.1


def test_a_lock_with_every_kind_of_scorer_survives_its_file(tmp_path: Any) -> None:
    rows = fit_rows(2400)
    made, right = table(rows), rows.quality[0] >= 0.5
    base = fit_right(made, right, np.ones(len(right)))
    boosted = fit_trees(base, made, right, np.ones(len(right)))
    gain = fit_gain(base, made, rows.quality[0] - rows.quality[1], np.ones(len(right)))
    priced = fit_price(gain, made, rows.cost[-1]) if gain is not None else None
    assert boosted is not None
    assert priced is not None
    lock = Lock(policy="p", scorers=[boosted.scorer, priced.scorer, base.scorer])
    save_lock(tmp_path / "p.lock.json", lock)
    assert load_lock(tmp_path / "p.lock.json") == lock
    assert msgspec.json.decode(msgspec.json.encode(lock), type=Lock) == lock
