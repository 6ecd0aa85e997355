"""Which scorer for which tier and signal set: tried out of fold, chosen by what it would certify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cascade.errors import ConfigError
from cascade.evidence import Contestant, RefusedSignal
from cascade.learning.calibrators import fit_calibrator, log_loss, probabilities
from cascade.learning.continued import Reach, going_on, reach
from cascade.learning.features import Table, places_of, refused, table_of
from cascade.learning.fit import Fitted, fit_gain, fit_price, fit_right, fit_trees, fit_wrong, right_of
from cascade.learning.rows import Rows
from cascade.metrics import auroc
from cascade.policy import Policy
from cascade.types import CACHE, Record

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


SWEEPS = 2
"""Passes over the sources in which each is scored against those after it."""


class Won(Record, frozen=True, kw_only=True):
    """The outcome: scorers, the fit rows' out-of-fold ``scores`` (k, n), and how it came about."""

    scorers: list[Any]
    scores: Any
    contestants: list[Contestant]
    refused: list[RefusedSignal]


class _Entry(Record, frozen=True, kw_only=True):
    """One tier and signal set: its table, its scorer of each kind, and the lines that say what each would save."""

    tier: int
    table: Table
    fitted: dict[str, Fitted]
    lines: list[Contestant]


def contest(rows: Rows, policy: Policy, *, delta: float, certifying: int) -> Won:
    """Fit every kind for every tier and declared set; ``certifying`` rows will test the winner.

    ``ConfigError`` when no set has enough labels of both kinds.
    """
    entries: list[_Entry] = []
    turned_down: list[RefusedSignal] = []
    for index, source in enumerate(policy.sources):
        for families in source.sets:
            places = places_of(rows, index, "+".join(sorted(families)))
            if not _enough(rows, places, index):
                continue
            out = refused(rows, places, index, source.name)
            turned_down += out
            entries.append(_entry(rows, places, index, policy, {r.signal for r in out}, delta, certifying))
    if not entries:
        raise ConfigError(
            "no scorer can be fitted: each declared signal set needs at least "
            f"{LEAST_LABELS} labelled answers, {LEAST_OF_A_KIND} or more of them right and as many wrong; "
            f"declared: {_declared(policy)}{_seen(rows)}"
        )
    ladders = _ladders(entries, rows, policy, delta, certifying)
    # The furthest reach wins; a simpler ladder wins a tie.
    won = max(ladders, key=lambda ladder: ladder.reach.saving)
    lines = [
        replace(line, chosen=line.chosen and line.name.startswith(f"{won.kind}:")) for e in entries for line in e.lines
    ]
    return Won(
        scorers=[_calibrated(won.fitted[place], entries[place], rows) for place in sorted(won.fitted)],
        scores=won.scores,
        contestants=lines + ([_line(ladder, rows, ladder is won) for ladder in ladders] if len(entries) > 1 else []),
        refused=turned_down,
    )


def _enough(rows: Rows, places: list[int], tier: int) -> bool:
    right = right_of(rows.quality[tier, places])
    return len(places) >= LEAST_LABELS and min(int(right.sum()), int((~right).sum())) >= LEAST_OF_A_KIND


def _declared(policy: Policy) -> list[str]:
    return list(dict.fromkeys("+".join(sorted(families)) for source in policy.sources for families in source.sets))


def _seen(rows: Rows) -> str:
    """What signal sets the rows really have, for the message that none fits."""
    names = {s.set_name for signals in rows.signals for s in signals if s is not None}
    return f"; the rows have: {sorted(names)[:5]}" if names else "; the rows have no signals at all"


