"""Who answers a flow's asks in live traffic: synchronously, asynchronously, or as a stream.

All drivers step the same generator through ``pump``, which answers at once whatever needs no
waiting. They differ only in how they wait: so an exact cache hit never leaves the caller's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from typing import Any

from cascade.asks import Ask, Call, Check, Embed, Flow, Lookup, Measure, Stream, Together, Wait
from cascade.errors import Cancelled, CascadeError, UpstreamError
from cascade.parts import Join, Parts
from cascade.transports.streams import spoken
from cascade.types import Answer, Draft, Entry

Pending = Call | Together | Wait | Check | Measure | Embed | Lookup | Join
WAITS = (Call, Together, Wait, Check, Measure)


def pump(flow: Flow, parts: Parts) -> Generator[Pending, Any, Answer | float]:
    """Step a flow; yield only what has to be waited for.

    The first of several identical requests under way flies for all of them, and lands here,
    whatever becomes of it.
    """
    key: str | None = None
    landed: Entry | None = None
    reply: Any = None
    error: BaseException | None = None
    try:
        while True:
            try:
                ask: Ask = flow.throw(error) if error is not None else flow.send(reply)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            reply, error = None, None
            try:
                if isinstance(ask, WAITS) or (parts.embeds_slowly and isinstance(ask, Embed)):
                    reply = yield ask
                elif isinstance(ask, Lookup):
                    reply = (yield ask) if parts.embeds_slowly else parts.lookup(ask)
                    if isinstance(reply, Join):
                        reply = yield reply
                    elif isinstance(reply, str):
                        key, reply = reply, None
                else:
                    landed = getattr(ask, "store", None) or landed
                    reply = parts.perform(ask)
            except CascadeError as raised:
                error = raised
    finally:
        if key is not None:
            parts.flights.land(key, landed)


async def drive(flow: Flow, parts: Parts) -> Answer | float:
    """Run a flow to its end on the current event loop. A cancellation is recorded, then goes on."""
    steps = pump(flow, parts)
    try:
        ask = next(steps)
        while True:
            try:
                reply = await parts.wait(ask)
            except CascadeError as error:
                ask = steps.throw(error)
            except asyncio.CancelledError:
                _cancel(steps)
                raise
            else:
                ask = steps.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def drive_sync(flow: Flow, parts: Parts) -> Answer | float:
    """Run a flow to its end in this thread; only what waits on a network goes to the background loop."""
    steps = pump(flow, parts)
    try:
        ask = next(steps)
        while True:
            try:
                reply = parts.wait_here(ask)
            except CascadeError as error:
                ask = steps.throw(error)
            except BaseException:  # from outside, or out of the caller's own function
                _cancel(steps)
                raise
            else:
                ask = steps.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def drive_stream(flow: Flow, parts: Parts) -> AsyncGenerator[dict[str, Any] | Answer]:
    """Run a flow and give its answer in chunks of OpenAI's dialect; the last item is the ``Answer``.

    Only a live call's chunks pass through as they arrive. A held draft comes out whole once the
    flow has released it: no token that may still be rejected ever leaves.
    """
    steps = pump(flow, parts)
    streamed = False
    try:
        ask = next(steps)
        while True:
            try:
                if isinstance(ask, Call) and ask.deliver == "live":
                    chunks = parts.transport.stream(ask)
                    async with aclosing(_live(ask, chunks, parts)) as told:
                        async for chunk in told:
                            streamed = True
                            yield chunk
                    reply: Any = chunks.draft
                else:
                    reply = await parts.wait(ask)
            except CascadeError as error:
                ask = steps.throw(error)
            except (asyncio.CancelledError, GeneratorExit):
                _cancel(steps)
                raise
            else:
                ask = steps.send(reply)
    except StopIteration as stop:
        answer: Answer = stop.value
        if not streamed:
            for chunk in chunks_of(answer.draft):
                yield chunk
        yield answer


async def _live(ask: Call, chunks: Stream, parts: Parts) -> AsyncGenerator[dict[str, Any]]:
    """A live call's chunks, from the first one on that carries something of the answer.

    What comes before it is kept back: an answer that turns out to be empty can then still be
    mended by another call, and its caller sees one beginning and one end.
    """
    kept: list[dict[str, Any]] = []
    begun = False
    try:
        async for chunk in chunks:
            begun = begun or spoken(chunk)
            kept.append(chunk)
            if begun:
                for each in kept:
                    yield each
                kept.clear()
    except UpstreamError as error:
        error.delivered, error.retryable = begun, error.retryable and not begun
        raise
    except CascadeError:
        raise
    except Exception as error:
        fault = parts.broke(ask, error)
        fault.delivered = begun
        raise fault from error
    finally:
        await chunks.close()


def chunks_of(draft: Draft) -> list[dict[str, Any]]:
    """A whole draft as the chunks of a stream: its content, its end, its usage."""
    delta: dict[str, Any] = {"role": "assistant"}
    if draft.text:
        delta["content"] = draft.text
    if draft.tool_calls:
        delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(draft.tool_calls)]
    head = {"id": f"chatcmpl-{draft.tier}", "object": "chat.completion.chunk", "model": draft.model}
    usage = {
        "prompt_tokens": draft.usage.prompt_tokens,
        "completion_tokens": draft.usage.completion_tokens,
        "total_tokens": draft.usage.prompt_tokens + draft.usage.completion_tokens,
    }
    return [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": draft.finish_reason or "stop"}]},
        {**head, "choices": [], "usage": usage},
    ]


def _cancel(steps: Generator[Pending, Any, Answer | float]) -> None:
    """Tell the flow that its caller has gone, so that the ledger hears of what was under way."""
    try:
        steps.throw(Cancelled())
    except (StopIteration, CascadeError):
        return
    steps.close()
