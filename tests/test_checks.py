"""Hard checks: what they rule out, what they must let through, and that they never raise."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.checks import CommandCheck, built_in, empty, refusal, run_check, schema, tools
from cascade.errors import ConfigError
from cascade.types import CheckResult, Draft, Request, Usage

any_text = st.text(st.characters())  # lone surrogates too, as a JSON escape can bring them
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}
LOCATE = {"type": "function", "function": {"name": "locate", "parameters": PERSON}}


def ask(question: str = "Where is my order?", **params: Any) -> Request:
    return Request(id="1", messages=[{"role": "user", "content": question}], params=params)


def ask_for(wanted: Any) -> Request:
    return ask(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": wanted}})


def draft(text: str = "On its way.", **fields: Any) -> Draft:
    return Draft(**{"tier": "cheap", "model": "m", "text": text, "finish_reason": "stop"} | fields)


def call(name: str = "locate", arguments: Any = '{"name": "Ada"}') -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}


def failed(results: list[CheckResult]) -> list[str]:
    return [result.name for result in results if result.outcome == "fail"]


def test_a_budget_spent_on_reasoning_is_a_silent_failure() -> None:
    """As it happened: 1,024 completion tokens billed, cut off at the limit, and not a word."""
    silent = draft("", finish_reason="length", usage=Usage(prompt_tokens=61, completion_tokens=1024))
    (result,) = built_in(ask(), silent)
    assert (result.name, result.outcome) == ("silent_failure", "fail")
    assert "1024 completion tokens" in result.detail


@given(st.text(" \t\n\r\u200b\ufeff\u2060\u00a0"), st.sampled_from(["length", "max_tokens", "LENGTH"]))
def test_empty_and_truncated_is_a_silent_failure_only(text: str, finish_reason: str) -> None:
    request = ask(response_format={"type": "json_object"}, tools=[LOCATE], tool_choice="required")
    assert [r.name for r in built_in(request, draft(text, finish_reason=finish_reason))] == ["silent_failure"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"text": "", "finish_reason": "stop"}, ["empty"]),
        ({"text": "The answer is", "finish_reason": "length"}, ["truncated"]),
        ({"text": "", "tool_calls": [call()], "finish_reason": "length"}, ["truncated"]),
        ({"text": "", "refusal": "I can't.", "finish_reason": "stop"}, ["refusal"]),
        ({"text": "", "finish_reason": "content_filter"}, ["empty", "refusal"]),
        ({"text": "?"}, []),
        ({"finish_reason": None}, []),
    ],
)
def test_each_fault_fails_its_own_check(fields: dict[str, Any], expected: list[str]) -> None:
    assert failed(built_in(ask(tools=[LOCATE]), draft(**fields))) == expected


def test_a_tool_call_without_text_is_not_empty() -> None:
    assert empty(ask(), draft("", tool_calls=[call()])).outcome == "pass"


@given(any_text, st.sampled_from(["stop", "length", "content_filter", None, "\ud800"]), any_json, any_json)
def test_no_draft_and_no_params_make_a_check_raise(
    text: str, finish_reason: str | None, wanted: Any, offered: Any
) -> None:
    request = ask(response_format=wanted, tools=offered, tool_choice=wanted)
    for given_ in (request, ask_for(wanted)):
        results = built_in(given_, draft(text, finish_reason=finish_reason, tool_calls=[{"function": wanted}]))
        assert len({result.name for result in results}) == len(results)


# Refusal


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, I can\u2019t assist with that request.",
        "Sorry, I cannot help you with that.",
        "I can't help with creating a weapon.",
        "As an AI language model, I am unable to provide that kind of content.",
        "I'm not able to discuss this topic.",
        "I apologize, but I cannot fulfill your request.",
        "I won't comply.",
    ],
)
def test_a_short_refusal_is_one(text: str) -> None:
    assert refusal(ask(), draft(text)).outcome == "fail"


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry to hear that. Your parcel arrives tomorrow.",
        "Sorry, I cannot find order 17 in your account; could you check the number?",
        "\"I'm sorry, I can't help with that.\" is what the old bot said.",
        "The model replied: I can't help with that.",
        "He said he can't help with that.",
        "I can't help but admire the result: 42.",
        "I cannot refund it before it is returned, but I have sent you a label.",
        "Unfortunately, I must decline your invitation.",
        "I'm sorry, but I can't help with that part. " + "Here is what I can do: " * 20,
    ],
)
def test_an_answer_that_regrets_or_quotes_is_no_refusal(text: str) -> None:
    assert refusal(ask(), draft(text)).outcome == "pass"


def test_what_the_provider_marked_as_a_refusal_is_asked_for_no_structure() -> None:
    request = ask(response_format={"type": "json_object"}, tools=[LOCATE], tool_choice="required")
    assert failed(built_in(request, draft("", refusal="I can't."))) == ["refusal"]


def test_a_refusal_that_the_instructions_dictate_is_the_answer() -> None:
    said = "I can't help with that."
    system = {"role": "system", "content": f"Off topic, say exactly: {said}"}
    assert refusal(Request(id="1", messages=[system]), draft(said)).outcome == "pass"
    earlier = {"role": "assistant", "content": said}
    assert refusal(Request(id="1", messages=[earlier]), draft(said)).outcome == "fail"


# Schema


@given(st.dictionaries(st.text(), any_json, max_size=4))
def test_any_object_is_a_json_object(value: dict[str, Any]) -> None:
    request = ask(response_format={"type": "json_object"})
    assert schema(request, draft(json.dumps(value, ensure_ascii=False))).outcome == "pass"


@given(
    any_json,
    st.sampled_from([PERSON, {"type": "array"}, {"type": ["integer", "null"]}, {"enum": ["a", 1]}, True]),
)
def test_a_valid_instance_always_passes_and_an_invalid_never(value: Any, wanted: Any) -> None:
    fits = jsonschema.Draft202012Validator(wanted).is_valid(value)
    assert schema(ask_for(wanted), draft(json.dumps(value))).outcome == ("pass" if fits else "fail")


@given(st.fixed_dictionaries({"name": st.text()}, optional={"age": st.integers(min_value=0)}))
def test_what_is_made_to_fit_passes(value: dict[str, Any]) -> None:
    assert schema(ask_for(PERSON), draft(json.dumps(value))).outcome == "pass"


@pytest.mark.parametrize(
    "text",
    ['```json\n{"name": "Ada"}\n```', '{"name": "Ada"', "{'name': 'Ada'}", '{"age": NaN}', "", "[" * 9999],
)
def test_what_a_json_parser_rejects_fails(text: str) -> None:
    for request in (ask_for(PERSON), ask(response_format={"type": "json_object"})):
        assert schema(request, draft(text)).outcome == "fail"


def test_a_misfit_is_named_by_the_schema_and_not_by_the_answer() -> None:
    """The detail goes to a ledger that may have been told to keep no content."""
    result = schema(ask_for(PERSON), draft('{"name": "Ada", "age": "a secret"}'))
    assert (result.outcome, result.detail) == (
        "fail",
        "the answer does not fit the schema at properties/age/type",
    )


@pytest.mark.parametrize(
    "wanted",
    [{"type": "no such type"}, {"properties": 3}, {"pattern": "("}, {"$ref": "#"}, None, 7, []],
)
def test_a_schema_that_cannot_be_used_abstains(wanted: Any) -> None:
    result = schema(ask_for(wanted), draft('"text"'))
    assert result.outcome == "abstain"
    assert result.detail


def test_a_remote_reference_is_never_fetched() -> None:
    """The schema may come from a caller of ours: it must not make this process call anybody."""
    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        result = schema(ask_for({"$ref": f"http://127.0.0.1:{server.server_port}/x"}), draft('"text"'))
        server.shutdown()
    assert (result.outcome, asked) == ("abstain", [])


def test_a_schema_edited_in_place_is_a_new_schema() -> None:
    wanted: dict[str, Any] = {"type": "string"}
    assert schema(ask_for(wanted), draft('"a"')).outcome == "pass"
    wanted["type"] = "integer"
    assert schema(ask_for(wanted), draft('"a"')).outcome == "fail"


def test_text_formats_and_tool_calls_have_no_schema_to_fit() -> None:
    plain = built_in(ask(response_format={"type": "text"}), draft())
    assert [result.name for result in plain] == ["empty", "truncated", "refusal"]
    request = ask(response_format={"type": "json_object"}, tools=[LOCATE])
    assert failed(built_in(request, draft("", tool_calls=[call()]))) == []


# Tools


@pytest.mark.parametrize(
    ("calls", "choice", "outcome"),
    [
        ([call()], "auto", "pass"),
        ([], "auto", "pass"),
        ([], "required", "fail"),
        ([call()], "none", "fail"),
        ([call()], {"type": "function", "function": {"name": "locate"}}, "pass"),
        ([], {"type": "function", "function": {"name": "locate"}}, "fail"),
        ([call()], {"type": "function", "function": {"name": "cancel"}}, "fail"),
        ([call("destroy")], "auto", "fail"),
        ([call(arguments='{"name": ')], "auto", "fail"),
        ([call(arguments='{"name": 3}')], "auto", "fail"),
        ([call(arguments="[]")], "auto", "fail"),
        ([call(arguments={"name": "Ada"})], "auto", "pass"),
        ([call(), call(arguments="{}")], "auto", "fail"),
        ([{"type": "function", "id": "c"}], "auto", "fail"),
        ([{"type": "custom", "custom": {"name": "grep", "input": "x"}}], "auto", "abstain"),
    ],
)
def test_a_call_must_be_one_that_can_be_carried_out(calls: list[Any], choice: Any, outcome: str) -> None:
    assert tools(ask(tools=[LOCATE], tool_choice=choice), draft("", tool_calls=calls)).outcome == outcome


def test_a_tool_without_parameters_takes_any_object_and_a_broken_schema_abstains() -> None:
    bare = {"type": "function", "function": {"name": "locate"}}
    assert tools(ask(tools=[bare]), draft("", tool_calls=[call()])).outcome == "pass"
    assert tools(ask(tools=[bare]), draft("", tool_calls=[call(arguments="[]")])).outcome == "fail"
    broken = {"type": "function", "function": {"name": "locate", "parameters": {"type": "no such type"}}}
    assert tools(ask(tools=[broken]), draft("", tool_calls=[call()])).outcome == "abstain"


# The user's own


@pytest.mark.parametrize(("said", "outcome"), [(True, "pass"), (False, "fail"), (None, "abstain"), ("yes", "abstain")])
def test_what_a_callable_returns_becomes_a_result(said: Any, outcome: str) -> None:
    result = run_check("mine", lambda _request, _draft: said, ask(), draft())
    assert (result.name, result.outcome) == ("mine", outcome)


def test_a_result_keeps_its_detail_and_takes_the_declared_name() -> None:
    made = CheckResult(name="theirs", outcome="fail", detail="why", cost=0.5)
    found = run_check("mine", lambda _request, _draft: made, ask(), draft())
    assert found == CheckResult(name="mine", outcome="fail", detail="why", cost=0.5)


def test_a_crash_abstains_and_does_not_repeat_its_message() -> None:
    def crash(request: Request, draft: Draft) -> bool:
        raise LookupError(draft.text)

    result = run_check("mine", crash, ask(), draft("a secret"))
    assert (result.outcome, result.detail) == ("abstain", "raised LookupError")


# External commands: real child processes


def command(script: str, timeout: float = 20.0, **fields: Any) -> CommandCheck:
    return CommandCheck([sys.executable, "-I", "-S", "-c", script], timeout, **fields)


@pytest.mark.parametrize(("status", "outcome"), [(0, "pass"), (1, "fail"), (2, "abstain"), (127, "abstain")])
def test_the_exit_status_decides(status: int, outcome: str) -> None:
    result = command(f"raise SystemExit({status})")(ask(), draft())
    assert result.outcome == outcome
    assert (f"exit status {status}" in result.detail) == (outcome == "abstain")


def test_the_detail_ends_with_the_last_300_characters_of_stderr() -> None:
    result = command("import sys; sys.stderr.write('x' * 100_000 + 'é' * 299 + '!'); sys.exit(1)")(ask(), draft())
    assert (result.outcome, result.detail) == ("fail", "é" * 299 + "!")


def test_a_command_that_takes_too_long_abstains_and_is_killed_with_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen(['sleep', '60']); open({str(child)!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    started = time.monotonic()
    result = command(script, timeout=0.6)(ask(), draft())
    assert (result.outcome, result.detail) == ("abstain", "no end within 0.6 s")
    assert time.monotonic() - started < 5.0
    pid = int(child.read_text())
    for _ in range(100):
        if not running(pid):
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the command's child outlived it")


def running(pid: int) -> bool:
    """Whether a process does more than wait to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_command_killed_from_outside_abstains() -> None:
    result = command("import os; os.kill(os.getpid(), 9)")(ask(), draft())
    assert (result.outcome, result.detail) == ("abstain", "killed by signal 9")


