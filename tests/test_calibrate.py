"""From labels to a lock: the certificate says no more than its rows do, however they are dealt."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from cascade.asks import Call
from cascade.engine import Cascade
from cascade.errors import ConfigError
from cascade.exact import least_rows, upper_limit
from cascade.gates import Gates
from cascade.ladder import Ladder
from cascade.learning.calibrate import calibrate
from cascade.learning.contest import contest
from cascade.learning.drawn import splits_of
from cascade.learning.rows import read_rows
from cascade.ledger import read_outcomes, write_outcomes
from cascade.lock import Lock
from cascade.paired import paired_upper
from cascade.policy import Policy
from cascade.replay import replay, request_of
from cascade.run import Rules
from cascade.testing import FakeModels, draft
from cascade.types import CheckResult, Decision, Draft, ModelOutcome, Outcome, Verdict
from tests.building import policy_of, tier

NOW = "2026-01-01T00:00:00+00:00"
POLICY = policy_of(preroute={"enabled": False})


def answered(correct: bool, mean: float, cost: float, **fields: Any) -> ModelOutcome:
    return ModelOutcome(
        answer="it is four", finish_reason="stop", correct=int(correct), logprobs=[mean] * 5, cost=cost,
        latency_ms=100.0, prompt_tokens=10, completion_tokens=5, **fields,
    )  # fmt: skip


def population(seed: int, fit: int = 300, certify: int = 400, *, hard: float = 1.0) -> list[Outcome]:
    """Questions on which the cheap tier is the likelier wrong the less sure it was."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(fit + certify):
        mean = -float(random.exponential(0.5)) - 0.001
        right = bool(random.random() < np.exp(hard * mean) * 0.995)
        models = {"cheap": answered(right, mean, 1e-5), "frontier": answered(bool(random.random() < 0.97), -0.1, 1e-4)}
        split = "fit" if i < fit else "certify"
        rows.append(Outcome(id=f"q{i}", slice=f"s{i % 2}", query=f"question {i}?", split=split, models=models))
    return rows


@lru_cache(maxsize=8)
def made(seed: int = 0, kind: str = "error") -> tuple[tuple[Outcome, ...], Policy, Lock]:
    policy = policy_of(target={f"max_{kind}": 0.1}, preroute={"enabled": False})
    rows = population(seed)
    return tuple(rows), policy, calibrate(rows, policy, now=NOW)


def relabelled(row: Outcome, correct: int) -> Outcome:
    cheap = replace(row.models["cheap"], correct=correct)
    return replace(row, models=row.models | {"cheap": cheap})


@pytest.mark.parametrize("kind", ["error", "regret"])
def test_a_certificate_says_what_its_rows_say(kind: str) -> None:
    rows, policy, lock = made(0, kind)
    (certificate,), (gate,), (scorer,) = lock.certificates, lock.gates, lock.scorers
    assert gate.threshold is not None
    accepted = bad = 0
    for row in rows:
        if row.split != "certify":
            continue
        (signals,) = read_rows([row], policy)[0].signals[0]
        assert signals is not None
        score = scorer.score(signals, row.slice)
        if score is not None and score >= gate.threshold:
            cheap, frontier = row.models["cheap"].correct, row.models["frontier"].correct
            accepted, bad = accepted + 1, bad + (not cheap if kind == "error" else (frontier or 0) > (cheap or 0))
    assert (certificate.accepted, certificate.bad, certificate.judged) == (accepted, bad, 400)
    textbook = upper_limit(bad, accepted, 0.05) if kind == "error" else paired_upper(bad, certificate.better, 400, 0.05)
    assert certificate.bound == pytest.approx(min(textbook, certificate.level), abs=1e-4)
    assert certificate.bound <= certificate.level


