"""Fitting scorers: tables in, plain numbers out, and the contest that says which kind to use.

Standardised L2 logistic regression leads at every small number of labels; boosting enters only where
there are enough of them. For a regret target the score may instead be fitted to the pair (Jitkrittum
et al. 2307.02764: confidence in the cheap answer is the wrong score where the last tier is wrong
too), and divided by the last tier's predicted price (accept where the loss a dollar is least). Which
one serves is decided out of fold, by the saving that each would probably certify.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cascade.confidence import Gain, Price, Scorer, Trees
from cascade.learning.features import Table
from cascade.types import RIGHT, Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FOLDS = 5
BOOSTED_FROM = 2000
"""Labels from which boosting may try: below, it is worse than the best single signal (statistics)."""

BOOSTED_ROWS = 50_000
"""Rows that boosting learns from at most; more move it by less than one fold differs from the next."""

NEVER = -1e6
"""Log-odds of what does not happen; JSON has no infinity."""

LENGTHS = ("match.answer", "match.question", "size.draft", "size.question", "text.length", "text.length_ratio")
"""What the last tier's price may be predicted from: known before its answer, without its text."""


class Fitted(Record, frozen=True, kw_only=True):
    """A scorer, and what it says of the rows that fitted it, each from a fold that had not seen it.

    ``scores`` and ``logodds`` have the length of the table.
    """

    scorer: Scorer
    scores: Any
    logodds: Any


def fit_right(table: Table, right: NDArray[np.bool_], weights: Floats) -> Fitted:
    """Logistic regression on "is the draft acceptable"; the score is its log-odds."""
    model = _regression()
    logodds = _out_of_fold(model, table.values, right, weights, "decision_function")
    scaler, regression = _fitted(model, table.values, right, weights)
    scorer = Scorer(
        id=f"{table.tier}/{table.signal_set}",
        tier=table.tier,
        signal_set=table.signal_set,
        features=table.features,
        means=scaler.mean_.tolist(),
        scales=scaler.scale_.tolist(),
        weights=regression.coef_[0].tolist(),
        intercept=float(regression.intercept_[0]),
    )
    return Fitted(scorer=scorer, scores=logodds, logodds=logodds)


def fit_trees(base: Fitted, table: Table, right: NDArray[np.bool_], weights: Floats) -> Fitted | None:
    """Boosting in place of the regression; None with too few labels."""
    from sklearn.ensemble import GradientBoostingClassifier

    if len(right) < BOOSTED_FROM:
        return None
    standard = (table.values - base.scorer.means) / base.scorer.scales
    leaf = max(20, len(right) // 200)
    model = GradientBoostingClassifier(
        n_estimators=100, max_depth=3, learning_rate=0.07, subsample=0.7, min_samples_leaf=leaf, random_state=0
    )
    places = _some(len(right))
    logodds = _out_of_fold(model, standard, right, weights, "decision_function", places)
    model.fit(standard[places], right[places], sample_weight=weights[places])
    return Fitted(scorer=replace(base.scorer, trees=_exported(model)), scores=logodds, logodds=logodds)


def fit_gain(base: Fitted, table: Table, difference: Floats, weights: Floats) -> Fitted | None:
    """Multinomial regression on the pair; None where one of its three outcomes is too rare to learn.

    ``difference`` is the draft's quality less the last tier's, (rows,), in [-1, 1].
    """
    import numpy as np

    kinds = np.sign(difference).astype(int)
    if min(int((kinds == kind).sum()) for kind in (-1, 0, 1)) < FOLDS:
        return None
    model = _regression()
    chances = _out_of_fold(model, table.values, kinds, weights, "predict_proba")
    _, regression = _fitted(model, table.values, kinds, weights)
    coefficients, intercepts = regression.coef_, regression.intercept_
    gain = Gain(
        loses=(coefficients[0] - coefficients[1]).tolist(),
        loses_intercept=float(intercepts[0] - intercepts[1]),
        wins=(coefficients[2] - coefficients[1]).tolist(),
        wins_intercept=float(intercepts[2] - intercepts[1]),
    )
    return Fitted(scorer=replace(base.scorer, gain=gain), scores=chances[:, 2] - chances[:, 0], logodds=base.logodds)


def fit_wrong(table: Table, right: NDArray[np.bool_], weights: Floats) -> Fitted:
    """Minus the chance that the answer is wrong, as a gain: what a stored answer costs where it is.

    A gain over the last tier would forgive a stored answer to another question wherever the last tier
    errs too; who gets one sees a mistake of another kind, and the labels that tell it are the better
    known ones.
    """
    fitted = fit_right(table, right, weights)
    scorer = fitted.scorer
    gain = Gain(
        loses=[-weight for weight in scorer.weights],
        loses_intercept=-scorer.intercept,
        wins=[0.0] * len(scorer.weights),
        wins_intercept=NEVER,
    )
    return Fitted(scorer=replace(scorer, gain=gain), scores=-_logistic(-fitted.logodds), logodds=fitted.logodds)


def fit_price(base: Fitted, table: Table, cost: Floats) -> Fitted | None:
    """The same score a dollar of the last tier's predicted price; None without lengths or prices.

    A log-linear regression on lengths alone: what the last tier's answer really cost is known only
    after it was asked, and a score that read it could not be computed in time.
    """
    import numpy as np
    from sklearn.linear_model import Ridge

    names = [name for name in LENGTHS if all(name in signals.values for signals in table.signals)]
    known = np.isfinite(cost) & (cost > 0)
    if not names or int(known.sum()) < FOLDS * FOLDS or np.ptp(cost[known]) == 0:
        return None
    lengths = np.array([[signals.values[name] for name in names] for signals in table.signals])
    target = np.log(cost[known] / cost[known].mean())
    model = Ridge(alpha=1.0)
    places = _folds(known)
    predicted = np.empty(len(cost))
    for train, held in places:
        use = train[known[train]]
        model.fit(lengths[use], np.log(cost[use] / cost[known].mean()))
        predicted[held] = model.predict(lengths[held])
    model.fit(lengths[known], target)
    price = Price(features=names, weights=model.coef_.tolist(), intercept=float(model.intercept_))
    scores = base.scores / np.exp(np.clip(predicted, -50.0, 50.0))
    return Fitted(scorer=replace(base.scorer, price=price), scores=scores, logodds=base.logodds)


def _logistic(x: Floats) -> Floats:
    from scipy.special import expit

    found: Floats = expit(x)
    return found


def _regression() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000))


