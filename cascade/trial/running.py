"""One trial from its prompts to its files, in steps between which a person is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import msgspec

from cascade.asks import Transport
from cascade.batch.asking import Progress, silent
from cascade.batch.meter import Meter
from cascade.batch.recording import LENGTH, Recorder, labelled
from cascade.engine import embedder_of
from cascade.errors import BudgetError, ConfigError, UpstreamError
from cascade.judging.case import Judge
from cascade.judging.families import family
from cascade.ledger import write_outcomes
from cascade.lock import declared, digest
from cascade.policy import Policy
from cascade.trial.concluding import Concluded, concluded, mean_costs, with_unasked, write
from cascade.trial.quoting import LEAST, MOST, Quote, quote
from cascade.types import Outcome, Record

BATCH = 8
"""Prompts between two looks at the quote."""

JUDGE = "judge"
"""As which tier a judge's calls are made."""

FAMILIES = ["logprobs", "size", "text"]
"""Signals that are recorded: the free ones. Which of them take part is seen when they are there."""


class Setting(Record, frozen=True, kw_only=True):
    """What a trial is made with. ``given`` is the file of a policy of the user's own, which is not written.

    ``judge`` makes the judge on a transport. ``folder`` holds everything recorded; policy, lock and page
    stand beside it under its name. Dollars of ``budget`` are those of all runs together.
    """

    policy: Policy
    judge: Callable[[Transport], Judge]
    folder: Path
    given: Path | None = None
    budget: float | None = None
    max_tokens: int = LENGTH
    concurrency: int = 4
    seed: int = 0
    allow_conflict: bool = False

    def beside(self, suffix: str) -> Path:
        """``NAME.toml``, ``NAME.lock.json`` or ``NAME.html``."""
        return self.folder.with_suffix(suffix)

    @property
    def policy_file(self) -> Path:
        """The user's own, or the one that is written."""
        return self.given if self.given is not None else self.beside(".toml")