def test_the_scorer_of_serving_is_scikit_learns_to_nine_digits() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = read_rows(made()[0], POLICY)[0].of("fit")
    (scorer,) = contest(rows, POLICY, delta=0.05, certifying=400).scorers
    drafts = [s for signals in rows.signals if (s := signals[0]) is not None]
    table = np.array(
        [
            [float(f == f"slice:{name}") if f.startswith("slice:") else s.values[f] for f in scorer.features]
            for name, s in zip(rows.slices, drafts, strict=True)
        ]
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000))
    theirs = model.fit(table, rows.quality[0] >= 0.5).decision_function(table)
    ours = [scorer.score(s, name) for name, s in zip(rows.slices, drafts, strict=True)]
    assert ours == pytest.approx(list(theirs), abs=1e-9)


def test_more_bad_labels_never_raise_the_accept_rate() -> None:
    rows, policy, lock = made()
    before = lock.certificates[0].accepted
    random = np.random.default_rng(9)
    for share in (0.02, 0.1, 0.5):
        worse = [relabelled(r, 0) if r.split == "certify" and random.random() < share else r for r in rows]
        found = calibrate(worse, policy, now=NOW).certificates
        assert (found[0].accepted if found else 0) <= before


@pytest.mark.parametrize("kind", ["error", "regret"])
def test_the_order_of_the_rows_changes_nothing(kind: str) -> None:
    rows, policy, lock = made(0, kind)
    shuffled = [rows[i] for i in np.random.default_rng(2).permutation(len(rows))]
    again = calibrate(shuffled, policy, now=NOW)
    (was,), (now) = lock.certificates, again.certificates[0]
    assert (now.accepted, now.bad, now.judged) == (was.accepted, was.bad, was.judged)
    assert again.gates[0].threshold == pytest.approx(lock.gates[0].threshold, abs=1e-9)


def test_ties_are_served_or_refused_together() -> None:
    """Two scores that are equal are on the same side, so a count never splits them."""
    rows = []
    for i, row in enumerate(population(5)):
        mean = (-0.01, -0.5, -2.0)[i % 3]
        cheap = answered(i % 3 == 0 or (i % 3 == 1 and i % 2 == 0), mean, 1e-5)
        rows.append(replace(row, slice="s", query="the same length", models=row.models | {"cheap": cheap}))
    lock = calibrate(rows, policy_of(target={"max_error": 0.05}, preroute={"enabled": False}), now=NOW)
    (certificate,) = lock.certificates
    certify = range(300, 700)
    assert certificate.accepted == sum(i % 3 == 0 for i in certify)


@pytest.mark.parametrize("correct", [0, 1])
def test_labels_of_one_kind_fit_nothing_and_say_so(correct: int) -> None:
    with pytest.raises(ConfigError, match="as many wrong"):
        calibrate([relabelled(row, correct) for row in population(1)], POLICY, now=NOW)


@pytest.mark.parametrize("wrong", [1, 3])
def test_very_few_labels_of_one_kind_fit_or_say_why_not(wrong: int) -> None:
    rows = [relabelled(row, int(i >= wrong)) for i, row in enumerate(population(1))]
    try:
        lock = calibrate(rows, POLICY, now=NOW)
    except ConfigError:
        return
    assert lock.scorers


def test_nothing_certified_closes_every_gate_and_says_what_is_missing() -> None:
    rows = population(3, 300, 30)
    lock = calibrate(rows, policy_of(target={"max_error": 0.01}, preroute={"enabled": False}), now=NOW)
    assert not lock.certificates
    assert [gate.threshold for gate in lock.gates] == [None]
    assert str(least_rows(0.01, 0.05)) in lock.notes[0]


def test_a_paraphrase_is_not_a_second_piece_of_evidence() -> None:
    rows, policy, lock = made()
    twins = [replace(r, id=f"{r.id}-again", paraphrase_of=r.id) for r in rows if r.split == "certify"]
    assert calibrate([*rows, *twins], policy, now=NOW).certificates[0].judged == lock.certificates[0].judged


