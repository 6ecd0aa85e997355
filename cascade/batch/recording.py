"""Asking every tier and having the answers judged, one question after the other, through the engine itself.

The engine runs in observe mode with a ledger of its own, under the question's id as the request's. So a
second run sees what the first has: what was answered is not asked again, and only what is missing of
a question is made up for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from cascade.batch.asking import Asking, Progress, silent
from cascade.batch.engine import WaitingCascade
from cascade.batch.meter import Meter, ceiling_of
from cascade.batch.remembering import Remembering
from cascade.decide import LENGTH_LIMITS
from cascade.drivers import drive
from cascade.engine import Cascade
from cascade.errors import ConfigError, UpstreamError
from cascade.flow import answer, shadow
from cascade.judging.case import Case, Judge, answered
from cascade.judging.drawing import judged_by
from cascade.judging.hearing import Heard, hear
from cascade.judging.source import LedgerSource
from cascade.learning.drawn import TEST
from cascade.policy import Policy
from cascade.replay import request_of
from cascade.tables import Budget, CachePolicy, LedgerPolicy, Observe
from cascade.types import ModelOutcome, Outcome, Record, Request, Verdict

EVEN = 1.0
"""Probability with which a recorded answer is put before the judge; the prompt's own is known at the end."""

LENGTH = 2048
"""The longest answer in tokens, where neither a question nor anybody else says."""


class RowCost(Record, frozen=True, kw_only=True):
    """Dollars of one question, and how many verdicts the judge's are for; ``cheap`` is every tier but the last."""

    cheap: float
    frontier: float
    judge: float
    verdicts: int

    @property
    def total(self) -> float:
        """All of it."""
        return self.cheap + self.frontier + self.judge


def observing(policy: Policy) -> Policy:
    """The policy under which answers are recorded: every request of every tier itself, all kept in full.

    Nothing that belongs to serving takes part: no cache, no fallbacks, no ceilings of single requests.
    """
    tiers = [tier.model_copy(update={"fallbacks": []}) for tier in policy.tiers]
    changed = {"mode": "observe", "observe": Observe(rate=1.0), "tiers": tiers, "budget": Budget()}
    return policy.model_copy(update={**changed, "cache": CachePolicy(enabled=False), "ledger": LedgerPolicy()})


