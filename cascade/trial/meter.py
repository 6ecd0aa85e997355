"""Every dollar of a trial, counted where it is spent: at the one seam to the models.

Each call leaves a line in a journal before anybody sees its answer, so that a trial which is killed
and begun again knows what it has spent. A call whose bill nobody can know (cut off, cancelled) counts
against the budget with the most that it can have cost.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Self

import msgspec

from cascade.asks import Call, Stream, Transport
from cascade.decide import LENGTH_LIMITS
from cascade.errors import BudgetError, CascadeError, ConfigError, UpstreamError
from cascade.prices import price_of
from cascade.types import Draft, Record

FRAME_TOKENS = 16
"""What a chat template may put around one message."""

ROUNDING = 1e-9
"""Of sums of dollars, so that a budget of exactly what is needed suffices."""


class Spent(Record, frozen=True, kw_only=True):
    """One line of the journal. ``unknown`` is what a call without a known bill can have cost at most."""

    tier: str
    cost: float = 0.0
    unknown: float = 0.0
    seconds: float = 0.0


def ceiling_of(call: Call) -> float:
    """The most that a call can cost, in dollars: a token for every byte, and as long an answer as it may be.

    ``ConfigError`` where no price or no limit on the answer's length is known: then nothing bounds it.
    """
    price = call.endpoint.price
    if price is None and (known := price_of(call.endpoint.model)) is not None:
        price = (known.input, known.output, known.cached_input)
    limit = next((call.params[name] for name in LENGTH_LIMITS if call.params.get(name)), None)
    if price is None or limit is None:
        raise ConfigError(f"{call.endpoint.model}: {'no price' if price is None else 'no limit on length'} is known")
    asked = len(msgspec.json.encode([call.messages, call.params], enc_hook=str)) + FRAME_TOKENS * len(call.messages)
    return float(asked * price[0] + limit * price[1]) / 1e6


class Meter:
    """A transport that counts, and begins no call that could pass ``budget`` (dollars, None for none).

    While others are under way such a call waits for what they leave; then it is refused with a
    ``BudgetError`` and ``refused`` is True. ``spent`` is in dollars by tier, earlier runs included;
    ``dearest`` the most that a call so far could have cost, ``said`` each tier's latest fault. One
    process at a time: ``ConfigError`` for a second one.
    """

    def __init__(self, transport: Transport, journal: Path, *, budget: float | None = None) -> None:
        self.budget = budget
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.unknown = 0.0
        self.refused = False
        self.broken: ConfigError | None = None
        self.said: dict[str, str] = {}
        self._transport = transport
        self.dearest = 0.0
        self._reserved = 0.0
        self._under_way = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._fd = _locked(journal)
        self._read(journal)

    @property
    def total(self) -> float:
        """Dollars so far, with what calls of an unknown bill can have cost."""
        return sum(self.spent.values()) + self.unknown

    def affords(self, dollars: float) -> bool:
        """Whether so much more is within the budget, and then one more call at the most that one could cost."""
        return self.budget is None or self.total + dollars + self.dearest <= self.budget * (1 + ROUNDING)

    async def complete(self, call: Call) -> Draft:
        """The answer, once it is paid for in the journal. Raises what the transport raises, and ``BudgetError``."""
        ceiling = ceiling_of(call)
        await self._admit(ceiling)
        started = time.monotonic()
        cost: float | None = None
        try:
            draft = await self._transport.complete(call)
            cost = draft.cost
            return draft
        except CascadeError as error:
            cost = _billed(error)
            self.said[call.tier] = str(error)
            if isinstance(error, ConfigError):
                self.broken = error
            raise
        finally:
            self._under_way -= 1
            self._reserved = self._reserved - ceiling if self._under_way else 0.0
            self._note(call.tier, cost, ceiling, time.monotonic() - started)
            self._wake()

    def stream(self, call: Call) -> Stream:
        """Nothing in a trial is streamed."""
        raise NotImplementedError

    async def close(self) -> None:
        """Give back the running loop's connections; the journal stays open."""
        await self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

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

    def _note(self, tier: str, cost: float | None, ceiling: float, seconds: float) -> None:
        line = Spent(tier=tier, cost=cost or 0.0, unknown=ceiling if cost is None else 0.0, seconds=round(seconds, 3))
        os.write(self._fd, msgspec.json.encode(line) + b"\n")
        self._add(line)

    def _add(self, line: Spent) -> None:
        self.spent[line.tier] += line.cost
        self.unknown += line.unknown

    def _read(self, journal: Path) -> None:
        """What earlier runs have spent; a line that a killed one could not finish is dropped."""
        body = journal.read_bytes()
        whole = body[: body.rfind(b"\n") + 1]
        if whole != body:
            os.ftruncate(self._fd, len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                self._add(msgspec.json.decode(line, type=Spent))
            except msgspec.DecodeError as error:
                raise ConfigError(f"{journal}, line {number}: {error}; what was spent is not known any more") from None


def _billed(error: CascadeError) -> float | None:
    """What a failed call cost; None where nobody can know."""
    if isinstance(error, UpstreamError):
        return error.cost if error.cost is not None else 0.0 if error.billed is False else None
    return 0.0


def _locked(journal: Path) -> int:
    try:
        journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(journal, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise ConfigError(f"{journal}: cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ConfigError(f"{journal.parent}: another process is at this trial: wait, or give a --name") from None
    return handle
