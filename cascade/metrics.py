"""How well a score tells right from wrong, what a curve of cost against quality is worth, what escalation buys.

Functions of columns, one entry a row; quality, loss and shares in [0, 1], costs in US dollars.
Intervals are 95 % ones from the resamples of one ``Bootstrap``, so that rows of one group stay together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cascade.intervals import Bootstrap, Figure, proportion
from cascade.types import RIGHT, Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Places = NDArray[np.int64]

BINS = 10
ROWS_A_BIN = 5
PERFECT_DRAWS = 200

LEAST_GAP = 0.05
"""Least quality that the strong model is better by, for a share of that gap to mean anything: a gap of
a few points is within a few of its own standard errors on a thousand questions, and the share that is
"recovered" of it swings over the whole of [0, 1]."""


class Discrimination(Record, frozen=True, kw_only=True):
    """How well one confidence tells right answers from wrong ones, on held-out rows.

    ``auroc`` is the chance that a right answer scores above a wrong one, None where one kind is missing.
    ``aurc`` is the mean error of what is served while coverage grows from nothing to all, ``e_aurc`` that
    minus what a perfect ranking of the same answers has: 0 is best for both. ``ece`` is the expected
    calibration error over bins of equal size, ``ece_if_perfect`` what it would be on average if every
    confidence were exactly right, since the plain figure is biased upwards.
    """

    rows: int
    auroc: Figure | None
    aurc: Figure
    e_aurc: Figure
    ece: Figure
    ece_if_perfect: float


class Escalations(Record, frozen=True, kw_only=True):
    """What the last tier's answer brought where a request was escalated: shares of the ``escalated`` rows.

    ``useful``: it was right and the cheap answer wrong. ``harmful``: the other way round. ``wasted``: both
    right or both wrong, so that nothing but money changed. ``counts`` has the rows of each under its name.
    Nothing escalated makes each share NaN, without an interval.
    """

    rows: int
    escalated: int
    useful: Figure
    wasted: Figure
    harmful: Figure
    counts: dict[str, int]


class Spend(Record, frozen=True, kw_only=True):
    """Where a cascade's money went, and what always-frontier costs: mean US dollars a request, over all requests.

    ``call`` is one cheap call. ``fixed`` is all that stays when the last tier's price changes: cheap calls,
    further samples, verifiers, embeddings. ``escalated`` is what the last tier was paid for answers that
    were served, ``audited`` for answers that only an audit asked for, ``judged`` what verdicts cost.
    """

    frontier: float
    call: float
    fixed: float
    escalated: float
    audited: float = 0.0
    judged: float = 0.0


class _Ranking:
    """Rows from the lowest value of a column to its highest, equal values in one block."""

    def __init__(self, column: Floats) -> None:
        import numpy as np

        self.order = np.argsort(column, kind="stable")
        ordered = column[self.order]
        self.starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))

    def sums(self, weighted: Any) -> Any:
        """Sum over each block of something (..., rows); shape (..., blocks)."""
        import numpy as np

        return np.add.reduceat(weighted[..., self.order], self.starts, axis=-1)


def auroc(score: Floats, right: Bools) -> float | None:
    """Chance that a right answer has the higher score, ties half; None where one kind is missing."""
    import numpy as np

    if bool(right.all()) or not bool(right.any()):
        return None
    return float(_auroc(_Ranking(score), right, np.ones(len(score))))


def auroc_figure(score: Floats, right: Bools, boot: Bootstrap) -> Figure | None:
    """``auroc`` with a percentile interval; resamples with answers of one kind only are left out of it."""
    if auroc(score, right) is None:
        return None
    ranking = _Ranking(score)
    return boot.figure(lambda w: _auroc(ranking, right, w), score)


def _auroc(ranking: _Ranking, right: Bools, weights: Any) -> Any:
    """NaN for weights that leave out one kind."""
    import numpy as np

    ones = ranking.sums(weights * right)
    zeros = ranking.sums(weights) - ones
    above = np.cumsum(zeros, axis=-1) - zeros / 2
    with np.errstate(invalid="ignore"):
        return (ones * above).sum(axis=-1) / (ones.sum(axis=-1) * zeros.sum(axis=-1))


def risk_coverage(score: Floats, loss: Floats) -> tuple[Floats, Floats]:
    """Coverage and the mean loss of what is covered, for every threshold on the score, the highest first.

    Rows of equal score are covered together, in one step, since no threshold can part them. Source:
    Geifman and El-Yaniv, Selective classification for deep neural networks, NeurIPS 2017.
    """
    import numpy as np

    ranking = _Ranking(-score)
    covered = np.cumsum(ranking.sums(np.ones(len(score))))
    return covered / len(score), np.cumsum(ranking.sums(loss)) / covered


def aurc(score: Floats, loss: Floats) -> float:
    """Area under the risk-coverage curve: mean, over the rows from the highest score on, of the loss so far.

    Rows of equal score count as if taken in random order, in expectation: a score that says nothing then
    has the mean loss, and it makes no difference in which order the rows stand. ``loss`` is right or
    wrong or graded. Source: Geifman, Uziel and El-Yaniv, Bias-reduced uncertainty estimation, ICLR 2019.
    """
    import numpy as np

    return float(_aurc(_Ranking(-score), loss, np.ones(len(score))))


def e_aurc(score: Floats, loss: Floats) -> float:
    """``aurc`` minus that of a ranking by the losses themselves: at least 0, and 0 for a perfect ranking."""
    import numpy as np

    return float(_e_aurc((_Ranking(-score), _Ranking(loss)), loss, np.ones(len(score))))


def _e_aurc(rankings: tuple[_Ranking, _Ranking], loss: Floats, weights: Any) -> Any:
    import numpy as np

    ours, best = (_aurc(ranking, loss, weights) for ranking in rankings)
    return np.maximum(ours - best, 0.0)  # below 0 by rounding alone


def _aurc(ranking: _Ranking, loss: Floats, weights: Any) -> Any:
    """For whole weights, each the times that its row is there.

    After N rows of loss L together, the j-th of m more rows whose mean loss is a makes the loss so far
    (L + j a) / (N + j) = a + (L - N a) / (N + j) in expectation; over j = 1..m that sums to
    m a + (L - N a) (H(N + m) - H(N)), with H the harmonic numbers.
    """
    import numpy as np

    rows = ranking.sums(weights)
    lost = ranking.sums(weights * loss)
    upto = np.cumsum(rows, axis=-1)
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, int(upto.max()) + 1))])
    spread = harmonic[upto.astype(np.int64)] - harmonic[(upto - rows).astype(np.int64)]
    each = lost / np.maximum(rows, 1.0)
    before = np.cumsum(lost, axis=-1) - lost
    return (lost + (before - (upto - rows) * each) * spread).sum(axis=-1) / upto[..., -1]


def equal_mass_bins(probability: Floats) -> list[Places]:
    """Places of the rows of each bin, from the least probability to the greatest, as many in each.

    Bins of equal width would leave some with a handful of rows and a wide interval.
    """
    import numpy as np

    order = np.argsort(probability, kind="stable")
    return np.array_split(order, min(BINS, max(len(probability) // ROWS_A_BIN, 1)))


def expected_calibration_error(probability: Floats, right: Bools, bins: list[Places]) -> float:
    """Mean over the rows of | mean probability - share right | of their bin."""
    gaps = [abs(probability[b].mean() - right[b].mean()) * len(b) for b in bins]
    return float(sum(gaps) / len(probability))


def calibration_error_if_perfect(probability: Floats, bins: list[Places]) -> float:
    """What the same figure is on average when every probability is exactly right: its bias, simulated."""
    import numpy as np

    random = np.random.default_rng(0)
    drawn = (random.random(len(probability)) < probability for _ in range(PERFECT_DRAWS))
    return float(np.mean([expected_calibration_error(probability, right, bins) for right in drawn]))


def discrimination(score: Floats, probability: Floats, right: Bools, boot: Bootstrap) -> Discrimination:
    """All of it, for at least one row."""
    loss = (~right).astype(float)
    down, best = _Ranking(-score), _Ranking(loss)
    bins = equal_mass_bins(probability)
    return Discrimination(
        rows=len(score),
        auroc=auroc_figure(score, right, boot),
        aurc=boot.figure(lambda w: _aurc(down, loss, w), score),
        e_aurc=boot.figure(lambda w: _e_aurc((down, best), loss, w), score),
        ece=_calibration(probability, right, bins, boot),
        ece_if_perfect=calibration_error_if_perfect(probability, bins),
    )


def _calibration(probability: Floats, right: Bools, bins: list[Places], boot: Bootstrap) -> Figure:
    """The calibration error with an interval that covers it near 0 too, at the price of being wide.

    A resample adds its noise to that of the rows inside absolute values, so that percentiles lie above
    the truth. By the triangle inequality the error of the figure is at most the sum of the errors of
    the bins' gaps; it is that sum's 0.975 quantile over the resamples that the interval reaches to.
    """
    import numpy as np

    gaps = np.zeros((len(probability), len(bins)))
    for at, places in enumerate(bins):
        gaps[places, at] = probability[places] - right[places]
    found = gaps.sum(axis=0) / len(probability)
    moved = boot.figure(lambda w: abs((w @ gaps) / w.sum(axis=-1, keepdims=True) - found).sum(axis=-1), probability)
    estimate, reach = float(abs(found).sum()), moved.high or 0.0
    return Figure(estimate=estimate, low=max(estimate - reach, 0.0), high=min(estimate + reach, 1.0))


def quantile(values: Floats, q: float, boot: Bootstrap) -> Figure:
    """The least value that at least a share ``q`` of the rows does not exceed; for latencies in any unit.

    Some row's own value, never one between two rows: numpy's ``inverted_cdf``. The interval reaches from
    one order statistic to another, by the binomial law of how many of as many independent rows lie
    below the true quantile. The percentile bootstrap lost: it ends at the highest of the rows that happen
    to be there, and covers a p95 of a hundred rows in 88 of 100 cases. No interval where the rows are too
    few for an end, as for a p99 of fewer than 368. Source: Woodruff, JASA 1952; for rows that come in groups
    Korn and Graubard, Survey Methodology 1998.
    """
    import numpy as np
    from scipy.stats import binom

    n, ordered = len(values), np.sort(values)
    estimate = float(np.quantile(values, q, method="inverted_cdf"))
    worth = boot.worth((values <= estimate).astype(float))
    below, above = int(binom.ppf(0.025, worth, q)), int(binom.ppf(0.975, worth, q)) + 1
    if below < 1 or above > worth:
        return Figure(estimate=estimate)
    low, high = ordered[[below * n // worth - 1, -(-above * n // worth) - 1]]
    return Figure(estimate=estimate, low=float(low), high=float(high))


def convex_hull_quality(cost: Floats, quality: Floats) -> tuple[Floats, Floats]:
    """Corners of the non-decreasing convex hull over points of (cost, quality), by rising cost.

    What can be had by drawing lots between points and never paying more for less: the upper hull from
    the cheapest point on, level from the best quality to the greatest cost. Source: Hu et al.,
    RouterBench, 2024, section 3.
    """
    import numpy as np

    hull: list[tuple[float, float]] = []
    for x, y in sorted(zip(cost.tolist(), quality.tolist(), strict=True), key=lambda point: (point[0], -point[1])):
        if hull and (x <= hull[-1][0] or y <= hull[-1][1]):
            continue
        while len(hull) > 1 and _under(hull[-2], hull[-1], (x, y)):
            hull.pop()
        hull.append((x, y))
    most = float(cost.max())
    if hull[-1][0] < most:
        hull.append((most, hull[-1][1]))
    corners = np.array(hull)
    return corners[:, 0], corners[:, 1]


def _under(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether the middle point is on or under the line from left to right."""
    rise = (middle[1] - left[1]) * (right[0] - left[0])
    return rise <= (right[1] - left[1]) * (middle[0] - left[0])