class Recorder:
    """Records ``prompts`` into ``folder``; ``rows`` holds what is known of each, ``failed`` why one is not whole.

    ``max_tokens`` limits answers whose prompt does not limit them itself. ``judge_all`` has every tier's
    answers judged; without it ``all_judged`` is False where the last tier's are judged on held-out prompts only.
    """

    def __init__(
        self,
        prompts: Sequence[Outcome],
        policy: Policy,
        judge: Judge,
        meter: Meter,
        folder: Path,
        *,
        concurrency: int,
        max_tokens: int = LENGTH,
        judge_all: bool = False,
    ) -> None:
        self.prompts = prompts
        self.engine = WaitingCascade(observing(policy), transport=meter, store=folder)
        self.rows: dict[str, Outcome] = _recorded(self.engine)
        self.failed: dict[str, str] = {}
        self._asking = Asking(meter, concurrency)
        self.pace = self._asking.pace
        self._judge = Remembering(judge, folder / "abstained.jsonl")
        self._meter = meter
        self._max_tokens = max_tokens
        self._source = LedgerSource(self.engine.ledger, policy.name)
        self._cheap = [tier.name for tier in policy.tiers[:-1]]
        self._last = policy.last.name
        rule = judge.family is None  # which costs nothing
        self.all_judged = judge_all or policy.target.kind == "regret" or rule
        for cost in self.costs():
            self.pace.completed(cost.total)

    @property
    def stopped(self) -> str:
        """Why prompts were left over: ``budget``, or ``unreachable`` models; empty where none were."""
        return self._asking.stopped

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
        """Whether nothing of a prompt is missing: answers of all tiers, and what its judge had to say."""
        row = self.rows.get(prompt.id)
        if row is None or self._last not in row.models or self._missing(row):
            return False
        return not self._cases(row, prompt)

    def ceiling(self, prompt: Outcome) -> tuple[float, float]:
        """Dollars that a prompt can cost: at most for all answers, and about so much for the judge."""
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

    async def record(self, prompts: Sequence[Outcome], progress: Progress = silent) -> None:
        """Complete these prompts, several at once, until all are or something stops it.

        What failed is left alone until the next run: a provider's fault seldom mends within minutes.
        """
        missing = [prompt for prompt in prompts if not self.complete(prompt) and prompt.id not in self.failed]
        done = len(prompts) - len(missing)

        def told() -> None:
            nonlocal done
            done += 1
            progress(done, self._meter.total)

        await self._asking.through(missing, self._row, told)

    async def _row(self, prompt: Outcome) -> str:
        """Have what is missing of one prompt; why it could not be had."""
        reason = await self._answers(prompt) or await self._verdicts(prompt)
        if reason and not (self._meter.broken or self._meter.refused):
            self.failed[prompt.id] = reason
        elif not reason:
            self.failed.pop(prompt.id, None)
            self._asking.completed(self.cost_of(self.rows[prompt.id]).total)
        return reason

    async def _answers(self, prompt: Outcome) -> str:
        """Every tier's answer; why one is missing."""
        known = self.rows.get(prompt.id)
        if known is None or self._last not in known.models:
            run = self.engine.run(self.request(prompt))
            try:
                await drive(answer(run), self.engine.parts)
            except UpstreamError as error:
                return f"{self._last}: {error}"
            self.engine.left()  # the plan may leave tiers out, and what is missing is asked below
            known = self._kept(prompt)
        for tier in self._missing(known):
            await self._make_up_for(prompt, known.slice, tier)
        missing = self._missing(self._kept(prompt))
        return f"{missing[0]}: {self._meter.said.get(missing[0], 'gave no answer')}" if missing else ""

    async def _make_up_for(self, prompt: Outcome, slice_name: str, tier: str) -> None:
        """Ask this tier and no other in the request's shadow, so that its answer is kept before the next is asked."""
        run = self.engine.run(self.request(prompt))
        run.place(slice_name)
        run.plan = replace(run.plan, shadows=[self.engine.policy.tier(tier)])
        await drive(shadow(run.in_shadow()), self.engine.parts)

    def _kept(self, prompt: Outcome) -> Outcome:
        """What the ledger has of a prompt by now."""
        row = self.engine.ledger.get(prompt.id)
        if row is None:
            raise ConfigError("what was answered cannot be recorded, see the log: nothing more is asked and paid for")
        self.rows[prompt.id] = row
        return row

    def _missing(self, row: Outcome) -> list[str]:
        return [tier for tier in self._cheap if tier not in row.models]

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

    def cost_of(self, row: Outcome) -> RowCost:
        """What a row's answers and verdicts cost, as it records them."""
        verdicts = [v.cost or 0.0 for model in row.models.values() for v in model.verdicts]
        return RowCost(
            cheap=sum(row.models[tier].cost or 0.0 for tier in self._cheap if tier in row.models),
            frontier=row.models[self._last].cost or 0.0 if self._last in row.models else 0.0,
            judge=sum(verdicts),
            verdicts=len(verdicts),
        )


def _recorded(engine: Cascade) -> dict[str, Outcome]:
    """What the ledger holds, by id; of several attempts the one that was answered."""
    last = engine.policy.last.name
    rows: dict[str, Outcome] = {}
    for row in engine.outcomes():
        known = rows.get(row.id)
        if known is None or last not in known.models:
            rows[row.id] = row
    return rows


def labelled(
    prompts: Sequence[Outcome], rows: dict[str, Outcome], complete: Sequence[bool]
) -> tuple[list[Outcome], list[Outcome]]:
    """The complete rows as labelled outcomes, and the prompts that are not among them.

    The ledger's rows get back what only the prompt knows, and the probability with which a prompt was
    reached: the same for all, since their order was drawn.
    """
    reached = sum(complete) / len(prompts)
    whole, left = [], []
    for prompt, done in zip(prompts, complete, strict=True):
        if not done:
            left.append(prompt)
            continue
        known = {name: getattr(prompt, name) for name in ("reference", "split", "paraphrase_of", "conversation")}
        whole.append(replace(rows[prompt.id], propensity=reached, **known))
    return whole, left
