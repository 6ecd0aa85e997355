"""A file of questions through the cascade, as live traffic goes through it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Self

from msgspec.structs import replace

from cascade.asks import Transport
from cascade.batch.answers import AnswersFile, answered, cost_elsewhere, unanswered
from cascade.batch.asking import Asking, Progress, silent
from cascade.batch.engine import WaitingCascade
from cascade.batch.journal import Header
from cascade.batch.meter import Meter, ceiling_of
from cascade.batch.questions import Questions, identity_of
from cascade.batch.summary import Summary, summary
from cascade.decide import LENGTH_LIMITS
from cascade.drivers import drive
from cascade.engine import new_id
from cascade.errors import CascadeError, ConfigError
from cascade.flow import answer
from cascade.lock import digest
from cascade.policyfile import load_policy
from cascade.replay import request_of
from cascade.run import Run
from cascade.transports import Transports
from cascade.types import Answer, Outcome, Request

JOURNAL = ".journal"
METERED = ("call", "signal")
"""Kinds of steps whose dollars are counted at the seam to the models."""


class Batch:
    """Questions on their way into ``output``; a context manager. Made again it goes on where it was.

    Lines are written as answers are had, and not in the order of the questions: so no answer waits for
    a slower one where the end of the process would lose it. Each call is written down before it is
    sent, in the journal beside the output; what has a line in the output is never asked again, but for
    what failed where ``retry_failed`` asks for that. The lock may be promoted meanwhile, as under live
    traffic.

    ``budget`` is in dollars of all runs together; ``max_tokens`` limits answers that a question does not limit
    itself, ``concurrency`` how many questions are under way; ``parts`` are what else ``Cascade.load`` takes,
    such as the user's own ``checks``. ``ConfigError`` where the output is of another policy, of other
    questions or not of a batch, where another process is at it, or where a budget is to be kept and
    nothing limits what an answer costs. ``PolicyError`` for a policy that does not hold.
    """

    def __init__(
        self,
        policy: Path,
        questions: Questions,
        output: Path,
        *,
        budget: float | None = None,
        max_tokens: int | None = None,
        concurrency: int = 8,
        retry_failed: bool = False,
        transport: Transport | None = None,
        **parts: Any,
    ) -> None:
        loaded, journal = load_policy(policy), output.with_name(output.name + JOURNAL)
        _refuse_strangers(output, journal)
        header = Header(policy=digest(loaded.model_dump(mode="json")), questions=identity_of(questions))
        self._questions, self._max_tokens = questions, max_tokens
        self._rows = dict(zip((each.id for each in questions.questions), questions.rows, strict=True))
        self.meter = Meter(transport or Transports(), journal, budget=budget, header=header)
        try:
            self.answers = AnswersFile(output)
            if retry_failed:
                self.answers.forget_failed()
            self._engine = WaitingCascade.load(policy, transport=self.meter, **parts)
        except BaseException:
            self.meter.__exit__()
            raise
        last = self._engine.policy.last
        self._frontier = self._engine.rules.ladder.endpoint(last, last)
        self._asking = Asking(self.meter, concurrency)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()
        self.answers.close()
        self.meter.__exit__()

    @property
    def left(self) -> list[Outcome]:
        """Questions that have no line in the output."""
        return [question for question in self._questions.questions if question.id not in self.answers.lines]

    def serve(self, progress: Progress = silent) -> Summary:
        """Have every question answered that is left, or as many as the budget holds and the provider answers.

        ``progress`` is told how many lines the output has, and the dollars so far. An interruption is
        raised once all that was under way is written down.
        """
        left = self.left
        if self.meter.budget is not None:
            self._bounded(left)

        def told() -> None:
            progress(len(self.answers.lines), self.meter.total)

        if left:
            asyncio.run(self._asking.through(left, self._ask, told))
        return self.summary()

    def summary(self) -> Summary:
        """What has come of it so far."""
        meter = self.meter
        return summary(
            list(self.answers.lines.values()),
            len(self._questions.questions),
            cost=sum(meter.spent.values()),
            unknown=meter.unknown,
            possibly_billed=list(meter.possibly_billed),
            stopped=self._asking.stopped,
        )

    async def _ask(self, question: Outcome) -> str:
        """One question's line in the output; why there is an error in it."""
        run, row, begun = self._engine.run(self._request(question)), self._rows[question.id], time.monotonic()
        try:
            found = await drive(answer(run), self._engine.parts)
        except CascadeError as error:
            self._charge(run)
            if not (self.meter.refused or self.meter.broken):  # else it is left for the next run
                self.answers.keep(unanswered(question.id, row, run, str(error), time.monotonic() - begun))
            return str(error)
        assert isinstance(found, Answer)
        aside, seconds = self._engine.left(), time.monotonic() - begun
        elsewhere = cost_elsewhere(found.draft, self._frontier.model, self._frontier.price)
        self.answers.keep(answered(question.id, row, found, seconds, elsewhere))
        self._charge(run)
        self._asking.completed(found.decision.cost)
        await self._engine.aside(aside)
        return ""

    def _charge(self, run: Run) -> None:
        """Count what a request has cost besides calls, such as finding a stored answer."""
        self.meter.charge(sum(step.cost or 0.0 for step in run.steps if step.kind not in METERED))

    def _request(self, question: Outcome) -> Request:
        """The question as it is asked, under an id of its own: the ledger may know the question's from elsewhere."""
        request = replace(request_of(question), id=new_id())
        if self._max_tokens is None or any(request.params.get(name) for name in LENGTH_LIMITS):
            return request
        return replace(request, params={**request.params, "max_tokens": self._max_tokens})

    def _bounded(self, questions: list[Outcome]) -> None:
        """``ConfigError`` where no budget can be kept, before anything is asked."""
        tiers, ladder = self._engine.policy.tiers, self._engine.rules.ladder
        for question in questions:
            request = self._request(question)
            for tier in tiers:
                try:
                    ceiling_of(ladder.call(request, "", tier, tier, "whole", tier.timeout))
                except ConfigError as error:
                    raise ConfigError(f"{error}, so that no budget can be kept: limit answers (--max-tokens)") from None


def _refuse_strangers(output: Path, journal: Path) -> None:
    """A file that no journal speaks of is somebody else's; a folder that is not there is a slip of the pen."""
    if not output.parent.is_dir():
        raise ConfigError(f"{output}: there is no folder {output.parent}")
    if output.is_file() and output.stat().st_size and not (journal.is_file() and journal.stat().st_size):
        raise ConfigError(f"{output} is there and is not of a batch: name another output, or move it aside")
