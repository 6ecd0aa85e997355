"""A wrapped client: the user's code, their client, their types; only who answers has changed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic as anthropic_sdk
import openai
import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from cascade import background
from cascade.asks import Call
from cascade.engine import IN_MEMORY, Cascade
from cascade.errors import ConfigError, UpstreamError
from cascade.testing import FakeModels
from cascade.types import Draft
from tests.anthropic_server import AnthropicServer, anthropic
from tests.misbehaving import Server
from tests.test_decide import gate_of, lock_of, policy_of, tier

ASKED = [{"role": "user", "content": "What is two and two?"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def _claude() -> Iterator[AnthropicServer]:
    with anthropic() as server:
        yield server


@pytest.fixture
def claude(_claude: AnthropicServer) -> AnthropicServer:
    _claude.asked.clear()
    _claude.headers.clear()
    return _claude


def cascade_of(*models: str | dict[str, Any], open_gate: bool = True, **more: Any) -> Cascade:
    """Tiers of these models, each with what it says of itself; the cheap one may serve what it is sure of."""
    transport = more.pop("transport", None)
    told = [{"model": m} if isinstance(m, str) else m for m in models]
    names = ["cheap", "frontier"][-len(told) :]
    tiers = [tier(name, **{"retries": 0, "timeout": 5.0} | say) for name, say in zip(names, told, strict=True)]
    policy = policy_of(*tiers, **{"explore": {"rate": 0.01}, "audit": {"salt": "x"}} | more)
    lock = None
    if open_gate and len(told) > 1:
        logprobs, text = gate_of(), gate_of(signal_set="text", scorer="cheap/text", threshold=-1.0)
        lock = lock_of(policy, *([logprobs] if not more.get("signals") else [text]))
    return Cascade(policy, lock, store=IN_MEMORY, transport=transport)


def openai_for(server: Server, **more: Any) -> openai.OpenAI:
    return openai.OpenAI(api_key="sk-mine", base_url=server.url, **more)


def claude_for(server: AnthropicServer, **more: Any) -> anthropic_sdk.Anthropic:
    return anthropic_sdk.Anthropic(api_key="sk-mine", base_url=server.url, **more)


TEXT_ONLY = {"signals": {"sets": [["text"]]}}


# OpenAI


def test_an_accepted_answer_is_the_clients_own_object(server: Server) -> None:
    """Asked with log-probabilities, through the user's client, with its key and headers."""
    with cascade_of("openai/ok@cheap", "openai/ok@frontier") as cascade:
        with openai_for(server, default_headers={"x-mine": "yes"}) as client:
            wrapped = cascade.client(client)
            found = wrapped.chat.completions.create(model="anything", messages=ASKED, temperature=0.3)
        assert type(found) is ChatCompletion
        assert found.choices[0].message.content == "four"
        asked = server.last("ok@cheap")
        assert (asked.headers["authorization"], asked.headers["x-mine"]) == ("Bearer sk-mine", "yes")
        assert (asked.body["logprobs"], asked.body["temperature"]) == (True, 0.3)
        assert (wrapped.last().served, wrapped.last().served_by) == ("accepted", "cheap")
        assert "cascade" not in found.to_json()
        assert not hasattr(found, "cascade")


def test_an_unsure_draft_escalates_and_the_frontiers_object_comes_back(server: Server) -> None:
    with cascade_of("openai/unsure@cheap", "openai/ok@frontier") as cascade, openai_for(server) as client:
        wrapped = cascade.client(client)
        found = wrapped.chat.completions.create(model="anything", messages=ASKED)
        assert found.model == "ok@frontier"
        assert wrapped.last().served == "escalated"
        assert "logprobs" not in server.last("ok@frontier").body
        assert [step.cost is not None for step in wrapped.last().steps] == [True, True]


def test_a_wrapped_client_passes_for_the_client(server: Server) -> None:
    with cascade_of("openai/ok") as cascade, openai_for(server) as client:
        wrapped = cascade.client(client)
        assert isinstance(wrapped, openai.OpenAI)
        assert wrapped.api_key == "sk-mine"
        assert wrapped.embeddings is client.embeddings
        wrapped.api_key = "sk-new"
        wrapped.chat.completions.create(model="m", messages=ASKED)
        assert server.last("ok").headers["authorization"] == "Bearer sk-new"
        assert "last" in dir(wrapped)


