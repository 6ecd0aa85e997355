"""Who gets a certificate, over what, on whose word, and who is refused one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from cascade import Target
from cascade.errors import ConfigError
from cascade.exact import least_rows
from cascade.gates import Gates
from cascade.ladder import Ladder
from cascade.learning.calibrate import calibrate, certify, learn
from cascade.learning.drawn import propensity, thinned
from cascade.learning.rows import read_rows
from cascade.lock import Lock
from cascade.policy import Policy
from cascade.replay import replay
from cascade.run import Rules
from cascade.types import Decision, ModelOutcome, Outcome, Step
from tests.building import policy_of, tier
from tests.populations import judged, outcomes

NOW = "2026-01-01T00:00:00+00:00"


def policy(target: dict[str, Any] | None = None, *tiers: dict[str, Any], **more: Any) -> Policy:
    made: dict[str, Any] = {"signals": {"sets": [["size", "sure"]]}, "preroute": {"enabled": False}, **more}
    return policy_of(*tiers, target=target or {"max_error": 0.1}, **made)


def served(rows: list[Outcome], made: Policy, lock: Lock) -> dict[str, int]:
    rules = Rules(policy=made, gates=Gates(made, lock), ladder=Ladder(made))
    found: dict[str, int] = {}
    for row in replay(rows, rules):
        assert row.decision is not None
        found[row.decision.served] = found.get(row.decision.served, 0) + 1
    return found


def with_judge(rows: list[Outcome], name: str, **fields: Any) -> list[Outcome]:
    return [replace(r, models={t: judged(m, name, **fields) for t, m in r.models.items()}) for r in rows]


def both(model: ModelOutcome, acceptable: bool | None = None) -> ModelOutcome:
    """A judge's word and a person's, who is right."""
    return judged(judged(model, "llm:x/y", acceptable), "human:ada")


@pytest.mark.parametrize("target", [{"max_error": 0.1}, {"max_regret": 0.08}])
@pytest.mark.parametrize("over", ["all", "each slice"])
def test_replaying_a_lock_on_its_own_rows_reproduces_the_counts_of_its_certificates(
    target: dict[str, Any], over: str
) -> None:
    rows = outcomes(0, (600, 4000, 0), slices=("a", "b"))
    made = policy({**target, "over": over}, slices={"a": {}, "b": {}})
    lock = calibrate(rows, made, now=NOW)
    assert len(lock.certificates) == (1 if over == "all" else 2)
    accepted = served([row for row in rows if row.split == "certify"], made, lock)["accepted"]
    assert accepted == sum(certificate.accepted for certificate in lock.certificates)


def test_each_slice_gets_its_share_of_delta_and_the_share_is_stated() -> None:
    rows = outcomes(0, (600, 3000, 300), slices=("a", "b", "c"))
    target = {"max_error": 0.15, "over": "each slice", "refits": 4}
    learned = learn(rows, policy(target, slices={"a": {}, "b": {}, "c": {}}), now=NOW)
    assert len(learned.lock.certificates) == 3
    for certificate in learned.lock.certificates:
        assert certificate.shares == {"refits a year": 4, "slices": 3}
        assert certificate.delta == pytest.approx(0.05 / 12)
        assert certificate.bound <= 0.15


@pytest.mark.parametrize("small", ["closed", "pooled"])
def test_a_small_slice_is_closed_or_stands_under_the_pooled_promise_only(small: str) -> None:
    rows = outcomes(0, (600, 2400, 300))
    named = [replace(row, slice=("b" if i % 100 == 0 else "c" if i % 100 == 1 else "a")) for i, row in enumerate(rows)]
    target = {"max_error": 0.1, "over": "each slice", "small_slices": small}
    made = policy(target, slices={"a": {}, "b": {}, "c": {}})
    lock = calibrate(named, made, now=NOW)
    gates = Gates(made, lock)
    assert gates.any_open("cheap", "a")
    covered = {name: next((c for c in lock.certificates if name in c.population), None) for name in ("a", "b")}
    assert covered["a"] is not None
    if small == "closed":
        assert not gates.any_open("cheap", "b")
        assert any(note.startswith("b: closed") for note in lock.notes)
    else:
        pooled = [gate for gate in lock.gates if gate.slice == "*"]
        assert pooled[0].seen == ["b", "c"]


def test_a_slice_that_no_row_came_from_goes_to_the_last_tier() -> None:
    rows = outcomes(0, slices=("a",))
    made = policy({"max_error": 0.15}, slices={"a": {}, "never": {}})
    lock = calibrate(rows, made, now=NOW)
    gates = Gates(made, lock)
    assert gates.any_open("cheap", "a")
    assert not gates.any_open("cheap", "never")
    assert gates.find("cheap", "never", "size+sure") is None
    elsewhere = [replace(row, slice="never") for row in rows if row.split == "test"]
    assert served(elsewhere, made, lock) == {"escalated": len(elsewhere)}


def test_a_routed_slice_needs_and_gets_a_certificate_like_any_other() -> None:
    """A gate that accepts everything: opened where its rows carry the promise, closed where they do not."""
    rows = outcomes(0, (600, 1500, 300), slices=("easy", "open"))
    easy = [
        replace(row, models=row.models | {"cheap": replace(row.models["cheap"], correct=int(i % 50 != 0))})
        if row.slice == "easy" else row
        for i, row in enumerate(rows)
    ]  # fmt: skip
    slices = {"easy": {"route": "cheap"}, "open": {}}
    made = policy({"max_error": 0.1}, slices=slices)
    lock = calibrate(easy, made, now=NOW)
    (certificate,) = lock.certificates
    assert "cheap/easy/routed" in certificate.gates
    found = served([row for row in easy if row.split == "certify"], made, lock)
    assert found["routed"] == 750
    assert found["routed"] + found["accepted"] == certificate.accepted
    bad = [
        replace(row, models=row.models | {"cheap": replace(row.models["cheap"], correct=int(i % 4 != 0))})
        if row.slice == "easy" else row
        for i, row in enumerate(rows)
    ]  # fmt: skip
    (other,) = calibrate(bad, policy({"max_error": 0.12}, slices=slices), now=NOW).certificates
    assert "cheap/easy/routed" not in other.gates


def test_each_signal_set_of_one_cheap_tier_has_a_promise_of_its_own() -> None:
    """A promise about a mixture would break when a provider drops the log-probabilities."""
    rows = outcomes(0, (1200, 3000, 300))
    half = [
        replace(row, models=row.models | {"cheap": replace(row.models["cheap"], completion_tokens=None)})
        if i % 3 == 0 else row
        for i, row in enumerate(rows)
    ]  # fmt: skip
    made = policy({"max_error": 0.1}, signals={"sets": [["size", "sure"], ["sure"]]})
    lock = calibrate(half, made, now=NOW)
    assert {c.population for c in lock.certificates} == {
        "all requests whose draft has size+sure, served without the last tier",
        "all requests whose draft has sure, served without the last tier",
    }
    assert sum(c.judged for c in lock.certificates) == 3000
    assert all(c.shares == {"signal sets": 2} for c in lock.certificates)


def test_routed_slices_do_not_make_room_for_the_errors_of_two_signal_sets() -> None:
    """With a promise for each set they are a population of their own: every row is counted once."""
    rows = outcomes(0, (1200, 3000, 300), slices=("easy", "open"))
    mixed = [
        replace(row, models=row.models | {"cheap": replace(
            row.models["cheap"],
            correct=1 if row.slice == "easy" and i % 40 else row.models["cheap"].correct,
            completion_tokens=None if i % 3 == 0 else 9,
        )})
        for i, row in enumerate(rows)
    ]  # fmt: skip
    made = policy(
        {"max_error": 0.1}, slices={"easy": {"route": "cheap"}, "open": {}},
        signals={"sets": [["size", "sure"], ["sure"]]},
    )  # fmt: skip
    lock = calibrate(mixed, made, now=NOW)
    assert sum(c.judged for c in lock.certificates) == 3000
    covered = [gate for c in lock.certificates for gate in c.gates]
    assert sorted(covered) == sorted(set(covered))
    assert [gate.id for gate in lock.gates].count("cheap/easy/routed") == 1
    found = served([row for row in mixed if row.split == "certify"], made, lock)
    assert found["routed"] + found["accepted"] == sum(c.accepted for c in lock.certificates)


def test_rows_of_the_held_out_part_can_contradict_and_then_nothing_is_certified() -> None:
    rows = outcomes(0, (400, 900, 600))
    turned = [
        replace(row, models=row.models | {"cheap": replace(row.models["cheap"], correct=0)})
        if row.split == "test" and i % 2 else row
        for i, row in enumerate(rows)
    ]  # fmt: skip
    assert learn(rows, policy(), now=NOW).status == "certified"
    learned = learn(turned, policy(), now=NOW)
    assert learned.status == "contradicted"
    assert not learned.lock.certificates
    assert all(gate.threshold is None for gate in learned.lock.gates)
    assert "contradict" in learned.lock.notes[0]


def test_a_judge_of_the_familys_own_is_refused_unless_allowed_and_then_it_is_written_down() -> None:
    ladder = [tier("cheap", model="openai/gpt-5.4-mini"), tier("frontier", model="openai/gpt-5.5")]
    made = policy({"max_error": 0.1}, *ladder)
    kin = with_judge(outcomes(0), "llm:openai/gpt-5.5/general@ab12")
    learned = learn(kin, made, now=NOW)
    assert learned.status == "refused"
    assert "same family" in learned.lock.notes[0]
    assert not Gates(made, learned.lock).any_open("cheap", "a")
    allowed = learn(kin, made, now=NOW, allow_conflict=True)
    assert "same family" in allowed.lock.certificates[0].conflict
    audited = with_judge(kin, "human:ada")
    assert learn(audited, made, now=NOW).lock.certificates[0].judge == "llm:openai/gpt-5.5/general@ab12"
    other = learn(with_judge(outcomes(0), "llm:anthropic/claude-opus-4-7/general@cd34"), made, now=NOW)
    assert other.lock.certificates[0].conflict == ""
    assert other.lock.certificates[0].judge == "llm:anthropic/claude-opus-4-7/general@cd34"


def test_a_certificate_says_what_people_found_of_its_judge() -> None:
    """An honest judge's promise holds of the truth; a lenient one's does not, and the certificate says so."""
    people = [replace(row, models={t: both(m) for t, m in row.models.items()}) for row in outcomes(0, (400, 1500, 300))]
    honest = calibrate(people, policy(), now=NOW).certificates[0].truth
    assert "holds of the truth too" in honest
    lenient = [
        replace(row, models={t: both(m, acceptable=True) for t, m in row.models.items()}) if i % 3 else row
        for i, row in enumerate(people)
    ]  # fmt: skip
    (certificate,) = calibrate(lenient, policy(), now=NOW).certificates
    assert "not shown" in certificate.truth
    assert certificate.judge == "llm:x/y"
    assert calibrate(outcomes(0), policy(), now=NOW).certificates[0].truth == "judge not audited"


def test_a_judge_that_contradicts_itself_is_named() -> None:
    once = with_judge(outcomes(0), "llm:x/y")
    torn = [*with_judge(once[::5], "llm:x/y", acceptable=True), *(row for i, row in enumerate(once) if i % 5)]
    (note,) = learn(torn, policy(), now=NOW).notes
    assert note.startswith("judge llm:x/y contradicts itself on")


def test_labels_drawn_with_unlike_chances_are_thinned_to_an_even_draw() -> None:
    """Kept in proportion to the smallest chance, whoever asks, and never where the chance was zero."""
    chances = [0.05] * 4000 + [0.5] * 4000 + [0.0] * 10
    kept = thinned(chances, [f"r{i}" for i in range(len(chances))])
    assert all(kept[:4000])
    assert 320 <= sum(kept[4000:8000]) <= 480
    assert not any(kept[8000:])


def test_a_row_that_no_coin_drew_is_refused_for_certification_by_name() -> None:
    rows = outcomes(0)
    found = [
        replace(row, propensity=0.0) if i % 10 == 0 else replace(row, propensity=0.3) for i, row in enumerate(rows)
    ]
    table, left = read_rows(found, policy())
    assert len(table) == len(rows) - 130
    assert left[0].rows == 130
    assert left[0].examples[0] == "q00000"
    assert "no coin drew it" in left[0].reason


def test_the_chance_of_a_label_is_the_audits_for_enforced_and_the_explorations_for_shadow_rows() -> None:
    (row,) = outcomes(0, (1, 0, 0))
    decision = Decision(
        id="q00000", at=0.0, policy="p", mode="enforce", slice="a", served="accepted", served_by="cheap", why="",
        audit_probability=1.0, explore_probability=0.05, steps=[Step(kind="call", tier="cheap")],
    )  # fmt: skip
    assert propensity(row, ["cheap"]) == 1.0
    assert propensity(replace(row, decision=decision), ["cheap"]) == 1.0
    assert propensity(replace(row, decision=replace(decision, audit_probability=1e-9)), ["cheap"]) == 0.0
    assert propensity(replace(row, decision=replace(decision, steps=[])), ["cheap"]) == 0.05
    judged_row = replace(
        row, decision=decision, models={t: judged(m, "j", propensity=0.2) for t, m in row.models.items()}
    )
    assert propensity(judged_row, ["cheap"]) == pytest.approx(0.2)


@pytest.mark.parametrize("side", [True, False])
def test_enforced_traffic_with_labels_on_one_side_of_the_gate_only_is_refused_by_name(side: bool) -> None:
    """Accepted answers without the last tier's beside them, or rejected ones that nobody judged."""
    call = [Step(kind="call", tier="cheap")]
    made = []
    for i, row in enumerate(outcomes(0)):
        accepted = row.models["cheap"].signals["sure.value"] > 0.5
        decision = Decision(
            id=row.id, at=0.0, policy="p", mode="enforce", slice="a", served="accepted" if accepted else "escalated",
            served_by="cheap" if accepted else "frontier", why="", audit_probability=1.0, steps=call,
        )  # fmt: skip
        labelled = replace(row, decision=decision)
        bare = replace(labelled, models={t: replace(m, correct=None) for t, m in row.models.items()})
        made.append((labelled if accepted == side else bare, labelled, i))
    biased, left = read_rows([one for one, _, _ in made], policy())
    assert len(biased) == 0
    assert any("one side of the gate" in reason.reason for reason in left)
    whole, _ = read_rows([both_ for _, both_, _ in made], policy())
    assert len(whole) == len(made)


