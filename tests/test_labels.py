"""What of an answer its reader acts on: one value, or why there is none; and the check that escalates on two."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.cli.doctor import _checks
from cascade.engine import IN_MEMORY, Cascade
from cascade.errors import ConfigError, PolicyError
from cascade.gates import Gates
from cascade.labels import LONGEST, label_consistent, label_in, label_of
from cascade.ladder import Ladder
from cascade.learning.rows import read_rows
from cascade.lock import identity
from cascade.replay import replay_one
from cascade.run import Rules
from cascade.tables import ABSENT, AMBIGUOUS, OTHER, Label
from cascade.testing import FakeModels, draft
from cascade.types import Draft, ModelOutcome, Outcome, Verdict
from tests.building import lock_of, policy_of, tier

RISK = {"pattern": r"opinion risk:\s*(\w+)", "values": ["Adverse", "Qualified"]}
JSON = {"path": "$.gaps[0].risk", "values": ["Adverse", "Qualified"]}


def label(**fields: Any) -> Label:
    return Label.model_validate(fields)


def risk(text: str) -> str:
    return label_of(text, label(**RISK))


# One value, or none


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("Opinion risk: Adverse. Nobody reviews access.", "Adverse"),
        ("OPINION RISK: adverse\n\nOpinion risk: Adverse", "Adverse"),
        ("## Opinion risk: ADVERSE\nOn the whole, opinion risk: qualified.", AMBIGUOUS),
        ("Opinion risk: high", OTHER),
        ("Opinion risk: high. Opinion risk: low.", AMBIGUOUS),
        ("Opinion risk: Adverse. Opinion risk: unclear.", AMBIGUOUS),
        ("Nothing to report.", ABSENT),
        ("", ABSENT),
    ],
)
def test_a_pattern_finds_the_one_value_or_says_why_there_is_none(answer: str, found: str) -> None:
    assert risk(answer) == found


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ('{"gaps": [{"risk": "adverse"}, {"risk": "Qualified"}]}', "Adverse"),
        ('Here it is:\n```json\n{"gaps": [{"risk": "Qualified"}]}\n```\nAs asked [1].', "Qualified"),
        ('{"gaps": [{"risk": "Adverse"}]} rather {"gaps": [{"risk": "Qualified"}]}', AMBIGUOUS),
        ('{"gaps": [{"risk": "Adverse", "risk": "Qualified"}]}', AMBIGUOUS),
        ('{"gaps": [{"risk": ["Adverse", "Qualified"]}]}', AMBIGUOUS),
        ('{"gaps": [{"risk": {"level": "Adverse"}}]}', OTHER),
        ('{"gaps": [{"risk": 3}]}', OTHER),
        ('{"gaps": [{"risk": null}]}', ABSENT),
        ('{"gaps": []}', ABSENT),
        ('{"gaps": {"risk": "Adverse"}}', ABSENT),
        ('{"gaps": [{"risk": "Adver', ABSENT),
        ('{"gaps": [["risk", "Adverse"]]}', ABSENT),
        ("Adverse", ABSENT),
        ("[" * LONGEST, ABSENT),
    ],
)
def test_a_path_finds_the_one_value_in_every_json_value_of_the_answer(answer: str, found: str) -> None:
    assert label_of(answer, label(**JSON)) == found


def test_a_number_or_a_boolean_is_its_json() -> None:
    assert label_of('{"p": 1}', label(path="$.p")) == "1"
    assert label_of('{"p": true}', label(path="$.p")) == "true"


def test_case_is_told_apart_where_the_policy_says_so() -> None:
    strict = label(pattern=r"risk: (\w+)", ignore_case=False)
    assert label_of("risk: High, risk: high", strict) == AMBIGUOUS
    assert label_of("RISK: High", strict) == ABSENT
    assert label_of("RISK: High", label(pattern=r"risk: (\w+)")) == "high"


def test_without_a_group_the_whole_match_is_the_value_and_an_empty_one_is_none() -> None:
    assert label_of("It is a P1.", label(pattern=r"\bP[1-4]\b")) == "p1"
    assert label_of("P1", label(pattern=r"(x)?P1")) == ABSENT


VALUES = st.sampled_from(["Adverse", "Qualified", "Unqualified", "ambiguous", "absent", "other", "none"])


@given(st.lists(VALUES, max_size=4), st.booleans())
def test_an_answer_that_says_two_things_is_never_taken_for_one_of_them(said: list[str], declared: bool) -> None:
    """However they are ordered; and no word of an answer passes for a category that has no value."""
    fields = {"pattern": r"risk: (\w+)", "values": ["Adverse", "Qualified"] if declared else []}
    text = "\n".join(f"risk: {value}" for value in said)
    found = label_of(text, label(**fields))
    assert (found == AMBIGUOUS) == (len(set(said)) > 1)
    assert (found == ABSENT) == (not said)
    assert found == label_of("\n".join(reversed(text.split("\n"))), label(**fields))
    if len(set(said)) == 1 and found != OTHER:
        assert found.casefold() == said[0].casefold()


@given(st.text(max_size=200), st.recursive(st.text(max_size=5) | st.none(), st.lists, max_leaves=8))
def test_no_text_breaks_the_reading(text: str, value: Any) -> None:
    label_of(text + json.dumps({"a": value}) + text, label(path="$.a[0]"))
    label_of(text, label(**RISK))


def test_an_answer_too_long_to_be_read_has_no_label_and_takes_no_time() -> None:
    """A part of it could hide the second value."""
    told = "opinion risk: Adverse"
    assert risk(told.ljust(LONGEST)) == "Adverse"
    assert risk(told.ljust(LONGEST + 1)) == ABSENT
    began = time.perf_counter()
    label_of('{"a":' * (LONGEST // 5), label(path="$.a"))
    label_of("x " * (LONGEST // 2), label(pattern=r"\s*x\s*risk: (\w+)"))
    assert time.perf_counter() - began < 5.0


def test_a_verdict_s_label_counts_only_where_the_policy_says_so() -> None:
    judged = Verdict(judge="j", acceptable=True, labels={"risk": "qualified"})
    told = ModelOutcome(answer="Opinion risk: Adverse", verdicts=[judged])
    assert label_in(told, "risk", label(**RISK)) == "Adverse"
    theirs = label(**{"from": "verdict", "values": ["Qualified"]})
    assert label_in(told, "risk", theirs) == "Qualified"
    assert label_in(told, "severity", theirs) == ABSENT
    assert label_in(ModelOutcome(answer="x"), "risk", theirs) is None
    assert label_in(ModelOutcome(verdicts=[judged]), "risk", label(**RISK)) is None


# As a policy states it


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "one of pattern and path"),
        ({"pattern": "x", "path": "$.x"}, "one of pattern and path"),
        ({"pattern": "x", "from": "verdict"}, "neither where from"),
        ({"pattern": "("}, "not a regular expression"),
        ({"path": "risk"}, "path"),
        ({"path": "$.a[*]"}, "path"),
        ({"path": "$"}, "path"),
        ({"path": "$.a", "values": ["Ambiguous"]}, "'Ambiguous' is what an answer without one clear value gets"),
    ],
)
def test_a_label_that_cannot_be_found_is_refused_with_its_place(table: dict[str, Any], said: str) -> None:
    with pytest.raises(PolicyError, match=r"labels\.risk") as refused:
        policy_of(labels={"risk": table})
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("check", "labels", "said"),
    [
        ({"name": "label_consistent"}, {}, "no label is found in answers"),
        ({"name": "label_consistent"}, {"risk": {"from": "verdict"}}, "no label is found in answers"),
        (
            {"name": "label_consistent", "labels": ["rsk"]},
            {"risk": RISK},
            "'rsk' is not found in answers; did you mean",
        ),
        ({"name": "label_consistent", "command": ["true"]}, {"risk": RISK}, "runs no command"),
        ({"name": "mine", "labels": ["risk"]}, {"risk": RISK}, "only the check 'label_consistent' reads labels"),
    ],
)
def test_a_check_of_labels_that_cannot_work_is_refused(check: Any, labels: Any, said: str) -> None:
    with pytest.raises(PolicyError) as refused:
        policy_of(checks=[check], labels=labels)
    assert said in str(refused.value)


# The check


@pytest.mark.parametrize(
    ("text", "outcome", "detail"),
    [
        ("Opinion risk: Adverse. Severity: 1", "pass", ""),
        ("Opinion risk: Adverse", "abstain", "label severity has no value"),
        ("Opinion risk: Adverse ... opinion risk: Qualified", "fail", "label risk has two values"),
        ("Opinion risk: sealed secret. Severity: 1", "pass", ""),
    ],
)
def test_the_check_fails_two_values_abstains_without_one_and_quotes_nothing(
    text: str, outcome: str, detail: str
) -> None:
    labels = {"risk": label(**RISK), "severity": label(pattern=r"severity: (\d)")}
    found = label_consistent(Draft(tier="cheap", model="m", text=text), labels)
    assert (found.name, found.outcome, found.detail) == ("label_consistent", outcome, detail)


HEDGED = "Opinion risk: Adverse. All in all opinion risk: Qualified."
CLEAR = "Opinion risk: Adverse."
CHECKED: dict[str, Any] = {
    "labels": {"risk": RISK},
    "checks": [{"name": "label_consistent"}],
    "cache": {"enabled": False},
}


def answered(cheap: str, frontier: str = CLEAR, **policy: Any) -> tuple[Outcome, Rules]:
    """The ledger's row of one live request, and the rules to replay it under."""
    made = policy_of(**{**CHECKED, **policy})
    lock = lock_of(made)
    texts = {"cheap-model": cheap, "frontier-model": frontier}
    sure = {name: [-0.1] * len(text.split()) for name, text in texts.items()}
    models = FakeModels(lambda call: draft(call, texts[call.endpoint.model], logprobs=sure[call.endpoint.model]))
    cascade = Cascade(made, lock, transport=models, store=IN_MEMORY)
    cascade.completion(messages=[{"role": "user", "content": "Assess CC6."}])
    (outcome,) = cascade.outcomes()
    cascade.close()
    return outcome, Rules(policy=made, gates=Gates(made, lock), ladder=Ladder(made))


