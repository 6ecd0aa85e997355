"""The recorder: every tier asked and judged, whatever the gates say, and nothing paid for twice."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cascade.asks import Call, Endpoint
from cascade.batch.journal import Line
from cascade.batch.outcomes import Recording, record_outcomes
from cascade.errors import ConfigError, UpstreamError
from cascade.judging.llm import ModelJudge
from cascade.judging.rubrics import Rubric
from cascade.judging.rules import RuleJudge, exact
from cascade.ledger import Ledger, read_outcomes
from cascade.policy import Policy
from cascade.policyfile import load_policy
from cascade.testing import FakeModels, draft
from cascade.types import Draft, Outcome
from tests.building import policy_of, tier
from tests.misbehaving import Server

TIERS = ("small", "middle", "large")
POLICY = policy_of(*map(tier, TIERS))


def by_rule(transport: Any) -> RuleJudge:
    return RuleJudge("exact", exact)


def by_model(transport: Any) -> ModelJudge:
    endpoint = Endpoint(model="gemini/judge", price=(1.0, 4.0, 1.0))
    return ModelJudge(endpoint, Rubric(name="r", text="Right?"), transport)


def rows(count: int) -> list[Outcome]:
    return [Outcome(id=f"q{i}", query=f"question {i}", reference="yes", split="fit") for i in range(count)]


def says(call: Call) -> Draft:
    """The large tier is right, the others are not; a judge accepts all."""
    text = '{"acceptable": true}' if call.tier == "judge" else "yes" if call.tier == "large" else "no"
    return draft(call, text, cost=0.001, logprobs=[-0.1] if call.tier == "middle" else None)


def recorded(
    folder: Path, count: int = 12, answer: Callable[[Call], Any] = says, policy: Policy = POLICY, **more: Any
) -> tuple[Recording, FakeModels]:
    models = FakeModels(answer)
    judge = more.pop("judge", by_rule)
    made = record_outcomes(policy, rows(count), judge=judge, folder=folder / "made", transport=models, **more)
    return made, models


def asked(models: FakeModels) -> Counter[tuple[str, str]]:
    return Counter((call.tier, str(call.messages[-1]["content"])) for call in models.calls if call.tier != "judge")


def test_every_tier_answers_every_question_and_each_answer_is_judged(tmp_path: Path) -> None:
    """With the signals and checks of live traffic, under no gate at all, in the questions' order."""
    made, models = recorded(tmp_path, judge=by_model)
    assert asked(models) == {(name, f"question {i}"): 1 for name in TIERS for i in range(12)}
    assert [row.id for row in made.outcomes] == [row.id for row in rows(12)]
    for row in made.outcomes:
        assert set(row.models) == set(TIERS)
        assert all(len(model.verdicts) == 1 and model.checks for model in row.models.values())
        assert row.models["middle"].families == ["logprobs", "text"]
        assert row.models["small"].families == ["text"]
        assert (row.reference, row.split, row.propensity) == ("yes", "fit", 1.0)
    assert made.spent == pytest.approx(0.001 * len(models.calls))
    assert (made.failed, made.left, made.possibly_billed, made.stopped) == ({}, [], [], "")
    assert list(read_outcomes(tmp_path / "made" / "outcomes.jsonl.gz")) == made.outcomes


def test_a_rule_says_who_was_right(tmp_path: Path) -> None:
    made, _ = recorded(tmp_path)
    assert {name: {row.models[name].quality for row in made.outcomes} for name in TIERS} == {
        "small": {0.0}, "middle": {0.0}, "large": {1.0},
    }  # fmt: skip


def test_tiers_that_the_plan_leaves_out_are_asked_all_the_same(tmp_path: Path) -> None:
    """Stakes, missing context and an unknown slice send live requests past the cheap tiers."""
    policy = policy_of(
        *map(tier, TIERS), slices={"default": {"require_context": ["team"], "missing_context": "escalate"}}
    )
    made, _ = recorded(tmp_path, 3, policy=policy)
    assert [set(row.models) for row in made.outcomes] == [set(TIERS)] * 3


def test_only_what_is_missing_is_made_up_for(tmp_path: Path) -> None:
    """One tier of three was down: the next run asks it alone, and has it alone judged."""

    def down(call: Call) -> Any:
        if call.tier == "middle" and int(str(call.messages[-1]["content"]).split()[-1]) % 3 == 0:
            return UpstreamError("down", billed=False, retryable=False)
        return says(call)

    made, _ = recorded(tmp_path, answer=down)
    hit = {f"q{i}" for i in range(0, 12, 3)}
    assert set(made.failed) == hit
    assert all(why == "middle: down" for why in made.failed.values())
    assert {row.id for row in made.outcomes} == {row.id for row in rows(12)} - hit
    again, models = recorded(tmp_path)
    assert asked(models) == {("middle", f"question {i}"): 1 for i in range(0, 12, 3)}
    assert len(again.outcomes) == 12
    assert all(len(model.verdicts) == 1 for row in again.outcomes for model in row.models.values())
    assert not recorded(tmp_path)[1].calls


