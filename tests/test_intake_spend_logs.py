"""LiteLLM's spend logs: calls become outcomes, and what is left out is named; no key is ever kept."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cascade.cli import app
from cascade.errors import ConfigError
from cascade.intake import read
from cascade.types import ModelOutcome
from tests.test_intake import ids, notes, problems, told
from tests.test_intake_layouts import FILES, Cells, written

SECRET = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"


def reply(text: str, *logprobs: float) -> dict[str, Any]:
    tokens = [{"token": "t", "logprob": value, "top_logprobs": []} for value in logprobs]
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return {"id": "x", "model": "m-1", "choices": [choice | {"logprobs": {"content": tokens}} if tokens else choice]}


def call(id: str, model: str = "mini", question: str = "why?", answer: str = "so", **more: Any) -> Cells:
    """A row of a spend log, as LiteLLM writes one that it may keep the texts of."""
    body = {"model": "alias", "messages": [{"role": "user", "content": question}], "temperature": 0, "user": SECRET}
    row: Cells = {
        "request_id": id,
        "call_type": "acompletion",
        "api_key": SECRET,
        "spend": 0.25,
        "total_tokens": 12,
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "startTime": "2026-01-01 10:00:00.000",
        "endTime": "2026-01-01 10:00:01.25",
        "model": model,
        "model_group": "alias",
        "metadata": json.dumps({"user_api_key": SECRET, "user_api_key_team_alias": "core"}),
        "cache_hit": "False",
        "team_id": "t1",
        "end_user": "someone@example.org",
        "messages": "{}",
        "response": json.dumps(reply(answer, -0.5, -0.25)),
        "session_id": f"session of {id}",
        "status": "success",
        "proxy_server_request": json.dumps(body),
    }
    return row | more


@pytest.mark.parametrize("name", FILES)
def test_calls_with_the_same_messages_are_one_outcome(name: str, tmp_path: Path) -> None:
    """One for each time that a model was asked; a session that no other row shares ties nothing."""
    rows = [call("1"), call("2", question="who?"), call("3", "big", answer="SO"), call("4", answer="hm")]
    intake = read(written(tmp_path / name, rows), unlabelled=True)
    seen = {o.id: {tier: model.answer for tier, model in o.models.items()} for o in intake.outcomes}
    assert seen == {"1": {"mini": "so", "big": "SO"}, "2": {"mini": "so"}, "4": {"mini": "hm"}}
    assert intake.rows == 4
    first = intake.outcomes[0]
    assert first.models["mini"] == ModelOutcome(
        answer="so",
        finish_reason="stop",
        logprobs=[-0.5, -0.25],
        prompt_tokens=10,
        completion_tokens=2,
        cost=0.25,
        latency_ms=1250.0,
        fingerprint="m-1",
    )
    assert first.messages == [{"role": "user", "content": "why?"}]
    assert (first.params, first.metadata, first.conversation) == ({"temperature": 0}, {"team": "t1"}, None)
    assert intake.outcomes[2].paraphrase_of == "1"
    assert notes(intake)["a call with the messages of an earlier row is joined to it"] == 1


def test_other_teams_and_other_tools_are_other_questions(tmp_path: Path) -> None:
    body = {"messages": [{"role": "user", "content": "why?"}], "tools": [{"type": "function"}]}
    rows = [call("1"), call("2", "big", team_id="t2"), call("3", "big", proxy_server_request=json.dumps(body))]
    assert ids(read(written(tmp_path / "t.csv", rows), unlabelled=True)) == ["1", "2", "3"]


def test_the_order_of_keys_within_a_message_makes_no_other_question(tmp_path: Path) -> None:
    rows = [
        call("1", proxy_server_request="", messages='[{"role": "user", "content": "why?"}]'),
        call("2", "big", proxy_server_request="", messages='[{"content": "why?", "role": "user"}]'),
    ]
    assert ids(read(written(tmp_path / "t.csv", rows), unlabelled=True)) == ["1"]


def test_a_session_of_several_rows_is_a_conversation_and_an_end_user_where_there_are_none(tmp_path: Path) -> None:
    rows = [call("1"), call("2", question="who?", session_id="session of 1"), call("3", question="when?")]
    outcomes = read(written(tmp_path / "t.csv", rows), unlabelled=True).outcomes
    assert [o.conversation for o in outcomes] == ["session of 1", "session of 1", None]
    rows = [call(str(at), question=f"{at}?", session_id="") for at in range(3)]
    rows[2]["end_user"] = "another"
    outcomes = read(written(tmp_path / "t.csv", rows), unlabelled=True).outcomes
    assert outcomes[0].conversation == outcomes[1].conversation != outcomes[2].conversation
    assert outcomes[2].conversation is None


CUT = "start... (litellm_truncated skipped 9 chars. note) ...end"
LOG_FAULTS: list[tuple[Cells, str, str]] = [
    ({"status": "failure"}, "a call that failed", ""),
    ({"status": "", "metadata": '{"status": "failure"}'}, "a call that failed", ""),
    ({"call_type": "aembedding"}, "no chat completion", "call_type: 'aembedding'"),
    ({"cache_hit": "True"}, "an answer out of LiteLLM's cache", ""),
    ({"request_id": ""}, "no id", ""),
    ({"request_id": "1"}, "a request_id that an earlier row has", "row 2"),
    ({"model": "my model"}, "a model whose name no tier can have", "model: 'my model'"),
    ({"model": "", "model_group": ""}, "a model whose name no tier can have", "model: ''"),
    ({"proxy_server_request": "{}"}, "no messages are stored", "store_prompts_in_spend_logs"),
    ({"response": "{}"}, "no answer is stored", "store_prompts_in_spend_logs"),
    ({"response": '{"choices": []}'}, "no answer is stored", "without choices"),
    ({"response": '{"choices": [3]}'}, "no answer is stored", "response"),
    ({"response": json.dumps(reply(CUT))}, "a text that LiteLLM has cut", "MAX_STRING_LENGTH_PROMPT_IN_DB"),
    ({"response": json.dumps(reply("redacted-by-litellm"))}, "a text that LiteLLM has redacted", "response"),
    ({"messages": '[{"role": "user", "content": "' + CUT + '"}]'}, "a text that LiteLLM has cut", "messages"),
    ({"messages": '["why?"]'}, "a value of the wrong type", "messages"),
    ({"messages": "[{"}, "not JSON", "messages: "),
    ({"metadata": f"{{'user_api_key': '{SECRET}'}}"}, "not JSON", "metadata: "),
    ({"metadata": "[1]"}, "a value of the wrong type", "metadata: list is no JSON object"),
    ({"response": "[" * 100_000}, "not JSON", "response: "),
    ({"spend": "one"}, "a value of the wrong type", "spend: 'one' is no number"),
    ({"spend": "inf"}, "a number that is not finite", "spend is inf"),
    ({"spend": "-1"}, "a negative cost, time or number of tokens", "mini.cost is -1"),
    ({"prompt_tokens": "1.5"}, "a value of the wrong type", "prompt_tokens: '1.5' is no number of tokens"),
    ({"startTime": "yesterday"}, "a value of the wrong type", "startTime: 'yesterday' is no time"),
    ({"endTime": "2020-01-01"}, "a negative cost, time or number of tokens", "mini.latency_ms is -"),
]


@pytest.mark.parametrize(
    ("cells", "reason", "detail"), LOG_FAULTS, ids=[f"{i}-{f[1]}" for i, f in enumerate(LOG_FAULTS)]
)
def test_a_call_that_is_left_out_is_named_and_the_rest_is_read(
    cells: Cells, reason: str, detail: str, tmp_path: Path
) -> None:
    rows = [call("1"), call("bad", question="bad?") | cells, call("2", question="who?")]
    intake = read(written(tmp_path / "t.csv", rows), unlabelled=True)
    assert ids(intake) == ["1", "2"]
    assert [row for row, _ in problems(intake)[reason]] == [3]
    assert detail in told(intake)
    assert SECRET not in told(intake)


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from(FILES))
def test_every_row_of_a_log_is_in_an_outcome_or_named(data: st.DataObject, name: str) -> None:
    """And so is what each model answered, whatever the order."""
    odd = st.sampled_from([{}, {}, {}, {"status": "failure"}, {"cache_hit": "True"}, {"response": "{}"}])
    rows = [
        call(str(at), data.draw(st.sampled_from(["mini", "big"])), data.draw(st.sampled_from("ab")), f"answer {at}")
        | data.draw(odd)
        for at in range(data.draw(st.integers(1, 8)))
    ]
    with tempfile.TemporaryDirectory() as folder:
        intake = read(written(Path(folder) / name, rows), unlabelled=True)
    answers = {str(model.answer) for outcome in intake.outcomes for model in outcome.models.values()}
    left = {f"answer {found.id}" for group in intake.problems for found in group.found}
    assert answers | left == {f"answer {row['request_id']}" for row in rows}
    assert not answers & left
    assert intake.rows == len(rows)


def test_times_are_read_as_databases_and_programs_write_them(tmp_path: Path) -> None:
    spelled = ["2026-01-01T10:00:01Z", "2026-01-01 10:00:01", "2026-01-01 10:00:01.0+00", "2026-01-01T11:00:01+01:00"]
    rows = [call(str(at), question=f"{at}?", endTime=text) for at, text in enumerate(spelled)]
    outcomes = read(written(tmp_path / "t.csv", rows), unlabelled=True).outcomes
    assert [o.models["mini"].latency_ms for o in outcomes] == [1000.0] * 4
    rows = [call("1", endTime="", request_duration_ms="700")]
    assert read(written(tmp_path / "t.csv", rows), unlabelled=True).outcomes[0].models["mini"].latency_ms == 700


def test_no_key_and_no_customer_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", [call("1", session_id=""), call("2", question="who?", session_id="")])
    kept = str(read(path, unlabelled=True, slice_by="metadata.user_api_key_team_alias"))
    assert SECRET not in kept
    assert "someone@example.org" not in kept
    for secret in ("api_key", "metadata.user_api_key"):
        with pytest.raises(ConfigError, match="is never kept"):
            read(path, unlabelled=True, slice_by=secret)


@pytest.mark.parametrize(
    ("path", "slice"),
    [
        ("metadata.team", "t1"),
        ("team_id", "t1"),
        ("metadata.user_api_key_team_alias", "core"),
        ("model_group", "alias"),
    ],
)
def test_a_log_is_sliced_by_what_an_outcome_or_a_row_has(path: str, slice: str, tmp_path: Path) -> None:
    intake = read(written(tmp_path / "t.csv", [call("1")]), unlabelled=True, slice_by=path)
    assert intake.outcomes[0].slice == slice


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, in which no policy is found by chance."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CASCADE_POLICY", raising=False)
    return tmp_path


def run(*args: Any) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_a_log_without_labels_is_exported_judged_and_then_read(here: Path) -> None:
    """A benchmark of it says that it needs labels; ``export`` makes of it what ``judge`` takes."""
    rows = [call(f"{at}.{model}", model, f"{at}?", f"{model} {at}") for at in range(3) for model in ("mini", "big")]
    path = written(here / "spend.csv", rows)
    done = run("bench", path, "--tiers", "mini,big", "--max-regret", ".05")
    assert done.exit_code == 2
    assert "no row of 6 can be used: no label on any tier (3); cascade judge" in done.stderr
    done = run("export", path, "-o", here / "o.jsonl", "--layout", "litellm", "--json")
    assert json.loads(done.stdout) == {"file": str(here / "o.jsonl"), "outcomes": 3}
    assert SECRET not in (here / "o.jsonl").read_text()
    verdicts = [{"id": f"{at}.mini", "tier": tier, "acceptable": True} for at in range(3) for tier in ("mini", "big")]
    (here / "v.jsonl").write_text("".join(json.dumps(one) + "\n" for one in verdicts))
    assert run("judge", here / "o.jsonl", "--verdicts", here / "v.jsonl", "--judge-name", "human:me").exit_code == 0
    assert [o.models["big"].quality for o in read(here / "o.jsonl").outcomes] == [1.0, 1.0, 1.0]
    assert run("export", "--layout", "litellm").exit_code == 2
    assert run("export", path, "--since", "1h").exit_code == 2
