"""What is put before a judge, and what a judge is."""

from __future__ import annotations

from typing import Any, Protocol

from cascade.replay import draft_of, request_of
from cascade.types import Draft, ModelOutcome, Outcome, Record, Request, Verdict


class Case(Record, frozen=True, kw_only=True):
    """One tier's answer to one request. ``against`` is the tier whose answer it is measured by, if any."""

    outcome: Outcome
    tier: str
    against: str | None = None

    @property
    def request(self) -> Request:
        """What was asked."""
        return request_of(self.outcome)

    @property
    def model(self) -> ModelOutcome:
        """The answer under judgement, with all that is known of it."""
        return self.outcome.models[self.tier]

    @property
    def draft(self) -> Draft:
        """The same as the engine saw it."""
        return draft_of(self.tier, self.model, self.tier)

    @property
    def answer(self) -> str:
        """Text of the answer, or of the refusal that stands in its place."""
        return self.model.answer or self.model.refusal or ""

    @property
    def other(self) -> ModelOutcome | None:
        """The answer that it is measured by."""
        return None if self.against is None else self.outcome.models.get(self.against)

    @property
    def reference(self) -> Any:
        """The right answer: a text (several stand between " | "), a JSON value, or None."""
        return self.outcome.reference


def answered(model: ModelOutcome | None) -> bool:
    """Is there anything to judge? A ledger that keeps no content has none."""
    return model is not None and (model.answer is not None or bool(model.refusal) or bool(model.tool_calls))


class Judge(Protocol):
    """Whoever says whether an answer is acceptable.

    ``name`` goes into every verdict and names whatever could change it. ``family`` is that of the
    model behind it, None for rules and people. ``spent`` counts the dollars of all its calls,
    abstentions and failures too.
    """

    @property
    def name(self) -> str:
        """As in ``Verdict.judge``."""
        ...

    @property
    def family(self) -> str | None:
        """As ``families.family`` names it."""
        ...

    @property
    def spent(self) -> float:
        """Dollars so far."""
        ...

    def estimate(self, case: Case) -> float:
        """Dollars that this case is expected to cost."""
        ...

    async def judge(self, case: Case) -> Verdict | None:
        """A verdict, or None where it cannot tell. Raises ``UpstreamError`` when it cannot be reached."""
        ...
