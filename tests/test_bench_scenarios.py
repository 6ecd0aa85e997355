"""Scenarios change what they say and nothing else, and every strategy's losses are those of its own rows."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from cascade.bench.document import Lost, Scenario
from cascade.bench.field import CASCADE, FRONTIER, LOTS, ORACLE, Field, field_of
from cascade.bench.rivals import Rival
from cascade.bench.scenarios import accepts, losses, scenario, scenarios, usable
from cascade.bench.worlds import (
    World,
    blind,
    harder,
    heard,
    lenient,
    outage,
    quality,
    relabelled,
    repriced,
    same_model,
    unchanged,
    worse,
)
from cascade.embedding import WordLlamaEmbedder
from cascade.learning.calibrate import learn
from cascade.lock import Lock
from cascade.policy import Policy
from cascade.types import CACHE, ModelOutcome, Outcome, Verdict
from tests.building import policy_of, tier
from tests.test_calibrate import NOW, population

HELD_OUT = 240


@lru_cache(maxsize=2)
def played(kind: str = "regret") -> tuple[Field, tuple[Outcome, ...]]:
    """A calibrated field and its held-out rows."""
    policy = policy_of(target={f"max_{kind}": 0.1}, preroute={"enabled": False})
    held_out = [replace(row, id=f"t{row.id}", split="test") for row in population(1, HELD_OUT, 0)]
    learned = learn([*population(0), *held_out], policy, now=NOW)
    assert learned.status == "certified"
    router = Rival(name="router", kind="router", how="", accepts=lambda rows: np.arange(len(rows)) % 2 == 0)
    theirs = {"theirs": frozenset(row.id for row in held_out[:90])}
    field = field_of(learned, Field(policy=policy, lock=learned.lock, embedder=None, recorded=theirs))
    return replace(field, rivals=[*field.rivals, router]), tuple(learned.test.outcomes)


def told(world: World, kind: str = "regret") -> tuple[dict[str, Lost], dict[str, Lost]]:
    """The figures of all strategies before and in a world."""
    field, rows = played(kind)
    accepted = accepts(field, rows)
    before = losses(field, unchanged(rows), accepted)
    changed = accepts(field, world.outcomes) if world.kind in ("visible", "blind") else accepted
    return before, losses(field, world, changed, before)


def rows_of() -> list[Outcome]:
    return list(played()[1])


def served() -> set[str]:
    """Ids of the rows that the cascade serves cheap."""
    field, rows = played()
    found = field.measure(rows)
    return {row.outcome.id for row, cheap in zip(found.rows, found.cascade.cheap, strict=True) if cheap}


@lru_cache(maxsize=2)
def all_of_them(kind: str = "regret") -> list[Scenario]:
    field, rows = played(kind)
    return scenarios(field, rows)


@pytest.mark.parametrize("kind", ["regret", "error"])
def test_nothing_that_changes_loses_exactly_nothing(kind: str) -> None:
    before, after = told(unchanged(played(kind)[1]), kind)
    assert before == after
    assert {(one.quality_lost, one.saving_lost, one.failed) for one in after.values()} == {(0.0, 0.0, 0.0)}


def test_figures_of_the_untouched_rows_are_those_of_the_benchmark() -> None:
    field, rows = played()
    found = field.measure(rows)
    before, _ = told(unchanged(rows))
    assert before.keys() == found.columns.keys() - {LOTS, ORACLE}
    for name, one in before.items():
        if name == "router":  # its parity of places holds for the rows in one order only, which is theirs here too
            assert one.accept_rate == 0.5
        line = found.table.strategy(found.columns[name])
        assert one.quality == pytest.approx(line.quality.estimate)
        assert one.quality_delta == pytest.approx(line.quality_delta.estimate)
        assert one.cost == pytest.approx(line.cost.estimate)
        assert one.saving == pytest.approx(line.saving.estimate)
        assert one.accept_rate == pytest.approx(line.accept_rate.estimate)
        assert one.accepted_error == (line.accepted_error and pytest.approx(line.accepted_error.estimate))
        assert one.latency_p95 == pytest.approx(line.latency_p95.estimate)


@pytest.mark.parametrize(("name", "factor"), [("frontier", 1 / 3), ("frontier", 3.0), ("cheap", 2.0)])
def test_a_price_scales_the_cost_of_its_tier_and_no_decision(name: str, factor: float) -> None:
    field, _ = played()
    before, after = told(repriced(rows_of(), {name}, factor, field.policy, "dearer"))
    own, other = (FRONTIER, "always cheap") if name == "frontier" else ("always cheap", FRONTIER)
    assert after[own].cost == pytest.approx(factor * before[own].cost, rel=1e-12)
    assert after[other].cost == before[other].cost
    for one, was in zip(after.values(), before.values(), strict=True):
        same = ("quality", "quality_delta", "accept_rate", "accepted_error", "latency_p95", "failed")
        assert [getattr(one, figure) for figure in same] == [getattr(was, figure) for figure in same]


def test_the_check_of_a_stored_answer_costs_what_its_tier_does() -> None:
    policy = policy_of(cache={"semantic": True, "same": {"tier": "frontier"}})
    row = Outcome(id="a", models={CACHE: ModelOutcome(correct=1, cost=1e-5), "cheap": ModelOutcome(cost=1e-5)})
    dearer = repriced([row], {"frontier"}, 3.0, policy, "").outcomes[0].models
    assert (dearer[CACHE].cost, dearer["cheap"].cost) == (pytest.approx(3e-5), 1e-5)


def test_without_the_frontier_only_what_would_have_gone_there_fails() -> None:
    field, rows = played()
    world = outage(list(rows), {"frontier"}, "frontier")
    before, after = told(world)
    n, hour = len(rows), world.hour
    assert len(hour) == round(n / 24) > 3
    assert after[FRONTIER].failed == pytest.approx(len(hour) / n)
    assert after["always cheap"] == replace(
        before["always cheap"],
        saving=after["always cheap"].saving,
        saving_lost=after["always cheap"].saving_lost,
        quality_delta=after["always cheap"].quality_delta,
    )
    assert after[CASCADE].failed == pytest.approx(len(hour - served()) / n)
    assert after[CASCADE].accept_rate == before[CASCADE].accept_rate
    assert 0 < len(hour & served()) < len(hour)
    for name, accepted in accepts(field, rows).items():
        sent = {row.id for row, kept in zip(rows, accepted, strict=True) if not kept}
        assert after[name].failed == pytest.approx(len(hour & sent) / n)


def test_an_answer_that_does_not_come_has_no_quality_and_no_price() -> None:
    rows = rows_of()
    world = outage(rows, {"frontier"}, "frontier")
    _, after = told(world)
    left = [row.models["frontier"] for row in rows if row.id not in world.hour]
    assert after[FRONTIER].quality == pytest.approx(sum(m.quality or 0.0 for m in left) / len(rows))
    assert after[FRONTIER].cost == pytest.approx(sum(m.cost or 0.0 for m in left) / len(rows))


def test_a_latency_is_that_of_an_answer() -> None:
    rows = rows_of()
    hour = frozenset(row.id for row in rows[1:])
    before, after = told(replace(outage(rows, {"frontier"}, ""), hour=hour))
    assert after[FRONTIER].latency_p95 == before[FRONTIER].latency_p95 == 0.1
    _, after = told(replace(outage(rows, {"frontier"}, ""), hour=hour | {rows[0].id}))
    assert after[FRONTIER].latency_p95 is None


def test_without_the_cheap_tier_everything_goes_on_to_the_last_and_nothing_fails() -> None:
    rows = rows_of()
    world = outage(rows, {"cheap"}, "cheap")
    before, after = told(world)
    lost = len(world.hour & served()) / len(rows)
    assert after[CASCADE].failed == 0.0
    assert after[CASCADE].accept_rate == pytest.approx(before[CASCADE].accept_rate - lost)
    assert after[CASCADE].saving < before[CASCADE].saving
    cheap, left = after["always cheap"], [row for row in rows if row.id not in world.hour]
    assert cheap.failed == pytest.approx(len(world.hour) / len(rows))
    assert cheap.accept_rate == pytest.approx(len(left) / len(rows))
    assert cheap.accepted_error == pytest.approx(sum(not quality(row, "cheap") for row in left) / len(left))
    theirs = after["theirs"]
    lost = sum(row.id in world.hour and row.id in played()[0].recorded["theirs"] for row in rows) / len(rows)
    assert (theirs.failed, theirs.accept_rate) == (0.0, pytest.approx(before["theirs"].accept_rate - lost))
    assert after["router"].failed == pytest.approx(sum(r.id in world.hour for r in rows[::2]) / len(rows))


def test_gates_bound_to_log_probabilities_serve_nothing_without_them() -> None:
    rows = rows_of()
    world = blind(rows, ["cheap"])
    before, after = told(world)
    assert before[CASCADE].accept_rate > 0.3
    assert (after[CASCADE].accept_rate, after[CASCADE].quality_delta) == (0.0, 0.0)
    both = sum((m.cost or 0.0) for row in rows for m in row.models.values()) / len(rows)
    assert after[CASCADE].cost == pytest.approx(both)
    (found,) = [one for one in all_of_them() if one.name == world.name]
    lost = {one.name: one for one in found.lost}
    assert before["best raw threshold"].accept_rate > 0.3
    assert lost["best raw threshold"].accept_rate == 0.0  # a threshold on what is missing lets nothing pass either
    assert after["theirs"] == before["theirs"]  # what was recorded of another system stands


def test_recorded_signals_of_lost_families_are_gone_too() -> None:
    model = ModelOutcome(
        signals={
            "logprobs.mean": -1.0,
            "top.min_margin": 0.1,
            "avg_token_prob": 0.5,
            "verbal": 0.4,
            "text.length": 2.0,
        },
        families=["logprobs", "text", "top"],
        top_logprobs=[[-0.1]],
    )
    (row,) = blind([Outcome(id="a", models={"cheap": model, "frontier": model})], ["cheap"]).outcomes
    assert row.models["cheap"].signals == {"verbal": 0.4, "text.length": 2.0}
    assert row.models["cheap"].families == ["text"]
    assert row.models["cheap"].top_logprobs is None
    assert row.models["frontier"] == model


def test_a_model_that_got_worse_silently_is_served_as_before_and_loses_a_share_of_what_it_had_right() -> None:
    rows = rows_of()
    before, after = told(worse(rows, {"cheap"}, silent=True))
    right = sum(quality(row, "cheap") for row in rows)
    assert after["always cheap"].quality_lost * len(rows) == pytest.approx(round(0.3 * right))
    assert after[CASCADE].accept_rate == before[CASCADE].accept_rate
    assert after[CASCADE].quality_lost > 0.0
    assert after[FRONTIER] == before[FRONTIER]


def test_the_promise_is_held_against_the_rows_of_the_world() -> None:
    for kind in ("regret", "error"):
        before, after = told(worse(list(played(kind)[1]), {"cheap"}, silent=True), kind)
        level = played(kind)[0].lock.certificates[0].level
        for one in (before[CASCADE], after[CASCADE]):
            risk = -one.quality_delta if kind == "regret" else one.accepted_error
            assert risk is not None
            assert one.kept == (risk <= level)
        assert (before[CASCADE].kept, after[CASCADE].kept) == (True, False)
        assert {one.kept for name, one in after.items() if name != CASCADE} == {None}


def test_a_check_with_the_labels_of_the_world_says_broken_where_it_is() -> None:
    """Labels see a silent fall, those of a lenient judge hide one; where no label changes nothing is checked."""
    found = {one.name: one.check for one in all_of_them()}
    assert found["cheap model worse, silently"] == "broken"
    assert found["lenient judge"] == found["no log-probabilities"] == "holds"
    assert {found[name] for name in found if "price" in name or "down" in name} == {None}


def test_a_check_believes_the_labels_that_it_is_given() -> None:
    """Every wrong answer of a tier that got worse is passed by the judge: the check sees nothing wrong."""
    field, rows = played()
    world = worse(list(rows), {"cheap"}, silent=True)
    passed = [
        replace(r, models=r.models | {"cheap": relabelled(r.models["cheap"], right=True)}) for r in world.outcomes
    ]
    accepted = accepts(field, rows)
    before = losses(field, unchanged(rows), accepted)
    assert scenario(field, world, accepted, before).check == "broken"
    assert scenario(field, replace(world, reported=passed), accepted, before).check == "holds"


def test_a_lock_that_promises_nothing_keeps_nothing() -> None:
    field, rows = played()
    closed = replace(field, lock=Lock(policy=field.policy.name))
    found = losses(closed, unchanged(rows), accepts(closed, rows))[CASCADE]
    assert (found.kept, found.accept_rate) == (None, 0.0)


def test_a_model_whose_drafts_show_it_is_served_less_than_one_whose_do_not() -> None:
    rows = rows_of()
    before, silent = told(worse(rows, {"cheap"}, silent=True))
    _, shown = told(worse(rows, {"cheap"}, silent=False))
    assert shown[CASCADE].accept_rate < before[CASCADE].accept_rate
    assert shown[CASCADE].quality > silent[CASCADE].quality
    assert shown["always cheap"].quality == silent["always cheap"].quality


def test_drafts_that_show_it_are_those_that_were_wrong_in_the_same_slice() -> None:
    rows = rows_of()
    wrong = {
        name: [r.models["cheap"] for r in rows if r.slice == name and not quality(r, "cheap")] for name in ("s0", "s1")
    }
    changed = worse(rows, {"cheap"}, silent=False).outcomes
    moved = [new for old, new in zip(rows, changed, strict=True) if new != old]
    assert moved
    assert all(new.models["cheap"] in wrong[new.slice] for new in moved)


def test_a_lenient_judge_changes_what_is_reported_and_nothing_that_is_true() -> None:
    rows = rows_of()
    before, after = told(lenient(rows, ["cheap"]))
    for name, one in after.items():
        assert replace(one, reported_delta=None, reported_error=None) == before[name]
    cheap = after["always cheap"]
    assert cheap.accepted_error is not None
    wrong = cheap.accepted_error * len(rows)
    assert cheap.reported_error == pytest.approx((wrong - round(wrong / 2)) / len(rows))
    ours = after[CASCADE]
    assert ours.reported_error is not None
    assert ours.accepted_error is not None
    assert ours.reported_error < ours.accepted_error
    assert ours.reported_delta is not None
    assert ours.reported_delta > ours.quality_delta


def test_the_third_of_the_slices_that_is_hardest_for_the_cheap_tier_is_asked() -> None:
    def row(i: int, name: str, right: int) -> Outcome:
        return Outcome(id=str(i), slice=name, query="what?", models={"cheap": ModelOutcome(correct=right)})

    rows = [row(i, f"s{i % 3}", int(i % 3 != 1)) for i in range(9)]
    world = harder(rows, [one.slice for one in rows], "cheap")
    assert world.asked == [1, 4, 7]
    assert "s1" in world.what


def test_where_there_is_one_slice_the_longest_questions_are_asked() -> None:
    rows = [Outcome(id=str(i), query="x" * i, models={"cheap": ModelOutcome(correct=1)}) for i in range(9)]
    assert harder(rows, ["default"] * 9, "cheap").asked == [6, 7, 8]


def test_of_the_questions_asked_each_strategy_does_what_it_did_before() -> None:
    """Nobody's threshold or quantile is set anew for the harder questions."""
    field, rows = played()
    world = harder(list(rows), [row.slice for row in rows], "cheap")
    assert world.asked is not None
    _, after = told(world)
    for name, accepted in accepts(field, rows).items():
        assert after[name].accept_rate == pytest.approx(accepted[world.asked].mean())