def test_one_conversation_is_one_piece_of_evidence_and_never_on_both_sides() -> None:
    rows = outcomes(0)
    turns = [replace(r, id=f"{r.id}-{k}", conversation=r.id, split=None) for r in rows for k in range(3)]
    learned = learn(turns, policy(), now=NOW)
    assert learned.rows["certify"] + learned.rows["test"] <= len(rows)
    assert sum(one.rows for one in learned.left_out) > 0


def test_a_fresh_certificate_for_the_same_scorers_fits_nothing() -> None:
    lock = calibrate(outcomes(0), policy(), now=NOW)
    again = certify(outcomes(7), policy(), lock, now=NOW)
    assert again.scorers == lock.scorers
    assert again.certificates[0].judged == 600
    unseen = [row for row in outcomes(8, (0, 1500, 0)) if row.split == "certify"]
    cold = certify(unseen, policy({"max_error": 0.15}), lock, now=NOW)
    assert cold.certificates[0].delta == pytest.approx(0.05 / 3)
    assert cold.certificates[0].bound <= 0.15


def test_a_target_alone_needs_to_be_told_the_ladder() -> None:
    with pytest.raises(ConfigError, match="tiers="):
        calibrate(outcomes(0), Target(max_error=0.1))
    lock = calibrate(outcomes(0), Target(max_error=0.1), tiers=["cheap", "frontier"], now=NOW)
    assert lock.certificates[0].level == 0.1


