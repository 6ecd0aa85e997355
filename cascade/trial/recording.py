"""Asking both tiers and having the answers judged, one prompt after the other, through the engine itself.

The engine runs in observe mode with a ledger of its own, under the prompt's id as the request's. So a
second run sees what the first has: what was answered is not asked again, and only what is missing of
a prompt is made up for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cascade.asks import Spawn
from cascade.decide import LENGTH_LIMITS
from cascade.drivers import drive
from cascade.engine import Cascade
from cascade.errors import BudgetError, ConfigError, UpstreamError
from cascade.flow import answer, shadow
from cascade.judging.case import Case, Judge, answered
from cascade.judging.drawing import judged_by
from cascade.judging.hearing import IN_A_ROW, Heard, hear
from cascade.judging.source import LedgerSource
from cascade.learning.drawn import TEST
from cascade.parts import Parts
from cascade.policy import Policy
from cascade.replay import request_of
from cascade.tables import Budget, CachePolicy, LedgerPolicy, Observe
from cascade.trial.meter import Meter, ceiling_of
from cascade.trial.pace import Pace, RowCost
from cascade.trial.remembering import Remembering
from cascade.types import ModelOutcome, Outcome, Request, Verdict

EVEN = 1.0
"""Probability with which a recorded answer is put before the judge; the prompt's own is known at the end."""

Progress = Callable[[int, float], None]
"""Is told how many prompts are complete and the dollars so far."""


def observing(policy: Policy) -> Policy:
    """The policy under which a trial asks: every request of every tier itself, all kept in full.

    Nothing that belongs to serving takes part: no cache, no fallbacks, no ceilings of single requests.
    """
    tiers = [tier.model_copy(update={"fallbacks": []}) for tier in policy.tiers]
    changed = {"mode": "observe", "observe": Observe(rate=1.0), "tiers": tiers, "budget": Budget()}
    return policy.model_copy(update={**changed, "cache": CachePolicy(enabled=False), "ledger": LedgerPolicy()})


