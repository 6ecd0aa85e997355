"""Fitting: labelled rows in, plain numbers out. The only place that needs scikit-learn.

Standardised L2 logistic regression: richer models need more labels than a first certificate has, and
its numbers can be read in a review. No imputation: a row without a signal set's families
takes no part in fitting that set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cascade.checks import built_in
from cascade.confidence import SLICE_FEATURE, Scorer, Scout, question_signals
from cascade.decide import find_slice, plan
from cascade.embedding import Embedder
from cascade.errors import ConfigError
from cascade.gates import Gates, OpenGate
from cascade.neighbours import FAMILY, Nearby, Neighbours, pack
from cascade.policy import Policy
from cascade.replay import draft_of, request_of
from cascade.signals import extend, measure, narrowed
from cascade.types import RIGHT, Outcome, Record, Request, Signals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST_LABELS = 20
LEAST_OF_A_KIND = 2
"""One wrong answer cannot be left out of a fold and still be learned from."""


class Labelled(Record, frozen=True, kw_only=True):
    """One row as calibration sees it: per cheap tier its signals (None: it cannot be served there).

    ``qualities`` in [0, 1] and ``costs`` in dollars are in ladder order, the last tier's last.
    """

    slice: str
    request: Request
    signals: list[Signals | None]
    qualities: list[float]
    costs: list[float]


class _EveryGate(Gates):
    """Open gates everywhere: which requests would be asked of which tier, before anything is certified?"""

    def __init__(self) -> None:
        pass

    def any_open(self, tier: str, slice_name: str) -> bool:
        """Yes."""
        return True

    def hopeless(self, tier: str, slice_name: str, request: Request) -> bool:
        """No."""
        return False

    def find(self, tier: str, slice_name: str, signal_set: str) -> OpenGate | None:
        """None: a routed slice has no scored gate."""
        return None


EVERY_GATE = _EveryGate()


def labelled(outcomes: Sequence[Outcome], policy: Policy) -> list[Labelled]:
    """The outcomes in which every tier has an answer with a quality."""
    made = [_label(outcome, policy) for outcome in outcomes]
    return [row for row in made if row is not None]


def fit_neighbours(rows: list[Labelled], policy: Policy, embedder: Embedder | None) -> list[Neighbours]:
    """The fit rows as labelled neighbours, a set for each cheap tier, where a declared set reads them."""
    import numpy as np

    if FAMILY not in policy.families:
        return []
    if embedder is None:
        raise ConfigError("a declared signal set reads neighbours, which needs an embedder")
    vectors = embedder.embed([row.request.question for row in rows])
    failed = np.array([row.qualities for row in rows]) < RIGHT
    names = [tier.name for tier in policy.tiers[:-1]]
    packed = [pack(name, embedder.name, vectors, failed[:, index]) for index, name in enumerate(names)]
    return [record for record in packed if record is not None]


def with_neighbours(
    rows: list[Labelled], records: list[Neighbours], policy: Policy, embedder: Embedder | None, *, own: bool
) -> list[Labelled]:
    """The rows with the family ``neighbours``; ``own`` rows are in the records and never see themselves."""
    if not records or embedder is None:
        return rows
    vectors = embedder.embed([row.request.question for row in rows])
    nearby = {record.tier: Nearby(record) for record in records}

    def extended(index: int, row: int, signals: Signals | None) -> Signals | None:
        near = nearby.get(policy.tiers[index].name)
        if signals is None or near is None:
            return signals
        return extend(signals, FAMILY, near.measure(vectors[row], leave_out=row if own else None))

    return [
        replace(row, signals=[extended(index, i, signals) for index, signals in enumerate(row.signals)])
        for i, row in enumerate(rows)
    ]


def _label(outcome: Outcome, policy: Policy) -> Labelled | None:
    models = [outcome.models[tier.name] for tier in policy.tiers if tier.name in outcome.models]
    qualities = [model.quality for model in models]
    known = [quality for quality in qualities if quality is not None]
    if len(known) != len(policy.tiers):
        return None
    request = request_of(outcome)
    enforced = policy.model_copy(update={"mode": "enforce", "rollout": 100.0})
    made = plan(request, enforced, EVERY_GATE, find_slice(request, policy))
    signals: list[Signals | None] = []
    for tier in policy.tiers[:-1]:
        recorded = outcome.models[tier.name]
        draft = draft_of(tier.name, recorded, tier.model)
        failed = any(check.outcome == "fail" for check in [*built_in(request, draft), *recorded.checks])
        asked = tier in made.tiers and not made.routed
        signals.append((draft.measured or measure(request, draft, policy.families)) if asked and not failed else None)
    return Labelled(
        slice=made.slice,  # the one that serving will find, which a recorded row may not name
        request=request,
        signals=signals,
        qualities=known,
        costs=[model.cost or 0.0 for model in models],
    )


def fit_scorers(rows: list[Labelled], policy: Policy) -> tuple[list[Scorer], Floats]:
    """A scorer for each cheap tier and declared set, and the rows' out-of-fold scores (tiers, rows)."""
    import numpy as np

    slices = sorted({row.slice for row in rows})
    scorers: list[Scorer] = []
    out_of_fold = np.full((len(policy.tiers) - 1, len(rows)), -np.inf)
    for index, tier in enumerate(policy.tiers[:-1]):
        for families in policy.signals.sets:
            name = "+".join(sorted(families))
            usable = [
                i
                for i, row in enumerate(rows)
                if (s := _declared(row, index, policy)) is not None and s.set_name == name
            ]
            if len(usable) < LEAST_LABELS:
                continue
            labels = np.array([rows[i].qualities[index] >= RIGHT for i in usable])
            if min(labels.sum(), (~labels).sum()) < LEAST_OF_A_KIND:
                continue
            signals = [s for i in usable if (s := _declared(rows[i], index, policy)) is not None]
            scorer, scores = _fit(tier.name, signals, [rows[i] for i in usable], labels, slices)
            scorers.append(scorer)
            out_of_fold[index, usable] = scores
    if not scorers:
        raise ConfigError(
            "no scorer can be fitted: each declared signal set needs at least "
            f"{LEAST_LABELS} labelled answers, {LEAST_OF_A_KIND} or more of them right and as many wrong; "
            f"declared: {['+'.join(sorted(s)) for s in policy.signals.sets]}"
        )
    return scorers, out_of_fold