def test_what_a_signal_cost_is_charged_to_the_cheap_call() -> None:
    rows = outcomes(0, (100, 20, 0))
    dear = policy(signals={"sets": [["size", "sure"]], "cost": {"sure": 1.5}})
    plain, charged = read_rows(rows, policy())[0], read_rows(rows, dear)[0]
    assert charged.cost[0] == pytest.approx(2.5 * plain.cost[0])
    assert charged.cost[1] == pytest.approx(plain.cost[1])
    assert charged.outcomes[0].models["cheap"].cost == pytest.approx(1e-5)  # a replay of it charges for itself
    elsewhere = policy(signals={"sets": [["size", "sure"]], "cost": {"other": 9.0}})
    assert (read_rows(rows, elsewhere)[0].cost == plain.cost).all()


def test_a_refusal_says_how_many_rows_would_do_if_the_rates_stay() -> None:
    """And so many rows of the same kind do then certify it, about: the law behind the sentence."""
    few = outcomes(0, (600, 60, 0), base=3.0)
    learned = learn(few, policy({"max_error": 0.05}), now=NOW)
    (stratum,) = learned.strata
    assert learned.status == "refused"
    assert stratum.missing_labels
    assert f"{stratum.missing_labels:,} more judged rows" in stratum.refusal
    enough = [
        learn(outcomes(seed, (600, 60 + stratum.missing_labels, 0), base=3.0), policy({"max_error": 0.05}), now=NOW)
        for seed in range(10)
    ]
    assert sum(found.status == "certified" for found in enough) >= 5


