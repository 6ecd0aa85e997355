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

from cascade.asks import Ask, Check, Deliver, Embed, Flow, Go, Keep, Lookup, Prefix, Spawn, Wait
from cascade.checks import built_in, silent_failure
from cascade.decide import UNPLACED, Choice, Ruling, kept_answer, rule, ruled_out, serves, usable
from cascade.errors import Cancelled, CascadeError, UpstreamError
from cascade.policy import Model, Tier
from cascade.run import Run
from cascade.sameness import compare_aside, unasked
from cascade.sensing import likeness, sense
from cascade.signals import NO_SIGNALS, narrowed
from cascade.types import CACHE, Answer, CheckResult, Draft, Hit, ModelOutcome, Served, Signals, Step

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
    if run.plan.slice == UNPLACED:
        run.place((yield from whereabouts(run, hit)))
    if hit is not None and hit.kind == "semantic":
        return (yield from resemble(run, hit))
    if hit is None or not serves(hit, run.plan, run.rules.policy, run.rules.gates):
        return None
    run.found_exact(hit)
    ruling = Ruling(
        serve=True,
        served="cached",
        why="an identical request was under way" if hit.shared else f"{hit.kind} hit",
        confidence=hit.confidence,
        certificate=hit.certificate,
    )
    return Choice(CACHE, "cached", hit.draft, ruling)


def whereabouts(run: Run, hit: Hit | None) -> Part[Any]:
    """What tells the slice: the stored answer's own, or the question's vector, which the look-up may have."""
    if hit is not None and hit.kind == "exact":
        return hit.slice
    if hit is not None and hit.vectors is not None:
        return hit.vectors[0]
    return (yield Embed(text=run.request.question))


def resemble(run: Run, hit: Hit) -> Part[Choice | None]:
    """The answer to the nearest stored question: a draft like any other, under the cache's own gate."""
    ruling = yield from gate(run, CACHE, hit.draft, likeness(run, hit))
    run.found_near(hit, served=ruling.serve)
    if unasked(run):
        run.check_aside(hit)
    return Choice(CACHE, "cached", hit.draft, ruling) if ruling.serve else None


def climb(run: Run) -> Part[Choice]:
    """Tier after tier until a draft may be served; on the last tier also model after model."""
    lesser: Choice | None = None
    for tier in run.plan.tiers:
        last = run.last(tier.name)
        for model in (tier, *usable(tier, last)):
            deliver = run.delivery(tier)
            try:
                draft = yield from attempt(run, tier, model, deliver)
            except CascadeError as error:
                run.blame(tier, model, error)
                if isinstance(error, UpstreamError) and error.delivered:
                    raise
                continue
            ruling = yield from gate(run, tier.name, draft, sense(run, tier, draft))
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


def gate(run: Run, source: str, draft: Draft, sensing: Part[Signals]) -> Part[Ruling]:
    """The ruling on a draft: hard checks, then the signals that ``sensing`` brings, then the rule.

    What breaks in here rejects a cheap draft; the last tier's is ruled on by its hard checks alone.
    """
    checks: list[CheckResult] = []
    signals = NO_SIGNALS
    try:
        yield from inspect(run, source, draft, checks)
        if not run.last(source) and not ruled_out(checks, run.request, last=False):
            signals = yield from sensing
        run.examined(source, draft, checks, signals)
        declared = narrowed(signals, run.rules.policy.sets_of(source))
        return rule(run.request, run.plan, source, checks, declared, run.rules.gates)
    except Cancelled:
        raise
    except Exception as error:
        return run.broken(source, draft, checks, error)


def inspect(run: Run, source: str, draft: Draft, checks: list[CheckResult]) -> Part[None]:
    """Add the results of all hard checks to ``checks``, which holds them even if one breaks."""
    checks += built_in(run.request, draft, run.rules.policy.consistent(source, run.plan.slice))
    for check in run.user_checks(source):
        if ruled_out(checks, run.request, run.last(source)):
            return  # the rest may cost, and cannot change the ruling any more
        result: CheckResult = yield Check(name=check.name, request=run.request, draft=draft)
        run.note(Step(kind="check", outcome=result.outcome, tier=source, cost=result.cost, detail=check.name))
        checks.append(result)


def finish(run: Run, choice: Choice) -> Part[Answer]:
    """Write the decision down, send the shadows off, hand the answer back."""
    if not choice.ruling.serve:  # the last tier's, when nothing better was left or it was out already
        run.flags.append(f"served although {choice.ruling.why}")
    decision = run.decision(choice.served, choice.tier, choice.ruling)
    kept: bool = yield Keep(request=run.request, outcome=run.outcome(decision), store=kept_answer(run.plan, choice))
    if run.plan.shadows or run.unasked is not None:
        yield Spawn(flow=shadow(run.in_shadow(), run.models.get(CACHE)), mode=run.plan.mode)
    return Answer(draft=choice.draft, decision=decision if kept else run.unrecorded(decision))


def shadow(run: Run, stored: ModelOutcome | None = None) -> Flow:
    """Ask closed tiers off the caller's path, and about a stored answer: the only way in which a gate can ever open."""
    if run.unasked is not None and stored is not None:
        yield from compare_aside(run, run.unasked, stored)
    for tier in run.plan.shadows:
        try:
            draft = yield from attempt(run, tier, tier, "whole")
        except Cancelled:
            break
        except CascadeError as error:
            run.blame(tier, tier, error)
            continue
        yield from gate(run, tier.name, draft, sense(run, tier, draft))
    yield Keep(request=run.request, outcome=run.outcome(run.aside(), shadow=True))
    return run.spent
