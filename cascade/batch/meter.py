"""Every dollar, counted where it is spent: at the one seam to the models.

Each call leaves a line in a journal before it is sent and one before anybody sees its answer, so that
what is killed and begun again knows what it has spent. A call whose bill nobody can know (cut off,
cancelled, under way when the process was killed) counts against the budget with the most that it can
have cost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Self

import msgspec

from cascade.asks import Call, Stream, Transport
from cascade.batch.journal import Header, Journal, PossiblyBilled
from cascade.decide import LENGTH_LIMITS
from cascade.errors import BudgetError, CascadeError, ConfigError, UpstreamError
from cascade.prices import price_of
from cascade.types import Draft

FRAME_TOKENS = 16
"""What a chat template may put around one message."""

ROUNDING = 1e-9
"""Of sums of dollars, so that a budget of exactly what is needed suffices."""

OTHER = "other"
"""As which tier what is no call of a tier is counted."""

ASKED: ContextVar[str] = ContextVar("asked", default="")
"""Id of the question that a call is made for, which the call itself does not know: set by who asks it."""


def ceiling_of(call: Call) -> float:
    """The most that a call can cost, in dollars: a token for every byte, and as long an answer as it may be.

    ``ConfigError`` where no price or no limit on the answer's length is known: then nothing bounds it.
    """
    price = call.endpoint.price
    if price is None and (known := price_of(call.endpoint.model)) is not None:
        price = (known.input, known.output, known.cached_input)
    limit = next((call.params[name] for name in LENGTH_LIMITS if call.params.get(name)), None)
    if price is not None and not price[1]:
        limit = limit or 0  # an answer that costs nothing may be as long as it likes
    if price is None or limit is None:
        raise ConfigError(f"{call.endpoint.model}: {'no price' if price is None else 'no limit on length'} is known")
    asked = len(msgspec.json.encode([call.messages, call.params], enc_hook=str)) + FRAME_TOKENS * len(call.messages)
    return float(asked * price[0] + limit * price[1]) / 1e6


class Meter:
    """A transport that counts, and begins no call that could pass ``budget`` (dollars, None for none).

    While others are under way such a call waits for what they leave; then it is refused with a
    ``BudgetError`` and ``refused`` is True. ``spent`` is in dollars by tier, earlier runs included;
    ``dearest`` the most that a call so far could have cost, ``said`` each tier's latest fault, ``broken``
    a fault of the configuration. Raises what ``Journal`` raises.
    """

    def __init__(
        self, transport: Transport, journal: Path, *, budget: float | None = None, header: Header | None = None
    ) -> None:
        self.budget = budget
        self.refused = False
        self.broken: ConfigError | None = None
        self.said: dict[str, str] = {}
        self._transport = transport
        self.dearest = 0.0
        self._reserved = 0.0
        self._under_way = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._journal = Journal(journal, header)

    @property
    def spent(self) -> Mapping[str, float]:
        """Real dollars so far, by tier; of a tier that was not asked 0.0."""
        return self._journal.spent

    @property
    def unknown(self) -> float:
        """Dollars that calls of an unknown bill can have cost."""
        return self._journal.unknown

    @property
    def possibly_billed(self) -> list[PossiblyBilled]:
        """Those calls, earlier runs included."""
        return self._journal.possibly_billed

    @property
    def total(self) -> float:
        """Dollars so far, with what calls of an unknown bill can have cost."""
        return sum(self.spent.values()) + self.unknown

    def affords(self, dollars: float) -> bool:
        """Whether so much more is within the budget, and then one more call at the most that one could cost."""
        return self.budget is None or self.total + dollars + self.dearest <= self.budget * (1 + ROUNDING)

    async def complete(self, call: Call) -> Draft:
        """The answer, once it is paid for in the journal. Raises what the transport raises, and ``BudgetError``."""
        most = self._most(call)
        await self._admit(most or 0.0)
        try:
            return await self._sent(call, most)
        except ConfigError as error:
            self.broken = error
            raise
        finally:
            self._under_way -= 1
            self._reserved = self._reserved - (most or 0.0) if self._under_way else 0.0
            self._wake()

    def charge(self, dollars: float) -> None:
        """Count what was paid for something else than a call: an embedding, a check."""
        if dollars:
            self._journal.charge(OTHER, dollars)

    def stream(self, call: Call) -> Stream:
        """Nothing that is asked in numbers is streamed."""
        raise NotImplementedError

    async def close(self) -> None:
        """Give back the running loop's connections; the journal stays open."""
        await self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    def _most(self, call: Call) -> float | None:
        """The most that it can cost; without a budget it may be unbounded."""
        try:
            return ceiling_of(call)
        except ConfigError as error:
            if self.budget is None:
                return None
            self.broken = error
            raise

    async def _sent(self, call: Call, most: float | None) -> Draft:
        number = self._journal.begin(call.tier, ASKED.get(), most)
        started, cost = time.monotonic(), None
        try:
            draft = await self._transport.complete(call)
            cost = draft.cost
            return draft
        except CascadeError as error:
            cost = _billed(error)
            self.said[call.tier] = str(error)
            raise
        finally:
            self._journal.end(number, cost, time.monotonic() - started)

    async def _admit(self, ceiling: float) -> None:
        self.dearest = max(self.dearest, ceiling)
        while self.budget is not None and self.total + self._reserved + ceiling > self.budget * (1 + ROUNDING):
            if not self._under_way:
                self.refused = True
                raise BudgetError(
                    f"the next call can cost {ceiling:.4f} USD, which would pass the budget of {self.budget:g}"
                )
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._reserved += ceiling
        self._under_way += 1

    def _wake(self) -> None:
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)
        self._waiting.clear()


def _billed(error: CascadeError) -> float | None:
    """What a failed call cost; None where nobody can know."""
    if isinstance(error, UpstreamError):
        return error.cost if error.cost is not None else 0.0 if error.billed is False else None
    return 0.0