class Recorder:
    """Records ``prompts`` into ``folder``; ``rows`` holds what is known of each, ``failed`` why one is not whole.

    ``max_tokens`` limits answers whose prompt does not limit them itself. ``stopped`` says why prompts
    were left over: the budget, or models that cannot be reached. ``all_judged`` is False where the last
    tier's answers are judged on held-out prompts only.
    """

    def __init__(
        self,
        prompts: Sequence[Outcome],
        policy: Policy,
        judge: Judge,
        meter: Meter,
        folder: Path,
        *,
        max_tokens: int,
        concurrency: int,
    ) -> None:
        self.prompts = prompts
        self.engine = _Engine(observing(policy), transport=meter, store=folder)
        self.rows: dict[str, Outcome] = _recorded(self.engine)
        self.failed: dict[str, str] = {}
        self.stopped = ""
        self.pace = Pace()
        self._judge = Remembering(judge, folder / "abstained.jsonl")
        self._meter = meter
        self._max_tokens, self._concurrency = max_tokens, concurrency
        self._source = LedgerSource(self.engine.ledger, policy.name)
        self._cheap = [tier.name for tier in policy.tiers[:-1]]
        self._last = policy.last.name
        self.all_judged = policy.target.kind == "regret" or judge.family is None  # a rule costs nothing
        self._in_a_row = 0
        for cost in self.costs():
            self.pace.completed(cost)

    def costs(self) -> list[RowCost]:
        """What each complete prompt cost, in the order of asking."""
        return [self.cost_of(self.rows[prompt.id]) for prompt in self.prompts if self.complete(prompt)]

    def close(self) -> None:
        """Close the ledger."""
        self.engine.close()

    def request(self, prompt: Outcome) -> Request:
        """The prompt as it is asked, its answer's length limited."""
        request = request_of(prompt)
        if any(request.params.get(name) for name in LENGTH_LIMITS):
            return request
        return replace(request, params={**request.params, "max_tokens": self._max_tokens})

    def judged_tiers(self, prompt: Outcome) -> list[str]:
        """Whose answers are judged. An error target needs the cheap tiers' labels; the last tier's are needed
        for the figures on held-out rows alone, and are bought only there unless they cost nothing.
        """
        return [*self._cheap, self._last] if self.all_judged or prompt.split == TEST else self._cheap

    def complete(self, prompt: Outcome) -> bool:
        """Whether nothing of a prompt is missing: answers of both tiers, and what its judge had to say."""
        row = self.rows.get(prompt.id)
        return row is not None and self._answered(row) and not self._cases(row, prompt)

    def ceiling(self, prompt: Outcome) -> tuple[float, float]:
        """Dollars that a prompt can cost: at most for both answers, and about so much for the judge."""
        request, engine = self.request(prompt), self.engine
        calls = [
            engine.rules.ladder.call(request, prompt.slice, tier, tier, "whole", tier.timeout)
            for tier in engine.policy.tiers
        ]
        longest = [next(call.params[name] for name in LENGTH_LIMITS if call.params.get(name)) for call in calls]
        models = {call.tier: ModelOutcome(answer="word" * most) for call, most in zip(calls, longest, strict=True)}
        row = replace(prompt, models=models)
        verdicts = sum(self._judge.estimate(Case(outcome=row, tier=tier)) for tier in self.judged_tiers(prompt))
        return sum(map(ceiling_of, calls)), verdicts

    async def record(self, prompts: Sequence[Outcome], progress: Progress = lambda done, spent: None) -> None:
        """Complete these prompts, several at once, until all are or something stops it.

        What failed is left alone until the next run: a provider's fault seldom mends within minutes.
        """
        missing = [prompt for prompt in prompts if not self.complete(prompt) and prompt.id not in self.failed]
        waiting, done, begun = iter(missing), len(prompts) - len(missing), time.monotonic()

        async def work() -> None:
            nonlocal done
            while (prompt := await self._affordable(waiting)) is not None:
                await self._row(prompt)
                done += 1
                progress(done, self._meter.total)

        workers = [asyncio.create_task(work()) for _ in range(self._concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await self._meter.close()
            self.pace.seconds += time.monotonic() - begun

    async def _affordable(self, waiting: Iterator[Outcome]) -> Outcome | None:
        """The next prompt, once the budget is sure to hold it; None when none waits or none ever will be."""
        while not self.stopped and not self._meter.affords(self.pace.expected):
            if self.pace.idle:
                self.stopped = "budget"
            else:
                await self.pace.next_end()
        prompt = None if self.stopped else next(waiting, None)
        if prompt is not None:
            self.pace.begun(prompt.id)
        return prompt

    async def _row(self, prompt: Outcome) -> None:
        """What is missing of one prompt."""
        try:
            reason = await self._answers(prompt) or await self._verdicts(prompt)
        except BudgetError:
            self.stopped = "budget"
            return
        finally:
            self.pace.ended(prompt.id)
        if self._meter.broken is not None:
            raise self._meter.broken
        if self._meter.refused:
            self.stopped = "budget"
        elif reason:
            self.failed[prompt.id] = reason
            self._in_a_row += 1
            if self._in_a_row >= IN_A_ROW:
                self.stopped = "unreachable"
        else:
            self.failed.pop(prompt.id, None)
            self._in_a_row = 0
            self.pace.completed(self.cost_of(self.rows[prompt.id]))

    async def _answers(self, prompt: Outcome) -> str:
        """Both tiers' answers; why there are none."""
        known = self.rows.get(prompt.id)
        if known is None or self._last not in known.models:
            run = self.engine.run(self.request(prompt))
            try:
                await drive(answer(run), self.engine.parts)
            except UpstreamError as error:
                return f"{self._last}: {error}"
            for flow in self.engine.aside():
                await drive(flow, self.engine.parts)
        elif not self._answered(known):
            run = self.engine.run(self.request(prompt))
            run.place(known.slice)
            await drive(shadow(run.in_shadow()), self.engine.parts)
        row = self.engine.ledger.get(prompt.id)
        if row is None:
            raise ConfigError("what was answered cannot be recorded, see the log: the trial ends before more is paid")
        self.rows[prompt.id] = row
        missing = [tier for tier in self._cheap if tier not in row.models]
        return f"{missing[0]}: {self._meter.said.get(missing[0], 'was not asked')}" if missing else ""

    async def _verdicts(self, prompt: Outcome) -> str:
        """The judge's word on what is to be judged; why there is none."""
        heard, cases = Heard(), self._cases(self.rows[prompt.id], prompt)
        if cases:
            await hear([(case, EVEN) for case in cases], self._judge, self._keep, heard, concurrency=len(cases))
        return f"judge: {next(iter(heard.failed))}" if heard.failed else ""

    def _keep(self, case: Case, verdict: Verdict) -> None:
        id = case.outcome.id
        self._source.keep(case.outcome, case.tier, verdict)
        row = self.rows[id]
        model = row.models[case.tier]
        model = replace(model, verdicts=[*model.verdicts, verdict])
        self.rows[id] = replace(row, models={**row.models, case.tier: model})

    def _cases(self, row: Outcome, prompt: Outcome) -> list[Case]:
        """What of a recorded prompt is still to be judged."""
        shown = replace(row, reference=prompt.reference)
        return [
            Case(outcome=shown, tier=tier)
            for tier in self.judged_tiers(prompt)
            if answered(row.models.get(tier))
            and not judged_by(row, tier, self._judge.name)
            and not self._judge.abstained(row.id, tier)
        ]

    def _answered(self, row: Outcome) -> bool:
        return all(tier in row.models for tier in (*self._cheap, self._last))

    def cost_of(self, row: Outcome) -> RowCost:
        """What a row's answers and verdicts cost, as it records them."""
        verdicts = [v.cost or 0.0 for model in row.models.values() for v in model.verdicts]
        return RowCost(
            cheap=sum(row.models[tier].cost or 0.0 for tier in self._cheap if tier in row.models),
            frontier=row.models[self._last].cost or 0.0 if self._last in row.models else 0.0,
            judge=sum(verdicts),
            verdicts=len(verdicts),
        )


class _Engine(Cascade):
    """An engine whose work off the caller's path is driven, and waited for, by whoever asked."""

    def __init__(self, policy: Policy, **parts: Any) -> None:
        self._aside: list[Any] = []
        super().__init__(policy, **parts)

    def aside(self) -> list[Any]:
        """The flows that the request just answered has left to be driven."""
        flows, self._aside = self._aside, []
        return flows

    def _spawn(self, ask: Spawn, parts: Parts) -> None:
        self._aside.append(ask.flow)


def _recorded(engine: Cascade) -> dict[str, Outcome]:
    """What the ledger holds, by id; of several attempts the one that was answered."""
    last = engine.policy.last.name
    rows: dict[str, Outcome] = {}
    for row in engine.outcomes():
        known = rows.get(row.id)
        if known is None or last not in known.models:
            rows[row.id] = row
    return rows
