"""What is known of the judge: a certificate is about verdicts, and this is about the truth behind them."""

from __future__ import annotations

from cascade.exact import lower_limit, upper_limit
from cascade.learning.rows import Rows
from cascade.policy import Policy
from cascade.types import Outcome, Verdict

HUMAN = "human:"
UNAUDITED = "judge not audited"
SURE = 0.05


def truth_of(rows: Rows, policy: Policy) -> str:
    """How often the judge and a person disagree, on the rows that both have judged, in words.

    Two exact one-sided 95 % limits: of answers that the judge let pass and a person does not, and of
    answers that the judge refused and a person would have let pass.
    """
    passed = failed = wrong = harsh = 0
    for outcome in rows.outcomes:
        for tier in policy.tiers[:-1]:
            pair = _pair(outcome, tier.name)
            if pair is None:
                continue
            judged, person = pair
            passed, failed = passed + judged.acceptable, failed + (not judged.acceptable)
            wrong += judged.acceptable and not person.acceptable
            harsh += not judged.acceptable and person.acceptable
    if not passed + failed:
        return UNAUDITED
    return (
        f"audited by people: of {passed} answers that the judge accepted {wrong} are not acceptable "
        f"({lower_limit(wrong, passed, SURE):.1%} to {upper_limit(wrong, passed, SURE):.1%}), "
        f"of {failed} that it refused {harsh} are ({lower_limit(harsh, failed, SURE):.1%} to "
        f"{upper_limit(harsh, failed, SURE):.1%})"
    )


def _pair(outcome: Outcome, tier: str) -> tuple[Verdict, Verdict] | None:
    """The last word of a judge and of a person on the same answer."""
    verdicts = outcome.models[tier].verdicts if tier in outcome.models else []
    people = [verdict for verdict in verdicts if verdict.judge.startswith(HUMAN)]
    judges = [verdict for verdict in verdicts if not verdict.judge.startswith(HUMAN)]
    return (judges[-1], people[-1]) if people and judges else None
