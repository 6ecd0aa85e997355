"""Recorded outcomes of every tier of a policy: what benchmarks and calibration learn from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from cascade.asks import Transport
from cascade.batch.asking import Progress, silent
from cascade.batch.journal import Header, PossiblyBilled
from cascade.batch.meter import Meter
from cascade.batch.recording import LENGTH, Recorder, labelled
from cascade.decide import coin
from cascade.errors import ConfigError
from cascade.judging.case import Judge
from cascade.ledger import write_outcomes
from cascade.lock import declared, digest
from cascade.policy import Policy
from cascade.replay import request_of
from cascade.transports import Transports
from cascade.types import Outcome, Record

JUDGE = "judge"
"""As which tier a judge's calls are made."""


class Recording(Record, frozen=True, kw_only=True):
    """Outcomes with every tier's answer, judged, in the order of the questions.

    ``spent`` is in dollars, earlier runs of the same folder included, without what is ``possibly_billed``.
    ``failed`` says by id why a question is not among the outcomes; ``left`` names those that were not
    reached, and ``stopped`` why: ``budget``, or ``unreachable`` models. Both are empty where all was recorded.
    """

    outcomes: list[Outcome]
    spent: float
    failed: dict[str, str]
    left: list[str]
    possibly_billed: list[PossiblyBilled]
    stopped: str


def record_outcomes(
    policy: Policy,
    questions: Sequence[Outcome],
    *,
    judge: Callable[[Transport], Judge],
    folder: Path,
    budget: float | None = None,
    concurrency: int = 4,
    progress: Progress = silent,
    max_tokens: int = LENGTH,
    transport: Transport | None = None,
) -> Recording:
    """Ask every tier of a policy these questions, also where its gate is closed, and have each answer judged.

    Signals and checks are measured as in live traffic. ``judge`` makes the judge on the transport on which
    its calls are counted; ``max_tokens`` limits answers that a question does not limit itself, ``transport``
    replaces the models. All that is
    asked is kept in ``folder``, so that a run that broke off goes on where it was and pays for nothing twice;
    ``outcomes.jsonl.gz`` in it is what is returned. Questions are asked in the order of a coin: as far as
    ``budget`` (dollars of all runs together) reaches, what it reaches is an even draw.

    ``ConfigError`` where the folder holds answers of other models or parameters or, under the same id, to
    another question; where an id stands twice, where another process is at it, or for whatever else is
    wrong before or at the first call.
    """
    _refuse_twins(questions)
    if any(tier.name == JUDGE for tier in policy.tiers):
        raise ConfigError(f"a tier named {JUDGE!r} cannot be told from the judge's calls: rename it")
    drawn = sorted(questions, key=lambda question: coin("", "record", question.id))
    journal, header = folder / "spending.jsonl", Header(policy=_identity(policy))
    with Meter(transport or Transports(), journal, budget=budget, header=header) as meter:
        recorder = Recorder(
            drawn, policy, judge(meter), meter, folder, concurrency=concurrency, max_tokens=max_tokens, judge_all=True
        )
        with closing(recorder):
            _refuse_others(recorder, questions)
            asyncio.run(recorder.record(drawn, progress))
        found = _recording(recorder, questions, meter)
    write_outcomes(folder / "outcomes.jsonl.gz", found.outcomes)
    return found


def _recording(recorder: Recorder, questions: Sequence[Outcome], meter: Meter) -> Recording:
    done = [recorder.complete(question) for question in questions]
    outcomes, left = labelled(questions, recorder.rows, done) if questions else ([], [])
    return Recording(
        outcomes=outcomes,
        spent=sum(meter.spent.values()),
        failed=recorder.failed,
        left=[question.id for question in left if question.id not in recorder.failed],
        possibly_billed=list(meter.possibly_billed),
        stopped=recorder.stopped,
    )


def _identity(policy: Policy) -> str:
    """What makes the answers what they are; the target, the gates and prices do not."""
    return digest([policy.name, [[declared(tier), tier.base_url] for tier in policy.tiers]])


def _refuse_twins(questions: Sequence[Outcome]) -> None:
    seen: set[str] = set()
    for question in questions:
        if not question.id or question.id in seen:
            raise ConfigError(f"the id {question.id!r} stands twice: whose is an answer?" if question.id else "no id")
        seen.add(question.id)


def _refuse_others(recorder: Recorder, questions: Sequence[Outcome]) -> None:
    for question in questions:
        known = recorder.rows.get(question.id)
        if known is not None and known.messages != request_of(question).messages:
            raise ConfigError(f"{question.id!r} was recorded with another question: name another folder, or rename it")
