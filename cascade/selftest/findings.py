"""What a scenario found, and how much bad luck it may be."""

from __future__ import annotations

from typing import Literal

from cascade.types import Record

SURE = 0.9999
"""A sound engine fails one scenario in ten thousand by bad luck."""

Demand = Literal["must hold", "must be noticed", "cannot be promised"]


class Finding(Record, frozen=True, kw_only=True):
    """One scenario of a stage: in ``broke`` of ``runs`` it went wrong, and in so many it ``may``.

    ``ok`` is False when something broke that may not. ``certified`` is the share of runs that
    certified anything at all, None where none was asked for.
    """

    stage: str
    scenario: str
    demand: Demand
    runs: int
    broke: int
    may: int
    ok: bool
    said: str
    certified: float | None = None


def limit(runs: int, chance: float) -> int:
    """Most failures of so many runs that failing with this chance explains, but for one time in 10,000."""
    from scipy.stats import binom

    return int(binom.ppf(SURE, runs, chance))
