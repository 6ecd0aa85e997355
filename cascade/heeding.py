"""What a judge's word on an answer means for the answers that are stored.

An answer that fails its audit goes, with its neighbourhood; one that passes is proven, and may from
then on be found by similarity. A stored answer that was merely nearest, and that its gate did not
serve, loses nothing by being wrong for that question.
"""

from __future__ import annotations

from collections.abc import Callable

from cascade.cache.cache import Cache
from cascade.decide import Plan, rule
from cascade.replay import request_of
from cascade.run import Rules
from cascade.sensing import liken
from cascade.signals import narrowed
from cascade.types import CACHE, Hit, Outcome, Request, Verdict


class Heeding:
    """Applies verdicts to a cache. ``rules`` gives the policy and the gates in force, None where nobody knows."""

    def __init__(self, cache: Cache, rules: Callable[[], Rules] | None) -> None:
        self._cache = cache
        self._rules = rules

    def heed(self, row: Outcome, source: str, verdict: Verdict) -> list[str]:
        """Act on a verdict on one source's answer in a ledger's row; returns the keys that were retracted.

        A row without its content no longer says under which key its answer is stored: nothing happens.
        """
        decision, model = row.decision, row.models.get(source)
        if decision is None or model is None:
            return []
        if model.entry is None or (decision.served_by != source and not (source == CACHE and verdict.acceptable)):
            return []
        request = request_of(row)
        if source != CACHE:
            stored = self._cache.stored(model.entry)
            if stored is None or stored.entry.draft.text != (model.answer or ""):
                return []  # another answer has taken its place
        if verdict.acceptable:
            self._cache.audited(model.entry, True)
            return []
        served_from = self._rules() if source == CACHE and self._rules is not None else None
        serves = None if served_from is None else _gate(served_from, request, decision.slice)
        return self._cache.retract(model.entry, serves, request)


def _gate(rules: Rules, request: Request, slice_name: str) -> Callable[[Hit], bool]:
    """Whether the cache's gate would serve a hit to this request: what stands in the first one's place."""
    policy, gates = rules.policy, rules.gates
    made = Plan(slice=slice_name, mode="enforce", tiers=[policy.last], why="", semantic=True)

    def serves(hit: Hit) -> bool:
        signals = narrowed(liken(request.question, hit, gates.pairing), policy.sets_of(CACHE))
        return rule(request, made, CACHE, [], signals, gates).serve

    return serves