@pytest.mark.parametrize(
    ("cheap", "policy", "served_by"),
    [
        (CLEAR, {}, "cheap"),
        ("No opinion.", {}, "cheap"),
        (HEDGED, {}, "frontier"),
        (HEDGED, {"checks": []}, "cheap"),
        (HEDGED, {"checks": [{"name": "label_consistent", "tiers": ["frontier"]}]}, "cheap"),
        (HEDGED, {"checks": [{"name": "label_consistent", "labels": ["risk"], "tiers": ["cheap"]}]}, "frontier"),
    ],
)
def test_a_hedged_draft_escalates_in_live_flow_and_in_replay_alike(cheap: str, policy: Any, served_by: str) -> None:
    outcome, rules = answered(cheap, **policy)
    assert outcome.decision is not None
    assert outcome.decision.served_by == served_by
    replayed = replay_one(outcome, rules)
    assert replayed.decision is not None
    assert (replayed.decision.served_by, replayed.decision.why) == (served_by, outcome.decision.why)
    bare = replay_one(Outcome(id="r", models={t: ModelOutcome(**_plain(m)) for t, m in outcome.models.items()}), rules)
    assert bare.decision is not None
    assert bare.decision.served_by == served_by


def _plain(model: ModelOutcome) -> dict[str, Any]:
    """As a recorded data set has it: nobody has run a check."""
    return {"answer": model.answer, "signals": model.signals, "families": model.families, "finish_reason": "stop"}