def test_with_options_stays_cascaded_and_around_the_cascade_there_is_no_silent_way(server: Server) -> None:
    with cascade_of("openai/ok") as cascade, openai_for(server) as client:
        wrapped = cascade.client(client)
        wrapped.with_options(timeout=3.0).chat.completions.create(model="m", messages=ASKED)
        assert wrapped.last().served_by == "frontier"
        assert wrapped.beta.chat.completions.create(model="m", messages=ASKED).model == "ok"
        around = [
            lambda: wrapped.chat.completions.parse(model="m", messages=ASKED),
            lambda: wrapped.chat.completions.stream(model="m", messages=ASKED),
            lambda: wrapped.chat.completions.with_raw_response.create(model="m", messages=ASKED),
            lambda: wrapped.chat.with_streaming_response.completions,
            lambda: wrapped.with_raw_response.chat,
        ]
        for way in around:
            with pytest.raises(ConfigError, match="not cascaded"):
                way()
        assert len(server.asked) == 2


@pytest.mark.parametrize("fault", ["429", "500", "401", "not-json", "cut", "absent"])
def test_a_failing_cheap_tier_escalates(server: Server, fault: str) -> None:
    model = f"{fault}@cheap"
    with cascade_of(f"openai/{model}", "openai/ok@frontier") as cascade, openai_for(server) as client:
        wrapped = cascade.client(client)
        assert wrapped.chat.completions.create(model="m", messages=ASKED).model == "ok@frontier"
        first = wrapped.last().steps[0]
        assert (first.outcome, first.tier) == ("error", "cheap")
        assert server.count(model) == 1  # the client's own retries are off: retrying is the flow's


@pytest.mark.parametrize(("model", "status", "billed"), [("429", 429, False), ("500", 500, None), ("403", 403, False)])
def test_when_nobody_answers_the_error_says_whose_fault_it_is(
    server: Server, model: str, status: int, billed: bool | None
) -> None:
    """And comes from the client's own, which a handler may look into."""
    with cascade_of(f"openai/{model}") as cascade, openai_for(server) as client:
        wrapped = cascade.client(client)
        with pytest.raises(UpstreamError, match=f"openai answered {status}") as caught:
            wrapped.chat.completions.create(model="m", messages=ASKED)
        assert (caught.value.status, caught.value.billed) == (status, billed)
        assert isinstance(caught.value.__cause__, openai.APIStatusError)
        assert wrapped.last().served == "failed"


def test_the_flow_retries_and_obeys_retry_after(server: Server) -> None:
    with cascade_of({"model": "openai/429-then-ok", "retries": 1}) as cascade, openai_for(server) as client:
        assert cascade.client(client).chat.completions.create(model="m", messages=ASKED).model == "429-then-ok"
        assert server.count("429-then-ok") == 2


@pytest.mark.parametrize("asynchronous", [False, True])
def test_time_limits_are_the_shorter_of_the_tiers_and_the_clients(server: Server, asynchronous: bool) -> None:
    def limited(cascade: Cascade, **more: Any) -> None:
        if asynchronous:

            async def run() -> None:
                async with openai.AsyncOpenAI(api_key="k", base_url=server.url, **more) as client:
                    await cascade.client(client).chat.completions.create(model="m", messages=ASKED)

            return asyncio.run(run())
        with openai_for(server, **more) as client:
            cascade.client(client).chat.completions.create(model="m", messages=ASKED)

    with (
        cascade_of({"model": "openai/timeout", "timeout": 0.1}) as cascade,
        pytest.raises(UpstreamError, match=r"no complete answer within 0\.1 s"),
    ):
        limited(cascade)
    with cascade_of("openai/timeout") as cascade, pytest.raises(UpstreamError, match="no complete answer"):
        limited(cascade, timeout=0.1)