def fit_scouts(rows: list[Labelled], scores: Floats, threshold: float, policy: Policy) -> list[Scout]:
    """For each cheap tier: the chance that its draft would pass, and when asking does not pay.

    ``scores`` are out of fold, (tiers, rows), and ``threshold`` a provisional one found on these
    same rows: the certificate later counts only what the scout lets through, so it stays exact.
    Asking pays when chance x (cost of the last tier) exceeds the tier's own cost.
    """
    import numpy as np

    slices = sorted({row.slice for row in rows})
    costs = np.array([row.costs for row in rows]).mean(axis=0)
    scouts: list[Scout] = []
    for index, tier in enumerate(policy.tiers[:-1]):
        passed = scores[index] >= threshold
        if min(passed.sum(), (~passed).sum()) < LEAST_LABELS or not costs[-1] > 0:
            continue
        signals = [question_signals(row.request) for row in rows]
        scorer, _ = _fit(tier.name, signals, rows, passed, slices)
        scouts.append(Scout(tier=tier.name, scorer=scorer, break_even=float(costs[index] / costs[-1])))
    return scouts


def _fit(
    tier: str, signals: list[Signals], rows: list[Labelled], labels: Any, slices: list[str]
) -> tuple[Scorer, Floats]:
    """Standardised L2 logistic regression as plain numbers, with its out-of-fold log-odds."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    set_name = signals[0].set_name
    names = sorted(name for name in signals[0].values if name.partition(".")[0] in signals[0].families)
    features = [*names, *(SLICE_FEATURE + name for name in slices)]
    table = np.array(
        [
            [*(s.values[name] for name in names), *(float(row.slice == name) for name in slices)]
            for s, row in zip(signals, rows, strict=True)
        ]
    )
    varies = table.std(axis=0) > 0
    table, features = table[:, varies], [f for f, v in zip(features, varies, strict=True) if v]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))
    few = min(int(labels.sum()), int((~labels).sum()))
    folds = StratifiedKFold(n_splits=min(5, few), shuffle=True, random_state=0)
    out_of_fold = cross_val_predict(model, table, labels, cv=folds, method="decision_function")
    model.fit(table, labels)
    scaler, regression = model[0], model[1]
    scorer = Scorer(
        id=f"{tier}/{set_name}",
        tier=tier,
        signal_set=set_name,
        features=features,
        means=scaler.mean_.tolist(),
        scales=scaler.scale_.tolist(),
        weights=regression.coef_[0].tolist(),
        intercept=float(regression.intercept_[0]),
    )
    return scorer, out_of_fold


def scores_of(rows: list[Labelled], scorers: list[Scorer], scouts: list[Scout], policy: Policy) -> Floats:
    """Scores as serving computes them, (tiers, rows); minus infinity where a tier does not serve."""
    import numpy as np

    by_key = {(scorer.tier, scorer.signal_set): scorer for scorer in scorers}
    scores = np.full((len(policy.tiers) - 1, len(rows)), -np.inf)
    for i, row in enumerate(rows):
        for index, tier in enumerate(policy.tiers[:-1]):
            signals = _declared(row, index, policy)
            scorer = by_key.get((tier.name, signals.set_name)) if signals is not None else None
            score = scorer.score(signals, row.slice) if scorer is not None and signals is not None else None
            scores[index, i] = -np.inf if score is None else score
    return np.where(skipped(rows, scouts, policy), -np.inf, scores)


def _declared(row: Labelled, index: int, policy: Policy) -> Signals | None:
    """The row's signals at one tier as the set that serving would read."""
    signals = row.signals[index]
    return None if signals is None else narrowed(signals, policy.signals.sets)


def skipped(rows: list[Labelled], scouts: list[Scout], policy: Policy) -> Any:
    """Which tiers pre-routing would not ask, (tiers, rows) of bool."""
    import numpy as np

    by_tier = {scout.tier: scout for scout in scouts}
    found = np.zeros((len(policy.tiers) - 1, len(rows)), dtype=bool)
    for index, tier in enumerate(policy.tiers[:-1]):
        scout = by_tier.get(tier.name)
        if scout is not None:
            found[index] = [scout.hopeless(row.request, row.slice) for row in rows]
    return found
