"""The person's file: tiers, target, slices, checks, cache, audit, budgets. No command rewrites it.

A policy states a target and a confidence, never a threshold; thresholds live in the lock beside it.
Pydantic rather than msgspec here, because its errors name the field that is wrong.
"""

from __future__ import annotations

import difflib
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from cascade.errors import ConfigError
from cascade.types import CACHE

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

TierName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$")]
"""Recorded data sets name their tiers as hubs name models, with an owner and a slash."""

AUDIT_FLOOR = 0.01
"""Least probability of a label: a row that could never be drawn can never be corrected for."""


class Section(BaseModel):
    """Base of the policy's tables: immutable, unknown keys refused."""

    # Schemas are built on first use, so that importing a name of this module need not pay for all of them.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Price(Section):
    """Dollars a million tokens. ``cached_input`` defaults to ``input``: a discount is never guessed."""

    input: Annotated[float, Field(ge=0.0)]
    output: Annotated[float, Field(ge=0.0)]
    cached_input: Annotated[float, Field(ge=0.0)] | None = None


class Target(Section):
    """What is promised: at most ``max_error`` of what is served cheap is unacceptable, or at most
    ``max_regret`` is lost against always-frontier over all traffic; each with ``confidence``.

    ``over`` says of what: ``all`` traffic together, or ``each slice``, which splits the error budget
    among the declared slices. A slice with too few rows is then ``closed``, or ``pooled`` with the
    other small ones under one promise. ``refits`` a year share the budget too, so that the
    confidence is that of the whole year.
    """

    max_error: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    max_regret: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    over: Literal["all", "each slice"] = "all"
    small_slices: Literal["closed", "pooled"] = "closed"
    refits: Annotated[int, Field(ge=1, le=365)] = 1

    @model_validator(mode="after")
    def _one(self) -> Target:
        if (self.max_error is None) == (self.max_regret is None):
            raise ValueError("state exactly one of max_error and max_regret")
        return self

    @property
    def kind(self) -> Literal["error", "regret"]:
        """Which of the two is promised."""
        return "error" if self.max_error is not None else "regret"

    @property
    def level(self) -> float:
        """The promised level, in [0, 1]."""
        return self.max_error if self.max_error is not None else self.max_regret or 0.0


class Model(Section):
    """Where a call goes. ``base_url`` chooses the direct transport, else litellm finds the provider."""

    model: Annotated[str, Field(min_length=1)]
    base_url: str | None = None
    api_key_env: str | None = None
    price: Price | None = None
    params: dict[str, Any] = {}


class Fallback(Model):
    """Another model for when the tier's own fails.

    On any tier but the last a fallback is used only when ``same_model`` says that it is the same
    model at another provider: the certificate speaks about that model and no other.
    """

    same_model: bool = False


class Tier(Model):
    """A model *with* its parameters and its prompt; two tiers may share a model.

    ``prompt`` replaces the request's system message, ``prompts`` does so for single slices;
    ``{system}`` in either stands for the caller's own. ``rescue_max_tokens`` allows one second try
    with a larger budget after an answer that was empty and truncated, billed and silent.
    """

    name: TierName
    prompt: str | None = None
    prompts: dict[str, str] = {}
    logprobs: bool = True
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = 0
    timeout: Positive = 60.0
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    rescue_max_tokens: Annotated[int, Field(gt=0)] | None = None
    fallbacks: list[Fallback] = []


