"""For tests, yours and ours: models that are a function, and a driver that is a plain list.

There is one seam to models (``cascade.asks.Transport``), and this is the fake for it::

    models = FakeModels(lambda call: "4" if call.tier == "cheap" else "four")
    cascade = Cascade(policy, lock, transport=models)
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from cascade.asks import Ask, Call, Flow, Go, Keep, Spawn
from cascade.drivers import chunks_of
from cascade.errors import CascadeError
from cascade.types import Answer, Draft, Usage

Given = Draft | str | BaseException
Answerer = Callable[[Call], Given | Awaitable[Given]]


class FakeModels:
    """A transport answered by a function of the call: a draft, a text, or an exception to raise.

    ``calls`` lists what was asked, in order.
    """

    def __init__(self, answer: Answerer) -> None:
        self._answer = answer
        self.calls: list[Call] = []

    async def complete(self, call: Call) -> Draft:
        """The function's answer as a draft; a text is priced by its words where a price is known."""
        self.calls.append(call)
        given = self._answer(call)
        if inspect.isawaitable(given):
            given = await given
        if isinstance(given, BaseException):
            raise given
        return given if isinstance(given, Draft) else draft(call, given)

    def stream(self, call: Call) -> FakeStream:
        """The same answer, word by word."""
        return FakeStream(self, call)

    async def close(self) -> None:
        """Nothing to give back."""


class FakeStream:
    """A fake answer as it arrives."""

    def __init__(self, models: FakeModels, call: Call) -> None:
        self._models, self._call = models, call
        self._chunks: list[dict[str, Any]] | None = None
        self._draft: Draft | None = None

    def __aiter__(self) -> FakeStream:
        return self

    async def __anext__(self) -> dict[str, Any]:
        if self._chunks is None:
            self._draft = await self._models.complete(self._call)
            self._chunks = chunks_of(self._draft)
        if not self._chunks:
            raise StopAsyncIteration
        return self._chunks.pop(0)

    async def close(self) -> None:
        """Nothing to cancel."""

    @property
    def draft(self) -> Draft:
        """The whole answer, once it has been seen."""
        if self._draft is None:
            raise RuntimeError("the stream has not been read")
        return self._draft


def draft(call: Call, text: str, **fields: Any) -> Draft:
    """A draft of the call's tier with this text; tokens are counted as words."""
    asked = sum(len(str(message.get("content") or "").split()) for message in call.messages)
    usage = Usage(prompt_tokens=asked, completion_tokens=len(text.split()))
    price = call.endpoint.price
    cost = None if price is None else (asked * price[0] + usage.completion_tokens * price[1]) / 1e6
    made = {"text": text, "finish_reason": "stop", "usage": usage, "cost": cost, **fields}
    return Draft(tier=call.tier, model=call.endpoint.model, **made)


def scripted(flow: Flow, replies: Iterable[Any]) -> tuple[Answer | float | CascadeError, list[Ask]]:
    """Drive a flow with a list of replies, exceptions to be thrown among them.

    Returns how it ended (its answer, or the error that it raised) and everything it asked. ``Keep``
    and ``Spawn`` answer themselves (recorded; ignored) and take nothing from the list.
    """
    script, asks = iter(replies), []
    reply: Any = None
    try:
        while True:
            ask = flow.throw(reply) if isinstance(reply, BaseException) else flow.send(reply)
            asks.append(ask)
            match ask:
                case Keep():
                    reply = True
                case Spawn():
                    reply = None
                case _:
                    reply = next(script, None)
    except StopIteration as stop:
        return stop.value, asks
    except CascadeError as error:
        return error, asks


__all__ = ["FakeModels", "FakeStream", "Go", "draft", "scripted"]