def test_where_no_number_of_rows_would_do_it_says_that() -> None:
    learned = learn(outcomes(0, (400, 400, 0), strength=0.0, base=0.0), policy({"max_error": 0.05}), now=NOW)
    assert "no number would" in learned.strata[0].refusal
    assert str(least_rows(0.05, 0.05)) in learned.strata[0].refusal


@pytest.mark.parametrize("target", [{"max_error": 0.1}, {"max_regret": 0.08}])
def test_all_scores_tied_is_all_or_nothing(target: dict[str, Any]) -> None:
    alike = {"signals": {"sure.value": 0.5}, "completion_tokens": 9}
    rows = [
        replace(row, query="same", models=row.models | {"cheap": replace(row.models["cheap"], **alike)})
        for row in outcomes(0, (400, 600, 0), base=2.0)
    ]
    lock = calibrate(rows, policy(target), now=NOW)
    assert all(certificate.accepted in (0, 600) for certificate in lock.certificates)


def test_graded_scores_are_certified_by_betting() -> None:
    random = np.random.default_rng(0)
    graded = []
    for row in outcomes(0, (400, 1500, 300)):
        cheap, last = row.models["cheap"], row.models["frontier"]
        score = float(np.clip((cheap.correct or 0) * 0.8 + random.random() * 0.2, 0, 1))
        models = {
            "cheap": replace(cheap, correct=None, score=score),
            "frontier": replace(last, correct=None, score=float(0.8 + random.random() * 0.2)),
        }
        graded.append(replace(row, models=models))
    (certificate,) = calibrate(graded, policy({"max_regret": 0.1}), now=NOW).certificates
    assert certificate.method.startswith("fixed sequence of betting tests")
    assert certificate.bound <= 0.1
    assert certificate.held_out is not None
    assert certificate.held_out.low < certificate.held_out.risk < 0.1
    worse = [
        replace(row, models=row.models | {"cheap": replace(row.models["cheap"], score=0.05)})
        if row.split == "test" else row
        for row in graded
    ]  # fmt: skip
    assert learn(worse, policy({"max_regret": 0.1}), now=NOW).status == "contradicted"


