"""Any function that takes ``model=``, cascaded: it runs once for each tier that is tried.

Nothing but ``model=`` changes from run to run, so the tiers may differ in nothing else. What the
function returns is read for the gate and handed back untouched; what it raises on the last tier
reaches the caller as it was raised.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, NoReturn, Self, TypeVar

from msgspec.structs import replace

from cascade.asks import Answers, Call
from cascade.callers import CallersCode, Engine, Home, Latest
from cascade.drivers import drive, drive_sync
from cascade.errors import ConfigError, UpstreamError
from cascade.flow import answer
from cascade.parts import Parts
from cascade.policy import Policy
from cascade.prices import cost
from cascade.run import Rules, Run
from cascade.transports.reading import price_for, read
from cascade.types import Answer, Decision, Draft, Entry, Hit, Message, Request, Usage

R = TypeVar("R")
Asks = Callable[..., list[Message] | Mapping[str, Any] | Request]
Reads = Callable[[Any], Draft | str | dict[str, Any]]
Counts = Callable[[Any], Usage]

_FIXED = ("base_url", "api_key_env", "params", "prompt", "prompts")
"""What a function that is called with another ``model=`` cannot change from tier to tier."""


_OF_THE_QUESTION = frozenset({"text", "neighbours"})
"""Families that hold an answer against its question, or look the question up."""

_NOTHING: list[Message] = [{"role": "user", "content": ""}]


class Options(NamedTuple):
    """What a wrap was given; see ``wrap_function``."""

    request: Asks | None
    read: Reads | None
    usage: Counts | None
    repeatable: bool
    slice: str | None


def wrap_function(
    cascade: Engine,
    function: Callable[..., Any],
    *,
    request: Asks | None = None,
    read: Reads | None = None,
    usage: Counts | None = None,
    repeatable: bool = False,
    slice: str | None = None,
) -> Wrapped[Any] | AsyncWrapped[Any]:
    """``function``, called with the ``model=`` of one tier after the other until an answer may be served.

    Returns what it returned, the object itself. ``last()`` of the result is the decision, and
    ``decided(...)`` returns both. A ``model=`` that a caller gives is ignored.

    ``request`` maps the arguments to what is asked: messages, or a mapping with ``messages`` and any
    of ``params``, ``slice``, ``tenant``, ``metadata``, ``stakes``, or a ``Request``. Without it there
    is nothing to look up in the cache, to find a slice by its text, or to hold an answer's text
    against: text signals are absent, so a draft is served only by a gate whose signal set does
    without them (``logprobs``, a user's own) or by a routed slice. Rules may match the metadata
    ``function``, which is ``module.name``.

    ``read`` maps what the function returns to a text, a dict in OpenAI's shape or a ``Draft``; OpenAI,
    Anthropic and litellm objects and strings need none. ``usage`` counts its tokens, for strings:
    else their cost is unknown. A stored answer is text, so only strings are kept in the cache.

    A synchronous function runs in its caller's thread, an asynchronous one in its caller's task, and
    neither is interrupted: time limits are the function's own. An exception escalates; that of the
    last tier is raised again, the same object. Prompts and parameters that all tiers share are
    taken to be what the function does anyway.

    Raises ``ConfigError`` where tiers differ in anything but the model, where signals would call the
    models again, and, unless the function is ``repeatable``, in observe mode or a partial roll-out,
    which run it for further tiers off the caller's path; a closed gate is then never explored.
    """
    site = Site(cascade, function, Options(request, read, usage, repeatable, slice))
    return AsyncWrapped(site) if inspect.iscoroutinefunction(function) else Wrapped(site)


class _Wrapped:
    """What both kinds share: the function's name, documentation and signature, and ``last``."""

    def __init__(self, site: Site, bound: tuple[Any, ...] = ()) -> None:
        functools.update_wrapper(self, site.function)  # type: ignore[arg-type]
        self.__signature__ = site.signature if not bound else _without_first(site.signature)
        self._site = site
        self._bound = bound

    def last(self) -> Decision | None:
        """The decision of the latest call in this context (thread, task); None before the first."""
        return self._site.last()

    def __get__(self, instance: Any, owner: type | None = None) -> Self:
        return self if instance is None else type(self)(self._site, (instance,))

    def __repr__(self) -> str:
        return f"<cascaded {self._site.function!r}>"


class Wrapped(_Wrapped, Generic[R]):
    """A wrapped synchronous function that returns ``R``.

    A ``ParamSpec`` would keep the arguments' types, and with them a ``model`` that every caller must
    give: nothing can take one keyword out of it.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """What the function returned for the tier that was served."""
        return self.decided(*args, **kwargs)[0]

    def decided(self, *args: Any, **kwargs: Any) -> tuple[R, Decision]:
        """The same with its decision."""
        run, parts, runs = self._site.begin((*self._bound, *args), kwargs, None)
        try:
            return self._site.end(drive_sync(answer(run), parts))
        except UpstreamError as error:
            failed = error
        runs.fail(failed)


class AsyncWrapped(_Wrapped, Generic[R]):
    """A wrapped asynchronous function that returns ``R``."""

    async def __call__(self, *args: Any, **kwargs: Any) -> R:
        """What the function returned for the tier that was served."""
        return (await self.decided(*args, **kwargs))[0]

    async def decided(self, *args: Any, **kwargs: Any) -> tuple[R, Decision]:
        """The same with its decision."""
        run, parts, runs = self._site.begin((*self._bound, *args), kwargs, asyncio.get_running_loop())
        try:
            return self._site.end(await drive(answer(run), parts))
        except UpstreamError as error:
            failed = error
        runs.fail(failed)


class Site:
    """One wrapped function: its options, the rules for it, and the latest decision by context."""

    def __init__(self, cascade: Engine, function: Callable[..., Any], options: Options) -> None:
        self.function = function
        self.signature = _optional_model(function)
        self._cascade = cascade
        self._options = options
        self._latest = Latest()
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._adapted: tuple[Rules, Rules] = (cascade.rules, self._adapt(cascade.rules))

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any], home: Home) -> tuple[Run, Parts, Runs]:
        """A run for one call, and the parts that answer it."""
        given = {name: value for name, value in kwargs.items() if name != "model"}
        request = self._asked(args, given)
        self._latest.set(request.id)
        runs = Runs(functools.partial(self.function, *args, **given), self._options, home)
        parts = self._cascade.parts
        cache = Texts(parts.cache) if self._options.request is not None and parts.cache is not None else None
        return self._cascade.run(request, rules=self._rules()), parts.through(runs, cache), runs

    def end(self, found: Answer | float) -> tuple[Any, Decision]:
        """What the function returned, and the decision. Of a stored answer only the text is left."""
        assert isinstance(found, Answer)
        draft, decision = found.draft, found.decision
        self._latest.set(decision)
        return draft.text if decision.served == "cached" and draft.raw is None else draft.raw, decision

    def last(self) -> Decision | None:
        """The decision of this context's latest call; that of a failed one is in the ledger."""
        found = self._latest.get()
        return self._cascade.decision(found) if isinstance(found, str) else found

    def _asked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """What is asked. The function's name is in its parameters because its answers are its own:
        no other function's, and no model's, may be served for them out of the cache.
        """
        asks, name = self._options.request, {"function": self._name}
        if asks is None:
            blind = self._cascade.request(_NOTHING, slice=self._options.slice, metadata=name)
            return replace(blind, messages=[])
        asked = asks(*args, **kwargs)
        if not isinstance(asked, Request):
            asked = {"messages": asked} if isinstance(asked, list) else asked
            asked = self._cascade.request(**asked)
        return replace(
            asked,
            params=asked.params | name,
            metadata=asked.metadata | name,
            slice=asked.slice or self._options.slice,
        )

    def _rules(self) -> Rules:
        """The rules in force, adapted once after each reload."""
        current = self._cascade.rules
        if self._adapted[0] is not current:
            self._adapted = (current, self._adapt(current))
        return self._adapted[1]

    def _adapt(self, rules: Rules) -> Rules:
        """The same rules without what would run the function twice for a tier, or off its caller's path."""
        policy, options = rules.policy, self._options
        _refuse(policy, options.repeatable)
        once = {"retries": 0, "rescue_max_tokens": None}
        update: dict[str, Any] = {"tiers": [tier.model_copy(update=once) for tier in policy.tiers]}
        if not options.repeatable:
            update["explore"] = policy.explore.model_copy(update={"rate": 0.0})
        if options.request is None:
            blind = [found for found in policy.signals.sets if _OF_THE_QUESTION.isdisjoint(found)]
            update["signals"] = policy.signals.model_copy(update={"sets": blind})
            update["preroute"] = policy.preroute.model_copy(update={"enabled": False})
            rules = replace(rules, intents=None)
        # Constructed, since a copy would keep what the policy has derived from its fields already.
        return replace(rules, policy=Policy.model_construct(**dict(policy) | update))


class Runs(CallersCode):
    """The runs of the function for one call: a tier's answer is what one run returns."""

    def __init__(self, run: Callable[..., Any], options: Options, home: Home) -> None:
        super().__init__(home)
        self._run = run
        self._options = options

    def work(self, call: Call) -> Callable[[], Any]:
        """One run, with the model of the call."""
        return functools.partial(self._run, model=call.endpoint.model)

    def drafted(self, call: Call, found: Any, latency: float) -> Draft:
        """What the function returned, read for the gate. ``ConfigError`` when it cannot be read."""
        options, price, model = self._options, price_for(call.endpoint), call.endpoint.model
        given = options.read(found) if options.read is not None else found
        if not isinstance(given, Draft):
            given = read(given, tier=call.tier, model=model, price=price, latency=latency)
        draft = replace(given, tier=call.tier, model=model, latency=latency, raw=found)
        if options.usage is not None:
            draft = replace(draft, usage=options.usage(found), cost=None)
        if draft.cost is None and price is not None and draft.usage != Usage():
            draft = replace(draft, cost=cost(draft.usage, price))
        return draft

    def told(self, call: Call, error: Exception) -> UpstreamError:
        """Not to be tried again with this model: the function has seen to that itself, if anybody."""
        # Its type alone: its message may quote content, which the ledger may have been told not to keep.
        said = f"the function raised {type(error).__name__} with model={call.endpoint.model!r}"
        return UpstreamError(said, provider=call.endpoint.model, retryable=False)

    def stream(self, call: Call) -> NoReturn:
        """A function returns its answer whole."""
        raise ConfigError("a wrapped function cannot be streamed")

    def fail(self, error: UpstreamError) -> NoReturn:
        """Raise what the last run raised, untouched; ``error`` where that one did return."""
        raise error if self.raised is None else self.raised


class Texts:
    """The cache as a function sees it that may return anything: it keeps texts, and nothing else."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.key = answers.key
        self.cacheable = answers.cacheable
        self.lookup: Callable[[Request], Hit | None] = answers.lookup
        self.close = answers.close

    def keep(self, request: Request, entry: Entry) -> None:
        """Keep a text; anything else could not be given back as it was."""
        if isinstance(entry.draft.raw, str):
            self._answers.keep(request, entry)


def _refuse(policy: Policy, repeatable: bool) -> None:
    """Raise ``ConfigError`` for a policy that one run a tier cannot follow."""
    first = policy.tiers[0]
    for tier in policy.tiers:
        for model in (tier, *tier.fallbacks):
            made = {name: getattr(model, name, getattr(tier, name)) for name in _FIXED}
            made["params"] = {**tier.params, **model.params}
            for name, value in made.items():
                if value != getattr(first, name):
                    raise ConfigError(
                        f"tier {tier.name!r} ({model.model}) differs from tier {first.name!r} in {name}, and a "
                        "wrapped function is called with another model= and nothing else: make them equal, or "
                        "use cascade.completion or cascade.client for these tiers"
                    )
    paid = [name for name in ("votes", "second", "verifier") if getattr(policy.signals, name) is not None]
    if paid:
        raise ConfigError(
            f"the policy's signals.{paid[0]} calls models again, and a wrapped function runs once a tier: "
            "leave it out, or use cascade.completion or cascade.client"
        )
    if not repeatable and (policy.mode == "observe" or policy.rollout < 100.0):
        raise ConfigError(
            "in observe mode and in a partial roll-out the function would run again for the cheap tiers, off "
            "the caller's path: if it may run several times for one call, say wrap(..., repeatable=True)"
        )


def _optional_model(function: Callable[..., Any]) -> inspect.Signature:
    """The signature with ``model`` optional. ``ConfigError`` when the function cannot be wrapped."""
    name = getattr(function, "__qualname__", None)
    if not callable(function) or name is None:
        raise ConfigError(f"cascade.wrap takes a function, not {type(function).__name__}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(f"{name} yields its answer in pieces: wrap a function that returns it whole")
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    model = signature.parameters.get("model")
    if model is None and any(p.kind is p.VAR_KEYWORD for p in parameters):
        return signature
    if model is None or model.kind in (model.POSITIONAL_ONLY, model.VAR_POSITIONAL):
        raise ConfigError(f"{name} takes no model=: the tier's model is given to it by that keyword")
    after = parameters[parameters.index(model) + 1 :]
    if model.kind is not model.KEYWORD_ONLY and any(p.kind is p.POSITIONAL_OR_KEYWORD for p in after):
        raise ConfigError(f"{name} takes model before other arguments: make it the last, or keyword-only")
    default = None if model.default is model.empty else model.default
    optional = [p.replace(default=default) if p is model else p for p in parameters]
    return signature.replace(parameters=optional)


def _without_first(signature: inspect.Signature) -> inspect.Signature:
    return signature.replace(parameters=list(signature.parameters.values())[1:])
