"""Litellm against the same server, and the objects of the real clients read as they are.

All that needs litellm stands here, since its import costs seconds, and runs on one event loop,
since its connections belong to the loop of their first call.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import traceback
from collections.abc import Iterator
from typing import Any

import anthropic.types
import openai.types.chat
import pytest
from msgspec.structs import replace

from cascade.asks import Call, Endpoint
from cascade.errors import ConfigError, UpstreamError
from cascade.prices import Price, price_of
from cascade.transports import LiteLLMTransport, Transports, read
from cascade.transports.hosted import COMPROMISED, load, refuse_compromised
from cascade.types import Draft
from tests.misbehaving import SURE, Server, completion

# Litellm's streaming reads every attribute of its own models, the ones that pydantic has deprecated too.
pytestmark = pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning")

KEY = "sk-planted-7f3a91c2d4e5"
PRICE = Price(1.0, 2.0, 0.5)
TRANSPORT = LiteLLMTransport()


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """The one loop, and at its end the closing that litellm leaves to the end of the process."""
    litellm = load()
    from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients

    with asyncio.Runner() as loop:
        yield loop
        loop.run(close_litellm_async_clients())
        litellm.in_memory_llm_clients_cache.flush_cache()


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def call_for(server: Server | str, model: str, **given: Any) -> Call:
    own = {name: given.pop(name) for name in ("params", "timeout") if name in given}
    url = server if isinstance(server, str) else server.url
    fixed = {"model": f"openai/{model}", "base_url": url, "api_key_env": "STUB_KEY", "price": (1.0, 2.0, 0.5)}
    question = [{"role": "user", "content": "What is two and two?"}]
    endpoint = Endpoint(**fixed | given)
    return Call(tier="t", endpoint=endpoint, messages=question, **{"params": {}, "timeout": 10.0} | own)


def ask(runner: asyncio.Runner, call: Call) -> Draft:
    return runner.run(TRANSPORT.complete(call))


def ask_streaming(runner: asyncio.Runner, call: Call) -> Draft:
    async def run() -> Draft:
        stream = TRANSPORT.stream(call)
        assert [chunk async for chunk in stream]
        return stream.draft

    return runner.run(run())


def failure(runner: asyncio.Runner, call: Call, *, stream: bool) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        (ask_streaming if stream else ask)(runner, call)
    return caught.value


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_the_same_by_either_transport(server: Server, runner: asyncio.Runner, stream: bool) -> None:
    for model in ("ok-logprobs", "tools", "empty-length"):
        call = call_for(server, model, logprobs=True, top_logprobs=2)
        hosted = (ask_streaming if stream else ask)(runner, call)
        direct = asyncio.run(asked_directly(replace(call, endpoint=replace(call.endpoint, model=model))))
        for name in ("text", "tool_calls", "finish_reason", "logprobs", "top_logprobs", "usage", "cost"):
            assert getattr(hosted, name) == getattr(direct, name), (model, name)


async def asked_directly(call: Call) -> Draft:
    transport = Transports()
    try:
        return await transport.complete(call)
    finally:
        await transport.close()


FAULTS = {
    # model: status, billed, retryable, what the message says
    "400": (400, False, False, "correct them. It said: temperature must be at most 2"),
    "401": (401, False, False, "check the key in $STUB_KEY"),
    "404": (404, False, False, "it knows no model openai/404"),
    "429-retry-after": (429, False, True, "too many requests"),
    "500": (500, None, True, "on its side. It said: out of memory"),
    "timeout": (None, None, True, "no complete answer within 0.5 s"),
    "cut": (None, None, True, "openai failed openai/cut"),
}
WHOLE = {
    "not-json": (None, None, True, "openai failed openai/not-json"),
    "no-choices": (200, True, True, "answered without choices"),
}
STREAMED = {
    "end-stream": (200, None, True, "ended the stream before the answer was complete"),
    "error-stream": (None, None, True, "the engine has died"),
}


@pytest.mark.parametrize(
    ("stream", "model", "told"),
    [
        *((stream, model, told) for stream in (False, True) for model, told in FAULTS.items()),
        *((False, model, told) for model, told in WHOLE.items()),
        *((True, model, told) for model, told in STREAMED.items()),
    ],
)
def test_a_fault_says_whose_it_is(
    server: Server, runner: asyncio.Runner, stream: bool, model: str, told: tuple[Any, ...]
) -> None:
    error = failure(runner, call_for(server, model, timeout=wait_for(model)), stream=stream)
    status, billed, retryable, says = told
    assert (error.status, error.billed, error.retryable) == (status, billed, retryable)
    assert says in str(error)
    assert error.retry_after == (7.0 if model == "429-retry-after" else None)
    assert server.count(model) == 1, "its own retries are off"


def wait_for(model: str) -> float:
    return 0.5 if model == "timeout" else 10.0


@pytest.mark.parametrize("model", FAULTS)
def test_the_key_is_never_shown(
    server: Server,
    runner: asyncio.Runner,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    model: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    error = failure(runner, call_for(server, model, timeout=wait_for(model)), stream=False)
    assert server.last(model).headers["authorization"] == f"Bearer {KEY}"
    shown = "".join(traceback.format_exception(error)) + repr(vars(error))
    assert KEY not in shown + caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize("stream", [False, True])
def test_nobody_there_is_not_billed(runner: asyncio.Runner, stream: bool) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    error = failure(runner, call_for(address, "ok"), stream=stream)
    assert (error.status, error.billed, error.retryable) == (None, False, True)
    assert "cannot be reached" in str(error)


def test_what_goes_out_fits_the_model(server: Server, runner: asyncio.Runner) -> None:
    wanted = {"max_tokens": 5, "stream": True}
    sent = json.loads(ask(runner, call_for(server, "show", params=wanted, logprobs=True)).text)
    assert (sent["max_tokens"], sent["logprobs"]) == (5, True)
    assert {"top_logprobs", "stream", "timeout"}.isdisjoint(sent)
    ask_streaming(runner, call_for(server, "ok", params=wanted))
    assert server.last("ok").body["stream_options"] == {"include_usage": True}


def test_a_model_that_has_no_log_probabilities_is_not_asked_for_them(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cascade.transports.hosted import _arguments

    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    endpoint = Endpoint(model="anthropic/claude-sonnet-4-5", logprobs=True, top_logprobs=5)
    call = Call(tier="t", endpoint=endpoint, messages=[], params={}, timeout=1.0)
    provider, arguments = _arguments(load(), call)
    assert provider == "anthropic"
    assert {"logprobs", "top_logprobs"}.isdisjoint(arguments)


@pytest.mark.parametrize(
    ("model", "says"),
    [("openai/gpt-5.4-mini", "set OPENAI_API_KEY"), ("nosuch", "litellm knows no provider of 'nosuch'")],
)
def test_a_missing_key_and_an_unknown_provider_are_the_users_fault(
    runner: asyncio.Runner, model: str, says: str
) -> None:
    call = Call(tier="t", endpoint=Endpoint(model=model), messages=[], params={}, timeout=5.0)
    with pytest.raises(ConfigError, match=says):
        runner.run(Transports().complete(call))


@pytest.mark.parametrize("release", sorted(COMPROMISED))
def test_compromised_releases_are_refused(release: str) -> None:
    with pytest.raises(ConfigError, match="compromised"):
        refuse_compromised(release)


def test_litellm_itself_finds_the_prices_that_the_map_gives(runner: asyncio.Runner) -> None:
    for model in ("gpt-5.4-mini", "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"):
        info, price = load().get_model_info(model), price_of(model)
        assert price is not None
        assert price.input == pytest.approx(info["input_cost_per_token"] * 1e6)
        assert price.output == pytest.approx(info["output_cost_per_token"] * 1e6)


# Objects of the real clients


def test_openai_and_litellm_objects_read_as_the_dict_they_came_from() -> None:
    raw = completion("m", "two and two make four", logprobs=True, tool_calls=[TOOL_CALL], refusal="no")
    objects = [openai.types.chat.ChatCompletion.model_validate(raw), load().ModelResponse(**raw)]
    expected = read(raw, tier="t", model="m", price=PRICE, latency=0.1)
    assert expected.logprobs == [SURE] * 5
    assert expected.refusal == "no"
    for thing in objects:
        draft = read(thing, tier="t", model="m", price=PRICE, latency=0.1)
        assert draft.raw is thing
        for name in Draft.__struct_fields__:
            if name != "raw":
                assert getattr(draft, name) == getattr(expected, name), (type(thing), name)


TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a":2}'}}


def message(stop_reason: str, *content: dict[str, Any]) -> anthropic.types.Message:
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 4}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x"}
    body = head | {"content": list(content), "stop_reason": stop_reason, "usage": usage}
    return anthropic.types.Message.model_validate(body)


def test_an_anthropic_message_reads_in_openais_words() -> None:
    text = {"type": "text", "text": "I "}, {"type": "text", "text": "add."}
    use = {"type": "tool_use", "id": "call_1", "name": "add", "input": {"a": 2}}
    thing = message("tool_use", *text, use)
    for raw in (thing, thing.model_dump()):
        draft = read(raw, tier="t", model="m", price=PRICE, latency=0.1)
        assert draft.text == "I add."
        assert draft.tool_calls == [TOOL_CALL]
        assert draft.finish_reason == "tool_calls"
        assert (draft.usage.prompt_tokens, draft.usage.cached_tokens, draft.usage.completion_tokens) == (
            14,
            4,
            5,
        )
        assert draft.cost == pytest.approx((10 * 1.0 + 4 * 0.5 + 5 * 2.0) / 1e6)
        assert (draft.logprobs, draft.fingerprint) == (None, "claude-x")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("refusal", "content_filter"),
    ],
)
def test_anthropics_reasons_to_stop_have_openais_names(theirs: str, ours: str) -> None:
    draft = read(message(theirs), tier="t", model="m", price=None, latency=0.0)
    assert draft.finish_reason == ours
    assert bool(draft.refusal) == (theirs == "refusal")