def _entry(
    rows: Rows, places: list[int], tier: int, policy: Policy, out: set[str], delta: float, certifying: int
) -> _Entry:
    name = policy.sources[tier].name
    weights = rows.propensity[places].min() / rows.propensity[places]
    right = right_of(rows.quality[tier, places])
    table, base, tried = _base(rows, places, tier, name, out, right, weights)
    fitted = {RIGHT: base}
    if policy.target.kind == "regret":
        if name == CACHE:
            gain: Fitted | None = fit_wrong(table, right, weights)
        else:
            gain = fit_gain(base, table, rows.quality[tier, places] - rows.quality[-1, places], weights)
        if gain is not None:
            fitted[GAIN] = gain
            dollar = fit_price(gain, table, rows.cost[-1, places])
            if dollar is not None:
                fitted[A_DOLLAR] = dollar
    quality, cost = (table_[[tier, -1]][:, places] for table_ in (rows.quality, rows.cost))
    worth = {
        kind: reach(found.scores[None, :], quality, cost, policy.target, delta, certifying).saving
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
    return _Entry(tier=tier, table=table, fitted=fitted, lines=lines)


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


class _Ladder(Record, frozen=True, kw_only=True):
    """Scorers for the entries (by their place) that take part, all of one kind, and how far they reach."""

    name: str
    kind: str
    fitted: dict[int, Fitted]
    scores: Any
    reach: Reach


def _ladders(entries: list[_Entry], rows: Rows, policy: Policy, delta: float, certifying: int) -> list[_Ladder]:
    """One for each kind that all entries have; the same against what going on would bring; and each of
    them without the cache, which has to pay for what it risks like everybody else, and without its check.
    """
    found = []
    for kind in (RIGHT, GAIN, A_DOLLAR):
        if not all(kind in entry.fitted for entry in entries):
            continue
        fitted = {place: entry.fitted[kind] for place, entry in enumerate(entries)}
        plain = _ladder(kind, kind, fitted, entries, rows, policy, delta, certifying)
        found.append(plain)
        if kind != RIGHT and len(policy.sources) > 1:
            found.append(_against_going_on(plain, entries, rows, policy, delta, certifying))
    stored = {place for place, entry in enumerate(entries) if policy.sources[entry.tier].name == CACHE}
    asked = {place for place in stored if policy.sources[entries[place].tier].asked}
    lesser = []
    for out, what in ((asked, "the check"), (stored, "the cache")):
        if out and len(out) < len(entries):
            for ladder in found:
                left = {place: one for place, one in ladder.fitted.items() if place not in out}
                name = f"{ladder.name}, without {what}"
                lesser.append(_ladder(name, ladder.kind, left, entries, rows, policy, delta, certifying))
    return found + lesser


def _ladder(
    name: str, kind: str, fitted: dict[int, Fitted], entries: list[_Entry], rows: Rows, policy: Policy, delta: float,
    certifying: int,
) -> _Ladder:  # fmt: skip
    import numpy as np

    scores = np.full((len(policy.sources), len(rows)), -np.inf)
    for place, found in fitted.items():
        scores[entries[place].tier, entries[place].table.places] = found.scores
    far = reach(scores, rows.quality, rows.cost, policy.target, delta, certifying)
    return _Ladder(name=name, kind=kind, fitted=fitted, scores=scores, reach=far)


def _against_going_on(
    plain: _Ladder, entries: list[_Entry], rows: Rows, policy: Policy, delta: float, certifying: int
) -> _Ladder:
    """The same kind, each source against what those after it would do at the threshold that is reached.

    From the last source to the first, twice: the threshold moves with the scores.
    """
    ladder = plain
    name = f"{plain.kind} over going on"
    for _ in range(SWEEPS):
        for place, entry in sorted(enumerate(entries), key=lambda one: -one[1].tier):
            threshold = ladder.reach.threshold
            if threshold is None:
                return replace(ladder, name=name)
            other = _refitted(
                entry, going_on(ladder.scores >= threshold, rows.quality, rows.cost, entry.tier + 1), rows, plain.kind
            )
            if other is not None:
                fitted = {**ladder.fitted, place: other}
                ladder = _ladder(name, plain.kind, fitted, entries, rows, policy, delta, certifying)
    return replace(ladder, name=name)


def _refitted(entry: _Entry, otherwise: tuple[Floats, Floats], rows: Rows, kind: str) -> Fitted | None:
    """The entry's scorer against the quality and the cost of what would come ``otherwise``; None if it cannot be."""
    quality, cost = otherwise
    places = entry.table.places
    weights = rows.propensity[places].min() / rows.propensity[places]
    gain: Fitted | None = entry.fitted[GAIN]
    if entry.table.tier != CACHE:
        difference = rows.quality[entry.tier, places] - quality[places]
        gain = fit_gain(entry.fitted[RIGHT], entry.table, difference, weights)
    return gain if gain is None or kind == GAIN else fit_price(gain, entry.table, cost[places])


def _line(ladder: _Ladder, rows: Rows, chosen: bool) -> Contestant:
    nothing = float("nan")
    return Contestant(
        tier="all together", signal_set="", name=ladder.name, rows=len(rows), log_loss=nothing, auroc=nothing,
        value=ladder.reach.saving, chosen=chosen,
    )  # fmt: skip


def _calibrated(found: Fitted, entry: _Entry, rows: Rows) -> Any:
    weights = rows.propensity[entry.table.places].min() / rows.propensity[entry.table.places]
    right = right_of(rows.quality[entry.tier, entry.table.places])
    calibrator, _ = fit_calibrator(found.logodds, right, weights)
    return replace(found.scorer, calibrator=calibrator)


def _logistic(logodds: Any) -> Any:
    from cascade.confidence import Calibrator

    return probabilities(Calibrator(), logodds)
