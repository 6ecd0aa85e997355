"""With which probability did a row get its labels? And which part of the work is it for?

A label that was drawn by a coin can stand for the rows that the coin left out; one that somebody
found cannot. Certificates count only rows whose probability is known and not zero.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from cascade.decide import coin
from cascade.types import CACHE, SAME, Decision, ModelOutcome, Outcome

FIT, CERTIFY, TEST = "fit", "certify", "test"
SHARES = ((FIT, 0.4), (CERTIFY, 0.4), (TEST, 0.2))
"""Of rows that bring no split. A certificate wants as many rows as the scorer that it is about; a
fifth is left to contradict it."""


def splits_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Each outcome's split: its own where the data was split for this work, else one drawn by a hash.

    A data set that names no ``fit`` and no ``certify`` was split for something else (train and test of
    its authors); dealing it out anew is then right, and keeping its words would leave nothing to fit.
    """
    ours = any(outcome.split in (FIT, CERTIFY) for outcome in outcomes)
    return [o.split if ours and o.split is not None else dealt(unit_of(o)) for o in outcomes]


def dealt(unit: str) -> str:
    """The split that a unit's hash gives it: what hangs together goes together, and for ever."""
    drawn, upto = coin("", "split", unit), 0.0
    for name, share in SHARES:
        upto += share
        if drawn < upto:
            return name
    return TEST


def unit_of(outcome: Outcome) -> str:
    """What is one independent piece of evidence: a conversation, or a question with its rewordings."""
    return outcome.conversation or outcome.paraphrase_of or outcome.id


def propensity(outcome: Outcome, tiers: Iterable[str], salt: str = "") -> float:
    """Probability, fixed beforehand, that this row has the answers and labels of these tiers.

    As the row says it; else, of the answers: 1.0 for a recorded data set, the exploration's where a
    tier was asked off the caller's path. Of the labels: what the verdicts say; where they are silent,
    1.0 for rows that no gate has touched, and for enforced traffic the audit's probability if its coin
    fell for the row, and 0.0 if it did not: then somebody found the label. ``salt`` is the audit's.
    """
    if outcome.propensity is not None:
        return outcome.propensity
    models = [outcome.models[tier] for tier in tiers if tier in outcome.models]
    return answered(outcome, tiers) * min((_labelled(outcome, model, salt) for model in models), default=0.0)


def answered(outcome: Outcome, tiers: Iterable[str]) -> float:
    """Probability, fixed beforehand, that this row has the answers of these tiers, judged or not."""
    if outcome.propensity is not None:
        return outcome.propensity
    decision = outcome.decision
    if decision is None:
        return 1.0
    asked = {step.tier for step in decision.steps if step.kind == "call"}
    aside = any(tier in outcome.models and tier not in asked for tier in tiers if tier != CACHE)
    stored = outcome.models.get(CACHE)
    aside |= stored is not None and SAME in (stored.families or ()) and not _checked_at_once(decision)
    return decision.explore_probability if aside else 1.0


def unchecked(outcome: Outcome) -> bool:
    """Has live traffic a stored answer here that a tier could have been asked about, and was not?

    A check that failed was asked: serving would have ruled on what was left.
    """
    stored, decision = outcome.models.get(CACHE), outcome.decision
    if stored is None or decision is None or SAME in (stored.families or ()):
        return False
    return not _checked_at_once(decision) and all(check.outcome != "fail" for check in stored.checks)


def _checked_at_once(decision: Decision) -> bool:
    return any(step.kind == "signal" and step.detail == SAME for step in decision.steps)


def _labelled(outcome: Outcome, model: ModelOutcome, salt: str) -> float:
    stated = model.verdicts[-1].propensity if model.verdicts else None
    if stated is not None:
        return stated
    decision = outcome.decision
    if decision is None or decision.mode == "observe":
        return 1.0
    return decision.audit_probability if coin(salt, "audit", outcome.id) < decision.audit_probability else 0.0


RULED_ON = ("semantic", "near")
"""Outcomes of a look-up on which an open gate has ruled."""

ONE_SIDED = (
    "enforced traffic of which only one side of the gate has its labels: of answers that were served and of answers "
    "that were escalated, both have to be drawn"
)


def gated(outcome: Outcome, cheap: Collection[str]) -> bool:
    """Did a gate decide what became of this row? Then what it let through is not where its labels may end."""
    decision = outcome.decision
    if decision is None or decision.mode != "enforce" or outcome.propensity is not None:
        return False
    return any(
        (step.kind == "call" and step.tier in cheap) or (step.kind == "lookup" and step.outcome in RULED_ON)
        for step in decision.steps
    )


def one_sided(labelled: Iterable[Outcome], all_gated: Iterable[Outcome], cheap: Collection[str]) -> bool:
    """Is a side of the gates missing among the gated rows that have their labels?

    Then that side's labels had probability zero, whatever each row says of its own: accepted answers
    without the last tier's beside them, rejected ones that nobody judged, stored answers served
    where nobody was asked aside. A certificate from what is left would speak of the wrong traffic.
    """
    sides = _sides(labelled, cheap)
    return len(sides) == 1 or bool(sides and _sides(all_gated, cheap) - sides)


def _sides(outcomes: Iterable[Outcome], cheap: Collection[str]) -> set[str]:
    found = {outcome.decision.served_by for outcome in outcomes if outcome.decision is not None}
    return {CACHE if name == CACHE else "accepted" if name in cheap else "escalated" for name in found}


def thinned(probabilities: Iterable[float], names: Iterable[str]) -> list[bool]:
    """Which rows to keep so that each was as likely as any other to be here: min(p) / p of them.

    What is kept is an independent, evenly drawn sample, to which the exact tests apply as they stand
    (statistics: as good as weighting, and simpler). The coin is a hash of the row's name, so that a
    second look keeps the same rows. Rows with probability zero are never kept.
    """
    known = list(probabilities)
    least = min((p for p in known if p > 0), default=1.0)
    return [p > 0 and coin("", "thin", name) * p < least for p, name in zip(known, names, strict=True)]