def test_what_a_tier_that_is_down_was_asked_about_a_draft_is_not_known_either() -> None:
    policy = policy_of(cache={"semantic": True, "same": {"tier": "frontier"}})
    stored = ModelOutcome(correct=1, signals={"same.p_true": 0.9, "match.similarity": 0.9}, families=["match", "same"])
    row = Outcome(id="a", models={CACHE: stored, "cheap": ModelOutcome(), "frontier": ModelOutcome()})
    (found,) = heard(outage([row], {"frontier"}, ""), policy)
    assert found.models.keys() == {CACHE, "cheap"}
    assert found.models[CACHE].families == ["match"]
    assert heard(outage([row], {"cheap"}, ""), policy)[0].models[CACHE] == stored


def test_another_label_keeps_who_gave_it_and_how_it_was_drawn() -> None:
    verdicts = [Verdict(judge="a", acceptable=True), Verdict(judge="b", acceptable=True, score=0.9, propensity=0.1)]
    found = relabelled(ModelOutcome(verdicts=verdicts), right=False)
    assert found.quality == 0.0
    assert found.verdicts[-1] == Verdict(judge="b", acceptable=False, propensity=0.1)
    assert relabelled(ModelOutcome(score=0.2, correct=0), right=True).quality == 1.0


def test_others_see_the_learned_signals_that_they_were_fitted_on() -> None:
    """Labelled neighbours are in the lock, not in the outcomes."""
    embedder = WordLlamaEmbedder()
    policy = policy_of(signals={"sets": [["logprobs", "neighbours"]]}, preroute={"enabled": False})
    rows = [replace(row, split="test") if i % 3 == 0 else row for i, row in enumerate(population(0, 150, 150))]
    learned = learn(rows, policy, embedder=embedder, now=NOW)

    def near(table: Any) -> Any:
        found = [signals[0].values.get("neighbours.nearest") for signals in table.signals]
        return np.array([value is not None and value > 0.0 for value in found])

    rival = Rival(name="near", kind="gate", how="", accepts=near)
    field = Field(policy=policy, lock=learned.lock, embedder=embedder, rivals=[rival])
    assert near(learned.test).any()
    assert (accepts(field, learned.test.outcomes)["near"] == near(learned.test)).all()