class Trial:
    """A trial under way; a context manager. Run again with the same folder it goes on where it was.

    ``ConfigError`` where the folder holds another trial's records, or another process is at it.
    """

    def __init__(self, setting: Setting, prompts: Sequence[Outcome], transport: Transport) -> None:
        self.setting = setting
        self.prompts = prompts
        self.meter = Meter(transport, setting.folder / "spending.jsonl", budget=setting.budget)
        try:
            _same(setting)
            if any(tier.name == JUDGE for tier in setting.policy.tiers):
                raise ConfigError(f"a tier named {JUDGE!r} cannot be told from the judge's calls: rename it")
            self.judge = setting.judge(self.meter)
            signals = setting.policy.signals.model_copy(update={"sets": [FAMILIES]})
            asked = setting.policy if setting.given else setting.policy.model_copy(update={"signals": signals})
            self.recorder = Recorder(
                prompts,
                asked,
                self.judge,
                self.meter,
                setting.folder,
                max_tokens=setting.max_tokens,
                concurrency=setting.concurrency,
            )
        except BaseException:
            self.meter.__exit__()
            raise
        self._before = self.recorder.pace.done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.recorder.close()
        self.meter.__exit__()

    @property
    def conflict(self) -> str:
        """That the judge is of a judged model's family, which is better known before it is paid for."""
        kin = [tier.model for tier in self.setting.policy.tiers if family(tier.model) == self.judge.family]
        return f"the judge {self.judge.name} is of the same family as {', '.join(kin)}" if kin else ""

    @property
    def left(self) -> list[Outcome]:
        """Prompts that are not complete, in the order of asking."""
        return [prompt for prompt in self.prompts if not self.recorder.complete(prompt)]

    @property
    def at_most(self) -> tuple[float, float]:
        """Dollars of the pilot before anything is known: at most for answers, and about for the judge."""
        known = [self.recorder.ceiling(prompt) for prompt in self.left[: max(MOST - self._done, 0)]]
        return sum(answers for answers, _ in known), sum(verdicts for _, verdicts in known)

    @property
    def quoted(self) -> Quote | None:
        """What is known of the cost; None before there is a complete prompt."""
        costs = self.recorder.costs()
        if not costs:
            return None
        pace = self.recorder.pace
        return quote(
            costs,
            len(self.prompts),
            sum(len(self.recorder.judged_tiers(prompt)) for prompt in self.left),
            self.spent,
            unknown=self.meter.unknown,
            budget=self.setting.budget,
            reserve=self.meter.dearest,
            seconds_a_prompt=pace.seconds / max(pace.done - self._before, 1),
        )

    @property
    def spent(self) -> dict[str, float]:
        """Real dollars so far, by ``cheap`` (every tier but the last), ``frontier`` and ``judge``."""
        cheap = sum(self.meter.spent[tier.name] for tier in self.setting.policy.tiers[:-1])
        last = self.setting.policy.last.name
        return {"cheap": cheap, "frontier": self.meter.spent[last], "judge": self.meter.spent[JUDGE]}

    def pilot(self, progress: Progress = silent) -> None:
        """Record prompts until the quote is close, or the pilot has been long enough."""
        for aim in range(LEAST, MOST + BATCH, BATCH):
            known = self.quoted
            if known is not None and known.close:
                return
            self._record(self.prompts[: min(aim, MOST)], progress)

    def rest(self, progress: Progress = silent) -> None:
        """Record what is left, as far as the budget reaches."""
        self._record(self.prompts, progress)

    def conclude(self) -> Concluded:
        """Learn from what is recorded, and write policy, lock, page, and the labelled outcomes.

        ``UpstreamError`` or ``BudgetError`` where nothing could be recorded at all.
        """
        done = [self.recorder.complete(prompt) for prompt in self.prompts]
        rows, left = labelled(self.prompts, self.recorder.rows, done)
        failed = self.recorder.failed
        if not rows:
            if self.recorder.stopped == "budget":
                raise BudgetError(
                    f"the budget of {self.setting.budget:g} USD holds not even one prompt: a call can cost "
                    f"{self.meter.dearest:.4f} USD; raise --budget, or let answers be shorter with --max-tokens"
                )
            raise UpstreamError(f"no prompt could be recorded: {next(iter(failed.values()), 'none was asked')}")
        policy = self._learning_policy(rows)
        found = concluded(
            rows,
            policy,
            mean_costs(self.recorder.costs(), self.spent),
            judge=self.judge.name,
            allow_conflict=self.setting.allow_conflict,
            embedder=embedder_of(policy),
        )
        unreached = [prompt.id for prompt in left if prompt.id not in failed]
        evidence = with_unasked(found.evidence, failed, unreached)
        found = msgspec.structs.replace(found, evidence=evidence)
        write_outcomes(self.setting.folder / "outcomes.jsonl.gz", rows)
        self._write_policy(policy)
        write(found, lock=self.setting.beside(".lock.json"), page=self.setting.beside(".html"))
        return found

    def _record(self, prompts: Sequence[Outcome], progress: Progress) -> None:
        asyncio.run(self.recorder.record(prompts, progress))
        if self.recorder.stopped == "unreachable":
            why = list(self.recorder.failed.values())[-1]
            raise UpstreamError(f"one prompt after the other fails, what is recorded is kept; the latest: {why}")

    @property
    def _done(self) -> int:
        return len(self.prompts) - len(self.left)

    def _learning_policy(self, rows: Sequence[Outcome]) -> Policy:
        """The user's policy as it is; else ours, with the signals that the cheap model's answers bring."""
        from cascade.learning.ladders import families_of

        policy, file = self.setting.policy, self.setting.beside(".toml")
        if self.setting.given or file.exists():
            return policy
        cheap = [tier.name for tier in policy.tiers[:-1]]
        signals = policy.signals.model_copy(update={"sets": [families_of(rows, cheap)]})
        return policy.model_copy(update={"signals": signals})

    def _write_policy(self, policy: Policy) -> None:
        from cascade.learning.ladders import policy_toml

        file = self.setting.beside(".toml")
        if not self.setting.given and not file.exists():
            file.write_text(policy_toml(policy), "utf-8")


class _Kind(Record, frozen=True, kw_only=True):
    """What the records of a trial are of: they cannot be mixed with those of other models."""

    tiers: str
    seed: int


def _same(setting: Setting) -> None:
    """``ConfigError`` where the folder holds answers of other models, parameters or prompts of tiers."""
    file = setting.folder / "trial.json"
    tiers = [[declared(tier), tier.base_url] for tier in setting.policy.tiers]
    kind = _Kind(tiers=digest([setting.policy.name, tiers]), seed=setting.seed)
    if not file.exists():
        file.write_bytes(msgspec.json.encode(kind))
        return
    try:
        known = msgspec.json.decode(file.read_bytes(), type=_Kind)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{file}: cannot be read: {error}; move {setting.folder} aside or give a --name") from None
    if known != kind:
        what = "other models or parameters" if known.tiers != kind.tiers else f"seed {known.seed}"
        raise ConfigError(f"{setting.folder} holds a trial of {what}: give a --name, or move it aside")