def test_a_refused_connection_is_not_billed() -> None:
    with cascade_of("openai/ok") as cascade, openai.OpenAI(api_key="k", base_url="http://127.0.0.1:9/v1") as client:
        with pytest.raises(UpstreamError, match="cannot be reached") as caught:
            cascade.client(client).chat.completions.create(model="m", messages=ASKED)
        assert caught.value.billed is False


def test_other_providers_answers_are_built_into_the_clients_type() -> None:
    """Text, tool calls, finish reason and usage, with no need of the caller's to know."""

    def answer(call: Call) -> Draft:
        return Draft(tier=call.tier, model=call.endpoint.model, tool_calls=[CALL], finish_reason="tool_calls")

    models = FakeModels(answer)
    with cascade_of("anthropic/claude-x", transport=models) as cascade, openai.OpenAI(api_key="k") as client:
        found = cascade.client(client).chat.completions.create(model="m", messages=ASKED, tools=TOOLS)
        assert type(found) is ChatCompletion
        assert found.choices[0].message.tool_calls[0].function.name == "add"
        assert found.choices[0].finish_reason == "tool_calls"
        assert "cascade" not in found.to_json()
        assert models.calls[0].params["tools"] == TOOLS


def test_a_base_url_goes_its_own_way_and_keeps_all_that_the_server_said(server: Server) -> None:
    local = {"model": "ok@local", "base_url": server.url}
    with cascade_of(local) as cascade, openai.OpenAI(api_key="k", base_url="http://127.0.0.1:9/v1") as client:
        found = cascade.client(client).chat.completions.create(model="m", messages=ASKED)
        assert (type(found), found.system_fingerprint) == (ChatCompletion, "fp_1")
        background.call(cascade.parts.transport.close)


def test_an_earlier_answer_may_be_among_the_messages(server: Server) -> None:
    with cascade_of("openai/ok") as cascade, openai_for(server) as client:
        chat = cascade.client(client).chat.completions
        first = chat.create(model="m", messages=ASKED)
        chat.create(model="m", messages=[*ASKED, first.choices[0].message, *ASKED], temperature=openai.NOT_GIVEN)
        assert server.last("ok").body["messages"][1] == {"role": "assistant", "content": "four"}
        assert "temperature" not in server.last("ok").body


def test_what_is_said_to_the_cascade_is_taken_out_and_obeyed(server: Server) -> None:
    with cascade_of("openai/ok") as cascade, openai_for(server) as client:
        wrapped = cascade.client(client, slice="general", tenant="t1", metadata={"a": "1"})
        ours = {"slice": "billing", "metadata": {"b": "2"}}
        wrapped.chat.completions.create(model="m", messages=ASKED, extra_body={"cascade": ours, "top_k": 3})
        outcome = next(iter(cascade.outcomes()))
        assert (outcome.slice, outcome.tenant, outcome.metadata) == ("billing", "t1", {"a": "1", "b": "2"})
        body = server.last("ok").body
        assert body["top_k"] == 3
        assert "cascade" not in body
        with pytest.raises(ConfigError, match="did you mean 'tenant'"):
            wrapped.chat.completions.create(model="m", messages=ASKED, extra_body={"cascade": {"tenent": "x"}})


def test_a_stored_answer_comes_in_the_clients_type_and_asks_nobody(server: Server) -> None:
    with cascade_of("openai/ok") as cascade, openai_for(server) as client:
        wrapped = cascade.client(client)
        found = [wrapped.chat.completions.create(model="m", messages=ASKED, temperature=0.0) for _ in range(2)]
        assert (type(found[1]), found[1].choices[0].message.content) == (ChatCompletion, "four")
        assert wrapped.last().served == "cached"
        assert server.count("ok") == 1
        wrapped.chat.completions.create(model="m", messages=ASKED, temperature=0.0, extra_headers={"x": "y"})
        assert server.count("ok") == 2  # a header may change the answer and is in no key


def test_an_endpoint_with_a_key_of_its_own_is_called_with_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECOND_KEY", "sk-second")
    tiers = {"model": "openai/ok", "api_key_env": "SECOND_KEY"}
    with cascade_of(tiers) as cascade, openai_for(server) as client:
        cascade.client(client).chat.completions.create(model="m", messages=ASKED)
        assert server.last("ok").headers["authorization"] == "Bearer sk-second"


