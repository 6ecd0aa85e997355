"""Signals that cost a call: asked together, once, and charged to the decision.

A call that fails leaves its family absent, and an absent family is a smaller signal set with a
certificate of its own, or none. Recorded answers are charged alike: a family that the policy pays for
is there once it has been paid for, with the values that were measured when it was recorded.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from msgspec.structs import replace

from cascade.asks import Ask, Call, Together
from cascade.errors import BudgetError
from cascade.run import Run
from cascade.signals import agreement, extend, p_true, verifier_messages, without
from cascade.types import SAME, Draft, Signals, Step


def paid(run: Run, tier_name: str, draft: Draft, signals: Signals) -> Generator[Ask, Any, Signals]:
    """The draft's signals with the paid families that the policy asks for and the calls brought."""
    signals = without(signals, run.rules.policy.paid)
    try:
        asked = _calls(run, tier_name, draft)
        run.afford([call for _, call in asked], keep_last=True)
    except BudgetError:
        return signals
    if not asked:
        return signals
    calls = [call for _, call in asked]
    replies: list[Draft | None] = yield Together(calls=calls)
    answers: dict[str, list[Draft]] = {}
    for (family, call), reply in zip(asked, replies, strict=True):
        if reply is None:
            run.note(Step(kind="signal", outcome="error", tier=call.tier, detail=family, cost=None))
        else:
            run.drafted(reply, signal=family)
            answers.setdefault(family, []).append(reply)
    for family, wanted in _counts(asked).items():
        got = answers.get(family, [])
        if len(got) == wanted:
            signals = extend(signals, family, _values(family, got, draft))
    return signals


def charge(run: Run, tier_name: str, draft: Draft) -> None:
    """Note what the signals of a recorded draft cost to measure, at the policy's rates.

    Not those that ``paid`` asks for, which bring their own price, nor that of a stored answer's check.
    """
    policy = run.rules.policy
    for family, rate in policy.signals.cost.items():
        if family in policy.families and family != SAME and family not in policy.paid:
            cost = None if draft.cost is None else draft.cost * rate
            run.note(Step(kind="signal", tier=tier_name, cost=cost, detail=family))


def _calls(run: Run, tier_name: str, draft: Draft) -> list[tuple[str, Call]]:
    policy = run.rules.policy
    wanted = policy.signals
    asked: list[tuple[str, Call]] = []
    if wanted.votes is not None:
        call = run.signal_call(policy.tier(tier_name), "votes")
        hotter = replace(call, params=call.params | {"temperature": wanted.votes.temperature})
        asked += [("votes", hotter)] * wanted.votes.samples
    if wanted.second is not None and wanted.second.tier != tier_name:
        asked.append(("second", run.signal_call(policy.tier(wanted.second.tier), "second")))
    if wanted.verifier is not None:
        call = run.signal_call(policy.tier(wanted.verifier.tier), "verifier")
        one_token = {key: call.params[key] for key in call.params if not key.startswith("max_")}
        messages = verifier_messages(run.request, draft)
        endpoint = replace(call.endpoint, logprobs=True)
        asked.append(
            ("verifier", replace(call, messages=messages, endpoint=endpoint, params=one_token | {"max_tokens": 1}))
        )
    return asked


def _counts(asked: list[tuple[str, Call]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for family, _ in asked:
        counts[family] = counts.get(family, 0) + 1
    return counts


def _values(family: str, replies: list[Draft], draft: Draft) -> dict[str, float] | None:
    recorded = replies[0].measured
    if recorded is not None:
        return {name.removeprefix(f"{family}."): value for name, value in recorded.values.items()}
    if family != "verifier":
        return agreement([reply.text for reply in replies], draft.text)
    reply = replies[0]
    if not reply.logprobs:
        return None
    found = p_true({reply.text: reply.logprobs[0]})
    return None if found is None else {"p_true": found}
