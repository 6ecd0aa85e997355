"""What a flow may ask of its driver, and what it gets back. A flow does nothing else.

The request's way is a generator that yields these values; drivers (async, sync, replay, scripted)
answer them. So the decision exists once, and everything that touches a network, a disk or a clock
stands outside it, as in h11 or in httpx's authentication flows.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal, Protocol

from cascade.types import Answer, Draft, Entry, Hit, Message, Mode, Outcome, Record, Request

Deliver = Literal["whole", "held", "live"]


class Embed(Record, frozen=True, kw_only=True):
    """The text's vector. Driver answers an array of unit length, or None where there is none."""

    text: str


class Lookup(Record, frozen=True, kw_only=True):
    """Is there a stored answer? Driver answers ``Hit | None`` and never raises.

    ``patience`` is how many seconds the driver may wait for an identical request under way, or
    None for as long as that takes.
    """

    request: Request
    patience: float | None = None


class Endpoint(Record, frozen=True, kw_only=True):
    """Where one call goes: a model with its own parameters, as a tier or a fallback declares it.

    ``price`` is dollars a million tokens as ``(input, output, cached input)``, or None where
    litellm's map is the source. ``base_url`` chooses the direct transport.
    """

    model: str
    base_url: str | None = None
    api_key_env: str | None = None
    price: tuple[float, float, float] | None = None
    logprobs: bool = False
    top_logprobs: int = 0


class Call(Record, frozen=True, kw_only=True):
    """Ask a model. Driver answers ``Draft`` or raises ``UpstreamError``.

    ``deliver`` says what the driver may do with tokens while they arrive: ``whole`` (not a
    stream), ``held`` (stream from the provider, nothing to the caller), ``live`` (straight to the
    caller, since nothing can reject this answer any more). A driver may answer a held call with
    ``Prefix`` values first, to which the flow replies with a ``Go``. ``family`` names the signal family
    that a call for a signal is made for.
    """

    tier: str
    endpoint: Endpoint
    messages: list[Message]
    params: dict[str, Any]
    timeout: float
    deliver: Deliver = "whole"
    purpose: Literal["draft", "signal", "shadow"] = "draft"
    family: str = ""


class Together(Record, frozen=True, kw_only=True):
    """Ask several models at once, for signals. Driver answers a list: a ``Draft``, or None where
    the call failed, in the order of ``calls``.
    """

    calls: list[Call]


class Prefix(Record, frozen=True, kw_only=True):
    """The beginning of a held answer, as a driver may show it before the end has arrived."""

    text: str
    logprobs: list[float] | None = None


class Go(Record, frozen=True, kw_only=True):
    """The flow's reply to a ``Prefix``: go on holding, release it to the caller, or abort."""

    verb: Literal["on", "release", "abort"] = "on"


class Check(Record, frozen=True, kw_only=True):
    """Run one of the user's own hard checks. Driver answers ``CheckResult``; a crash abstains."""

    name: str
    request: Request
    draft: Draft


class Measure(Record, frozen=True, kw_only=True):
    """Run one of the user's own signals. Driver answers ``dict[str, float] | None`` (absent)."""

    name: str
    request: Request
    draft: Draft


class Wait(Record, frozen=True, kw_only=True):
    """Let ``seconds`` pass before a retry. Driver answers None."""

    seconds: float


class Keep(Record, frozen=True, kw_only=True):
    """Write the outcome to the ledger, and the answer to the cache where ``store`` says so.

    Driver answers whether the outcome was recorded. It never raises: a request does not fail
    because its record could not be kept.
    """

    request: Request
    outcome: Outcome
    store: Entry | None = None


class Spawn(Record, frozen=True, kw_only=True):
    """Drive another flow off the caller's path (shadow calls, exploration). Driver answers None."""

    flow: Any
    mode: Mode


Ask = Embed | Lookup | Call | Together | Check | Measure | Wait | Keep | Spawn | Go
Flow = Generator[Ask, Any, Answer | float]
"""A request's flow returns its ``Answer``; a shadow's the dollars that it cost."""


class Transport(Protocol):
    """The one seam to models: everything that can answer a ``Call``."""

    async def complete(self, call: Call) -> Draft:
        """The whole answer. Raises ``UpstreamError`` or ``ConfigError``."""
        ...

    def stream(self, call: Call) -> Stream:
        """The answer as it arrives; see ``Stream``."""
        ...

    async def close(self) -> None:
        """Give back connections; a closed transport may be used again."""
        ...


class Stream(Protocol):
    """An answer under way: iterate its chunks, then read ``draft``; ``close`` cancels it.

    Chunks are provider-shaped delta objects in OpenAI's dialect (``dict``); ``draft`` raises
    before the end has been seen.
    """

    def __aiter__(self) -> Stream: ...
    async def __anext__(self) -> dict[str, Any]: ...
    async def close(self) -> None: ...
    @property
    def draft(self) -> Draft: ...


class Answers(Protocol):
    """What is needed of a cache; see ``cascade.cache.Cache``."""

    def key(self, request: Request) -> str: ...
    def cacheable(self, request: Request) -> bool: ...
    def lookup(self, request: Request) -> Hit | None: ...
    def keep(self, request: Request, entry: Entry) -> str | None: ...
    def close(self) -> None: ...


class UserSignal(Protocol):
    """A user's signal: one method; returns raw values, or None where it has nothing to say."""

    def measure(self, request: Request, draft: Draft) -> dict[str, float] | None: ...