@pytest.mark.parametrize("usage", [False, True])
def test_a_live_stream_is_the_clients_own_chunks(server: Server, usage: bool) -> None:
    """Usage is always asked for, to know the price, and shown only to those who asked for it too."""
    wanted = {"stream_options": {"include_usage": True}} if usage else {}
    with cascade_of("openai/ok") as cascade, openai_for(server) as client:
        wrapped = cascade.client(client)
        with wrapped.chat.completions.create(model="m", messages=ASKED, stream=True, **wanted) as stream:
            chunks = list(stream)
        assert {type(chunk) for chunk in chunks} == {ChatCompletionChunk}
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "four"
        assert bool(chunks[-1].usage) is usage
        assert all(chunk.choices for chunk in chunks) is not usage
        assert wrapped.last().served == "escalated"
        assert wrapped.last().cost > 0


def test_a_held_stream_that_is_rejected_shows_nothing_of_itself(server: Server) -> None:
    with cascade_of("openai/unsure@cheap", "openai/ok@frontier") as cascade, openai_for(server) as client:
        wrapped = cascade.client(client)
        chunks = list(wrapped.chat.completions.create(model="m", messages=ASKED, stream=True))
        assert {chunk.model for chunk in chunks} == {"ok@frontier"}
        assert wrapped.last().served == "escalated"
    with cascade_of("openai/ok@cheap", "openai/ok@frontier") as cascade, openai_for(server) as client:
        chunks = list(cascade.client(client).chat.completions.create(model="m", messages=ASKED, stream=True))
        assert {type(chunk) for chunk in chunks} == {ChatCompletionChunk}
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == "four"
        assert chunks[0].created > 0


@pytest.mark.parametrize("model", ["cut-stream", "end-stream", "error-stream", "429"])
def test_a_stream_that_breaks_says_so(server: Server, model: str) -> None:
    with cascade_of(f"openai/{model}") as cascade, openai_for(server) as client:
        wrapped = cascade.client(client)
        with pytest.raises(UpstreamError, match="openai"):
            list(wrapped.chat.completions.create(model="m", messages=ASKED, stream=True))
        assert wrapped.last().served == "failed"


def test_a_model_that_gives_no_log_probabilities_is_asked_again_without() -> None:
    """No list says which models do; a refusal is free and is remembered."""
    seen: list[bool] = []

    class Picky(openai.OpenAI):
        pass

    import httpx

    def handle(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        seen.append("logprobs" in body)
        if "logprobs" in body:
            return httpx.Response(400, json={"error": {"message": "logprobs are not available for this model"}})
        said = {"message": {"role": "assistant", "content": "four"}, "index": 0, "finish_reason": "stop"}
        return httpx.Response(200, json={"id": "1", "object": "chat.completion", "model": "m", "choices": [said]})

    http = httpx.Client(transport=httpx.MockTransport(handle))
    cheap = {"model": "openai/gpt-x", "retries": 1}
    with cascade_of(cheap, "openai/gpt-y") as cascade, Picky(api_key="k", http_client=http) as client:
        wrapped = cascade.client(client)
        wrapped.chat.completions.create(model="m", messages=ASKED)
        assert seen == [True, False, False]
        wrapped.chat.completions.create(model="m", messages=ASKED)
        assert seen == [True, False, False, False, False]


def test_the_asynchronous_client_answers_streams_and_fails_the_same_way(server: Server) -> None:
    async def run(cascade: Cascade) -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=server.url) as client:
            wrapped = cascade.client(client)
            found = await wrapped.chat.completions.create(model="m", messages=ASKED)
            assert (type(found), wrapped.last().served) == (ChatCompletion, "accepted")
            stream = await wrapped.chat.completions.create(
                model="m", messages=ASKED, stream=True, extra_body={"cascade": {"stakes": "high"}}
            )
            async with stream:
                chunks = [chunk async for chunk in stream]
            assert "".join(c.choices[0].delta.content or "" for c in chunks) == "four"
            assert wrapped.last().served == "escalated"

    stakes = [{"when": {"stakes": "high"}, "tier": "frontier"}]
    with cascade_of("openai/ok@cheap", "openai/ok@frontier", stakes=stakes) as cascade:
        asyncio.run(run(cascade))