def test_rows_without_a_label_or_a_split_take_no_part() -> None:
    rows, policy, lock = made()
    bare = [replace(r, id=f"{r.id}-bare", models={"cheap": r.models["cheap"]}) for r in rows[:50]]
    other = [replace(r, id=f"{r.id}-test", split="test") for r in rows[:50]]
    assert calibrate([*rows, *bare, *other], policy, now=NOW).certificates[0].judged == lock.certificates[0].judged


def test_what_serving_would_not_serve_is_no_evidence_for_serving() -> None:
    """A draft that failed the user's check and a request whose stakes forbid the tier."""
    rows = population(0, fit=1000, certify=2000)
    policy = policy_of(
        target={"max_error": 0.2}, preroute={"enabled": False}, checks=[{"name": "mine"}],
        stakes=[{"when": {"stakes": "high"}, "tier": "frontier"}],
    )  # fmt: skip
    failed = [CheckResult(name="mine", outcome="fail")]

    def barred(i: int, row: Outcome) -> Outcome:
        if i % 4 == 0:
            return replace(row, stakes="high")
        cheap = replace(row.models["cheap"], checks=failed)
        return replace(row, models=row.models | {"cheap": cheap}) if i % 4 == 1 else row

    mixed = [barred(i, row) for i, row in enumerate(rows)]
    lock = calibrate(mixed, policy, now=NOW)
    assert lock.certificates
    (gate,), (scorer,) = lock.gates, lock.scorers
    could = [r for r in mixed if r.split == "certify" and r.stakes is None and not r.models["cheap"].checks]
    table = read_rows(could, POLICY)[0]
    pairs = zip(table.signals, table.slices, strict=True)
    scores = [scorer.score(s, name) for (s,), name in pairs if s is not None]
    assert lock.certificates[0].accepted == sum(s >= (gate.threshold or 0) for s in scores if s is not None)


def test_two_cheap_tiers_are_promised_together() -> None:
    policy = policy_of(
        tier("cheap"), tier("middle"), tier("frontier"), target={"max_error": 0.1}, preroute={"enabled": False}
    )
    rows, middle = population(4), population(14, hard=0.4)
    both = [replace(r, models=r.models | {"middle": m.models["cheap"]}) for r, m in zip(rows, middle, strict=True)]
    lock = calibrate(both, policy, now=NOW)
    (certificate,) = lock.certificates
    assert sorted(certificate.gates) == sorted(gate.id for gate in lock.gates)
    assert len(lock.gates) == 2
    assert len({gate.threshold for gate in lock.gates}) == 1


@pytest.mark.parametrize("kind", ["error", "regret"])
def test_the_promise_holds_over_fresh_draws(kind: str) -> None:
    """At 80 % confidence the certified threshold may fail for a fifth of the draws, and no more."""
    policy = policy_of(target={f"max_{kind}": 0.1, "confidence": 0.8}, preroute={"enabled": False})
    fresh = read_rows(population(999, 0, 6000), policy)[0]
    broken, repetitions = 0, 25
    for seed in range(repetitions):
        lock = calibrate(population(100 + seed, 150, 150), policy, now=NOW)
        if not lock.certificates:
            continue
        threshold, scorer = lock.gates[0].threshold or 0.0, lock.scorers[0]
        pairs = zip(fresh.signals, fresh.slices, strict=True)
        scores = np.array([(scorer.score(s, name) if s is not None else None) or -99.0 for (s,), name in pairs])
        got, best = fresh.quality
        served = scores >= threshold
        risk = (got[served] < 0.5).mean() if kind == "error" else np.where(served, best - got, 0.0).mean()
        broken += risk > 0.1
    assert broken / repetitions <= 0.2 + 4 * (0.2 * 0.8 / repetitions) ** 0.5


def test_requests_are_read_as_serving_reads_them() -> None:
    assert request_of(population(0)[0]).question == "question 0?"


