"""Variants of a policy with parts taken out, each calibrated by itself and replayed on the held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from cascade.bench.field import Field, Measured
from cascade.bench.rivals import first_cheap
from cascade.bench.routers import Router, certified_router
from cascade.columns import Column, flowed, picked, routed
from cascade.errors import ConfigError
from cascade.learning.account import rules_under
from cascade.learning.calibrate import Learned, learn
from cascade.policy import Policy, Target
from cascade.replay import replay
from cascade.types import CACHE, Outcome, Record

ALL, DECLARED = "cache + routing + cascade", "routing + cascade"
PAIRS = ("cache + routing", "cache + cascade", DECLARED)
UNDECLARED = "routing before a cascade, undeclared"

HALVES = 2
"""Two promises that must hold together share the error budget, and for a regret the level, in halves."""


class Part(Record, frozen=True, kw_only=True):
    """A variant before it is summed up."""

    name: str
    what: str
    certified: bool
    column: Column


class Variants:
    """Makes the variants, from what several of them need."""

    def __init__(self, field: Field, learned: Learned, outcomes: Sequence[Outcome], measured: Measured) -> None:
        self._field, self._learned, self._outcomes, self._measured = field, learned, outcomes, measured
        self._policy = field.policy
        self._tier = first_cheap(field.policy)
        ids = {row.id for row in measured.outcomes}
        self._test = learned.test.take([i for i, row in enumerate(learned.test.outcomes) if row.id in ids])
        self._cheap = measured.columns[f"always {field.policy.sources[self._tier].name}"]
        self._cached = any(source.name == CACHE for source in self._policy.sources)

    def all(self) -> Iterator[Callable[[], Part | None]]:
        """Makers of every variant; each gives None where the rows cannot carry it."""
        yield self.cache
        yield self.routing
        yield self.cascade
        yield self.cache_and_routing
        yield self.cache_and_cascade
        yield self.routing_and_cascade
        yield self.all_three
        yield self.undeclared
        yield from self.better_prompts()

    def cache(self) -> Part | None:
        """Stored answers, else the last tier."""
        if not self._cached:
            return None
        return self._flowed("cache only", "stored answers, else the frontier", cache_alone(self._policy))

    def cascade(self) -> Part | None:
        """Every cheap tier in turn, no cache."""
        return self._flowed("cascade only", "no cache; every cheap tier is asked in turn", without(self._policy))

    def cache_and_cascade(self) -> Part | None:
        """Stored answers before the cheap tiers."""
        if not self._cached:
            return None
        return self._flowed("cache + cascade", "every cheap tier is asked in turn", without(self._policy, cache=True))

    def routing_and_cascade(self) -> Part | None:
        """Cheap tiers are skipped where asking does not pay."""
        what = "a cheap tier is skipped where it would so probably be rejected that asking does not pay"
        return self._flowed(DECLARED, what, without(self._policy, preroute=True))

    def all_three(self) -> Part | None:
        """The whole policy with its cache and its pre-routing."""
        if not self._cached:
            return None
        policy = without(self._policy, cache=True, preroute=True)
        return self._flowed(ALL, "one promise over all three", policy)

    def routing(self) -> Part | None:
        """The question alone decides."""
        router = self._router(self._policy.target, self._delta)
        if router is None:
            return None
        mask = router.accepts(self._test)
        what = "the question alone decides, one call for each request"
        return self._part("routing only", what, router.threshold is not None, self._routed("routing only", mask))

    def cache_and_routing(self) -> Part | None:
        """Stored answers, else the question alone decides."""
        halved = halves(self._policy.target)
        router = self._router(halved, self._delta / HALVES)
        if router is None or not self._cached:
            return None
        stored = self._flowed("", "", cache_alone(self._policy.model_copy(update={"target": halved})))
        assert stored is not None
        behind = self._routed("", router.accepts(self._test))
        column = first(stored.column, behind, "cache + routing")
        what = "stored answers, else the question alone decides; two promises share the error budget"
        return self._part("cache + routing", what, stored.certified and router.threshold is not None, column)

    def undeclared(self) -> Part | None:
        """A router in front of a cascade whose calibration knows nothing of it."""
        router = self._router(self._policy.target, self._delta)
        behind = self.cascade()
        if router is None or behind is None:
            return None
        sent = router.accepts(self._test)
        column = first(self._kept(behind.column, sent), behind.column, UNDECLARED)
        what = "the router answers what it is sure of without a look at the answer, the cascade gates the rest"
        return self._part(UNDECLARED, what, False, column)

    def better_prompts(self) -> Iterator[Callable[[], Part | None]]:
        """Cheap tiers of the same model as the first one, under another prompt, for everything."""
        first_tier = self._policy.tiers[0]
        for tier in self._policy.tiers[1:-1]:
            if tier.model == first_tier.model:
                yield partial(self._better, tier.name)

    def _better(self, name: str) -> Part:
        column = replace(self._measured.columns[f"always {name}"], name=f"better prompt only ({name})")
        return self._part(column.name, "the cheap model under the better prompt answers everything", False, column)

    @property
    def _delta(self) -> float:
        target = self._policy.target
        return (1.0 - target.confidence) / target.refits

    def _router(self, target: Target, delta: float) -> Router | None:
        reader = self._field.reader
        rows = (self._learned.fit, self._learned.certify, self._test)
        if reader is None or not all(request.question for some in rows for request in some.requests):
            return None
        return certified_router(self._learned.fit, self._learned.certify, self._tier, target, delta, reader)

    def _routed(self, name: str, accepts: Any) -> Column:
        return routed(name, accepts, self._cheap, self._measured.frontier)

    def _kept(self, column: Column, sent: Any) -> Column:
        """The cheap model's own answers where the router sent a question there, nothing elsewhere."""
        import numpy as np

        made = self._routed("", sent)
        return replace(made, cheap=np.where(sent, 1.0, 0.0), cpu=None if column.cpu is None else made.cpu)

    def _flowed(self, name: str, what: str, policy: Policy) -> Part | None:
        """A policy calibrated on the same rows and replayed on the held-out ones."""
        try:
            made = learn(self._outcomes, policy, embedder=self._field.embedder, allow_conflict=True)
        except ConfigError as error:
            return self._part(name, f"{what}; cannot be calibrated: {error}", False, self._refused(name))
        rules = rules_under(policy, made.lock, self._field.embedder)
        rows = list(replay(self._measured.outcomes, rules, self._field.embedder))
        aside = self._field.audits(rows, self._measured.frontier)
        column = flowed(rows, policy, name, aside)
        return self._part(name, what, made.status == "certified", column)

    def _refused(self, name: str) -> Column:
        return replace(self._measured.frontier, name=name)

    def _part(self, name: str, what: str, certified: bool, column: Column) -> Part:
        return Part(name=name, what=what, certified=certified, column=column)


