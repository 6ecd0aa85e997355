"""The direct transport against a server that misbehaves: an answer, or an error that says whose."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import subprocess
import sys
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.asks import Call, Endpoint
from cascade.errors import ConfigError, UpstreamError
from cascade.transports import DirectTransport, Transports
from cascade.transports.faults import QUOTED, retry_after, scrub
from cascade.transports.reading import IMPOSSIBLE, read
from cascade.transports.streams import Assembly, Events
from cascade.transports.wire import Completion, loads
from cascade.types import Draft
from tests.misbehaving import SURE, Server, completion, events

KEY = "sk-planted-7f3a91c2d4e5"


def call_for(server: Server | str, model: str, **given: Any) -> Call:
    """A call for ``model``; what is given goes into the endpoint, or into the call by its name."""
    own = {name: given.pop(name) for name in ("params", "timeout", "deliver") if name in given}
    url = server if isinstance(server, str) else server.url
    endpoint = Endpoint(**{"model": model, "base_url": url, "price": (1.0, 2.0, 0.5)} | given)
    question = [{"role": "user", "content": "What is two and two?"}]
    return Call(tier="cheap", endpoint=endpoint, messages=question, **{"params": {}, "timeout": 5.0} | own)


def ask(call: Call) -> Draft:
    async def run() -> Draft:
        transport = Transports()
        try:
            return await transport.complete(call)
        finally:
            await transport.close()

    return asyncio.run(run())


def ask_streaming(call: Call) -> tuple[list[dict[str, Any]], Draft]:
    async def run() -> tuple[list[dict[str, Any]], Draft]:
        transport = Transports()
        stream = transport.stream(call)
        try:
            return [chunk async for chunk in stream], stream.draft
        finally:
            await stream.close()
            await transport.close()

    return asyncio.run(run())


def failure(call: Call, *, stream: bool = False) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        (ask_streaming if stream else ask)(call)
    return caught.value


# Good answers


def test_an_answer_comes_with_its_tokens_cost_and_fingerprint(server: Server) -> None:
    draft = ask(call_for(server, "ok"))
    assert (draft.text, draft.finish_reason, draft.fingerprint) == ("four", "stop", "fp_1")
    assert (draft.usage.prompt_tokens, draft.usage.completion_tokens, draft.usage.cached_tokens) == (10, 1, 4)
    assert draft.cost == pytest.approx((6 * 1.0 + 4 * 0.5 + 1 * 2.0) / 1e6)
    assert (draft.tier, draft.model, draft.logprobs) == ("cheap", "ok", None)
    assert 0 < draft.latency < 5


def test_raw_is_the_whole_answer_by_attribute_and_by_name(server: Server) -> None:
    raw = ask(call_for(server, "ok")).raw
    assert raw.choices[0].message.content == raw["choices"][0]["message"]["content"] == "four"
    assert raw.usage.prompt_tokens_details.cached_tokens == 4
    assert loads(raw.body) == raw.to_dict() == completion("ok")
    assert not hasattr(raw, "nothing_of_the_kind")


def test_log_probabilities_are_asked_for_only_where_the_endpoint_says_so(server: Server) -> None:
    ask(call_for(server, "ok"))
    assert {"logprobs", "top_logprobs"}.isdisjoint(server.last("ok").body)
    draft = ask(call_for(server, "ok", logprobs=True))
    assert draft.logprobs == [SURE]
    assert draft.top_logprobs is None
    draft = ask(call_for(server, "ok", logprobs=True, top_logprobs=2))
    assert server.last("ok").body["top_logprobs"] == 2
    assert draft.top_logprobs == [[SURE, -4.0]]


def test_the_callers_parameters_go_out_as_they_came_but_for_the_streams_own(server: Server) -> None:
    ask(call_for(server, "ok", params={"temperature": 0.2, "stream": True, "stream_options": {}}))
    body = server.last("ok").body
    assert body["temperature"] == 0.2
    assert "stream" not in body


def test_the_token_limit_goes_out_under_the_name_that_every_server_knows(server: Server) -> None:
    ask(call_for(server, "ok", params={"max_completion_tokens": 9}))
    body = server.last("ok").body
    assert body["max_tokens"] == 9
    assert "max_completion_tokens" not in body


def test_the_key_goes_into_the_header(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_KEY", KEY + "\n")
    ask(call_for(server, "ok", api_key_env="STUB_KEY"))
    assert server.last("ok").headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("model", ["ok-logprobs", "tools", "refusal", "empty-length", "slow-drip"])
def test_a_streamed_answer_is_the_answer_unstreamed(server: Server, model: str) -> None:
    whole = ask(call_for(server, model, logprobs=True, top_logprobs=2))
    chunks, streamed = ask_streaming(call_for(server, model, logprobs=True, top_logprobs=2))
    assert len(chunks) >= 3
    for name in (
        "text",
        "tool_calls",
        "finish_reason",
        "refusal",
        "logprobs",
        "top_logprobs",
        "usage",
        "cost",
    ):
        assert getattr(streamed, name) == getattr(whole, name), name


def test_a_draft_asked_for_too_early_is_an_error(server: Server) -> None:
    stream = Transports().stream(call_for(server, "ok"))
    with pytest.raises(RuntimeError, match="not come to its end"):
        _ = stream.draft


# Faults: what happened, whose it is, whether it was billed, whether to try again


FAULTS = {
    # model: status, billed, retryable, what the message says
    "400": (400, False, False, "correct them. It said: temperature must be at most 2"),
    "401": (401, False, False, "check the key in $STUB_KEY"),
    "403": (403, False, False, "check the key in $STUB_KEY"),
    "404": (404, False, False, "it knows no model 404 at http://127.0.0.1"),
    "422": (422, False, False, "messages: field required"),
    "429": (429, False, True, "too many requests"),
    "500": (500, None, True, "on its side. It said: out of memory"),
    "redirect": (307, False, False, "correct base_url"),
    "timeout": (None, None, True, "no complete answer within 0.3 s"),
    "hang-stream": (None, None, True, "no complete answer within 0.3 s"),
    "cut": (None, None, True, "cut the connection half way"),
    "cut-stream": (None, None, True, "cut the connection half way"),
}
WHOLE = {
    "not-json": (200, None, True, "no chat completion: '<html>Bad gateway</html>'"),
    "wrong-shape": (200, None, True, "no chat completion"),
    "no-choices": (200, True, True, "no-choices answered without choices"),
    "error-200": (200, None, True, "without choices: quota exhausted"),
}
STREAMED = {
    "not-json": (200, None, True, "ended the stream before the answer was complete"),
    "end-stream": (200, None, True, "ended the stream before the answer was complete"),
    "error-stream": (200, None, True, "broke off the stream: the engine has died"),
}


@pytest.mark.parametrize(
    ("stream", "model", "told"),
    [
        *((stream, model, told) for stream in (False, True) for model, told in FAULTS.items()),
        *((False, model, told) for model, told in WHOLE.items()),
        *((True, model, told) for model, told in STREAMED.items()),
    ],
)
def test_a_fault_says_whose_it_is_and_what_was_billed(
    server: Server, monkeypatch: pytest.MonkeyPatch, stream: bool, model: str, told: tuple[Any, ...]
) -> None:
    monkeypatch.setenv("STUB_KEY", KEY)
    timeout = 0.3 if model in ("timeout", "hang-stream") else 5.0
    error = failure(call_for(server, model, api_key_env="STUB_KEY", timeout=timeout), stream=stream)
    status, billed, retryable, says = told
    assert (error.status, error.billed, error.retryable) == (status, billed, retryable)
    assert says in str(error)
    assert error.provider == f"127.0.0.1:{server.port}"
    assert server.count(model) == 1, "a transport never tries again by itself"


def test_a_failed_call_says_what_it_cost_where_the_provider_told(server: Server) -> None:
    assert failure(call_for(server, "no-choices")).cost == pytest.approx((10 * 1.0 + 5 * 2.0) / 1e6)


@pytest.mark.parametrize("address", ["http://127.0.0.1:{free}/v1", "http://no-such-host.invalid/v1"])
@pytest.mark.parametrize("stream", [False, True])
def test_nobody_there_is_not_billed(address: str, stream: bool) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        free = unused.getsockname()[1]
    error = failure(call_for(address.format(free=free), "ok"), stream=stream)
    assert (error.status, error.billed, error.retryable) == (None, False, True)
    assert "cannot be reached" in str(error)


@pytest.mark.parametrize("address", ["localhost:8000", "", "ftp://host/v1", "http://"])
def test_an_address_that_is_none_is_the_users_fault(address: str) -> None:
    with pytest.raises(ConfigError, match="is no http address"):
        asyncio.run(DirectTransport().complete(call_for(address, "ok")))


def test_a_missing_key_is_named_before_anything_is_sent(server: Server) -> None:
    with pytest.raises(ConfigError, match="NO_SUCH_KEY is not set"):
        ask(call_for(server, "ok", api_key_env="NO_SUCH_KEY"))
    assert server.count("ok") == 0


def test_parameters_that_json_cannot_hold_are_the_users_fault(server: Server) -> None:
    with pytest.raises(ConfigError, match="cannot be written as JSON"):
        ask(call_for(server, "ok", params={"metadata": object()}))


def test_retry_after_comes_in_seconds_or_as_a_date(server: Server) -> None:
    assert failure(call_for(server, "429-retry-after")).retry_after == 7.0
    assert (failure(call_for(server, "429-retry-date")).retry_after or 0) > 1e9
    assert failure(call_for(server, "429")).retry_after is None


@pytest.mark.parametrize("junk", ["soon", "", "nan", "inf", "Fri, 99 Dec 2100"])
def test_a_retry_after_that_says_nothing_is_none(junk: str) -> None:
    assert retry_after({"Retry-After": junk}) is None


def test_what_was_delivered_is_told_only_of_live_streams(server: Server) -> None:
    held = failure(call_for(server, "error-stream", deliver="held"), stream=True)
    live = failure(call_for(server, "error-stream", deliver="live"), stream=True)
    nothing = failure(call_for(server, "500", deliver="live"), stream=True)
    assert [held.delivered, live.delivered, nothing.delivered] == [False, True, False]


# Secrets


@pytest.mark.parametrize("model", ["401", "404", "500", "cut", "not-json", "timeout"])
def test_the_key_appears_in_no_error_and_no_log(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, model: str
) -> None:
    monkeypatch.setenv("STUB_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    error = failure(call_for(server, model, api_key_env="STUB_KEY", timeout=0.3))
    assert server.last(model).headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in "".join(traceback.format_exception(error)) + repr(vars(error)) + caplog.text


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-Ab3dEf9hIj",
        "gsk_1a2b3c4d5e6f",
        "Bearer abc.def",
        "AIzaSyA1234567890",
        "9f86d081884c7d659a2feaa0c55ad015",
    ],
)
def test_what_looks_like_a_key_is_removed_from_what_is_quoted(key: str) -> None:
    assert key not in scrub(f"Incorrect API key provided: {key}. Find yours at https://example.com")
    assert "Incorrect API key provided" in scrub(f"Incorrect API key provided: {key}")


@given(st.text(max_size=2000))
def test_a_quotation_is_one_line_of_bounded_length(text: str) -> None:
    quoted = scrub(text)
    assert len(quoted) <= QUOTED
    assert len(quoted.splitlines()) <= 1


# Log-probabilities: sound, or absent


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["nan-logprobs", "inf-logprobs", "short-logprobs"])
def test_log_probabilities_that_are_not_sound_are_absent(server: Server, model: str, stream: bool) -> None:
    call = call_for(server, model, logprobs=True, top_logprobs=2)
    draft = ask_streaming(call)[1] if stream else ask(call)
    assert draft.text == "two and two make four"
    assert draft.logprobs is None
    assert draft.top_logprobs is None


def test_an_impossible_token_is_as_improbable_as_a_float_can_say(server: Server) -> None:
    draft = ask(call_for(server, "impossible-logprobs", logprobs=True))
    assert draft.logprobs == [SURE, SURE, SURE, SURE, IMPOSSIBLE]


def read_with(logprobs: list[Any], **usage: Any) -> Draft:
    choice = {"message": {"content": "x"}, "logprobs": {"content": [{"logprob": p} for p in logprobs]}}
    raw = {"choices": [choice], "usage": usage}
    return read(raw, tier="cheap", model="m", price=None, latency=0.0)


@given(st.lists(st.floats() | st.none() | st.just("NaN"), max_size=8))
def test_log_probabilities_are_all_finite_and_none_is_above_zero(values: list[Any]) -> None:
    found = read_with(values).logprobs
    usable = bool(values) and all(isinstance(v, float) and v <= 0.01 for v in values)
    assert (found is not None) == usable
    assert all(IMPOSSIBLE <= p <= 0 for p in found or [])


@pytest.mark.parametrize(
    ("count", "usage", "kept"),
    [
        (5, {"completion_tokens": 5}, True),
        (4, {"completion_tokens": 5}, True),  # the token that ended the answer
        (3, {"completion_tokens": 5}, False),
        (3, {"completion_tokens": 103, "completion_tokens_details": {"reasoning_tokens": 100}}, True),
        (3, {}, True),  # nobody says how many there were
    ],
)
def test_a_list_that_misses_tokens_is_absent(count: int, usage: dict[str, Any], kept: bool) -> None:
    assert (read_with([-0.5] * count, **usage).logprobs is not None) == kept


# Reading what is not the direct transport's own


def test_a_plain_string_is_an_answer_without_tokens_or_cost() -> None:
    draft = read("four", tier="cheap", model="m", price=None, latency=0.5)
    assert (draft.text, draft.cost, draft.latency, draft.logprobs) == ("four", None, 0.5, None)


def test_an_answer_that_does_not_say_its_tokens_has_no_cost(server: Server) -> None:
    draft = read_with([-0.5])
    assert draft.cost is None


def test_an_answer_in_parts_is_their_text() -> None:
    parts = [{"type": "text", "text": "fo"}, {"type": "image"}, {"type": "text", "text": "ur"}]
    raw = {"choices": [{"message": {"content": parts}}]}
    assert read(raw, tier="cheap", model="m", price=None, latency=0.0).text == "four"


@pytest.mark.parametrize("thing", [None, 4, object(), b"four", ["four"]])
def test_what_is_no_answer_is_the_users_fault(thing: Any) -> None:
    with pytest.raises(ConfigError, match="cannot read an answer of type"):
        read(thing, tier="cheap", model="m", price=None, latency=0.0)


@pytest.mark.parametrize("raw", [{}, {"choices": []}, {"choices": [{}]}, {"choices": "none"}])
def test_a_dict_without_choices_is_the_providers_fault(raw: dict[str, Any]) -> None:
    with pytest.raises(UpstreamError):
        read(raw, tier="cheap", model="m", price=None, latency=0.0)


def test_a_kept_completion_is_read_again_to_the_same_draft(server: Server) -> None:
    draft = ask(call_for(server, "tools"))
    again = read(draft.raw, tier="cheap", model="tools", price=None, latency=0.0)
    assert again.tool_calls == draft.tool_calls
    assert Completion(draft.raw.body).to_dict() == draft.raw.to_dict()


# Streams that are split anywhere


@given(st.data(), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.text(min_size=1, max_size=30))
def test_however_a_stream_is_split_it_says_the_same(data: st.DataObject, line_end: bytes, text: str) -> None:
    whole = completion("m", text, logprobs=True)
    sent = b": a comment\nevent: chunk\n".join(events(whole)).replace(b"\n", line_end)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=20)))
    pieces = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    parser, assembly = Events(), Assembly()
    *found, last = [event for piece in pieces for event in parser.feed(piece)]
    assert last == b"[DONE]"
    assert not parser.torn
    for event in found:
        assembly.add(loads(event))
    answer = assembly.completion()
    assert answer["choices"][0] == whole["choices"][0]
    assert answer["usage"] == whole["usage"]


def test_an_event_of_several_lines_is_one_and_half_an_event_is_none() -> None:
    parser = Events()
    assert list(parser.feed(b"data: a\ndata:b\n\ndata: c\n")) == [b"a\nb"]
    assert parser.torn


def test_tool_calls_in_pieces_come_together_by_their_index() -> None:
    assembly = Assembly()
    for index, part in [
        (1, {"name": "b"}),
        (0, {"name": "a"}),
        (1, {"arguments": "{}"}),
        (0, {"arguments": "["}),
    ]:
        call = {"index": index, "function": part} | ({"id": f"call_{index}"} if "name" in part else {})
        assembly.add({"choices": [{"delta": {"tool_calls": [call]}}]})
    calls = assembly.completion()["choices"][0]["message"]["tool_calls"]
    assert [(c["id"], c["function"]) for c in calls] == [
        ("call_0", {"name": "a", "arguments": "["}),
        ("call_1", {"name": "b", "arguments": "{}"}),
    ]


# Many at once, none at all, and other processes


def test_two_hundred_calls_at_once_each_get_their_own_answer(server: Server) -> None:
    async def run() -> list[str]:
        transport = DirectTransport()
        base = call_for(server, "echo")
        try:
            asked = [
                Call(
                    tier="t",
                    endpoint=base.endpoint,
                    messages=[{"role": "user", "content": f"nonce {n}"}],
                    params={},
                    timeout=20.0,
                )
                for n in range(200)
            ]
            return [draft.text for draft in await asyncio.gather(*map(transport.complete, asked))]
        finally:
            await transport.close()

    assert asyncio.run(run()) == [f"nonce {n}" for n in range(200)]
    assert server.count("echo") == 200


@pytest.mark.parametrize("stream", [False, True])
def test_cancelling_closes_the_connection(server: Server, stream: bool) -> None:
    model = "hang-stream@cancelled" if stream else "timeout@cancelled"

    async def listen(transport: DirectTransport, call: Call) -> None:
        async for _ in transport.stream(call):
            pass

    async def run() -> bool:
        transport, call = DirectTransport(), call_for(server, model)
        task = asyncio.create_task(listen(transport, call) if stream else transport.complete(call))
        await asyncio.to_thread(server.wait_for_call, model)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        dropped = await asyncio.to_thread(server.wait_for_drop, model)
        await transport.close()
        return dropped

    assert asyncio.run(run())


def test_closing_a_stream_half_way_closes_the_connection(server: Server) -> None:
    async def run() -> bool:
        transport = DirectTransport()
        stream = transport.stream(call_for(server, "hang-stream@closed"))
        await anext(stream)
        await stream.close()
        dropped = await asyncio.to_thread(server.wait_for_drop, "hang-stream@closed")
        await transport.close()
        return dropped

    assert asyncio.run(run())


def test_a_connection_is_used_again_after_an_answer_a_stream_and_an_error(server: Server) -> None:
    async def run() -> None:
        transport = DirectTransport()
        for model in ("ok", "500", "ok", "429"):
            try:
                await transport.complete(call_for(server, model))
            except UpstreamError:
                continue
        async for _ in transport.stream(call_for(server, "ok")):
            pass
        await transport.complete(call_for(server, "ok"))
        await transport.close()

    asyncio.run(run())
    assert len({id(asked.writer) for asked in server.asked}) == 1


def test_a_transport_works_on_one_loop_after_another_and_after_closing(server: Server) -> None:
    transport = DirectTransport()

    async def run() -> str:
        text = (await transport.complete(call_for(server, "ok"))).text
        await transport.close()
        return text + (await transport.complete(call_for(server, "ok"))).text

    async def run_and_close() -> str:
        text = await run()
        await transport.close()
        return text

    assert [asyncio.run(run_and_close()) for _ in range(2)] == ["fourfour"] * 2


# From 3.12 on a fork beside threads warns; the server's thread is one, and the child never uses it.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_leaves_the_parents_connection_alone(server: Server) -> None:
    transport, loop = DirectTransport(), asyncio.new_event_loop()
    call = call_for(server, "ok")
    loop.run_until_complete(transport.complete(call))
    if (child := os.fork()) == 0:
        status = 1
        try:
            text = asyncio.new_event_loop().run_until_complete(transport.complete(call)).text
            status = 0 if text == "four" else 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    loop.run_until_complete(transport.complete(call))
    loop.run_until_complete(transport.close())
    loop.close()
    connections = [id(asked.writer) for asked in server.asked]
    assert connections[0] == connections[2] != connections[1]


def test_importing_the_transports_imports_no_client() -> None:
    code = "import sys, cascade.transports; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert {"litellm", "aiohttp", "openai", "httpx", "yarl"}.isdisjoint(modules.split())


def test_impossible_is_the_least_that_a_float32_can_hold() -> None:
    assert math.exp(IMPOSSIBLE) == pytest.approx(2.0**-149)