@pytest.mark.parametrize("kind", ["regret", "error"])
def test_every_scenario_is_told_with_every_strategy(kind: str) -> None:
    found = all_of_them(kind)
    assert len({one.name for one in found}) == len(found) == 10
    names = [one.name for one in found[0].lost]
    assert names[0] == FRONTIER
    for one in found:
        assert [lost.name for lost in one.lost] == names
        assert one.rows == (HELD_OUT if one.name != "harder questions" else one.rows)
        assert f"{one.lost[names.index(CASCADE)].quality:.1%}" in one.sentence
        figures = [value for lost in one.lost for value in msgspec.structs.astuple(lost) if isinstance(value, float)]
        assert np.isfinite(figures).all()


def test_the_order_of_rows_changes_nothing_and_the_rows_are_left_as_they_were() -> None:
    field, rows = played()
    as_it_was = msgspec.json.encode(rows)
    mixed = list(rows)
    random.Random(3).shuffle(mixed)
    assert scenarios(field, mixed) == all_of_them()
    assert msgspec.json.encode(rows) == as_it_was


def test_a_row_that_cannot_be_compared_takes_no_part() -> None:
    field, rows = played()
    unpriced: Any = replace(
        rows[3], models=rows[3].models | {"frontier": replace(rows[3].models["frontier"], cost=None)}
    )
    kept, slices = usable(field, [*rows[:3], unpriced, *rows[4:]])
    assert [row.id for row in kept] == sorted(row.id for row in rows if row.id != rows[3].id)
    assert slices == [row.slice for row in kept]


def test_tiers_of_one_model_share_its_fate() -> None:
    """A better prompt on the same model is down with it, and as much worse."""
    policy: Policy = policy_of(tier("cheap"), tier("guided", model="cheap-model"), tier("frontier"))
    assert same_model(policy, "cheap") == {"cheap", "guided"}
    assert same_model(policy, "frontier") == {"frontier"}
