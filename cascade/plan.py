"""What a promise will cost, before a cent is spent: labels, dollars, days, and when it pays.

Pure arithmetic over assumptions that the caller states. Labels are counted by the test that will
certify (``cascade.exact``), alarms by the bets that will watch (``cascade.betting``). Shares and
rates are in [0, 1], money in US dollars, times in days.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf
from typing import Literal

from msgspec.structs import asdict

from cascade.betting import Delay, delay
from cascade.economics import CallCosts, Economics, Traffic, economics
from cascade.errors import ConfigError
from cascade.exact import least_rows, rows_with_power
from cascade.types import Record

FIT, CERTIFY, HELD_OUT = 0.4, 0.4, 0.2
"""How calibration deals labelled rows out. Only those that certify count for the promise."""
FRACTIONS = (0.25, 0.5, 0.7)
"""True error as a share of the target, for the table that shows how much hangs on it."""
RISES = (1.6, 2.0, 3.0)
"""Drifts to plan for, as multiples of the level."""


class Promise(Record, frozen=True, kw_only=True):
    """What is to be certified. ``slices`` holds each slice's share of the traffic.

    Every slice is a promise of its own and every refit a new one: they share the chance of being
    wrong, 1 - confidence, equally.
    """

    kind: Literal["error", "regret"]
    level: float
    confidence: float
    slices: dict[str, float]
    refits: int

    @property
    def delta(self) -> float:
        """Chance of being wrong that one certificate may use."""
        return (1.0 - self.confidence) / (len(self.slices) * self.refits)


class Labels(Record, frozen=True, kw_only=True):
    """Labels for one assumed truth. ``accepted``, ``certify`` and ``rows`` are of one slice.

    ``accepted`` is what the test counts (for regret: all judged rows), ``certify`` the judged rows
    among which so many are expected, ``rows`` those and the ones that fit and are held out,
    ``total`` the rows of all slices.
    """

    true_rate: float
    accepted: int
    certify: int
    rows: int
    total: int


def labels(promise: Promise, true_rate: float, *, accept: float, power: float) -> Labels | None:
    """Labels with which the exact test passes with chance ``power`` if ``true_rate`` is the truth.

    For regret the rows counted as bad are those that the frontier alone got right, graded losses as
    whole ones: conservative, since the paired test also sees the rows that the cheap model won.
    None where the truth is so near the target that no affordable number would do.
    """
    accepted = rows_with_power(promise.level, true_rate, promise.delta, power)
    return None if accepted is None else _counted(promise, true_rate, accepted, accept)


def floor(promise: Promise, *, accept: float) -> Labels:
    """Labels below which nothing can be certified, not even without a single bad answer."""
    return _counted(promise, 0.0, least_rows(promise.level, promise.delta), accept)


def _counted(promise: Promise, true_rate: float, accepted: int, accept: float) -> Labels:
    certify = accepted if promise.kind == "regret" else ceil(accepted / accept)
    rows = ceil(certify / CERTIFY)
    return Labels(true_rate=true_rate, accepted=accepted, certify=certify, rows=rows, total=rows * len(promise.slices))


def days_until(needed: Labels, promise: Promise, traffic: Traffic) -> tuple[float, float]:
    """Days until one slice has its rows, and until all have, if no label goes where none is missing.

    A slice gives no more rows than its share of the traffic has, all of them no more than a day's
    labels; the first certificate is that of the largest slice, if its labels come first.
    """
    shares, most = promise.slices.values(), min(traffic.labels, traffic.requests)
    first = needed.rows / min(max(shares) * traffic.requests, most)
    return first, max(needed.rows / (min(shares) * traffic.requests), needed.total / most)


class Alarm(Record, frozen=True, kw_only=True):
    """How long a rise of the error goes unnoticed in one slice. Days are None beyond the simulation."""

    slice: str
    rate: float
    audits_a_day: float
    median_days: float | None
    p90_days: float | None


class Drift(Record, frozen=True, kw_only=True):
    """Alarms about accepted answers. ``level`` is the share of them that may be bad.

    For regret that is the target divided by the accept rate: so much of the accepted may lose
    against the frontier until a point of all traffic is lost.
    """

    level: float
    before: float
    delays: list[Delay]
    alarms: list[Alarm]


def drift(promise: Promise, traffic: Traffic, *, true_rate: float, rates: Sequence[float] = ()) -> Drift:
    """Delay of the alarm for each of the rates that the bad share of accepted answers may rise to.

    ``true_rate`` is the rate before, as it is promised (for regret: over all traffic). Without
    ``rates`` a few multiples of the level, as far as they are below 1. ``ConfigError`` for a rate
    that breaks no promise: it must be between the level among accepted answers and 1.
    """
    scale = 1.0 / traffic.accept if promise.kind == "regret" else 1.0
    level = promise.level * scale
    risen = rates or [level * times for times in RISES if level * times < 1.0]
    delays = [delay(level, promise.delta, before=true_rate * scale, after=rate) for rate in risen]
    alarms = [
        _alarm(name, found, traffic.requests * share * traffic.accept * traffic.audit)
        for name, share in promise.slices.items()
        for found in delays
    ]
    return Drift(level=level, before=true_rate * scale, delays=delays, alarms=alarms)


def _alarm(name: str, found: Delay, audits: float) -> Alarm:
    days = [None if count is None else count / audits for count in (found.median, found.p90)]
    return Alarm(slice=name, rate=found.rate, audits_a_day=audits, median_days=days[0], p90_days=days[1])


class Plan(Record, frozen=True, kw_only=True):
    """The whole answer. ``table`` holds the needed labels for other truths, None where they are too
    many. ``first_days`` and ``days`` are those to the first certificate and to every slice's.
    ``economics`` is None where no prices are known.
    """

    promise: Promise
    traffic: Traffic
    costs: CallCosts | None
    power: float
    floor: Labels
    needed: Labels
    table: list[Labels | None]
    first_days: float
    days: float
    drift: Drift
    economics: Economics | None


def plan(
    promise: Promise,
    traffic: Traffic,
    costs: CallCosts | None,
    *,
    true_rate: float,
    power: float = 0.8,
    rates: Sequence[float] = (),
) -> Plan:
    """All of it. ``ConfigError`` where an assumption is impossible or leaves nothing to plan."""
    _possible(promise, traffic, costs, true_rate, power)
    needed = labels(promise, true_rate, accept=traffic.accept, power=power)
    if needed is None:
        raise ConfigError(
            f"a true {promise.kind} of {true_rate:g} cannot be told from the target of {promise.level:g} with any "
            "affordable number of labels: assume less (--true-error) or promise less"
        )
    first, last = days_until(needed, promise, traffic)
    others = [promise.level * fraction for fraction in FRACTIONS]
    return Plan(
        promise=promise,
        traffic=traffic,
        costs=costs,
        power=power,
        floor=floor(promise, accept=traffic.accept),
        needed=needed,
        table=[labels(promise, rate, accept=traffic.accept, power=power) for rate in others],
        first_days=first,
        days=last,
        drift=drift(promise, traffic, true_rate=true_rate, rates=rates),
        economics=economics(needed.total, traffic, costs) if costs is not None else None,
    )


def _possible(promise: Promise, traffic: Traffic, costs: CallCosts | None, true_rate: float, power: float) -> None:
    """``ConfigError`` naming the first assumption that cannot be."""
    inside = {f"max_{promise.kind}": promise.level, "confidence": promise.confidence, "power": power}
    shares = {"audit rate": traffic.audit, "accept rate": traffic.accept}
    counts = {"requests per day": traffic.requests, "labels per day": traffic.labels, "refits": promise.refits}
    money = asdict(costs) if costs is not None else {}
    rules = [
        *((name, value, 0.0 < value < 1.0, "strictly between 0 and 1") for name, value in inside.items()),
        *((name, value, 0.0 < value <= 1.0, "above 0 and at most 1") for name, value in shares.items()),
        *((name, value, 0.0 < value < inf, "above 0") for name, value in counts.items()),
        *((f"cost_{name}", value, 0.0 <= value < inf, "at least 0 dollars") for name, value in money.items()),
        ("audit rate of escalated answers", traffic.audit_escalated, 0 <= traffic.audit_escalated <= 1, "in [0, 1]"),
        (
            f"true {promise.kind}",
            true_rate,
            0.0 <= true_rate < promise.level,
            f"in [0, {promise.level:g}), below the target",
        ),
    ]
    rules += [(f"share of slice {n}", s, 0.0 < s <= 1.0, "above 0 and at most 1") for n, s in promise.slices.items()]
    for name, value, holds, wanted in rules:
        if not holds:
            raise ConfigError(f"{name} must be {wanted}; got {value:g}")
    total = sum(promise.slices.values())
    if not promise.slices or abs(total - 1.0) > 1e-6:
        raise ConfigError(f"the slices' shares must sum to 1, and sum to {total:g}: name the rest as one more slice")