def test_shadows_go_through_the_client_too(server: Server) -> None:
    """In observe mode: the synchronous client from a thread, the asynchronous one on its own loop."""

    async def run(cascade: Cascade) -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=server.url) as client:
            await cascade.client(client).chat.completions.create(model="m", messages=ASKED)
            for _ in range(200):
                if server.count("ok@cheap") == 2:
                    break
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)

    with cascade_of("openai/ok@cheap", "openai/ok@frontier", mode="observe") as cascade:
        with openai_for(server) as client:
            found = cascade.client(client).chat.completions.create(model="m", messages=ASKED)
            assert found.model == "ok@frontier"
            cascade._shadows.drain(5.0)
        assert server.count("ok@cheap") == 1
        asyncio.run(run(cascade))
        assert server.count("ok@cheap") == 2


def test_last_is_local_to_threads_and_tasks(server: Server) -> None:
    with cascade_of("openai/ok") as cascade, openai_for(server) as client:
        wrapped = cascade.client(client)
        assert wrapped.last() is None
        wrapped.chat.completions.create(model="m", messages=ASKED)
        here = wrapped.last()
        seen: list[Any] = []

        def elsewhere() -> None:
            seen.append(wrapped.last())
            wrapped.chat.completions.create(model="m", messages=ASKED)
            seen.append(wrapped.last().id)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert seen[0] is None
        assert wrapped.last() is here
        assert seen[1] != here.id


@pytest.mark.parametrize("thing", [object(), openai.OpenAI, "OpenAI"])
def test_what_is_no_client_is_refused(thing: Any) -> None:
    with cascade_of("openai/ok") as cascade, pytest.raises(ConfigError, match="takes an OpenAI"):
        cascade.client(thing)


# Anthropic


def ask_claude(client: Any, **more: Any) -> Any:
    return client.messages.create(**{"model": "anything", "max_tokens": 50, "messages": ASKED} | more)


def test_an_anthropic_client_gets_messages_its_own_way(claude: AnthropicServer) -> None:
    with cascade_of("anthropic/ok@cheap", "claude-ok@frontier", **TEXT_ONLY) as cascade, claude_for(claude) as client:
        wrapped = cascade.client(client)
        found = ask_claude(wrapped, system="Be brief.", stop_sequences=["END"])
        assert isinstance(wrapped, anthropic_sdk.Anthropic)
        assert (type(found), found.content[0].text) == (Message, "four")
        assert (wrapped.last().served, claude.models()) == ("accepted", ["ok@cheap"])
        wanted = {"system": "Be brief.", "stop_sequences": ["END"], "max_tokens": 50, "messages": ASKED}
        assert wanted.items() <= claude.asked[0].items()
        assert "sk-mine" in (claude.headers[0].get("x-api-key") or claude.headers[0]["authorization"])
        assert "cascade" not in found.to_json()


@pytest.mark.parametrize("model", ["429", "500", "529", "401"])
def test_a_failing_anthropic_tier_escalates_or_says_whose_fault_it_is(claude: AnthropicServer, model: str) -> None:
    with cascade_of(f"anthropic/{model}", "anthropic/ok", **TEXT_ONLY) as cascade, claude_for(claude) as client:
        wrapped = cascade.client(client)
        assert ask_claude(wrapped).model == "ok"
        assert wrapped.last().steps[0].outcome == "error"
    with cascade_of(f"anthropic/{model}") as cascade, claude_for(claude) as client:
        with pytest.raises(UpstreamError, match=f"anthropic answered {model}.*not today") as caught:
            ask_claude(cascade.client(client))
        assert isinstance(caught.value.__cause__, anthropic_sdk.APIStatusError)


