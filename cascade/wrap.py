"""Any function that takes ``model=``, cascaded: it is run once for each tier that is tried.

Nothing but ``model=`` changes from run to run, so the tiers may differ in nothing else. What the
function returns is read for the gate and handed back untouched.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, Self, TypeVar, overload

from msgspec.structs import replace

from cascade.asks import Call, Stream
from cascade.callers import Home, Latest, at_home
from cascade.drivers import drive, drive_sync
from cascade.engine import Cascade
from cascade.errors import ConfigError, UpstreamError
from cascade.flow import answer
from cascade.parts import Answers, Parts
from cascade.policy import Model, Policy, Preroute, Tier
from cascade.prices import cost
from cascade.run import Rules, Run
from cascade.transports.reading import price_for, read
from cascade.types import Answer, Decision, Draft, Entry, Hit, Message, Request, Usage

R = TypeVar("R")
Asks = Callable[..., list[Message] | Mapping[str, Any] | Request]
Reads = Callable[[Any], Draft | str | dict[str, Any]]
Counts = Callable[[Any], Usage]

_SAME = ("base_url", "api_key_env", "params", "prompt", "prompts")
"""What a run of the function cannot change from tier to tier."""


class Site:
    """One wrapped function: its options, the rules for it, and the latest decision by context."""

    def __init__(  # noqa: PLR0913  one argument for each option of a wrap
        self,
        cascade: Cascade,
        function: Callable[..., Any],
        request: Asks | None,
        read: Reads | None,
        usage: Counts | None,
        repeatable: bool,
        slice: str | None,
    ) -> None:
        self.function = function
        self.signature = _optional_model(function)
        self.name = f"{function.__module__}.{function.__qualname__}"
        self.latest = Latest()
        self._cascade = cascade
        self._request, self._read, self._usage = request, read, usage
        self._repeatable = repeatable
        self._slice = slice
        self._rules = self._adapted(cascade.rules)

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any], home: Home) -> tuple[Run, Parts, Runs]:
        """A run of one call, and the parts that answer it."""
        given = {name: value for name, value in kwargs.items() if name != "model"}
        request = self._asked(args, given)
        self.latest.set(request.id)
        runs = Runs(functools.partial(self.function, *args, **given), self.draft, home)
        parts = self._cascade.parts
        cache = None if self._request is None or parts.cache is None else Texts(parts.cache)
        return self._cascade.run(request, rules=self._current()), parts.through(runs, cache), runs

    def end(self, found: Answer | float) -> tuple[Any, Decision]:
        """What the function returned, and the decision. A stored answer has only its text left."""
        assert isinstance(found, Answer)
        self.latest.set(found.decision)
        draft = found.draft
        stored = found.decision.served == "cached" and draft.raw is None
        return draft.text if stored else draft.raw, found.decision

    def last(self) -> Decision | None:
        """The decision of this context's latest call; that of a failed one out of the ledger."""
        found = self.latest.get()
        return self._cascade.decision(found) if isinstance(found, str) else found

    def draft(self, call: Call, found: Any, latency: float) -> Draft:
        """What the function returned, read for the gate."""
        given = found if self._read is None else self._read(found)
        price = price_for(call.endpoint)
        if not isinstance(given, Draft):
            given = read(given, tier=call.tier, model=call.endpoint.model, price=price, latency=latency)
        counted = given.usage if self._usage is None else self._usage(found)
        spent = given.cost
        if price is not None and (self._usage is not None or (spent is None and counted.completion_tokens)):
            spent = cost(counted, price)
        return replace(
            given,
            tier=call.tier,
            model=call.endpoint.model,
            usage=counted,
            cost=spent,
            latency=latency,
            raw=found,
        )

    def _asked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """The request as the gate sees it. Its metadata name the function, for rules of slices."""
        asked = [] if self._request is None else self._request(*args, **kwargs)
        if not isinstance(asked, Request):
            given = dict(asked) if isinstance(asked, Mapping) else {"messages": asked}
            blind = self._request is None
            # Without messages only the shape of a request is needed, which then refuses nothing.
            request = self._cascade.request([{"role": "user", "content": ""}] if blind else **given)
        return request