def aiq(points: Sequence[tuple[float, float]]) -> float | None:
    """RouterBench's average improvement in quality: the mean height of ``convex_hull_quality``.

    Of (cost, quality) points; the area under the hull over the range of the costs. None where all
    costs are the same, or there is no point. It leaves audits and judges out unless the costs have them.
    """
    import numpy as np

    if len({cost for cost, _ in points}) < 2:
        return None
    x, y = convex_hull_quality(*np.array(points, dtype=float).T)
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def performance_gap_recovered(quality: float, weak: float, strong: float) -> float | None:
    """RouteLLM's PGR: the share of the gap between weak and strong model that ``quality`` makes good.

    None where the gap is less than ``LEAST_GAP``. Source: Ong et al., RouteLLM, 2024, section 2.
    """
    gap = strong - weak
    return (quality - weak) / gap if round(gap, 9) >= LEAST_GAP else None  # 0.60 - 0.55 is a little under 0.05


def apgr(strong_share: Sequence[float], quality: Sequence[float], weak: float, strong: float) -> float | None:
    """RouteLLM's average PGR: its mean over the share of calls to the strong model, by trapezoids.

    ``quality`` is that of a router at each ``strong_share``; no call and every call are known without
    it. Drawing lots has 0.5. None where the gap is less than ``LEAST_GAP``.
    """
    import numpy as np

    curve = _recovered(strong_share, quality, weak, strong)
    return None if curve is None else float(np.trapezoid(curve[1], curve[0]))


