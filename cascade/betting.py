"""Has the promise been broken since? A bet against it that may be looked at after every audit.

A gambler stakes money on "more than ``level`` of these answers are bad". If the promise holds, no
gambler gets rich: the chance that the wealth ever reaches 1/delta is at most delta (Ville 1939),
with any stopping, without independent or identically distributed requests. So wealth of 1/delta is
an alarm that is false at most once in 1/delta lives. Bets as in Waudby-Smith and Ramdas 2010.09686;
a fresh part of the stake enters at every audit, because nobody knows when the change will come
(Shin, Ramdas and Rinaldo 2203.03532).

Only audited answers are steps. An answer that was not drawn would multiply the wealth by one.
"""

from __future__ import annotations

from math import ceil, e, exp, log, log1p
from typing import TYPE_CHECKING

from cascade.errors import ConfigError
from cascade.types import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]

BETS = 8
BOLDEST = 0.6
"""Largest bet, as a share of the one that a single good answer would ruin."""
LEAST_RISE = 1.19
"""The most cautious bet is the best one (Kelly's) against a rate of this many times the level."""


class Stakes(Record, frozen=True, kw_only=True):
    """Everything that a monitor knows, as plain numbers: write it to JSON, go on from it exactly.

    ``level`` is the promised rate, ``least`` the smallest audit probability that may ever occur.
    ``log_wealth`` holds one natural logarithm a bet, and is empty before the first audit.
    """

    level: float
    least: float = 1.0
    audits: int = 0
    log_wealth: list[float] = []


class RiskMonitor:
    """Watches one promise: at most ``level`` of the accepted answers are bad.

    ``RiskMonitor(Stakes(level=0.05, least=0.05))``, then ``update`` for every audited answer, in the
    order in which the requests came.
    """

    def __init__(self, stakes: Stakes) -> None:
        if not (0.0 < stakes.level < 1.0 and 0.0 < stakes.least <= 1.0):
            raise ConfigError(f"a monitor needs a level inside (0, 1) and a least probability in (0, 1]; got {stakes}")
        if len(stakes.log_wealth) != (BETS if stakes.audits else 0):
            raise ConfigError(f"a saved monitor holds {BETS} bets, or none before its first audit; got {stakes}")
        self._stakes = stakes
        self._bets = bets(stakes.level)

    @property
    def stakes(self) -> Stakes:
        """What to save."""
        return self._stakes

    @property
    def log_e(self) -> float:
        """Natural log of the e-value: the mean wealth over the bets. An alarm from log(1/delta) on."""
        wealth = self._stakes.log_wealth
        return _log_sum(wealth) - log(len(wealth)) if wealth else float("-inf")

    def update(self, bad: bool, probability: float = 1.0) -> float:
        """One audited answer, drawn with ``probability``; returns ``log_e``.

        ``ConfigError`` when the probability is below the least one: the bets were bounded by that.
        """
        now = self._stakes
        if not now.least <= probability <= 1.0:
            raise ConfigError(f"an audit probability of {probability} is not in [{now.least}, 1]")
        entering = log(fresh(now.audits + 1))
        wealth = now.log_wealth or [float("-inf")] * len(self._bets)
        surprise = (float(bad) - now.level) * now.least / probability
        stepped = [
            _log_sum([old, entering]) + log1p(bet * surprise) for old, bet in zip(wealth, self._bets, strict=True)
        ]
        self._stakes = Stakes(level=now.level, least=now.least, audits=now.audits + 1, log_wealth=stepped)
        return self.log_e


def bets(level: float) -> list[float]:
    """The stakes a unit of surprise, cautious to bold, for a least audit probability of one.

    Shares of 1/level in geometric steps: from Kelly's bet (p - level) / (level (1 - level)) against p
    of ``LEAST_RISE`` times the level, to ``BOLDEST``. Wealth then never falls below 1 - BOLDEST of
    itself in one step.
    """
    cautious = min((LEAST_RISE - 1.0) * level / (1.0 - level), 0.1)
    step = (BOLDEST / cautious) ** (1.0 / (BETS - 1))
    return [cautious * step**k / level for k in range(BETS)]


