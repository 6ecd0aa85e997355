"""What a sceptic would try instead of a certified gate, fitted on the rows that the gate was made of.

None of them promises anything. Each is given every advantage that keeps it honest: all rows of the fit
and the certification to learn from, the same signals, the same held-out rows to be measured on. They
gate or route between the first cheap tier and the last one, as their originals do.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, sqrt
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from cascade.embedding import Embedder
from cascade.learning.path import Counts, count, quantiles
from cascade.learning.rows import Rows
from cascade.metrics import auroc
from cascade.policy import Policy, Target
from cascade.signals import DIRECTIONS
from cascade.types import CACHE, RIGHT, Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MARGINS = ("top.min_margin", "top.first_margin")
"""The margin between the best and the second token: of the least sure token, else of the first."""

STRICTEST = 0.01
"""Share served at the strictest threshold that a rival tries."""


class Rival(Record, frozen=True, kw_only=True):
    """One way of deciding, fitted. ``accepts`` maps rows to bool (n,): is the cheap answer served?

    A ``gate`` asks the cheap model first and looks at its draft; a ``router`` makes one call, chosen
    from the question alone. ``how`` says in words what was fitted, ``reads`` is the signal that a gate looks at.
    """

    name: str
    kind: Literal["gate", "router"]
    how: str
    accepts: Callable[[Rows], Any]
    reads: str = ""


def rivals(seen: Rows, policy: Policy, embedder: Embedder | None, frontier_share: float) -> list[Rival]:
    """All rivals that these rows can carry; a quantile router sends ``frontier_share`` of the calls on.

    A rival is missing where the rows have nothing to fit it on: no signal of the first cheap tier, no question.
    """
    tier = first_cheap(policy)
    found = [
        best_raw(seen, tier, policy.target),
        hoeffding(seen, tier, policy.target),
        margin(seen, tier, policy.target),
    ]
    return [one for one in (*found, query_quantile(seen, tier, embedder, frontier_share)) if one is not None]


def first_cheap(policy: Policy) -> int:
    """Place of the first cheap tier among the sources."""
    return next(i for i, source in enumerate(policy.sources) if source.name != CACHE)


def best_raw(seen: Rows, tier: int, target: Target) -> Rival | None:
    """The one signal and the one threshold that serve most while the seen rows keep the target, as they are."""
    best: tuple[int, Signal, float] | None = None
    for signal in _signals(seen, tier):
        value = signal.read(seen, tier)
        threshold = _loosest(seen, tier, value, target, lambda found: found.risk(target.kind))
        served = 0 if threshold is None else int((value >= threshold).sum())
        if threshold is not None and (best is None or served > best[0]):
            best = served, signal, threshold
    if best is None:
        why = "no threshold on any signal keeps the target on the rows seen"
        return _nothing("best raw threshold", why, seen, tier)
    _, signal, threshold = best
    how = f"{signal.name} alone, the loosest threshold at which the rows seen keep the target"
    return Rival(
        name="best raw threshold", kind="gate", how=how, accepts=_over(tier, signal, threshold), reads=signal.name
    )


def hoeffding(seen: Rows, tier: int, target: Target) -> Rival | None:
    """The signal that ranks best, swept with Hoeffding's bound at each threshold and no correction for the sweep.

    Hoeffding (1963): mean + range x sqrt(ln(1 / delta) / 2n); the range is 1 for an error, 2 for a regret.
    """
    signal = best_signal(seen, tier)
    if signal is None:
        return None
    delta = 1.0 - target.confidence
    width = 1.0 if target.kind == "error" else 2.0

    def bound(found: Counts) -> float:
        return found.risk(target.kind) + width * sqrt(log(1.0 / delta) / (2 * found.n)) if found.n else 1.0

    threshold = _loosest(seen, tier, signal.read(seen, tier), target, bound)
    if threshold is None:
        why = f"{signal.name} alone: Hoeffding's bound keeps the target at no threshold"
        return _nothing("Hoeffding sweep, uncorrected", why, seen, tier)
    how = f"{signal.name} alone, the loosest of many thresholds whose Hoeffding bound keeps the target"
    return Rival(
        name="Hoeffding sweep, uncorrected",
        kind="gate",
        how=how,
        accepts=_over(tier, signal, threshold),
        reads=signal.name,
    )


def margin(seen: Rows, tier: int, target: Target) -> Rival | None:
    """The token margin through isotonic regression, served while the predicted risk keeps the target.

    Without alternatives of the tokens the best ranking signal stands in for the margin, and ``how`` says so.
    """
    import numpy as np
    from sklearn.isotonic import IsotonicRegression

    given = {one.name: one for one in _signals(seen, tier)}
    signal = next((given[name] for name in MARGINS if name in given), None) or best_signal(seen, tier)
    if signal is None:
        return None
    value = signal.read(seen, tier)
    known = np.isfinite(value) & np.isfinite(seen.quality[[tier, -1]]).all(axis=0)
    if target.kind == "error":
        bad = (seen.quality[tier, known] < RIGHT).astype(float)
    else:
        bad = seen.quality[-1, known] - seen.quality[tier, known]
    fitted = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(value[known], bad)
    # Over all rows for a regret, over the served ones for an error: what the target is of.
    order = np.sort(value[known])[::-1]
    total = np.cumsum(fitted.predict(order)) / (np.arange(1, len(order) + 1) if target.kind == "error" else len(value))
    kept = np.flatnonzero(total <= target.level)
    read = signal.name + ("" if signal.name in MARGINS else " (no margins are recorded)")
    if not len(kept):
        return _nothing("margin + isotonic", f"{read}: no predicted risk keeps the target", seen, tier)
    how = f"{read} through isotonic regression, served while the predicted risk keeps the target"
    threshold = float(order[kept[-1]])
    return Rival(
        name="margin + isotonic", kind="gate", how=how, accepts=_over(tier, signal, threshold), reads=signal.name
    )


def query_quantile(seen: Rows, tier: int, embedder: Embedder | None, frontier_share: float) -> Rival | None:
    """A router that reads the question alone, cut at the quantile that sends this share to the frontier.

    Ridge regression of the quality difference on the question's embedding: what such routers do, whose
    "calibration" is that quantile.
    """
    import numpy as np
    from sklearn.linear_model import Ridge

    questions = [request.question for request in seen.requests]
    known = np.isfinite(seen.quality[[tier, -1]]).all(axis=0)
    if embedder is None or not all(questions) or not known.any():
        return None
    made = Ridge(alpha=1.0).fit(embedder.embed(questions)[known], (seen.quality[tier] - seen.quality[-1])[known])

    def accepts(rows: Rows) -> Any:
        score = made.predict(embedder.embed([request.question for request in rows.requests]))
        cut = np.quantile(score, frontier_share)
        return score > cut if frontier_share > 0 else np.ones(len(score), dtype=bool)

    how = f"ridge regression on the question's embedding; {frontier_share:.0%} go to the frontier, as in the cascade"
    return Rival(name="query-only quantile", kind="router", how=how, accepts=accepts)


class Signal(NamedTuple):
    """A recorded signal, read so that more is surer."""

    name: str
    sign: float

    def read(self, rows: Rows, tier: int) -> Floats:
        """Its values, (n,), minus infinity where it is missing."""
        import numpy as np

        found = [None if (own := signals[tier]) is None else own.values.get(self.name) for signals in rows.signals]
        return np.array([-np.inf if value is None else self.sign * value for value in found])


def _signals(rows: Rows, tier: int) -> list[Signal]:
    """The tier's signals; those of an unknown direction both ways."""
    names = {name for signals in rows.signals if (own := signals[tier]) is not None for name in own.values}
    ways = {"+": (1.0,), "-": (-1.0,), "?": (1.0, -1.0)}
    return [Signal(name, sign) for name in sorted(names) for sign in ways[DIRECTIONS.get(name, "+")]]