def without(policy: Policy, *, cache: bool = False, preroute: bool = False) -> Policy:
    """The policy with its cache and its pre-routing only where they are asked for."""
    kept = policy.cache if cache else policy.cache.model_copy(update={"semantic": False, "same": None})
    return policy.model_copy(
        update={"cache": kept, "preroute": policy.preroute.model_copy(update={"enabled": preroute})}
    )


def cache_alone(policy: Policy) -> Policy:
    """The policy without its cheap tiers: a stored answer, or the last tier."""
    last = policy.last.name
    return policy.model_copy(
        update={
            "tiers": [policy.last],
            "slices": {name: one.model_copy(update={"route": None}) for name, one in policy.slices.items()},
            "stakes": [rule.model_copy(update={"tier": last}) for rule in policy.stakes],
            "cache": policy.cache.model_copy(update={"same": None}),
            "checks": [check for check in policy.checks if not check.tiers or {last, CACHE} & set(check.tiers)],
        }
    )


def halves(target: Target) -> Target:
    """The target of each of two parts whose promises must hold together: regrets add up, errors do not."""
    if target.max_regret is None:
        return target
    return target.model_copy(update={"max_regret": target.max_regret / HALVES})


def first(one: Column, other: Column, name: str) -> Column:
    """What the one serves without the last tier, and the other for all the rest."""
    import numpy as np

    serves = one.cheap == 1.0
    both = {field: picked(serves, getattr(one, field), getattr(other, field)) for field in _SUMMED}
    aside = None if other.aside is None and one.aside is None else np.where(serves, _aside(one), _aside(other))
    return Column(name=name, aside=aside, **both)


_SUMMED = ("quality", "cost", "latency", "cheap", "asked", "cpu")


def _aside(column: Column) -> Any:
    import numpy as np

    return np.zeros(len(column.cost)) if column.aside is None else column.aside
