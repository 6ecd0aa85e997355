"""The family ``pair`` of labelled rows: fitted to those that fit, told of all others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from cascade.learning.fit import right_of
from cascade.learning.pairing import fit_pairing
from cascade.learning.rows import Rows
from cascade.pairing import FAMILY, Pairing
from cascade.policy import Policy
from cascade.signals import extend
from cascade.types import CACHE


class _Stored(NamedTuple):
    """A row's stored answer: the row, the asked and the stored question."""

    row: int
    asked: str
    stored: str


def fitted_pairs(rows: Rows, policy: Policy) -> tuple[Rows, Pairing | None]:
    """The fit rows with what a pairing says of their stored answers, each out of fold, and that pairing.

    Without enough labels the rows stay as they are and there is none.
    """
    import numpy as np

    found = _stored(rows, policy)
    if not found:
        return rows, None
    places = [one.row for one in found]
    right = right_of(rows.quality[_sources(policy)[0], places])
    weights = np.min(rows.propensity[places]) / rows.propensity[places]
    made = fit_pairing([(one.asked, one.stored) for one in found], right, weights)
    if made is None:
        return rows, None
    return _extended(rows, found, made[1].tolist(), policy), made[0]


def with_pairs(rows: Rows, pairing: Pairing | None, policy: Policy) -> Rows:
    """Other rows with what the pairing says of their stored answers, as serving would see it."""
    if pairing is None:
        return rows
    found = _stored(rows, policy)
    return _extended(rows, found, (pairing.score(one.asked, one.stored) for one in found), policy)


def _stored(rows: Rows, policy: Policy) -> list[_Stored]:
    found = []
    for source in _sources(policy)[:1]:
        for row, signals in enumerate(rows.signals):
            model = rows.outcomes[row].models.get(CACHE)
            if signals[source] is not None and model is not None and model.question:
                found.append(_Stored(row, rows.requests[row].question, model.question))
    return found


def _sources(policy: Policy) -> list[int]:
    """The cache's places among the sources: as it is found, and after a tier was asked about it."""
    return [place for place, source in enumerate(policy.sources) if source.name == CACHE]


def _extended(rows: Rows, found: list[_Stored], logodds: Iterable[float], policy: Policy) -> Rows:
    signals = [list(some) for some in rows.signals]
    for one, value in zip(found, logodds, strict=True):
        for source in _sources(policy):
            told = signals[one.row][source]
            signals[one.row][source] = None if told is None else extend(told, FAMILY, {"logodds": value})
    return replace(rows, signals=signals)
