"""What the caller gets in hand: OpenAI's shape, the provider's own object, and no trace in its JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cascade.replies import reply
from cascade.transports.hosted import load
from cascade.transports.wire import Completion
from cascade.types import Answer, Decision, Draft, Usage

DECISION = Decision(
    id="d1", at=0.0, policy="p", mode="enforce", slice="s", served="escalated", served_by="frontier", why="cascade"
)


def answered(raw: Any = None, **fields: Any) -> Any:
    return reply(Answer(draft=Draft(tier="frontier", model="m", raw=raw, **fields), decision=DECISION))


@pytest.fixture(scope="module")
def litellm() -> Any:
    return load()


def test_litellm_s_own_object_comes_back_with_the_decision_and_without_a_trace_in_its_json(litellm: Any) -> None:
    """The same object, of its own class, equal in every dump to what it was."""
    choice = {"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop", "index": 0}
    raw = litellm.ModelResponse(choices=[choice], model="m")
    before = raw.model_dump_json()
    found = answered(raw, text="hi")
    assert found is raw
    assert isinstance(found, litellm.ModelResponse)
    assert found.cascade is DECISION
    assert found.model_dump_json() == before
    assert "cascade" not in json.dumps(found.model_dump(), default=str)


def test_two_answers_of_one_class_have_a_decision_each(litellm: Any) -> None:
    """The decision belongs to the object, not to its class."""
    choice = {"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop", "index": 0}
    first, second = (litellm.ModelResponse(choices=[choice], model="m") for _ in range(2))
    other = Decision(**{name: getattr(DECISION, name) for name in DECISION.__struct_fields__} | {"id": "d2"})
    one = reply(Answer(draft=Draft(tier="t", model="m", raw=first), decision=DECISION))
    two = reply(Answer(draft=Draft(tier="t", model="m", raw=second), decision=other))
    assert (one.cascade.id, two.cascade.id) == ("d1", "d2")


def test_a_server_s_own_fields_are_still_there() -> None:
    """What a direct server added of its own passes through."""
    body = {"id": "x", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "timings": {"ms": 4}}
    found = answered(Completion(json.dumps(body).encode()), text="hi")
    assert found.choices[0].message.content == "hi"
    assert found.timings.ms == 4
    assert found.cascade is DECISION
    assert "cascade" not in found.to_dict()


def test_a_stored_answer_has_openai_s_shape() -> None:
    """Nothing of the provider's object is left of it, and nothing is missed."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    found = answered(text="", tool_calls=[call], usage=Usage(prompt_tokens=3, completion_tokens=2))
    message = found.choices[0].message
    assert (message.content, message.tool_calls[0].function.name) == (None, "f")
    assert found.usage.total_tokens == 5
    assert found.choices[0].finish_reason == "stop"
    with pytest.raises(AttributeError, match="nonsense"):
        _ = found.nonsense
