"""Rivals do what their originals do: laws and sums by hand on made-up rows."""

from __future__ import annotations

from functools import lru_cache
from math import log, sqrt
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from cascade.bench.field import Field
from cascade.bench.rivals import Rival, best_raw, best_signal, hoeffding, margin, query_quantile, rivals
from cascade.bench.routers import certified_router
from cascade.columns import always
from cascade.learning.calibrate import learn
from cascade.learning.rows import Rows
from cascade.lock import Lock
from cascade.policy import Policy, Target
from tests.building import policy_of
from tests.populations import outcomes

SIGNALS = {"sets": [["size", "sure"]]}


@lru_cache
def seen(kind: str = "regret", level: float = 0.05) -> tuple[Rows, Rows, Policy]:
    policy = policy_of(target={f"max_{kind}": level}, signals=SIGNALS)
    learned = learn(outcomes(3, (900, 300, 600), base=0.6), policy)
    return learned.fit, learned.test, policy


class Chance:
    """An embedder whose vectors say nothing, and are the same for the same text."""

    name = "chance"

    def embed(self, texts: list[str]) -> Any:
        return np.array([np.random.default_rng([*text.encode()]).normal(size=8) for text in texts])


def risk(rows: Rows, accepts: Any, kind: str) -> float:
    """Worked out row by row: wrong among accepted, or lost against the frontier over all."""
    if kind == "error":
        return float(np.mean([1.0 - rows.quality[0, i] for i in range(len(rows)) if accepts[i]]))
    return float(np.mean([(rows.quality[-1, i] - rows.quality[0, i]) * accepts[i] for i in range(len(rows))]))


@pytest.mark.parametrize(("kind", "level"), [("regret", 0.05), ("error", 0.15)])
def test_the_best_raw_threshold_is_the_loosest_that_keeps_the_target_on_the_rows_seen(kind: str, level: float) -> None:
    rows, _, policy = seen(kind, level)
    found = best_raw(rows, 0, policy.target)
    assert found is not None
    accepts = found.accepts(rows)
    assert risk(rows, accepts, kind) <= level
    value = np.array([signals[0].values["sure.value"] for signals in rows.signals])  # type: ignore[union-attr]
    assert found.reads == "sure.value"
    looser = value >= np.sort(value[~accepts])[-len(rows) // 30 :].min()
    assert looser.sum() > accepts.sum()
    assert risk(rows, looser, kind) > level * 0.9  # a step further, of a grid of sixty, would hardly do


def test_what_ranks_best_is_the_signal_that_knows() -> None:
    rows, _, _ = seen()
    signal = best_signal(rows, 0)
    assert signal is not None
    assert (signal.name, signal.sign) == ("sure.value", 1.0)


def test_a_sweep_with_hoeffdings_bound_keeps_that_bound_on_the_rows_seen() -> None:
    """Errors among n served rows plus sqrt(ln(1 / 0.05) / 2n) stay under the target."""
    rows, _, policy = seen("error", 0.25)
    found = hoeffding(rows, 0, policy.target)
    assert found is not None
    accepts = found.accepts(rows)
    n = int(accepts.sum())
    assert n > 0
    assert risk(rows, accepts, "error") + sqrt(log(1 / 0.05) / (2 * n)) <= 0.25
    strict = Target(max_error=0.001)
    none = hoeffding(rows, 0, strict)
    assert none is not None
    assert not none.accepts(rows).any()
    assert "no threshold" in none.how


def test_a_regret_has_twice_the_range_of_an_error() -> None:
    """Losses lie in [-1, 1]: with n = 900 rows the bound alone is 2 sqrt(ln 20 / 1800) = 0.0816."""
    rows, _, _ = seen()
    under, over = (hoeffding(rows, 0, Target(max_regret=level)) for level in (0.08, 0.2))
    assert under is not None
    assert over is not None
    assert risk(rows, over.accepts(rows), "regret") + 2 * sqrt(log(20) / (2 * len(rows))) <= 0.2
    assert over.accepts(rows).sum() >= under.accepts(rows).sum()


def test_isotonic_regression_serves_while_its_own_predictions_keep_the_target() -> None:
    rows, _, policy = seen()
    found = margin(rows, 0, policy.target)
    assert found is not None
    assert "no margins are recorded" in found.how
    assert risk(rows, found.accepts(rows), "regret") == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.9])
def test_a_quantile_router_sends_the_share_that_it_was_told(share: float) -> None:
    rows, unseen, _ = seen()
    found = query_quantile(rows, 0, Chance(), share)
    assert found is not None
    kept = 1.0 - found.accepts(unseen).mean()
    assert kept == pytest.approx(share, abs=1 / len(unseen))


def test_a_router_reads_nothing_but_the_question() -> None:
    rows, unseen, _ = seen()
    found = query_quantile(rows, 0, Chance(), 0.5)
    assert found is not None
    other = replace(unseen, signals=[[None]] * len(unseen), quality=1.0 - unseen.quality)
    assert found.accepts(unseen).tolist() == found.accepts(other).tolist()


def test_rows_without_signals_leave_gates_out_and_without_a_reader_routers() -> None:
    rows, _, policy = seen()
    bare = replace(rows, signals=[[None]] * len(rows))
    assert rivals(bare, policy, None, 0.5) == []
    assert [one.kind for one in rivals(rows, policy, Chance(), 0.5)] == ["gate", "gate", "gate", "router"]


def test_a_router_on_noise_certifies_nothing_and_serves_nothing() -> None:
    rows, unseen, policy = seen()
    found = certified_router(rows, unseen, 0, policy.target, 0.05, Chance())
    assert found.threshold is None or risk(unseen, found.accepts(unseen), "regret") <= 0.05
    hopeless = certified_router(rows, unseen, 0, Target(max_error=0.01), 0.05, Chance())
    assert hopeless.threshold is None
    assert not hopeless.accepts(unseen).any()


def test_a_rival_that_reads_a_signal_which_costs_pays_for_it() -> None:
    rows, _, _ = seen()
    policy = policy_of(target={"max_regret": 0.05}, signals={**SIGNALS, "cost": {"sure": 0.5}})
    field = Field(policy=policy, lock=Lock(policy="p"), embedder=None)
    cheap = always(rows.outcomes, "cheap", "always cheap", last=False)
    frontier = always(rows.outcomes, "frontier", "always-frontier", last=True)
    none = np.zeros(len(rows), dtype=bool)
    rival = Rival(name="r", kind="gate", how="", accepts=lambda _: none, reads="sure.value")
    paid = field.decided(rival, none, cheap, frontier)
    assert paid.cost.tolist() == pytest.approx((1.5 * cheap.cost + frontier.cost).tolist())
    free = field.decided(replace(rival, reads="size.draft"), none, cheap, frontier)
    assert free.cost.tolist() == pytest.approx((cheap.cost + frontier.cost).tolist())
