"""Judges without a model: what is right by a rule, what a command says; and whose family a judge is of."""

from __future__ import annotations

import asyncio
import doctest
import json
import os
import re
import shlex
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.demo import recorded
from cascade.errors import ConfigError
from cascade.judging import families
from cascade.judging.case import Case, Judge
from cascade.judging.families import family, family_of_judge
from cascade.judging.rules import CommandJudge, RuleJudge, exact, json_equal, numeric
from tests.cases import YES, case_of, judge_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=9,
)


def says(judge: Judge, case: Case) -> bool | None:
    """Accepted, not accepted, or None: cannot tell."""
    verdict = asyncio.run(judge.judge(case))
    return None if verdict is None else verdict.acceptable


# Families


def test_the_examples_in_the_documentation_of_families_hold() -> None:
    """Every doctest of the module."""
    result = doctest.testmod(families)
    assert result.attempted >= 3
    assert result.failed == 0


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("openai/gpt-5.4-mini", "gpt"),
        ("azure/gpt-4o-2024-08-06", "gpt"),
        ("ft:gpt-4o-mini:acme::abc", "gpt"),
        ("o3-mini", "gpt"),
        ("openrouter/openai/o4-mini", "gpt"),
        ("groq/openai/gpt-oss-120b", "gpt"),
        ("chatgpt-4o-latest", "gpt"),
        ("anthropic/claude-opus-4-7", "claude"),
        ("bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude"),
        ("vertex_ai/claude-sonnet-4@20250514", "claude"),
        ("gemini/gemini-3-pro", "gemini"),
        ("ollama/gemma3:4b", "gemini"),
        ("ollama/llama3.1", "llama"),
        ("together_ai/meta-llama/Meta-Llama-3-8B-Instruct", "llama"),
        ("codellama-7b", "llama"),
        ("openai/qwen2.5-coder-0.5b-instruct", "qwen"),
        ("QwQ-32B", "qwen"),
        ("mistral/mistral-large-latest", "mistral"),
        ("mistralai/Mixtral-8x7B", "mistral"),
        ("deepseek/deepseek-chat", "deepseek"),
        ("deepseek-r1-distill-qwen-32b", "deepseek"),
        ("xai/grok-4", "grok"),
        ("cohere/command-r-plus", "command"),
        ("microsoft/phi-4", "phi"),
        ("EleutherAI/gpt-neox-20b", "gpt-neox-20b"),
        ("gpt-j-6b", "gpt-j-6b"),
        ("ollama/nobody-knows", "nobody-knows"),
        ("", ""),
    ],
)
def test_a_model_belongs_to_the_family_of_its_name(model: str, wanted: str) -> None:
    """Whoever serves it; a name that nobody knows is a family by itself."""
    assert family(model) == wanted


@pytest.mark.parametrize(
    ("judge", "wanted"),
    [
        ("llm:openai/gpt-5.5/general@ab12", "gpt"),
        ("llm:vertex_ai/claude-sonnet-4@20250514/support@ab12", "claude"),
        ("llm:together_ai/Qwen/Qwen2.5/my-rubric@ab12", "qwen"),
        ("llm:gpt-5.5", "gpt"),
        ("llm:", None),
        ("human:claude", None),
        ("exact", None),
        ("command:gpt@ab12", None),
        ("", None),
    ],
)
def test_a_judge_s_name_is_enough_to_know_its_family(judge: str, wanted: str | None) -> None:
    """None for everyone who is not a model, whatever they are called."""
    assert family_of_judge(judge) == wanted


def test_a_model_judge_s_own_name_says_its_family() -> None:
    """The name that it writes is one that is read."""
    judge, _, _ = judge_of(lambda call: YES)
    assert family_of_judge(judge.name) == judge.family == "gpt"


# Rules


@pytest.mark.parametrize(
    ("rule", "answer", "reference", "wanted"),
    [
        (exact, "Billing.", "billing | invoices", True),
        (exact, "invoices", "billing | invoices", True),
        (exact, "shipping", "billing | invoices", False),
        (exact, "36", 36, True),
        (exact, "", "billing", False),
        (exact, "!", "?", None),
        (exact, "yes", None, None),
        (exact, "yes", True, None),
        (exact, "a", {"a": 1}, None),
        (numeric(), "12 x 4 = 48.", "48", True),
        (numeric(), "48 or 49", "48", False),
        (numeric(), "0.00001", 1e-05, True),
        (numeric(), "no number", "48", False),
        (numeric(), "7", "seven", None),
        (numeric(), "7", None, None),
        (numeric(0.1), "3.1", "3.0", True),
        (numeric(0.1), "3.1000001", "3.0", False),
        (json_equal, '{"b": [1, 2.50], "a": 1e0}', {"a": 1, "b": [1.0, 2.5]}, True),
        (json_equal, '{"a": 1, "c": 0}', {"a": 1}, False),
        (json_equal, "[1, 2]", [2, 1], False),
        (json_equal, "1", True, False),
        (json_equal, "false", "0", False),
        (json_equal, '{"a": "x | y"}', '{"a": "x | y"}', True),
        (json_equal, "2", "1 | 2", True),
        (json_equal, "The answer is 2", "2", False),
        (json_equal, "NaN", "[1]", False),
        (json_equal, "[" * 100_000, "[1]", False),
        (json_equal, "1", "not JSON", None),
        (json_equal, "1", None, None),
    ],
)
def test_a_rule_accepts_what_is_right_and_abstains_where_it_cannot_compare(
    rule: Any, answer: str, reference: Any, wanted: bool | None
) -> None:
    """A reference that is not there, or not of the rule's kind, makes no label."""
    assert says(RuleJudge("r", rule), case_of(answer, reference)) is wanted