def test_every_certified_threshold_lies_within_what_was_scored() -> None:
    """A threshold under every score accepts everything, and one peer's default was just that."""
    rows = outcomes(0)
    lock = calibrate(rows, policy(), now=NOW)
    table = read_rows(rows, policy())[0].of("fit")
    scores = [lock.scorers[0].score(s, "a") for (s,) in table.signals if s is not None]
    known = [score for score in scores if score is not None]
    assert min(known) - 1 <= (lock.gates[0].threshold or 0) <= max(known) + 1


def test_a_harder_slice_never_gets_the_lower_bar() -> None:
    """One peer's expert queries had the lowest threshold: here a worse slice is served less, not more."""
    easy, hard = (
        outcomes(0, (600, 2000, 300), slices=("a",), base=2.5),
        outcomes(1, (600, 2000, 300), slices=("b",), base=0.0),
    )
    both = easy + [replace(row, id=f"h{row.id}") for row in hard]
    made = policy({"max_error": 0.1, "over": "each slice"}, slices={"a": {}, "b": {}})
    lock = calibrate(both, made, now=NOW)
    shares = {c.population.split()[2].rstrip(","): c.accepted / c.judged for c in lock.certificates}
    assert shares.get("b", 0.0) < shares["a"]


@pytest.mark.parametrize("rows", [[], [Outcome(id="x")]])
def test_no_labels_are_a_clear_message(rows: list[Outcome]) -> None:
    with pytest.raises(ConfigError, match="needs labelled rows"):
        calibrate(rows, policy())


def test_a_set_that_no_row_has_is_named_beside_what_the_rows_have() -> None:
    with pytest.raises(ConfigError, match=r"the rows have: .*sure"):
        calibrate(outcomes(0), policy(signals={"sets": [["votes"]]}))


def test_a_threshold_or_a_weight_that_was_changed_by_hand_voids_the_certificate() -> None:
    made = policy()
    lock = calibrate(outcomes(0), made, now=NOW)
    assert Gates(made, lock).any_open("cheap", "a")
    lowered = replace(lock, gates=[replace(gate, threshold=(gate.threshold or 0) - 0.5) for gate in lock.gates])
    bent = replace(lock, scorers=[replace(s, weights=[w * 1.01 for w in s.weights]) for s in lock.scorers])
    for edited in (lowered, bent):
        gates = Gates(made, edited)
        assert not gates.any_open("cheap", "a")
        assert "other thresholds or weights" in gates.reasons[lock.certificates[0].id]