def _fitted(model: Any, values: Floats, labels: Any, weights: Floats) -> tuple[Any, Any]:
    """The pipeline's scaler and regression, fitted with the rows' weights.

    The scaler is weighted too: only then does a row of weight 2 equal the row twice.
    """
    model.fit(values, labels, standardscaler__sample_weight=weights, logisticregression__sample_weight=weights)
    return model[0], model[1]


def _out_of_fold(model: Any, values: Any, labels: Any, weights: Any, method: str, places: Any = None) -> Any:
    """What ``method`` says of each row when the row's fold took no part in the fit."""
    import numpy as np
    from sklearn.base import clone

    found: Any = None
    allowed = np.zeros(len(labels), dtype=bool)
    allowed[places if places is not None else slice(None)] = True
    for train, held in _folds(labels):
        use = train[allowed[train]]
        one = clone(model)
        if hasattr(one, "steps"):
            _fitted(one, values[use], labels[use], weights[use])
        else:
            one.fit(values[use], labels[use], sample_weight=weights[use])
        said = getattr(one, method)(values[held])
        found = np.empty((len(labels), *said.shape[1:])) if found is None else found
        found[held] = said
    return found


def _folds(labels: Any) -> Any:
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    few = int(np.unique(labels, return_counts=True)[1].min())
    splitter = StratifiedKFold(n_splits=max(min(FOLDS, few), 2), shuffle=True, random_state=0)
    return list(splitter.split(np.zeros(len(labels)), labels))


def _some(rows: int) -> Any:
    import numpy as np

    if rows <= BOOSTED_ROWS:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, BOOSTED_ROWS, replace=False))


def _exported(model: Any) -> Trees:
    import numpy as np

    trees = [estimator.tree_ for estimator in model.estimators_[:, 0]]
    rate = model.learning_rate
    return Trees(
        intercept=float(np.log(model.init_.class_prior_[1] / model.init_.class_prior_[0])),
        features=[np.where(tree.children_left < 0, -1, tree.feature).tolist() for tree in trees],
        thresholds=[tree.threshold.tolist() for tree in trees],
        left=[tree.children_left.tolist() for tree in trees],
        right=[tree.children_right.tolist() for tree in trees],
        values=[(rate * tree.value[:, 0, 0]).tolist() for tree in trees],
    )


def right_of(quality: Floats) -> NDArray[np.bool_]:
    """Which graded qualities count as right."""
    return quality >= RIGHT