def test_a_tier_overrides_only_what_it_says(claude: AnthropicServer) -> None:
    said = {"model": "anthropic/ok", "params": {"temperature": 0.5, "stop": "X"}, "prompt": "You are {system}"}
    with cascade_of(said) as cascade, claude_for(claude) as client:
        blocks = [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]
        turns = [{"role": "user", "content": blocks}]
        ask_claude(cascade.client(client), system="kind", messages=turns)
        wanted = {"temperature": 0.5, "stop_sequences": ["X"], "system": "You are kind", "messages": turns}
        assert wanted.items() <= claude.asked[0].items()


def test_tool_use_is_checked_and_returned_untouched(claude: AnthropicServer) -> None:
    tools = [{"name": "add", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}]
    with cascade_of("anthropic/tools@cheap", "anthropic/ok", **TEXT_ONLY) as cascade, claude_for(claude) as client:
        wrapped = cascade.client(client)
        found = ask_claude(wrapped, tools=tools, tool_choice={"type": "any"})
        assert found.content[0].input == {"a": 2}
        assert claude.asked[0]["tools"] == tools
        assert ask_claude(wrapped, tools=[tools[0] | {"name": "other"}]).model == "ok"
        assert "unknown tool" in str(list(cascade.outcomes())[-1].models["cheap"].checks)


def test_other_providers_get_the_conversation_in_openais_words() -> None:
    calls = {"tool_calls": [CALL], "finish_reason": "tool_calls"}
    models = FakeModels(lambda call: Draft(tier=call.tier, model=call.endpoint.model, text="Let me see.", **calls))
    turns = [
        {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "1"}, *ASKED]},
    ]
    turns[2]["content"][1] = {"type": "text", "text": "and now?"}
    tools = [{"name": "add", "description": "Adds.", "input_schema": {"type": "object"}}]
    with cascade_of("gpt-5.5", transport=models) as cascade, anthropic_sdk.Anthropic(api_key="k") as client:
        found = ask_claude(
            cascade.client(client), system="Be brief.", messages=turns, tools=tools, metadata={"user_id": "u"}
        )
    assert type(found) is Message
    assert [block.type for block in found.content] == ["text", "tool_use"]
    assert (found.content[1].input, found.stop_reason) == ({"a": 2}, "tool_use")
    system, image, called, result, question = models.calls[0].messages
    assert system == {"role": "system", "content": "Be brief."}
    assert image["content"] == [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]
    assert json.loads(called["tool_calls"][0]["function"]["arguments"]) == {"a": 1}
    assert result == {"role": "tool", "tool_call_id": "t1", "content": "1"}
    assert question["content"][0]["text"] == "and now?"
    params = models.calls[0].params
    assert params["tools"][0]["function"] == {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}
    assert (params["max_tokens"], params["user"]) == (50, "u")


def text_of(events: list[Any]) -> str:
    return "".join(e.delta.text for e in events if e.type == "content_block_delta")


WHOLE = ["message_start", "content_block_start", "content_block_delta", "content_block_stop"]


def test_a_live_stream_is_the_clients_own_events(claude: AnthropicServer) -> None:
    with cascade_of("anthropic/long") as cascade, claude_for(claude) as client:
        wrapped = cascade.client(client)
        events = list(ask_claude(wrapped, stream=True))
        assert text_of(events).startswith("two and two make four")
        assert list(dict.fromkeys(e.type for e in events)) == [*WHOLE, "message_delta", "message_stop"]
        assert events[0].message.id == "msg_1"
        step = wrapped.last().steps[0]
        assert (step.usage.prompt_tokens, step.usage.completion_tokens, step.usage.cached_tokens) == (14, 3, 4)


@pytest.mark.parametrize("text", ["four", ""])
def test_a_built_stream_has_the_events_that_anthropics_own_has(text: str) -> None:
    calls = {"tool_calls": [CALL], "finish_reason": "tool_calls"}
    models = FakeModels(lambda call: Draft(tier=call.tier, model="gpt-5.5", text=text, **calls))
    with cascade_of("gpt-5.5", transport=models) as cascade, anthropic_sdk.Anthropic(api_key="k") as client:
        tools = [{"name": "add", "input_schema": {"type": "object"}}]
        events = list(ask_claude(cascade.client(client), stream=True, tools=tools))
    block = WHOLE[1:]
    assert [e.type for e in events] == ["message_start", *block * (2 if text else 1), "message_delta", "message_stop"]
    assert events[-2].delta.stop_reason == "tool_use"
    assert json.loads(events[-4].delta.partial_json) == {"a": 2}