@given(JSON, st.randoms())
def test_a_json_value_equals_itself_however_it_is_written(value: Any, random: Any) -> None:
    """Keys in another order, other spaces, escaped or not."""

    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            random.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(one) for one in value] if isinstance(value, list) else value

    if value is not None and not isinstance(value, str):  # null is no reference, and a text is read as JSON itself
        assert json_equal(json.dumps(shuffled(value), indent=random.choice([None, 1])), value)
        assert not json_equal(json.dumps([value]), value)


@given(st.decimals(-(10**6), 10**6, places=3), st.decimals(0, 10, places=3))
def test_a_tolerance_reaches_exactly_so_far(number: Decimal, tolerance: Decimal) -> None:
    """Its end belongs to it, and what is beyond does not."""
    near = numeric(float(tolerance))
    assert near(f"{number + tolerance:f}", f"{number:f}")
    assert not near(f"{number + tolerance + Decimal('0.001'):f}", f"{number:f}")


def test_the_rules_say_of_recorded_answers_what_was_recorded() -> None:
    """Of real models' answers to this project's questions, whose labels were made by the same functions."""
    compared = 0
    for row in recorded():
        rule = {"arithmetic": numeric(), "sentiment": exact, "intents": exact}.get(row.slice)
        for model in row.models.values() if rule else ():
            assert rule is not None
            assert rule(model.answer or "", row.reference) == bool(model.correct), row.id
            compared += 1
    assert compared > 1_000


# Commands


def command(script: str, *words: str, timeout: float = 20.0) -> CommandJudge:
    return CommandJudge([sys.executable, "-I", "-S", "-c", script, *words], timeout)


@pytest.mark.parametrize(("status", "wanted"), [(0, True), (1, False), (2, None), (77, None)])
def test_a_command_s_exit_status_is_the_verdict(status: int, wanted: bool | None) -> None:
    """0 and 1 are words, everything else is none."""
    assert says(command(f"raise SystemExit({status})"), case_of()) is wanted


def test_a_command_that_does_not_end_or_is_not_there_cannot_tell() -> None:
    """Neither is an answer's fault."""
    assert says(command("import time; time.sleep(60)", timeout=0.2), case_of()) is None
    assert says(CommandJudge(["/no/such/program"], 5.0), case_of()) is None
    with pytest.raises(ConfigError):
        CommandJudge(["true"], 0.0)


def test_a_command_sees_answer_question_and_reference() -> None:
    """In the file that a word names, on stdin, and in its environment."""
    script = (
        "import json, os, pathlib, sys\n"
        "asked = json.load(sys.stdin)\n"
        "assert pathlib.Path(sys.argv[1]).read_text() == asked['draft']['text'] == 'forty\u00e9'\n"
        "assert asked['request']['messages'][-1]['content'] == 'what is two and two?'\n"
        "assert json.loads(os.environ['CASCADE_REFERENCE']) == {'a': [1]}\n"
        "raise SystemExit(0)"
    )
    assert says(command(script, "{answer_file}"), case_of("forty\u00e9", {"a": [1]}))
    assert not says(command(script, "{answer_file}"), case_of("forty", {"a": [1]}))


def test_an_answer_is_never_run_by_a_shell(tmp_path: Path) -> None:
    """Nor is anything that the command's words look like."""
    evil = f"$(touch {tmp_path}/ran); `touch {tmp_path}/ran` | touch {tmp_path}/ran"
    assert says(CommandJudge([*shlex.split("test -f {answer_file} -a"), evil], 5.0), case_of(evil)) is not None
    assert not os.listdir(tmp_path)  # noqa: PTH208  a name is all that is wanted


def test_commands_are_different_judges_when_their_words_differ() -> None:
    """So a changed test suite judges anew; and they name no model."""
    one, same, other = CommandJudge(["a", "b"], 1.0), CommandJudge(["a", "b"], 9.0), CommandJudge(["a", "c"], 1.0)
    assert one.name == same.name != other.name
    assert re.fullmatch(r"command:a@[0-9a-f]{8}", one.name)