def test_an_answer_is_kept_before_the_next_tier_is_asked(tmp_path: Path) -> None:
    def interrupted(call: Call) -> Any:
        if call.tier == "middle":
            raise KeyboardInterrupt
        return says(call)

    with pytest.raises(KeyboardInterrupt):
        recorded(tmp_path, 1, interrupted)
    made, models = recorded(tmp_path, 1)
    assert asked(models) == {("middle", "question 0"): 1}
    assert [(doubt.id, doubt.tier) for doubt in made.possibly_billed] == [("q0", "middle")]


def test_a_budget_is_kept_and_what_it_reaches_is_an_even_draw(tmp_path: Path) -> None:
    made, models = recorded(tmp_path, 60, budget=0.08, max_tokens=500, concurrency=2)
    assert made.stopped == "budget"
    assert made.spent <= 0.08
    assert 0 < len(made.outcomes) < 60
    assert len(made.outcomes) + len(made.left) == 60
    reached = [row.id for row in made.outcomes]
    assert reached != [row.id for row in rows(len(reached))], "the first questions of a file are no draw of it"
    rest, more = recorded(tmp_path, 60, max_tokens=500)
    assert len(rest.outcomes) == 60
    assert not set(asked(models)) & set(asked(more))


def test_models_that_are_gone_end_it_early(tmp_path: Path) -> None:
    made, models = recorded(tmp_path, 60, answer=lambda call: UpstreamError("refused", billed=False, retryable=False))
    assert made.stopped == "unreachable"
    assert len(models.calls) < 60
    assert not made.outcomes


def test_a_folder_holds_one_recording(tmp_path: Path) -> None:
    """Of these models, and of one question an id."""
    recorded(tmp_path, 2)
    other = policy_of(*(tier(name, model=f"other-{name}") for name in TIERS))
    with pytest.raises(ConfigError, match="other models"):
        recorded(tmp_path, 2, policy=other)
    changed = [Outcome(id="q0", query="something else")]
    with pytest.raises(ConfigError, match="another question"):
        record_outcomes(POLICY, changed, judge=by_rule, folder=tmp_path / "made", transport=FakeModels(says))
    with pytest.raises(ConfigError, match="twice"):
        record_outcomes(POLICY, rows(1) * 2, judge=by_rule, folder=tmp_path / "x", transport=FakeModels(says))


def test_a_wider_target_does_not_make_it_another_recording(tmp_path: Path) -> None:
    """Answers do not depend on what is promised of them."""
    recorded(tmp_path, 2)
    wider = policy_of(*map(tier, TIERS), target={"max_error": 0.2})
    assert not recorded(tmp_path, 2, policy=wider)[1].calls


PROGRAM = """
import sys
from pathlib import Path
from cascade.batch import record_outcomes
from cascade.judging.rules import RuleJudge, exact
from cascade.policyfile import load_policy
from cascade.types import Outcome

folder = Path(sys.argv[1])
rows = [Outcome(id=f"q{i}", query=f"question {i}", reference="four") for i in range(16)]
judge = lambda transport: RuleJudge("exact", exact)
made = record_outcomes(load_policy(folder / "p.toml"), rows, judge=judge, folder=folder / "made", concurrency=3)
"""


def test_a_recording_that_is_killed_names_what_was_under_way_and_asks_for_the_rest(
    tmp_path: Path, server: Server
) -> None:
    """Each call that the server saw was written down before; no tier answers twice what is recorded."""
    tiers = "".join(
        f'[[tiers]]\nname = "{name}"\nmodel = "slow-accepts@{name}"\nbase_url = "{server.url}"\n'
        "price = { input = 1.0, output = 2.0 }\n"
        for name in TIERS
    )
    (tmp_path / "p.toml").write_text(f'name = "p"\n[target]\nmax_error = 0.05\n{tiers}')
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)])
    until = time.monotonic() + 30
    while len(server.asked) < 15 and time.monotonic() < until:
        time.sleep(0.002)
    process.kill()
    process.wait()
    with Ledger(tmp_path / "made") as ledger:
        known = {(tier, row.id) for row in ledger.outcomes() for tier in row.models}
    seen = asked_of(server, 0)
    written = (tmp_path / "made" / "spending.jsonl").read_bytes().splitlines(keepends=True)[1:]
    calls = [msgspec.json.decode(line, type=Line) for line in written if line.endswith(b"\n")]
    begun, ended = (Counter((one.tier, one.id) for one in calls if one.begun is which) for which in (True, False))
    made = record_outcomes(
        load_policy(tmp_path / "p.toml"),
        [Outcome(id=f"q{i}", query=f"question {i}", reference="four") for i in range(16)],
        judge=by_rule,
        folder=tmp_path / "made",
    )
    assert known
    assert not known & set(asked_of(server, sum(seen.values())))
    assert seen <= begun
    assert Counter((doubt.tier, doubt.id) for doubt in made.possibly_billed) == begun - ended
    assert 1 <= len(made.possibly_billed) <= 3
    assert all(doubt.most is not None for doubt in made.possibly_billed)
    assert len(made.outcomes) == 16
    assert all(set(row.models) == set(TIERS) for row in made.outcomes)


def asked_of(server: Server, first: int) -> Counter[tuple[str, str]]:
    """Tier and question of each request from the given one on."""
    return Counter(
        (one.model.partition("@")[2], one.question.replace("question ", "q")) for one in server.asked[first:]
    )