def cpt(
    strong_share: Sequence[float], quality: Sequence[float], weak: float, strong: float, recovered: float
) -> float | None:
    """RouteLLM's call-performance threshold: the least share of strong calls at which PGR is ``recovered``.

    Between two measured shares as if lots were drawn between them. None where the gap is less than
    ``LEAST_GAP``, or where the curve never gets there.
    """
    curve = _recovered(strong_share, quality, weak, strong)
    if curve is None:
        return None
    shares, gains = (column.tolist() for column in curve)
    for at, gain in enumerate(gains):
        if gain >= recovered:
            if at == 0:
                return float(shares[0])
            part = (recovered - gains[at - 1]) / (gain - gains[at - 1])
            return float(shares[at - 1] + part * (shares[at] - shares[at - 1]))
    return None


def _recovered(
    strong_share: Sequence[float], quality: Sequence[float], weak: float, strong: float
) -> tuple[Floats, Floats] | None:
    """PGR over the share of strong calls, from no call to every call."""
    import numpy as np

    if performance_gap_recovered(weak, weak, strong) is None:
        return None
    known = sorted(zip(strong_share, quality, strict=True), key=lambda point: point[0])
    shares, reached = np.array([(0.0, weak), *known, (1.0, strong)]).T
    return shares, (reached - weak) / (strong - weak)