def test_the_asynchronous_anthropic_client(claude: AnthropicServer) -> None:
    async def run(cascade: Cascade) -> None:
        async with anthropic_sdk.AsyncAnthropic(api_key="k", base_url=claude.url) as client:
            wrapped = cascade.client(client)
            assert type(await ask_claude(wrapped)) is Message
            stream = await ask_claude(wrapped, stream=True)
            assert text_of([event async for event in stream]) == "four"
            assert wrapped.last().served == "escalated"

    with cascade_of("anthropic/ok") as cascade:
        asyncio.run(run(cascade))


def test_a_timeout_of_anthropic_escalates(claude: AnthropicServer) -> None:
    slow = {"model": "anthropic/timeout", "timeout": 0.1}
    with cascade_of(slow, "anthropic/ok", **TEXT_ONLY) as cascade, claude_for(claude) as client:
        wrapped = cascade.client(client)
        assert ask_claude(wrapped).model == "ok"
        assert "within 0.1 s" in wrapped.last().steps[0].detail


# One policy, three call sites

POLICY = """
mode = "enforce"
target = {{ max_error = 0.05 }}
cache = {{ enabled = false }}

[[tiers]]
name = "cheap"
model = "{provider}/ok@cheap"
params = {{ {limit} = 64 }}
price = {{ input = 1.0, output = 2.0 }}

[[tiers]]
name = "frontier"
model = "{provider}/ok@frontier"
params = {{ {limit} = 64 }}
price = {{ input = 3.0, output = 6.0 }}
"""


@pytest.fixture
def litellm_closed() -> Iterator[None]:
    """At its end the closing that litellm leaves to the end of the process."""
    from cascade.transports.hosted import load

    module = load()
    from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients

    yield
    background.call(close_litellm_async_clients)
    module.in_memory_llm_clients_cache.flush_cache()


def three_answers(policy: Path, server: Server, claude: AnthropicServer) -> list[Any]:
    """The three call sites of somebody's program; nothing in it says which provider, or which limit."""
    with Cascade.load(policy, store=IN_MEMORY) as cascade, openai_for(server) as gpt, claude_for(claude) as other:
        providers = {"openai": gpt.chat.completions.create, "anthropic": other.messages.create}

        @cascade.wrap
        def summarise(text: str, *, model: str) -> Any:
            provider, _, name = model.partition("/")
            return providers[provider](model=name, max_tokens=9, messages=[{"role": "user", "content": text}])

        wrapped = cascade.client(gpt)
        return [
            cascade.completion(messages=ASKED),
            wrapped.chat.completions.create(model="anything", messages=ASKED),
            summarise("What is two and two?"),
        ]


@pytest.mark.usefixtures("litellm_closed")
def test_three_call_sites_switch_provider_and_limit_by_the_policy_file_alone(
    server: Server, claude: AnthropicServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "OPENAI_API_KEY": "sk-a",
        "OPENAI_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "sk-b",
        "ANTHROPIC_BASE_URL": claude.url,
    }.items():
        monkeypatch.setenv(name, value)
    policy = tmp_path / "support.toml"
    policy.write_text(POLICY.format(provider="openai", limit="max_completion_tokens"))
    first = three_answers(policy, server, claude)
    assert [answer.choices[0].message.content for answer in first] == ["four"] * 3
    assert (server.count("ok@frontier"), claude.models()) == (3, [])
    policy.write_text(POLICY.format(provider="anthropic", limit="max_tokens"))
    *same, message = three_answers(policy, server, claude)
    assert [answer.choices[0].message.content for answer in same] == ["four"] * 2
    assert [type(answer) for answer in (first[1], same[1], message)] == [ChatCompletion, ChatCompletion, Message]
    # The closed cheap tier may be explored beside them, now and then.
    assert (server.count("ok@frontier"), claude.models().count("ok@frontier")) == (3, 3)
    assert [body["max_tokens"] for body in claude.asked[:2]] == [64, 64]
