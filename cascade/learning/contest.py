"""Which scorer for which tier and signal set: tried out of fold, chosen by what it would certify."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cascade.errors import ConfigError
from cascade.evidence import Contestant, RefusedSignal
from cascade.learning import path as paths
from cascade.learning.calibrators import fit_calibrator, log_loss, probabilities
from cascade.learning.features import Table, auroc, places_of, refused, table_of
from cascade.learning.fit import Fitted, fit_gain, fit_price, fit_right, fit_trees, right_of
from cascade.learning.rows import Rows
from cascade.policy import Policy, Target
from cascade.types import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST_LABELS = 20
LEAST_OF_A_KIND = 2
"""One wrong answer cannot be left out of a fold and still be learned from."""

ROWS_A_FEATURE = 20
"""Labels for each crossed feature before slices may bend the signals: fewer fit noise."""

RIGHT, GAIN, A_DOLLAR = "right", "gain", "gain a dollar"
"""The kinds of score, simplest first. All gates share one kind: thresholds are compared across tiers."""


class Won(Record, frozen=True, kw_only=True):
    """The outcome: scorers, the fit rows' out-of-fold ``scores`` (k, n), and how it came about."""

    scorers: list[Any]
    scores: Any
    contestants: list[Contestant]
    refused: list[RefusedSignal]


class _Entry(Record, frozen=True, kw_only=True):
    """One tier and signal set: its table, its scorer of each kind, and what each would save."""

    tier: int
    table: Table
    fitted: dict[str, Fitted]
    values: dict[str, float]
    lines: list[Contestant]


def contest(rows: Rows, policy: Policy, *, delta: float, certifying: int) -> Won:
    """Fit every kind for every tier and declared set; ``certifying`` rows will test the winner.

    ``ConfigError`` when no set has enough labels of both kinds.
    """
    import numpy as np

    entries: list[_Entry] = []
    turned_down: list[RefusedSignal] = []
    for index, tier in enumerate(policy.tiers[:-1]):
        for families in policy.signals.sets:
            places = places_of(rows, index, "+".join(sorted(families)))
            if not _enough(rows, places, index):
                continue
            out = refused(rows, places, index, tier.name)
            turned_down += out
            entries.append(_entry(rows, places, index, policy, {r.signal for r in out}, delta, certifying))
    if not entries:
        raise ConfigError(
            "no scorer can be fitted: each declared signal set needs at least "
            f"{LEAST_LABELS} labelled answers, {LEAST_OF_A_KIND} or more of them right and as many wrong; "
            f"declared: {['+'.join(sorted(s)) for s in policy.signals.sets]}{_seen(rows)}"
        )
    kind = _best_kind(entries)
    scores = np.full((len(policy.tiers) - 1, len(rows)), -np.inf)
    scorers = []
    for entry in entries:
        found = entry.fitted[kind]
        scores[entry.tier, entry.table.places] = found.scores
        scorers.append(_calibrated(found, entry, rows))
    lines = [
        replace(line, chosen=line.chosen and line.name.startswith(f"{kind}:")) for e in entries for line in e.lines
    ]
    return Won(scorers=scorers, scores=scores, contestants=lines, refused=turned_down)


def _enough(rows: Rows, places: list[int], tier: int) -> bool:
    right = right_of(rows.quality[tier, places])
    return len(places) >= LEAST_LABELS and min(int(right.sum()), int((~right).sum())) >= LEAST_OF_A_KIND


def _seen(rows: Rows) -> str:
    """What signal sets the rows really have, for the message that none fits."""
    names = {s.set_name for signals in rows.signals for s in signals if s is not None}
    return f"; the rows have: {sorted(names)[:5]}" if names else "; the rows have no signals at all"


def _entry(
    rows: Rows, places: list[int], tier: int, policy: Policy, out: set[str], delta: float, certifying: int
) -> _Entry:
    name = policy.tiers[tier].name
    weights = rows.propensity[places].min() / rows.propensity[places]
    right = right_of(rows.quality[tier, places])
    table, base, tried = _base(rows, places, tier, name, out, right, weights)
    fitted = {RIGHT: base}
    if policy.target.kind == "regret":
        gain = fit_gain(base, table, rows.quality[tier, places] - rows.quality[-1, places], weights)
        if gain is not None:
            fitted[GAIN] = gain
            dollar = fit_price(gain, table, rows.cost[-1, places])
            if dollar is not None:
                fitted[A_DOLLAR] = dollar
    worth = {
        kind: _worth(found.scores, rows, places, tier, policy.target, delta, certifying)
        for kind, found in fitted.items()
    }
    lines = [
        Contestant(
            tier=name,
            signal_set=table.signal_set,
            name=f"{kind}: {shape}",
            rows=len(places),
            log_loss=log_loss(_logistic(found.logodds), right, weights),
            auroc=auroc(found.scores, right) or float("nan"),
            value=worth[kind] if found is fitted.get(kind) else float("nan"),
            chosen=found is fitted.get(kind),
        )
        for kind, shape, found in [*tried, *((k, "logistic regression", f) for k, f in fitted.items() if k != RIGHT)]
    ]
    return _Entry(tier=tier, table=table, fitted=fitted, values=worth, lines=lines)