def least_price_ratio(spend: Spend, *, judge_scales: bool = False) -> float | None:
    """Frontier-to-cheap price of a call under which this cascade stops paying; None where no ratio would do.

    Its decisions stay as recorded while every price of the last tier is multiplied by r: always-frontier
    then costs r F, and the cascade c + j + r (f + a), for fixed c, verdicts j, escalated f and audited a.
    It saves r F - c - j - r (f + a), nothing at r = (c + j) / (F - f - a), where a frontier call costs
    r F / call cheap ones. With ``judge_scales`` the judge is priced as the last tier, and j belongs to a.
    Also None where the cheap call is free, so that there is no ratio.
    """
    stays = spend.fixed + (0.0 if judge_scales else spend.judged)
    scales = spend.escalated + spend.audited + (spend.judged if judge_scales else 0.0)
    spared = spend.frontier - scales
    if spared <= 0.0 or spend.call <= 0.0:
        return None
    return stays / spared * spend.frontier / spend.call


def escalations(cheap_quality: Floats, frontier_quality: Floats, escalated: Bools) -> Escalations:
    """Useful, wasted and harmful escalations; graded answers are right from ``RIGHT`` on."""
    cheap, frontier = cheap_quality[escalated] >= RIGHT, frontier_quality[escalated] >= RIGHT
    counts = {
        "useful": int((frontier & ~cheap).sum()),
        "wasted": int((frontier == cheap).sum()),
        "harmful": int((cheap & ~frontier).sum()),
    }
    n = len(cheap)
    shares = {name: proportion(count, n) for name, count in counts.items()}
    return Escalations(rows=len(escalated), escalated=n, counts=counts, **shares)
