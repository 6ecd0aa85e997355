"""Whether an outcome can be learned from: every figure possible, and a label on some tier."""

from __future__ import annotations

from cascade.intake.findings import Fault, shown
from cascade.intake.rows import NO_ID
from cascade.types import ModelOutcome, Outcome, Sample

QUALITY = "quality outside [0, 1]"
CHANCE = "a probability outside [0, 1]"
NEGATIVE = "a negative cost, time or number of tokens"
NO_LABEL = "no label on any tier"

_AMOUNTS = ("cost", "latency_ms", "cpu_ms", "prompt_tokens", "completion_tokens", "cached_prompt_tokens")


def proven(outcome: Outcome, *, unlabelled: bool = False) -> Outcome:
    """The outcome as it is if every figure is possible and a tier is labelled, or need not be; else ``Fault``."""
    try:
        if not outcome.id:
            raise Fault(NO_ID)
        _chance("propensity", outcome.propensity)
        for tier, model in outcome.models.items():
            _possible(tier, model)
        if not unlabelled and all(model.quality is None for model in outcome.models.values()):
            raise Fault(NO_LABEL, f"tiers: {', '.join(outcome.models) or 'none'}")
    except Fault as fault:
        fault.id = outcome.id
        raise
    return outcome


def _possible(tier: str, model: ModelOutcome) -> None:
    for name in _AMOUNTS:
        _amount(f"{tier}.{name}", getattr(model, name))
    _judged(tier, model)
    for at, sample in enumerate(model.samples, 1):
        _judged(f"{tier}, sample {at}", sample)
    for check in model.checks:
        _amount(f"{tier}: the cost of {check.name}", check.cost)


def _judged(place: str, answer: ModelOutcome | Sample) -> None:
    for name in ("correct", "score"):
        _unit(QUALITY, f"{place}.{name}", getattr(answer, name))
    for verdict in answer.verdicts:
        _unit(QUALITY, f"{place}: the score of {verdict.judge}", verdict.score)
        _chance(f"{place}: the propensity of {verdict.judge}", verdict.propensity)
        _amount(f"{place}: the cost of {verdict.judge}", verdict.cost)


def _chance(place: str, value: float | None) -> None:
    _unit(CHANCE, place, value)


def _unit(reason: str, place: str, value: float | None) -> None:
    if value is not None and not 0 <= value <= 1:
        raise Fault(reason, f"{place} is {shown(value)}")


def _amount(place: str, value: float | None) -> None:
    if value is not None and value < 0:
        raise Fault(NEGATIVE, f"{place} is {shown(value)}")