def _base(
    rows: Rows, places: list[int], tier: int, name: str, out: set[str], right: Any, weights: Any
) -> tuple[Table, Fitted, list[tuple[str, str, Fitted]]]:
    """The scorer of "is it acceptable": plain, with slices bending the signals, or boosted.

    The plain one stays unless another's log-loss is better by more than one standard error.
    """
    table = table_of(rows, places, tier, name, out, crossed=False)
    best = fit_right(table, right, weights)
    tried = [(RIGHT, "logistic regression", best)]
    crossed = table_of(rows, places, tier, name, out, crossed=True)
    if len(crossed.features) > len(table.features) and len(places) >= ROWS_A_FEATURE * len(crossed.features):
        other = fit_right(crossed, right, weights)
        tried.append((RIGHT, "logistic regression, slices crossed", other))
        if _clearly_better(other, best, right):
            table, best = crossed, other
    boosted = fit_trees(best, table, right, weights)
    if boosted is not None:
        tried.append((RIGHT, "gradient boosting", boosted))
        if _clearly_better(boosted, best, right):
            best = boosted
    return table, best, tried


def _clearly_better(other: Fitted, best: Fitted, right: Any) -> bool:
    import numpy as np

    def losses(found: Fitted) -> Any:
        return np.logaddexp(0.0, np.where(right, -found.logodds, found.logodds))

    gained = losses(best) - losses(other)
    return bool(gained.mean() > gained.std() / len(gained) ** 0.5)


def _best_kind(entries: list[_Entry]) -> str:
    """The kind with the largest predicted saving; a simpler one wins a tie."""
    kinds = [kind for kind in (RIGHT, GAIN, A_DOLLAR) if all(kind in entry.fitted for entry in entries)]
    rows = sum(len(entry.table.places) for entry in entries)
    return max(kinds, key=lambda kind: sum(e.values[kind] * len(e.table.places) for e in entries) / rows)


def _worth(
    scores: Floats, rows: Rows, places: list[int], tier: int, target: Target, delta: float, certifying: int
) -> float:
    """The share of the last tier's cost that this score would probably save once it is certified."""
    import numpy as np

    quality = rows.quality[[tier, -1]][:, places]
    line = paths.candidates(scores[None, :], certifying, target, delta)
    counts = paths.sweep(line, scores[None, :], quality, target.kind)
    start = paths.start_of(counts, len(places), certifying, target, delta) if counts else 0
    best = -np.inf
    for threshold, found in zip(line[start:], counts[start:], strict=True):
        if not _would_pass(found, len(places), certifying, target, delta):
            break
        best = threshold
    served = scores >= best if np.isfinite(best) else np.zeros(len(places), dtype=bool)
    cheap, frontier = rows.cost[tier, places], rows.cost[-1, places]
    known = np.isfinite(cheap) & np.isfinite(frontier)
    if not known.any() or not frontier[known].sum() > 0:
        return float(served.mean())
    return float((frontier[served & known].sum() - cheap[known].sum() * served.any()) / frontier[known].sum())


def _would_pass(found: paths.Counts, fitted: int, certifying: int, target: Target, delta: float) -> bool:
    if target.kind == "regret":
        return paths.lead(found, certifying, target.level) >= NormalDist().inv_cdf(1.0 - delta)
    scale = certifying / fitted
    scaled = paths.Counts(n=round(found.n * scale), bad=-int(-found.bad * scale // 1), better=0, served=0)
    return scaled.passes(target, delta)


def _calibrated(found: Fitted, entry: _Entry, rows: Rows) -> Any:
    weights = rows.propensity[entry.table.places].min() / rows.propensity[entry.table.places]
    right = right_of(rows.quality[entry.tier, entry.table.places])
    calibrator, _ = fit_calibrator(found.logodds, right, weights)
    return replace(found.scorer, calibrator=calibrator)


def _logistic(logodds: Any) -> Any:
    from cascade.confidence import Calibrator

    return probabilities(Calibrator(), logodds)
