"""The one way of every request.

A request is looked up in the semantic cache; if nothing there may be served, the cheap model drafts
an answer; hard checks and a calibrated confidence decide whether the draft may be served; if not,
the next tier answers; every decision is written to the ledger with the probability that it will be
audited.

These generators yield what they need (``cascade.asks``) and receive what came back. They perform no
I/O and know no clock but the run's. Live traffic, replay, benchmarks and tests drive this code.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from cascade.asks import Ask, Check, Deliver, Embed, Flow, Go, Keep, Lookup, Measure, Prefix, Spawn, Wait
from cascade.checks import built_in, silent_failure
from cascade.decide import UNPLACED, Choice, Ruling, rule, ruled_out, serves, usable
from cascade.errors import Cancelled, CascadeError, UpstreamError
from cascade.neighbours import FAMILY as NEIGHBOURS
from cascade.paid import paid
from cascade.policy import Model, Tier
from cascade.run import Run
from cascade.signals import NO_SIGNALS, extend, narrowed, of_draft
from cascade.types import Answer, CheckResult, Draft, Entry, Hit, Served, Signals, Step

T = TypeVar("T")
Part = Generator[Ask, Any, T]


def answer(run: Run) -> Flow:
    """From request to answer; ``UpstreamError`` or ``BudgetError`` when nobody could give one."""
    try:
        choice = (yield from recall(run)) or (yield from climb(run))
    except CascadeError as error:
        yield Keep(request=run.request, outcome=run.outcome(run.failure(error)))
        raise
    return (yield from finish(run, choice))


def recall(run: Run) -> Part[Choice | None]:
    """A stored answer that may be served; settles the request's slice on the way."""
    hit: Hit | None = yield Lookup(request=run.request, patience=run.patience())
    if run.plan.slice == UNPLACED:  # an exact hit brings its slice along, and nothing is embedded for it
        run.place(hit.slice if hit is not None else (yield Embed(text=run.request.question)))
    if hit is None or not serves(hit, run.plan, run.rules.policy, run.rules.gates):
        return None
    # What the answer cost when it was made is not a cost of this request.
    run.note(Step(kind="lookup", outcome=hit.kind, tier=hit.draft.tier))
    ruling = Ruling(
        serve=True,
        served="cached",
        why="an identical request was under way" if hit.shared else f"{hit.kind} hit",
        confidence=hit.confidence,
        certificate=hit.certificate,
    )
    return Choice("cache", "cached", hit.draft, ruling)


def climb(run: Run) -> Part[Choice]:
    """Tier after tier until a draft may be served; on the last tier also model after model."""
    lesser: Choice | None = None
    for tier in run.plan.tiers:
        last = run.last(tier)
        for model in (tier, *usable(tier, last)):
            deliver = run.delivery(tier)
            try:
                draft = yield from attempt(run, tier, model, deliver)
            except CascadeError as error:
                run.blame(tier, model, error)
                if isinstance(error, UpstreamError) and error.delivered:
                    raise
                continue
            ruling = yield from gate(run, tier, draft)
            served: Served = "failed over" if last and model is not tier else ruling.served
            choice = Choice(tier.name, served, draft, ruling)
            if ruling.serve or (deliver == "live" and (draft.text or draft.tool_calls or draft.refusal)):
                return choice
            if ruling.lesser and lesser is None:
                lesser = choice
            run.refuse(tier, ruling)
            if not last:
                break
    if lesser is not None:
        return lesser
    raise run.exhausted()


def attempt(run: Run, tier: Tier, model: Model, deliver: Deliver) -> Part[Draft]:
    """One model's answer: retries after its faults, and one rescue of a silent failure."""
    draft = yield from ask(run, tier, model, deliver)
    silent = silent_failure(run.request, draft).outcome == "fail"
    run.drafted(draft, "silent_failure" if silent else "ok")
    if silent and tier.rescue_max_tokens is not None:
        draft = yield from ask(run, tier, model, deliver, tier.rescue_max_tokens)
        run.drafted(draft, "rescue")
    return draft


