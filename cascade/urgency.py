"""Same answer, different urgency: what two answers of equal score make their readers do.

Labels of both sides on the same rows, as a matrix with a test of its symmetry, and what each side missed.
All figures are of the rows that are given: which of them may be looked at is the caller's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Literal

from cascade.intervals import Figure, proportion
from cascade.judging.gold import normalised
from cascade.labels import label_in
from cascade.policy import Policy
from cascade.tables import ABSENT, AMBIGUOUS, OTHER
from cascade.types import Miss, ModelOutcome, Record, Verdict

LITTLE = 0.2
"""Score differences, of 1, up to which nobody looks twice: two points of ten, one step of a five-point scale."""

MOST_SUMS = 200_000
"""Sums for one pair of labels up to which the test is exact; past them counts are large enough for chi-square."""

Side = Literal["served", "frontier"]
Pair = tuple[ModelOutcome, ModelOutcome]
"""Served and frontier, of one row."""


class Symmetry(Record, frozen=True, kw_only=True):
    """Does one side lean towards other labels than the other? ``said`` is the answer in words.

    ``statistic`` is McNemar's or Bowker's chi-square; it and ``p`` are None where no label differs.
    """

    test: str
    statistic: float | None = None
    p: float | None = None
    said: str


class LabelComparison(Record, frozen=True, kw_only=True):
    """One label on all rows. ``matrix[i][j]`` counts rows with ``values[i]`` served and ``values[j]`` of the frontier.

    ``differs`` is the share of rows whose two labels are not the same (Wilson). ``ambiguous_served`` and
    ``ambiguous_frontier`` count answers with two values. ``uninformative``: no row has any other label than
    all the others on either side, so that agreement shows nothing. ``left_out`` rows have no label
    recorded on some side.
    """

    field: str
    rows: int
    values: list[str]
    matrix: list[list[int]]
    differs: Figure
    symmetry: Symmetry
    uninformative: bool
    ambiguous_served: int
    ambiguous_frontier: int
    left_out: int = 0


class Missed(Record, frozen=True, kw_only=True):
    """What one side missed and the other did not, by the same judge.

    ``compared`` is False where that judge has not judged the other side, which may miss it too.
    """

    row: str
    what: str
    critical: bool
    judge: str
    compared: bool


class Hidden(Record, frozen=True, kw_only=True):
    """Two scores of one judge, in [0, 1], that hardly differ, and the critical misses of one side alone."""

    row: str
    judge: str
    served: float
    frontier: float
    missed_by: Side
    what: list[str]


class MissesCompared(Record, frozen=True, kw_only=True):
    """What each side missed, critical ones first, and the rows on which the scores hide a critical miss.

    ``judged`` counts the rows on which some judge has judged both sides.
    """

    rows: int
    judged: int
    missed_by_served: list[Missed]
    missed_by_frontier: list[Missed]
    hidden: list[Hidden]


def labels_compared(pairs: Iterable[Pair], ids: Sequence[str], policy: Policy) -> list[LabelComparison]:
    """Each label that the policy declares, served against frontier; ``ids`` names the row of each pair."""
    known = list(pairs)
    found = []
    for name, label in policy.labels.items():
        both = [(label_in(ours, name, label), label_in(theirs, name, label)) for ours, theirs in known]
        told = [(row, a, b) for row, (a, b) in zip(ids, both, strict=True) if a is not None and b is not None]
        rows, ours, theirs = ([line[i] for line in told] for i in range(3))
        left_out = len(known) - len(told)
        found.append(compare_labels(rows, name, ours, theirs, values=label.values, left_out=left_out))
    return found


def compare_labels(
    rows: Sequence[str],
    field: str,
    ours: Sequence[str],
    theirs: Sequence[str],
    *,
    values: Sequence[str] = (),
    left_out: int = 0,
) -> LabelComparison:
    """Served labels (``ours``) against the frontier's (``theirs``), one of each a row.

    ``values`` go first in the matrix, in their order; only what occurs is in it.
    """
    pairs = list(zip(ours, theirs, strict=True))
    seen = {label for pair in pairs for label in pair}
    order = _ordered(seen, values)
    matrix = [[pairs.count((a, b)) for b in order] for a in order]
    return LabelComparison(
        field=field,
        rows=len(rows),
        values=order,
        matrix=matrix,
        differs=proportion(sum(a != b for a, b in pairs), len(pairs)),
        symmetry=symmetry(matrix),
        uninformative=len(seen) <= 1,
        ambiguous_served=sum(a == AMBIGUOUS for a, _ in pairs),
        ambiguous_frontier=sum(b == AMBIGUOUS for _, b in pairs),
        left_out=left_out,
    )


def _ordered(seen: set[str], values: Sequence[str]) -> list[str]:
    """Declared values, further ones by name, and last what is no value."""
    none = [OTHER, AMBIGUOUS, ABSENT]
    named = sorted(seen - set(none))
    return [value for value in dict.fromkeys([*values, *named, *none]) if value in seen]


def symmetry(matrix: Sequence[Sequence[int]]) -> Symmetry:
    """McNemar's test for two labels, Bowker's for more, on a square matrix of counts.

    Statistic: the sum of (n_ij - n_ji)^2 / (n_ij + n_ji) over pairs of labels. Under symmetry each n_ij
    is Binomial(n_ij + n_ji, 1/2), so its distribution is exact; chi-square only where that takes too
    many sums. Sources: McNemar, Psychometrika 1947; Bowker, JASA 1948.
    """
    crossed = [(matrix[i][j], matrix[j][i]) for i, j in combinations(range(len(matrix)), 2)]
    crossed = [pair for pair in crossed if sum(pair)]
    name = "McNemar" if len(matrix) == 2 else "Bowker"
    if not crossed:
        return Symmetry(test="none", said="no label differs: there is nothing to test")
    statistic = sum((a - b) ** 2 / (a + b) for a, b in crossed)
    p, how = _exact([a + b for a, b in crossed], statistic), "exact"
    if p is None:
        from scipy.stats import chi2

        p, how = float(chi2.sf(statistic, len(crossed))), "chi-square"
    said = f"{name} ({how}): p = {p:.3g}, on {sum(map(sum, crossed))} rows whose labels differ"
    return Symmetry(test=f"{name}, {how}", statistic=statistic, p=p, said=said)


def _exact(sums: Sequence[int], statistic: float) -> float | None:
    """P(statistic at least so large) for symmetric pairs of these sums; None where that is too much to count."""
    import numpy as np
    from scipy.stats import binom

    known = {0.0: 1.0}
    for n in sums:
        if len(known) * (n + 1) > MOST_SUMS:
            return None
        chances = np.asarray(binom.pmf(np.arange(n + 1), n, 0.5)).tolist()
        grown: dict[float, float] = {}
        for value, mass in known.items():
            for k, chance in enumerate(chances):
                total = round(value + (2 * k - n) ** 2 / n, 9)  # sums of fractions, equal but for rounding
                grown[total] = grown.get(total, 0.0) + mass * chance
        known = grown
    tolerance = 1e-6 * max(statistic, 1.0)
    return min(sum(mass for value, mass in known.items() if value >= statistic - tolerance), 1.0)


def misses_compared(pairs: Iterable[Pair], ids: Sequence[str], *, little: float = LITTLE) -> MissesCompared:
    """What the judges say that each side missed, and where scores at most ``little`` apart hide a critical miss.

    Every judge's latest verdict on each side counts, none for another's. Two misses are one where their
    words are; the same thing in other words stands on both sides, which errs towards showing it.
    """
    missed: dict[Side, list[Missed]] = {"served": [], "frontier": []}
    hidden: list[Hidden] = []
    rows = judged = 0
    for row, (ours, theirs) in zip(ids, pairs, strict=True):
        served, frontier = _latest(ours), _latest(theirs)
        rows, judged = rows + 1, judged + bool(served.keys() & frontier.keys())
        for judge in [*served, *(judge for judge in frontier if judge not in served)]:
            a, b = served.get(judge), frontier.get(judge)
            missed["served"] += _missed(row, a, b)
            missed["frontier"] += _missed(row, b, a)
            if a is not None and b is not None:
                hidden += _hidden(row, a, b, little)
    for side in missed.values():
        side.sort(key=lambda miss: not miss.critical)
    return MissesCompared(
        rows=rows,
        judged=judged,
        missed_by_served=missed["served"],
        missed_by_frontier=missed["frontier"],
        hidden=hidden,
    )


def _latest(outcome: ModelOutcome) -> dict[str, Verdict]:
    return {verdict.judge: verdict for verdict in outcome.verdicts}


def _alone(verdict: Verdict, other: Verdict | None) -> list[Miss]:
    """Misses of a verdict that the other has not, or has only as a lesser one; without its words none is another's."""
    there = [] if other is None else [(normalised(miss.what), miss.critical) for miss in other.missed]
    also = {what for what, _ in there if what}
    critical = {what for what, grave in there if grave and what}
    return [miss for miss in verdict.missed if normalised(miss.what) not in (critical if miss.critical else also)]


def _missed(row: str, verdict: Verdict | None, other: Verdict | None) -> list[Missed]:
    if verdict is None:
        return []
    compared = other is not None or bool(verdict.labels.get("against"))
    return [
        Missed(row=row, what=miss.what, critical=miss.critical, judge=verdict.judge, compared=compared)
        for miss in _alone(verdict, other)
    ]


def _hidden(row: str, served: Verdict, frontier: Verdict, little: float) -> list[Hidden]:
    if served.score is None or frontier.score is None or round(abs(served.score - frontier.score), 9) > little:
        return []
    found: list[Hidden] = []
    sides: list[tuple[Side, Verdict, Verdict]] = [("served", served, frontier), ("frontier", frontier, served)]
    for side, verdict, other in sides:
        what = [miss.what for miss in _alone(verdict, other) if miss.critical]
        if what:
            found.append(
                Hidden(
                    row=row,
                    judge=verdict.judge,
                    served=served.score,
                    frontier=frontier.score,
                    missed_by=side,
                    what=what,
                )
            )
    return found