def test_rows_without_a_split_are_dealt_out_the_same_way_for_ever() -> None:
    """Two in five each to the fit and the certificate; rewordings and turns go with their question."""
    rows = [replace(row, split=None) for row in population(1, fit=500, certify=500)]
    dealt = splits_of(rows)
    assert dealt == splits_of(rows)
    assert all(320 <= dealt.count(name) <= 480 for name in ("fit", "certify"))
    assert splits_of([replace(row, id=f"{row.id}-again", paraphrase_of=row.id) for row in rows]) == dealt
    assert splits_of([replace(row, id=f"{row.id}-2", conversation=row.id) for row in rows]) == dealt
    ours = [replace(rows[0], split="test"), replace(rows[1], split="certify")]
    assert splits_of(ours) == ["test", "certify"]
    theirs = [replace(row, split="test") for row in rows]
    assert splits_of(theirs) == dealt


def test_rows_that_a_gate_chose_are_no_evidence_about_it() -> None:
    """Enforced traffic has labels where the gate let them be: such rows are left out."""
    rows = population(2)
    decision = Decision(
        id="d", at=0.0, policy="p", mode="enforce", slice="s0", served="escalated", served_by="frontier", why=""
    )
    with pytest.raises(ConfigError, match="enforced"):
        calibrate([replace(row, decision=decision) for row in rows], POLICY, now=NOW)
    observed = replace(decision, mode="observe", explore_probability=1.0)
    as_recorded = calibrate(rows, POLICY, now=NOW)
    assert calibrate([replace(row, decision=observed) for row in rows], POLICY, now=NOW).gates == as_recorded.gates


def test_what_a_ledger_recorded_in_observe_mode_can_be_calibrated(tmp_path: Path) -> None:
    """Observe, label, export, calibrate: the first certificate comes out of the user's own traffic."""
    policy = policy_of(mode="observe", target={"max_error": 0.2}, cache={"enabled": False}, preroute={"enabled": False})
    random = np.random.default_rng(0)
    sure = {f"question {i}?": -float(random.exponential(0.5)) - 0.001 for i in range(400)}

    def answer(call: Call) -> Draft:
        mean = sure[call.messages[-1]["content"]] if call.tier == "cheap" else -0.1
        return draft(call, "it is four", logprobs=[mean] * 5)

    with Cascade(policy, transport=FakeModels(answer), store=tmp_path) as cascade:
        for question, mean in sure.items():
            decision = cascade.completion([{"role": "user", "content": question}]).cascade
            good = mean > -0.7  # plainly told apart, since chance deals these rows out anew in each run
            cascade._shadows.drain(5.0)
            cascade.ledger.label(decision.id, "cheap", Verdict(judge="me", acceptable=good))
            cascade.ledger.label(decision.id, "frontier", Verdict(judge="me", acceptable=True))
        write_outcomes(str(tmp_path / "rows.jsonl"), cascade.outcomes())
    lock = calibrate(read_outcomes(str(tmp_path / "rows.jsonl")), policy, judge="me", now=NOW)
    (certificate,) = lock.certificates
    enforced = policy.model_copy(update={"mode": "enforce"})
    assert len(Gates(enforced, lock)) == 1
    assert certificate.judge == "me"


def test_the_slice_that_is_fitted_is_the_one_that_serving_finds() -> None:
    """Rows that name no slice are placed by the policy's rules, in the fit as in the flow."""
    slices = {"odd": {"when": {"pattern": r"question \d*[13579]\?"}}, "default": {}}
    policy = policy_of(target={"max_error": 0.2}, preroute={"enabled": False}, slices=slices)
    rows = [replace(row, slice="") for row in population(0, fit=1000, certify=2000)]
    lock = calibrate(rows, policy, now=NOW)
    assert {f for f in lock.scorers[0].features if f.startswith("slice:")} == {"slice:odd", "slice:default"}
    made = Rules(policy=policy, gates=Gates(policy, lock), ladder=Ladder(policy))
    replayed = replay([row for row in rows if row.split == "certify"], made)
    served = [row.decision.served_by for row in replayed if row.decision is not None]
    assert served.count("cheap") == lock.certificates[0].accepted
