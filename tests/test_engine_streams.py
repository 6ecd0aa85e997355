"""Streams: a held draft comes out whole or not at all, and nobody takes over once a token is out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cascade.asks import Call
from cascade.engine import Cascade
from cascade.errors import UpstreamError
from cascade.testing import draft
from tests.building import policy_of, tier
from tests.misbehaving import Server
from tests.test_engine import ASK, build, faked

__all__ = ["build"]


def spoken(chunks: Any) -> str:
    return "".join(c.choices[0].delta.to_dict().get("content") or "" for c in chunks if c.choices)


def test_a_rejected_drafts_tokens_never_reach_the_caller(build: Callable[..., Cascade]) -> None:
    chunks = list(replies := build("unsure").completion(ASK, stream=True))
    assert spoken(chunks) == "four"
    assert replies.cascade.served_by == "frontier"


def test_an_accepted_draft_is_released_whole_and_the_frontier_streams_live(build: Callable[..., Cascade]) -> None:
    held = list(build().completion(ASK, stream=True))
    assert [c for c in (spoken([chunk]) for chunk in held) if c] == ["two and two make four"]
    live = list(build("unsure", "ok-logprobs").completion(ASK, stream=True))
    assert [c for c in (spoken([chunk]) for chunk in live) if c] == ["two ", "and ", "two ", "make ", "four"]


@pytest.mark.parametrize("frontier", ["error-stream", "end-stream"])
def test_a_stream_that_breaks_after_a_token_is_an_error_and_nobody_takes_over(
    build: Callable[..., Cascade], server: Server, frontier: str
) -> None:
    cascade = build("unsure", frontier, backup=True)
    got: list[Any] = []
    with pytest.raises(UpstreamError) as caught:
        got.extend(cascade.completion(ASK, stream=True))
    assert caught.value.delivered
    assert server.count("ok@backup") == 0
    (kept,) = cascade.outcomes()
    assert kept.decision is not None
    assert kept.decision.served == "failed"


def test_a_stream_that_breaks_before_a_token_is_taken_over(build: Callable[..., Cascade]) -> None:
    assert spoken(build("unsure", "cut-stream", backup=True).completion(ASK, stream=True)) == "four"


def test_a_stream_ends_once() -> None:
    """A rescue after a silent failure is one answer to the caller, with one finish reason."""

    def rescued(call: Call) -> Any:
        silent = call.params.get("max_tokens") != 900
        return draft(call, "" if silent else "four", finish_reason="length" if silent else "stop")

    cascade, _ = faked(rescued, policy_of(tier("frontier", rescue_max_tokens=900)))
    chunks = list(cascade.completion(ASK, stream=True))
    ends = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
    assert (spoken(chunks), ends) == ("four", ["stop"])


def test_a_transport_that_breaks_while_streaming_is_an_upstream_error_and_recorded() -> None:
    cascade, _ = faked(lambda call: RuntimeError("a bug"), policy_of(tier("frontier", retries=0)))
    with pytest.raises(UpstreamError):
        list(cascade.completion(ASK, stream=True))
    assert len(list(cascade.outcomes())) == 1


def test_who_stops_reading_a_stream_leaves_a_record(build: Callable[..., Cascade], server: Server) -> None:
    cascade = build("unsure", "hang-stream")

    async def leave() -> None:
        async with await cascade.acompletion(ASK, stream=True) as replies:
            await anext(replies)
        await cascade.parts.transport.close()

    asyncio.run(leave())
    assert server.wait_for_drop("hang-stream@frontier")
    assert len(list(cascade.outcomes())) == 1
