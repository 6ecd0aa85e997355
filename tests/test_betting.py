"""The bets that watch a promise: seldom a false alarm, however often one looks, and soon a true one."""

from __future__ import annotations

from math import exp, log

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.betting import BETS, RiskMonitor, Stakes, alarms, delay, divergence, fresh
from cascade.errors import ConfigError

LEAST = 0.05
LEVELS = st.floats(0.002, 0.6)
HISTORIES = st.lists(st.tuples(st.booleans(), st.sampled_from([LEAST, 0.2, 1.0])), max_size=60)


def watched(history: list[tuple[bool, float]], level: float) -> RiskMonitor:
    monitor = RiskMonitor(Stakes(level=level, least=LEAST))
    for bad, probability in history:
        monitor.update(bad, probability)
    return monitor


@given(HISTORIES, LEVELS, st.sampled_from([LEAST, 0.2, 1.0]))
def test_a_kept_promise_wins_nothing_on_average(history: list[tuple[bool, float]], level: float, drawn: float) -> None:
    """Whatever came before: what is expected after an audit is the wealth so far and what enters."""
    before, good, bad = (watched(history, level) for _ in range(3))
    expected = level * exp(bad.update(True, drawn)) + (1 - level) * exp(good.update(False, drawn))
    assert expected == pytest.approx(exp(before.log_e) + fresh(len(history) + 1), rel=1e-9)


def test_no_more_enters_than_one() -> None:
    """A sum up to a million, and an integral above the rest of it."""
    known = 1_000_000
    assert sum(map(fresh, range(1, known))) + 1 / (1.12 * log(known)) == pytest.approx(0.992, abs=0.001)


@given(HISTORIES, HISTORIES, LEVELS)
def test_a_restored_monitor_goes_on_exactly(
    first: list[tuple[bool, float]], then: list[tuple[bool, float]], level: float
) -> None:
    straight = watched(first, level)
    restored = RiskMonitor(msgspec.json.decode(msgspec.json.encode(straight.stakes), type=Stakes))
    assert restored.log_e == straight.log_e
    for bad, probability in then:
        assert restored.update(bad, probability) == straight.update(bad, probability)
    assert restored.stakes == straight.stakes


@settings(max_examples=30)
@given(LEVELS, st.floats(0.01, 0.2), st.integers(0, 2**32 - 1))
def test_many_streams_at_once_end_where_one_by_one_they_do(level: float, delta: float, seed: int) -> None:
    bad = np.random.default_rng(seed).random((4, 80)) < min(3 * level, 1.0)
    ends = []
    for stream in bad:
        monitor = RiskMonitor(Stakes(level=level))
        rich = [audit for audit, flag in enumerate(stream, 1) if monitor.update(bool(flag)) >= log(1 / delta)]
        ends.append(rich[0] if rich else None)
    assert alarms(bad, level, delta) == ends


def test_at_exactly_the_level_at_most_22_of_200_streams_alarm() -> None:
    """22 is the 99.98 % limit of Bin(200, 0.05)."""
    bad = np.random.default_rng(1).random((200, 6000)) < 0.05
    assert sum(end is not None for end in alarms(bad, 0.05, 0.05)) <= 22


def test_uneven_audits_are_weighed_evenly() -> None:
    """Half of the answers are audited at 20 % and bad at 9.5 %, half at 5 % and at 0.5 %: 5 % in all.

    But 7.7 % of the audited are bad: whoever takes their probabilities for equal is misled.
    """
    random = np.random.default_rng(2)
    honest = fooled = 0
    for _ in range(200):
        doubtful = random.random(4000) < 0.5
        drawn = np.where(doubtful, 0.2, 0.05)
        bad = random.random(4000) < np.where(doubtful, 0.095, 0.005)
        audited = random.random(4000) < drawn
        weighed, plain = RiskMonitor(Stakes(level=0.05, least=0.05)), RiskMonitor(Stakes(level=0.05))
        peaks = [0.0, 0.0]
        for flag, probability in zip(bad[audited], drawn[audited], strict=True):
            peaks[0] = max(peaks[0], weighed.update(bool(flag), float(probability)))
            peaks[1] = max(peaks[1], plain.update(bool(flag)))
        honest += peaks[0] >= log(20)
        fooled += peaks[1] >= log(20)
    assert honest <= 22 < fooled


@pytest.mark.parametrize(
    ("before", "after", "median", "late"),
    [(0.05, 0.08, 854, 1543), (0.05, 0.15, 138, 250), (0.035, 0.08, 1082, 1854), (0.035, 0.15, 150, 260)],
)
def test_delays_are_those_of_the_study(before: float, after: float, median: int, late: int) -> None:
    """Audits from the rise to the alarm at 5 % and 95 % confidence, as simulated with 2,000 streams."""
    found = delay(0.05, 0.05, before=before, after=after, streams=1000)
    assert found.median == pytest.approx(median, rel=0.08)
    assert found.p90 == pytest.approx(late, rel=0.08)


def test_the_bound_is_of_information() -> None:
    """371, 145 and 43 audits; no simulated median is below it."""
    found = [delay(0.05, 0.05, before=0.05, after=rate) for rate in (0.08, 0.10, 0.15)]
    assert [round(one.bound) for one in found] == [371, 145, 43]
    assert all(one.median is not None and one.median > one.bound for one in found)


@pytest.mark.parametrize("level", [0.005, 0.05, 0.3, 0.7])
def test_a_larger_rise_is_noticed_sooner_at_any_level(level: float) -> None:
    room = min(level, 1 - level)
    found = [delay(level, 0.05, before=level, after=level + share * room).median for share in (0.9, 0.5)]
    assert found[0] is not None
    assert found[1] is None or found[0] < found[1]


def test_what_takes_too_long_is_none() -> None:
    found = delay(0.001, 0.05, before=0.001, after=0.00101)
    assert (found.median, found.p90) == (None, None)
    assert found.horizon < found.bound


@pytest.mark.parametrize(("before", "after"), [(0.05, 0.05), (0.05, 1.0), (0.06, 0.1), (0.01, float("nan"))])
def test_what_is_no_drift_is_refused(before: float, after: float) -> None:
    with pytest.raises(ConfigError, match="drift"):
        delay(0.05, 0.05, before=before, after=after)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_divergence_is_zero_only_between_equals(rate: float, level: float) -> None:
    assert divergence(rate, level) >= (1e-12 if abs(rate - level) > 1e-4 else -1e-12)


@pytest.mark.parametrize(
    "stakes",
    [
        Stakes(level=0.0),
        Stakes(level=1.0),
        Stakes(level=float("nan")),
        Stakes(level=0.05, least=0.0),
        Stakes(level=0.05, audits=3),
        Stakes(level=0.05, log_wealth=[0.0] * BETS),
    ],
)
def test_stakes_that_cannot_be_are_refused(stakes: Stakes) -> None:
    with pytest.raises(ConfigError):
        RiskMonitor(stakes)


def test_a_probability_below_the_least_is_refused() -> None:
    """And leaves the monitor as it was."""
    monitor = watched([(True, 0.2)], 0.05)
    before = monitor.stakes
    for probability in (0.01, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="probability"):
            monitor.update(True, probability)
    assert monitor.stakes == before
