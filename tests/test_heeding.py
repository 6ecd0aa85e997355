"""What verdicts do to stored answers: failed ones go with their neighbourhood, passed ones are proven."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from cascade.engine import IN_MEMORY, Cascade
from cascade.errors import ConfigError
from cascade.lock import Lock
from cascade.policy import Policy
from cascade.testing import FakeModels, draft
from cascade.types import CACHE, Draft, Entry, Verdict
from tests.building import certificate_of, gate_of, lock_of, policy_of, scorer_of, tier

BAD, GOOD = Verdict(judge="human:a", acceptable=False), Verdict(judge="human:a", acceptable=True)
COLD = {"params": {"temperature": 0}}


def policy_with(**more: Any) -> Policy:
    tiers = [tier("cheap", **COLD), tier("frontier", **COLD)]
    return policy_of(*tiers, **{"cache": {"semantic": True}, **more})


def lock_with(policy: Policy, threshold: float = 0.7) -> Lock:
    """A gate for the cache at this similarity, and one for the cheap tier."""
    from cascade.embedders import embedder_named
    from cascade.lock import identity

    near, cheap = gate_of(CACHE, signal_set="match", scorer="cache/match", threshold=threshold), gate_of("cheap")
    bound = identity(policy, embedder_named("wordllama").name)
    found = lock_of(policy, near, cheap, certificates=[certificate_of(policy, near, cheap, identity=bound)])
    reads = scorer_of(CACHE, "match", features=["match.similarity"])
    return Lock(
        policy=found.policy,
        scorers=[reads if one.tier == CACHE else one for one in found.scorers],
        gates=found.gates,
        certificates=found.certificates,
    )


def engine_of(
    sure: bool, store: Path = IN_MEMORY, answer: str = "yes", threshold: float = 0.7
) -> tuple[Cascade, FakeModels]:
    """The cheap tier is sure of all or of nothing; whoever answers says ``answer``."""
    policy = policy_with(audit={"accepted": 1.0, "escalated": 1.0})
    models = FakeModels(lambda call: draft(call, "yes", logprobs=[-0.1 if sure else -5.0]))
    return Cascade(policy, lock_with(policy), transport=models, store=store), models


def ask(cascade: Cascade, text: str) -> Any:
    return cascade.completion([{"role": "user", "content": text}]).cascade


ASKED, NEAR, NEARER = "Where can I see my orders?", "Where can I see my order?", "Where can I see all my orders?"


def test_a_failed_audit_of_a_hit_retracts_the_entry_and_it_is_never_served_again() -> None:
    cascade, models = engine_of(sure=False)
    with cascade:
        ask(cascade, ASKED)
        hit = ask(cascade, NEAR)
        assert hit.served_by == CACHE
        calls = len(models.calls)
        assert len(cascade.label(hit.id, BAD)) == 1
        assert ask(cascade, NEARER).served_by == "frontier"
        assert len(models.calls) > calls


def test_the_neighbourhood_goes_too_what_would_have_been_served_in_its_place() -> None:
    """Entries that pass the gate for the question that failed; what is not near stays."""
    cascade, _ = engine_of(sure=False)
    cache = cascade.parts.cache
    assert cache is not None
    with cascade:
        for number, text in enumerate((ASKED, NEARER, "Tell me the capital of France, please.")):
            stored = Draft(tier="frontier", model="m", text=f"answer {number}", finish_reason="stop")
            cache.keep(cascade.request([{"role": "user", "content": text}]), Entry(draft=stored))
        hit = ask(cascade, NEAR)
        assert hit.served_by == CACHE
        assert len(cascade.label(hit.id, BAD)) == 2
        assert cache.stats().entries == 1


def test_an_accepted_answer_is_found_by_similarity_only_once_an_audit_has_passed_it() -> None:
    cascade, _ = engine_of(sure=True)
    with cascade:
        first = ask(cascade, ASKED)
        assert first.served == "accepted"
        assert ask(cascade, NEAR).served == "accepted"
        cascade.label(first.id, GOOD)
        assert ask(cascade, NEARER).served_by == CACHE


@pytest.mark.parametrize("sure", [True, False])
def test_a_served_answer_that_fails_is_not_repeated_even_to_the_same_question(sure: bool) -> None:
    cascade, models = engine_of(sure=sure)
    with cascade:
        first = ask(cascade, ASKED)
        calls = len(models.calls)
        assert ask(cascade, ASKED).served == "cached"
        assert len(models.calls) == calls
        cascade.label(first.id, BAD)
        assert ask(cascade, ASKED).served != "cached"


def test_a_stored_answer_that_was_merely_nearest_loses_nothing_by_being_wrong_there() -> None:
    cascade, _ = engine_of(sure=False)
    with cascade:
        ask(cascade, ASKED)
        other = ask(cascade, "How tall is the tower?")
        assert other.served_by == "frontier"
        assert cascade.label(other.id, BAD, source=CACHE) == []
        assert ask(cascade, NEAR).served_by == CACHE


def test_a_verdict_on_an_answer_that_another_has_replaced_leaves_that_one_alone() -> None:
    cascade, models = engine_of(sure=False)
    with cascade:
        first = ask(cascade, ASKED)
        cascade.label(first.id, BAD)
        models._answer = lambda call: draft(call, "a better one", logprobs=[-5.0])
        ask(cascade, ASKED)
        assert cascade.label(first.id, BAD) == []
        assert ask(cascade, ASKED).served == "cached"


def test_labelling_what_is_not_there_is_the_callers_fault() -> None:
    cascade, _ = engine_of(sure=False)
    with cascade:
        found = ask(cascade, ASKED)
        with pytest.raises(ConfigError, match="no decision"):
            cascade.label("nobody", GOOD)
        with pytest.raises(ConfigError, match="no answer of 'judge'"):
            cascade.label(found.id, GOOD, source="judge")


def test_a_retraction_is_heard_by_another_engine_on_the_same_store(tmp_path: Path) -> None:
    import time

    one, _ = engine_of(sure=False, store=tmp_path)
    other, _ = engine_of(sure=False, store=tmp_path)
    with one, other:
        ask(one, ASKED)
        time.sleep(0.5)
        hit = ask(other, NEAR)
        assert hit.served_by == CACHE
        one.ledger.flush()
        other.ledger.flush()
        one.label(hit.id, BAD)
        time.sleep(1.0)
        assert ask(other, NEARER).served_by == "frontier"
    assert threading.active_count() < 50


def test_the_judge_command_retracts_what_fails_out_of_the_store(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from cascade.cli import app
    from cascade.lock import lock_path, save_lock

    policy = policy_with(audit={"accepted": 1.0, "escalated": 1.0})
    file = tmp_path / "p.toml"
    file.write_text(POLICY)
    save_lock(lock_path(file), lock_with(policy))
    models = FakeModels(lambda call: draft(call, "yes", logprobs=[-5.0]))
    with Cascade.load(file, transport=models, store=tmp_path / "store") as cascade:
        ask(cascade, ASKED)
        assert ask(cascade, NEAR).served_by == CACHE
    words = ["judge", str(tmp_path / "store"), "--tier", "cache", "--command", "false", "--policy", str(file), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    with Cascade.load(file, transport=models, store=tmp_path / "store") as cascade:
        assert ask(cascade, NEARER).served_by == "frontier"


POLICY = """
name = "p"
[target]
max_error = 0.05
[cache]
semantic = true
[audit]
accepted = 1.0
escalated = 1.0
[[tiers]]
name = "cheap"
model = "cheap-model"
params = { temperature = 0 }
price = { input = 1.0, output = 2.0 }
[[tiers]]
name = "frontier"
model = "frontier-model"
params = { temperature = 0 }
price = { input = 1.0, output = 2.0 }
"""


def test_explain_names_the_stored_question_that_was_nearest(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from cascade.cli import app

    file = tmp_path / "p.toml"
    file.write_text(POLICY)
    cascade, _ = engine_of(sure=False, store=tmp_path / "store")
    with cascade:
        ask(cascade, ASKED)
        hit = ask(cascade, NEAR)
    done = CliRunner().invoke(app, ["explain", hit.id, "--policy", str(file), "--store", str(tmp_path / "store")])
    assert done.exit_code == 0, done.output
    assert ASKED in " ".join(done.output.split())