def ask(run: Run, tier: Tier, model: Model, deliver: Deliver, max_tokens: int | None = None) -> Part[Draft]:
    """Call a model, again after faults that a second try can mend, with a jittered pause between."""
    turn = 0
    while True:
        started = run.now()
        try:
            reply: Draft | Prefix = yield run.call(tier, model, deliver, max_tokens)
            while isinstance(reply, Prefix):
                reply = yield Go(verb="on")
            return reply
        except UpstreamError as error:
            run.failed(tier, model, error, run.now() - started)
            pause = run.pause(tier, error, turn)
            if pause is None:
                raise
        turn += 1
        run.note(Step(kind="wait", tier=tier.name, latency=pause))
        yield Wait(seconds=pause)


def gate(run: Run, tier: Tier, draft: Draft) -> Part[Ruling]:
    """The ruling on a draft: hard checks, then signals, then the rule.

    What breaks in here rejects a cheap draft; the last tier's is ruled on by its hard checks alone.
    """
    checks: list[CheckResult] = []
    signals = NO_SIGNALS
    try:
        yield from inspect(run, tier, draft, checks)
        if not run.last(tier) and not ruled_out(checks, run.request, last=False):
            signals = yield from sense(run, tier, draft)
        run.examined(tier, draft, checks, signals)
        declared = narrowed(signals, run.rules.policy.signals.sets)
        return rule(run.request, run.plan, tier, checks, declared, run.rules.gates)
    except Cancelled:
        raise
    except Exception as error:
        return run.broken(tier, draft, checks, error)


def inspect(run: Run, tier: Tier, draft: Draft, checks: list[CheckResult]) -> Part[None]:
    """Add the results of all hard checks to ``checks``, which holds them even if one breaks."""
    checks += built_in(run.request, draft)
    for check in run.user_checks(tier):
        if ruled_out(checks, run.request, run.last(tier)):
            return  # the rest may cost, and cannot change the ruling any more
        result: CheckResult = yield Check(name=check.name, request=run.request, draft=draft)
        run.note(Step(kind="check", outcome=result.outcome, tier=tier.name, cost=result.cost, detail=check.name))
        checks.append(result)


def sense(run: Run, tier: Tier, draft: Draft) -> Part[Signals]:
    """All signals of a draft that some declared set reads: the free ones, and those that cost."""
    signals = of_draft(run.request, draft, run.rules.policy.families)
    nearby = run.rules.gates.nearby(tier.name)
    if nearby is not None:
        signals = extend(signals, NEIGHBOURS, nearby.measure((yield Embed(text=run.request.question))))
    if draft.measured is None:
        signals = yield from paid(run, tier.name, draft, signals)
    for name in run.rules.policy.signals.user:
        values: dict[str, float] | None = yield Measure(name=name, request=run.request, draft=draft)
        signals = extend(signals, name, values)
    return signals


def finish(run: Run, choice: Choice) -> Part[Answer]:
    """Write the decision down, send the shadows off, hand the answer back."""
    if not choice.ruling.serve:  # the last tier's, when nothing better was left or it was out already
        run.flags.append(f"served although {choice.ruling.why}")
    decision = run.decision(choice.served, choice.tier, choice.ruling)
    kept: bool = yield Keep(request=run.request, outcome=run.outcome(decision), store=_entry(run, choice))
    if run.plan.shadows and choice.served != "cached":
        yield Spawn(flow=shadow(run.in_shadow()), mode=run.plan.mode)
    return Answer(draft=choice.draft, decision=decision if kept else run.unrecorded(decision))


def shadow(run: Run) -> Flow:
    """Ask closed tiers off the caller's path: the only way in which a gate can ever open."""
    for tier in run.plan.shadows:
        try:
            draft = yield from attempt(run, tier, tier, "whole")
        except Cancelled:
            break
        except CascadeError as error:
            run.blame(tier, tier, error)
            continue
        yield from gate(run, tier, draft)
    yield Keep(request=run.request, outcome=run.outcome(run.aside(), shadow=True))
    return run.spent


def _entry(run: Run, choice: Choice) -> Entry | None:
    """What the cache may keep: an answer that passed, of a tier itself rather than of a fallback."""
    ruling = choice.ruling
    if not ruling.serve or choice.served in ("cached", "failed over"):
        return None
    return Entry(draft=choice.draft, slice=run.plan.slice, confidence=ruling.confidence, certificate=ruling.certificate)
