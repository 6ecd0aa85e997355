"""The signals of what may be served: of a tier's draft, and of a stored answer to a near question.

Generators like the flow that delegates to them; what they find decides nothing by itself.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from cascade.asks import Ask, Embed, Measure
from cascade.decide import doubtful
from cascade.matching import FAMILY as MATCH
from cascade.matching import measure
from cascade.neighbours import FAMILY as NEIGHBOURS
from cascade.paid import charge, paid
from cascade.pairing import FAMILY as PAIR
from cascade.pairing import Pairing
from cascade.policy import Tier
from cascade.run import Run
from cascade.sameness import compared
from cascade.signals import NO_SIGNALS, extend, matched, of_draft
from cascade.types import Draft, Hit, Signals


def sense(run: Run, tier: Tier, draft: Draft) -> Generator[Ask, Any, Signals]:
    """All signals of a draft that some declared set reads: the free ones, and those that cost."""
    policy = run.rules.policy
    signals = of_draft(run.request, draft, policy.families)
    nearby = run.rules.gates.nearby(tier.name)
    if nearby is not None:
        signals = extend(signals, NEIGHBOURS, nearby.measure((yield Embed(text=run.request.question))))
    if draft.measured is not None and policy.signals.cost:
        charge(run, tier.name, draft)
    if policy.paid:
        signals = yield from paid(run, tier.name, draft, signals)
    for name in policy.signals.user:
        values: dict[str, float] | None = yield Measure(name=name, request=run.request, draft=draft)
        signals = extend(signals, name, values)
    return signals


def likeness(run: Run, hit: Hit) -> Generator[Ask, Any, Signals]:
    """How like the two questions are, and at the border a tier's word on it."""
    signals = liken(run.request.question, hit, run.rules.gates.pairing)
    same = run.rules.policy.cache.same
    if same is not None and doubtful(run.request, run.plan, signals, run.rules.gates):
        signals = yield from compared(run, hit, same, signals)
    return signals


def liken(question: str, hit: Hit, pairing: Pairing | None) -> Signals:
    """How like the asked question is to the stored one, and how its answer has fared."""
    recorded = hit.draft.measured  # a look-up that was recorded brings what was measured then
    signals = matched(recorded) if recorded is not None else NO_SIGNALS
    if MATCH not in signals.families:
        signals = extend(NO_SIGNALS, MATCH, measure(question, hit))
    return signals if pairing is None else extend(signals, PAIR, pairing.measure(question, hit))