def test_the_last_tier_s_answer_is_served_although_it_contradicts_itself_and_says_so() -> None:
    """There is no better one, and the caller would have had it without us."""
    outcome, _ = answered(HEDGED, HEDGED)
    assert outcome.decision is not None
    assert outcome.decision.served_by == "frontier"
    assert outcome.decision.flags == ["served although check label_consistent failed: label risk has two values"]


def test_calibration_reads_labels_as_the_policy_declares_them_and_not_as_an_older_one_did() -> None:
    """A draft that serving would not serve has no signals; what an earlier policy's check said is void."""
    outcome, _ = answered(HEDGED)
    models = {
        name: ModelOutcome(**_plain(model), checks=model.checks, correct=1, cost=1e-4)
        for name, model in (outcome.models | {"frontier": outcome.models["frontier"]}).items()
    }
    row = Outcome(id="r", query="Assess CC6.", models=models, propensity=1.0)
    without = policy_of(**{**CHECKED, "checks": []})
    for policy, kept in ((policy_of(**CHECKED), False), (without, True)):
        rows, _ = read_rows([row], policy)
        assert [(signals[0] is not None) for signals in rows.signals] == [kept]


def test_a_certificate_is_bound_to_the_labels_that_its_check_reads() -> None:
    made = identity(policy_of(**CHECKED))
    other = {**CHECKED, "labels": {"risk": {**RISK, "values": ["Adverse"]}}}
    assert identity(policy_of(**other))["checks"] != made["checks"]
    unread = {**CHECKED, "checks": [{"name": "label_consistent", "labels": ["risk"]}]}
    more = {**unread, "labels": {"risk": RISK, "severity": {"pattern": "x"}}}
    assert identity(policy_of(**unread)) == identity(policy_of(**more))
    assert identity(policy_of()) == identity(policy_of(labels={"risk": RISK}))


def test_no_callable_is_asked_for_it_and_none_is_taken() -> None:
    made = policy_of(**CHECKED)
    with pytest.raises(ConfigError, match="label_consistent"):
        Cascade(made, None, checks={"label_consistent": lambda request, draft: True}, store=IN_MEMORY)
    (finding,) = _checks(made)
    assert (finding.level, finding.said) == ("ok", "reads risk")


def test_a_streamed_answer_of_the_last_tier_is_not_held_for_it() -> None:
    made = policy_of(tier("frontier"), **CHECKED)
    models = FakeModels(lambda call: draft(call, CLEAR))
    cascade = Cascade(made, None, transport=models, store=IN_MEMORY)
    list(cascade.completion(messages=[{"role": "user", "content": "Assess CC6."}], stream=True))
    assert [call.deliver for call in models.calls] == ["live"]
    cascade.close()