def best_signal(rows: Rows, tier: int) -> Signal | None:
    """The signal with the best AUROC for right against wrong."""
    import numpy as np

    best: tuple[float, Signal] | None = None
    for signal in _signals(rows, tier):
        value = signal.read(rows, tier)
        known = np.isfinite(value) & np.isfinite(rows.quality[tier])
        found = auroc(value[known], rows.quality[tier, known] >= RIGHT)
        if found is not None and (best is None or found > best[0]):
            best = found, signal
    return best[1] if best is not None else None


def _loosest(rows: Rows, tier: int, value: Floats, target: Target, risk: Callable[[Counts], float]) -> float | None:
    """The loosest threshold at which ``risk`` of the counts keeps the target."""
    import numpy as np

    quality = rows.quality[[tier, -1]]
    known = np.isfinite(quality).all(axis=0) if target.kind == "regret" else np.isfinite(quality[0])
    scores, quality = value[None, known], np.nan_to_num(quality[:, known])
    found = {float(t): count(float(t), scores, quality, target.kind) for t in quantiles(scores, STRICTEST)}
    return min((t for t, counts in found.items() if risk(counts) <= target.level), default=None)


def _over(tier: int, signal: Signal, threshold: float) -> Callable[[Rows], Any]:
    return lambda rows: signal.read(rows, tier) >= threshold


def _nothing(name: str, how: str, seen: Rows, tier: int) -> Rival | None:
    """A rival that found nothing serves nothing; None where it had no signal to look at."""
    import numpy as np

    if not _signals(seen, tier):
        return None
    return Rival(name=name, kind="gate", how=how, accepts=lambda rows: np.zeros(len(rows), dtype=bool))