@pytest.mark.parametrize("program", ["/no/such/program", "no-such-program", "nul\0byte", "/"])
def test_a_command_that_cannot_be_started_abstains(program: str) -> None:
    result = CommandCheck([program], 20.0)(ask(), draft())
    assert result.outcome == "abstain"
    assert result.detail.startswith("cannot be run: ")


def test_a_command_never_sees_the_providers_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never")
    monkeypatch.setenv("LANG", "C.UTF-8")
    script = (
        "import os, sys\n"
        "seen = set(os.environ) - {'LC_CTYPE'}\n"  # Python's own, from LANG
        "sys.exit(sorted(seen - {'PATH', 'HOME', 'LANG'}) != ['CASCADE_ANSWER_FILE', 'SUITE'])"
    )
    assert command(script, env={"SUITE": "unit"})(ask(), draft()).outcome == "pass"


@pytest.mark.parametrize("text", ["def f(): return 'é'\r\n", "lone \ud800", ""])
def test_a_command_gets_request_and_draft_on_stdin_and_the_text_in_a_file(text: str) -> None:
    script = (
        "import json, os, sys\n"
        "seen = json.load(sys.stdin)\n"
        "text = open(os.environ['CASCADE_ANSWER_FILE'], encoding='utf-8', newline='').read()\n"
        "same = text == seen['draft']['text'].encode('utf-8', 'replace').decode()\n"
        "whole = seen['request']['messages'][0]['content'] == 'Where is my order?'\n"
        "usage = {'prompt_tokens': 3, 'completion_tokens': 0, 'cached_tokens': 0}\n"
        "whole &= seen['draft']['usage'] == usage\n"
        "whole &= ' '.join(sorted(seen['draft'])) == ('cost fingerprint finish_reason latency model '\n"
        "    'refusal text tier tool_calls usage')\n"
        "sys.exit(not (same and whole))"
    )
    given_ = draft(text, usage=Usage(prompt_tokens=3), raw=object(), logprobs=[float("nan")])
    assert command(script)(ask(response_format=Draft), given_).outcome == "pass"


def test_a_command_that_reads_nothing_is_not_held_up() -> None:
    assert CommandCheck(["true"], 20.0)(ask("x" * 1_000_000), draft()).outcome == "pass"


@pytest.mark.parametrize(("words", "timeout"), [([], 1.0), (["true"], 0.0), (["true"], float("nan"))])
def test_a_command_check_that_cannot_work_is_refused_when_built(words: list[str], timeout: float) -> None:
    with pytest.raises(ConfigError):
        CommandCheck(words, timeout)


def test_a_command_check_takes_the_policys_name() -> None:
    result = run_check("suite", CommandCheck(["true"], 20.0), ask(), draft())
    assert result == CheckResult(name="suite", outcome="pass")