def fresh(audit: int) -> float:
    """Share of the stake that enters at this audit, counted from 1. The sum over all of them is 0.992.

    Counting from 0 would nearly double the sum, and the bound on false alarms with it.
    """
    return 1.0 / (1.12 * (audit + 1) * log(audit + e) ** 2)


def alarms(bad: Flags, level: float, delta: float) -> list[int | None]:
    """Audits until the alarm of each stream, (streams, audits) of verdicts, each drawn with certainty.

    None where the stream ends without one. The arithmetic of ``RiskMonitor`` over many streams at
    once; wealth itself rather than its logarithm, since it is not followed beyond 1/delta and never
    falls below what has just entered.
    """
    import numpy as np

    stakes = np.array(bets(level))
    good, wrong = 1.0 - stakes * level, 1.0 + stakes * (1.0 - level)
    found: list[int | None] = [None] * len(bad)
    quiet, wealth = np.arange(len(bad)), np.zeros((len(bad), len(stakes)))
    for audit in range(1, bad.shape[1] + 1):
        wealth = (wealth + fresh(audit)) * np.where(bad[quiet, audit - 1, None], wrong, good)
        ended = wealth.mean(axis=1) >= 1.0 / delta
        if ended.any():
            for stream in quiet[ended]:
                found[stream] = audit
            quiet, wealth = quiet[~ended], wealth[~ended]
        if not len(quiet):
            break
    return found


class Delay(Record, frozen=True, kw_only=True):
    """How many audits it takes to notice that the share of bad answers rose to ``rate``.

    ``median`` and ``p90`` are over simulated streams, None where they exceed ``horizon`` audits.
    ``bound`` is ln(1/delta) / KL(rate || level): no valid alarm needs fewer audits on average.
    """

    rate: float
    bound: float
    median: int | None
    p90: int | None
    horizon: int


STREAMS = 300
BEFORE = 1000
LONGEST = 40_000


def delay(level: float, delta: float, *, before: float, after: float, streams: int = STREAMS, seed: int = 0) -> Delay:
    """Simulated delay of the alarm when the rate jumps from ``before`` to ``after`` at audit 1,000.

    Streams that alarm before anything has changed are left out. Deterministic in ``seed``.
    ``ConfigError`` unless before <= level < after < 1.
    """
    import numpy as np

    if not before <= level < after < 1.0:
        raise ConfigError(f"a drift goes from at most {level:g}, the level, to above it and below 1, not to {after:g}")
    bound = log(1.0 / delta) / divergence(after, level)
    horizon = min(ceil(12 * bound) + 200, LONGEST)
    rates = np.repeat([before, after], [BEFORE, horizon])
    bad = np.random.default_rng(seed).random((streams, len(rates)), dtype=np.float32) < rates
    ends = [BEFORE + horizon + 1 if end is None else end for end in alarms(bad, level, delta)]
    late = sorted(end - BEFORE for end in ends if end > BEFORE)

    def quantile(share: float) -> int | None:
        found = late[ceil(share * len(late)) - 1]
        return found if found <= horizon else None

    return Delay(rate=after, bound=bound, median=quantile(0.5), p90=quantile(0.9), horizon=horizon)


def divergence(rate: float, level: float) -> float:
    """Kullback-Leibler divergence in nats of one coin from another, both rates inside (0, 1)."""
    return rate * log(rate / level) + (1.0 - rate) * log((1.0 - rate) / (1.0 - level))


def _log_sum(logs: list[float]) -> float:
    """Log of a sum of exponentials; -inf is a term of zero, and at least one term is not."""
    top = max(logs)
    return top + log(sum(exp(term - top) for term in logs))