def _regular(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


class When(Section):
    """Which requests a rule means: all of what is stated must hold, and something must be stated."""

    slice: str | None = None
    stakes: str | None = None
    metadata: dict[str, str] = {}
    pattern: str | None = None

    @model_validator(mode="after")
    def _something(self) -> When:
        if not (self.slice or self.stakes or self.metadata or self.pattern):
            raise ValueError("a rule states at least one of slice, stakes, metadata, pattern")
        return self

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        return pattern if pattern is None else _regular(pattern)


class Slice(Section):
    """A part of the traffic with its own promise.

    ``route`` names the one tier that this work goes to (structured, well-defined work); without
    it the slice is cascaded. ``examples`` are a few questions by which a small classifier knows the
    slice when neither the caller nor a rule names it. ``require_context`` names metadata without
    which severity cannot be judged: such a request escalates, or is flagged where
    ``missing_context`` says so.
    """

    when: When | None = None
    examples: list[str] = []
    route: str | None = None
    require_context: list[str] = []
    missing_context: Literal["escalate", "flag"] = "escalate"


class Stakes(Section):
    """Requests that must have at least this tier: cheaper ones are not asked, whatever any
    confidence would say. A tier that is not the last one still needs its certificate.
    """

    when: When
    tier: str


BUILT_IN = frozenset({"empty", "refusal", "schema", "silent_failure", "tools", "truncated"})


class UserCheck(Section):
    """A hard check of the user's own: a ``command``, or a callable of that name given in code."""

    name: Name

    @field_validator("name")
    @classmethod
    def _not_built_in(cls, name: str) -> str:
        if name in BUILT_IN:
            raise ValueError(f"{name!r} is a built-in check; give yours another name")
        return name

    command: list[str] | None = None
    timeout: Positive = 60.0
    slices: list[str] = []
    tiers: list[str] = []


TIME_SENSITIVE = [
    r"\b(today|tonight|tomorrow|yesterday|now|nowadays|currently|latest|newest|up[- ]to[- ]date)\b",
    r"\b(this|next|last|current) (hour|morning|afternoon|evening|week|weekend|month|season|year)\b",
    r"\b(breaking|recent) (news|events|changes)\b|\bweather\b|\bforecast\b|\bat the moment\b",
    r"\b(price|score|value|rate) of\b|\bexchange rate\b|\bwhat time is it\b",
]
"""English words of questions that have another answer tomorrow. One too many costs hits only."""


class CachePolicy(Section):
    """Exact hits, and with ``semantic`` those of the nearest stored question.

    ``max_temperature``: a request that samples hotter than this wants a new answer each time. A
    request that states no temperature counts as 1.0, the providers' default. ``semantic`` candidates
    are recorded, and served once a gate for them is certified. Requests whose question matches a
    ``time_sensitive`` pattern (in any case of letters) are neither stored nor answered from the
    cache. ``tags`` names metadata whose values label an entry, to invalidate it by.
    """

    enabled: bool = True
    ttl: Positive | None = 86_400.0
    size_limit_mb: Positive = 256.0
    max_temperature: Annotated[float, Field(ge=0.0)] = 0.0
    tools: bool = False
    semantic: bool = False
    time_sensitive: list[Annotated[str, AfterValidator(_regular)]] = TIME_SENSITIVE
    tags: list[str] = []


class Audit(Section):
    """Share of accepted and of escalated answers that a judge will see; never below the floor."""

    accepted: Annotated[float, Field(ge=AUDIT_FLOOR, le=1.0)] = 0.05
    escalated: Annotated[float, Field(ge=AUDIT_FLOOR, le=1.0)] = 0.05
    salt: str = ""


class Observe(Section):
    """Observe mode: the cheap tiers answer ``rate`` of the requests off the caller's path."""

    rate: Share = 1.0
    ceiling_usd_a_day: Positive | None = None


class Explore(Section):
    """How often a closed tier is asked off the caller's path, so that its gate can ever open."""

    rate: Annotated[float, Field(ge=AUDIT_FLOOR, le=1.0)] = 0.05
    ceiling_usd_a_day: Positive | None = None


class Budget(Section):
    """Ceilings of one request, over all its steps."""

    max_cost_usd: Positive | None = None
    deadline_s: Positive | None = None


class LedgerPolicy(Section):
    """What of a request's content the ledger keeps: all, a keyed hash of the question, or nothing."""

    content: Literal["full", "hashed", "none"] = "full"
    store: str | None = None


class Votes(Section):
    """Family ``votes``: further samples of the same tier; how far do they agree with the draft?"""

    samples: Annotated[int, Field(ge=1, le=20)] = 2
    temperature: Annotated[float, Field(gt=0.0)] = 1.0


class Second(Section):
    """Family ``second``: another tier's answer to the same question; does it agree with the draft?"""

    tier: str


class Verifier(Section):
    """Family ``verifier``: a tier is asked, for one token, whether the draft is right."""

    tier: str


class Preroute(Section):
    """Skip a cheap tier where it will so probably be rejected that asking it does not pay.

    The predicted chance and the break-even that it is compared with are fitted by calibration.
    """

    enabled: bool = True


class Promotion(Section):
    """When a candidate lock may take the place of the one in force.

    On held-out rows it must be shown, with 95 % confidence on both sides, to lose less than
    ``margin`` of quality (in [0, 1], mean over all requests) against it.
    """

    margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.01


class SignalPolicy(Section):
    """Which signal sets get a scorer and a share of the error budget, and which signals may cost.

    A set is a list of families. A draft whose set is not declared escalates. ``votes``, ``second``
    and ``verifier`` cost calls, which are charged to the decision; ``user`` names signals given in
    code. ``cost`` says what a signal of recorded data cost to measure, in units of the cheap call
    (``judged_decisiveness = 1.0``): recorded costs of a call do not hold it.
    """

    sets: list[list[str]] = [["logprobs", "text"]]
    user: list[Name] = []
    cost: dict[str, Annotated[float, Field(ge=0.0)]] = {}
    votes: Votes | None = None
    second: Second | None = None
    verifier: Verifier | None = None


class Policy(Section):
    """A whole policy. ``tiers`` stand cheapest first; the last one is the frontier.

    ``embedder`` is what turns questions into vectors where something needs them: ``wordllama``,
    ``minilm`` or ``litellm:MODEL``.
    """

    name: Name
    mode: Literal["observe", "enforce"] = "enforce"
    rollout: Annotated[float, Field(ge=0.0, le=100.0)] = 100.0
    target: Target
    tiers: Annotated[list[Tier], Field(min_length=1)]
    slices: dict[str, Slice] = {}
    stakes: list[Stakes] = []
    checks: list[UserCheck] = []
    signals: SignalPolicy = SignalPolicy()
    cache: CachePolicy = CachePolicy()
    embedder: str = "wordllama"
    audit: Audit = Audit()
    observe: Observe = Observe()
    explore: Explore = Explore()
    preroute: Preroute = Preroute()
    promotion: Promotion = Promotion()
    budget: Budget = Budget()
    ledger: LedgerPolicy = LedgerPolicy()

    @model_validator(mode="after")
    def _names_hold(self) -> Policy:
        names = [tier.name for tier in self.tiers]
        doubled = {name for name in names if names.count(name) > 1}
        if doubled:
            raise ValueError(f"tier named twice: {', '.join(sorted(doubled))}")
        if CACHE in names:
            raise ValueError(f"no tier may be named {CACHE!r}: that is the source of stored answers")
        named = [(f"slices.{name}.route", s.route) for name, s in self.slices.items() if s.route]
        named += [(f"stakes.{i}.tier", rule.tier) for i, rule in enumerate(self.stakes)]
        named += [(f"checks.{c.name}.tiers", tier) for c in self.checks for tier in c.tiers]
        asked = {"second": self.signals.second, "verifier": self.signals.verifier}
        named += [(f"signals.{name}.tier", who.tier) for name, who in asked.items() if who is not None]
        for where, tier in named:
            if tier not in names:
                raise ValueError(f"{where} names no tier: {tier!r}{nearest(tier, names)}")
        return self

    @property
    def last(self) -> Tier:
        """The frontier: the only tier that may serve without a certificate."""
        return self.tiers[-1]

    @cached_property
    def families(self) -> frozenset[str]:
        """Every signal family that some declared set reads."""
        return frozenset(name for families in self.signals.sets for name in families)

    def tier(self, name: str) -> Tier:
        """The tier of that name; ``ConfigError`` when there is none."""
        for tier in self.tiers:
            if tier.name == name:
                return tier
        names = [tier.name for tier in self.tiers]
        raise ConfigError(f"policy {self.name!r} has no tier {name!r}{nearest(name, names)}")


def nearest(name: str, names: list[str]) -> str:
    """``; did you mean 'x'?`` when some name is close, else the names there are."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(names) or 'none'}"


def metadata_read(policy: Policy) -> set[str]:
    """Names of the metadata that some rule of the policy reads, and so can change an answer."""
    rules = [s.when for s in policy.slices.values() if s.when is not None] + [s.when for s in policy.stakes]
    wanted = {key for declared in policy.slices.values() for key in declared.require_context}
    return wanted.union(*(when.metadata for when in rules))


def store_folder(policy: Policy, path: Path | None) -> Path:
    """Where ledger and cache live: ``CASCADE_STORE``, the policy's ``store``, or ``.cascade/`` beside it."""
    chosen = os.environ.get("CASCADE_STORE") or policy.ledger.store
    if chosen:
        return Path(chosen).expanduser()
    return (path.parent if path is not None else Path()) / ".cascade"
