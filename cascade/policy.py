"""The person's file: tiers, target, slices, checks, cache, audit, budgets. No command rewrites it.

A policy states a target and a confidence, never a threshold; thresholds live in the lock beside it.
Pydantic rather than msgspec here, because its errors name the field that is wrong.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from cascade.errors import ConfigError
from cascade.tables import (
    LABEL_CONSISTENT,
    Audit,
    Budget,
    CachePolicy,
    Explore,
    Label,
    LedgerPolicy,
    Name,
    Observe,
    Positive,
    Preroute,
    Promotion,
    Section,
    SignalPolicy,
    TierName,
    regular,
)  # fmt: skip
from cascade.types import CACHE, SAME


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
        return pattern if pattern is None else regular(pattern)


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


MATCHED = [["match", "pair"], ["match"]]
"""Signal sets of stored answers: with words weighed as calibration learned them, or without where it could not."""

CHECKED = [[*families, SAME] for families in MATCHED]
"""Signal sets of stored answers about which a tier was asked."""

BUILT_IN = frozenset({"empty", "refusal", "schema", "silent_failure", "tools", "truncated"})


class UserCheck(Section):
    """A hard check that the policy asks for: a ``command``, or a callable of that name given in code.

    The name ``label_consistent`` needs neither: that check fails a draft that names two values of one
    of the policy's ``labels`` (by default of any).
    """

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
    labels: list[str] = []

    @model_validator(mode="after")
    def _of_labels(self) -> UserCheck:
        if self.name == LABEL_CONSISTENT and self.command is not None:
            raise ValueError(f"{LABEL_CONSISTENT!r} is a built-in check and runs no command")
        if self.name != LABEL_CONSISTENT and self.labels:
            raise ValueError(f"only the check {LABEL_CONSISTENT!r} reads labels")
        return self

    def applies(self, source: str, slice_name: str) -> bool:
        """Is it for drafts of this tier, or of the cache, in this slice?"""
        return (not self.tiers or source in self.tiers) and (not self.slices or slice_name in self.slices)


class Source(NamedTuple):
    """What may serve without the last tier, and the signal sets that get a scorer there.

    The cache may be there twice: as it is found, and after a tier was ``asked`` about it, at that call's price.
    """

    name: str
    sets: list[list[str]]
    asked: bool = False


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
    labels: dict[Name, Label] = {}
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
        asked = {"signals.second": self.signals.second, "signals.verifier": self.signals.verifier}
        named += [(f"{name}.tier", who.tier) for name, who in asked.items() if who is not None]
        named += [("cache.same.tier", self.cache.same.tier)] if self.cache.same is not None else []
        for where, tier in named:
            if tier not in names:
                raise ValueError(f"{where} names no tier: {tier!r}{nearest(tier, names)}")
        return self

    @model_validator(mode="after")
    def _labels_hold(self) -> Policy:
        told = [name for name, label in self.labels.items() if label.source == "answer"]
        for check in self.checks:
            if check.name != LABEL_CONSISTENT:
                continue
            if not told:
                raise ValueError(f"checks.{check.name}: no label is found in answers; declare one as [labels.NAME]")
            for name in check.labels:
                if name not in told:
                    raise ValueError(
                        f"checks.{check.name}.labels: {name!r} is not found in answers{nearest(name, told)}"
                    )
        return self

    def own_checks(self, source: str, slice_name: str) -> list[UserCheck]:
        """The user's own checks that apply to this tier, or to the cache, and slice."""
        if not self.checks:  # asked for every draft of every request
            return []
        return [c for c in self.checks if c.name != LABEL_CONSISTENT and c.applies(source, slice_name)]

    def consistent(self, source: str, slice_name: str) -> dict[str, Label]:
        """The labels that a draft of this tier, or of the cache, must name without contradiction in this slice."""
        if not self.labels:
            return {}
        asked = [c for c in self.checks if c.name == LABEL_CONSISTENT and c.applies(source, slice_name)]
        return {
            name: label
            for name, label in self.labels.items()
            if label.source == "answer" and any(name in (check.labels or self.labels) for check in asked)
        }

    @property
    def last(self) -> Tier:
        """The frontier: the only tier that may serve without a certificate."""
        return self.tiers[-1]

    @cached_property
    def sources(self) -> list[Source]:
        """All that may serve without the last tier, in the order in which they are asked."""
        stored = [Source(CACHE, MATCHED)]
        if self.cache.same is not None:
            stored.append(Source(CACHE, CHECKED, asked=True))
        if not (self.cache.enabled and self.cache.semantic):
            stored = []
        return stored + [Source(tier.name, self.signals.sets) for tier in self.tiers[:-1]]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Policy:
        """As pydantic's, but what was worked out from the old fields does not come along."""
        made = super().model_copy(update=update, deep=deep)
        for name in ("families", "paid", "sources"):
            made.__dict__.pop(name, None)
        return made

    def sets_of(self, source: str) -> list[list[str]]:
        """The declared signal sets of a tier or of the cache."""
        if source != CACHE:
            return self.signals.sets
        return MATCHED if self.cache.same is None else CHECKED + MATCHED

    @cached_property
    def families(self) -> frozenset[str]:
        """Every signal family that some declared set reads."""
        return frozenset(name for families in self.signals.sets for name in families)

    @cached_property
    def paid(self) -> frozenset[str]:
        """The signal families that cost calls and that this policy asks for."""
        found = {"votes": self.signals.votes, "second": self.signals.second, "verifier": self.signals.verifier}
        return frozenset(family for family, wanted in found.items() if wanted is not None)

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
