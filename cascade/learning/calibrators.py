"""From log-odds to a probability that means what it says: which curve, by cross-validated log-loss.

The families by number of labels (statistics, simulations): Platt below 200, Platt or beta up to 5,000,
isotonic only beyond; the regression's own log-odds always take part, since an L2 logistic regression
is often calibrated as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cascade.confidence import Calibrator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BETA_FROM = 200
ISOTONIC_FROM = 5000
CLIPPED = 1e-6


def fit_calibrator(logodds: Floats, right: NDArray[np.bool_], weights: Floats) -> tuple[Calibrator, dict[str, float]]:
    """The best calibrator of out-of-fold log-odds, and every candidate's cross-validated log-loss."""
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    kinds = ["identity", "platt"]
    kinds += ["beta"] * (len(right) >= BETA_FROM) + ["isotonic"] * (len(right) >= ISOTONIC_FROM)
    few = int(min(right.sum(), (~right).sum()))
    if few < 2:
        return Calibrator(), {}
    folds = StratifiedKFold(n_splits=min(5, few), shuffle=True, random_state=1)
    losses: dict[str, float] = {}
    for kind in kinds:
        predicted = np.empty(len(right))
        for train, held in folds.split(logodds, right):
            made = FITS[kind](logodds[train], right[train], weights[train])
            predicted[held] = probabilities(made, logodds[held])
        losses[kind] = log_loss(predicted, right, weights)
    best = min(losses, key=losses.__getitem__)
    return FITS[best](logodds, right, weights), losses


def probabilities(calibrator: Calibrator, logodds: Floats) -> Floats:
    """``calibrator.probability`` of a whole column."""
    import numpy as np

    if calibrator.kind == "isotonic":
        places = np.maximum(np.searchsorted(calibrator.knots, logodds, side="right") - 1, 0)
        return np.asarray(calibrator.values)[places]
    if calibrator.kind == "beta":
        x = -calibrator.a * np.logaddexp(0, -logodds) + calibrator.b * np.logaddexp(0, logodds) + calibrator.c
    else:
        x = calibrator.a * logodds + calibrator.b
    return np.exp(-np.logaddexp(0, -x))


def log_loss(predicted: Floats, right: NDArray[np.bool_], weights: Floats) -> float:
    """Weighted mean of -log of the probability given to what happened, clipped at 1e-6."""
    import numpy as np

    p = np.clip(np.where(right, predicted, 1 - predicted), CLIPPED, 1.0)
    return float(np.average(-np.log(p), weights=weights))


def _identity(logodds: Any, right: Any, weights: Any) -> Calibrator:
    return Calibrator()


def _platt(logodds: Any, right: Any, weights: Any) -> Calibrator:
    (a,), b = _logistic(logodds[:, None], right, weights)
    return Calibrator(kind="platt", a=a, b=b) if a > 0 else Calibrator()


def _beta(logodds: Any, right: Any, weights: Any) -> Calibrator:
    """Source: Kull, Silva Filho and Flach, AISTATS 2017: logistic regression on log p and -log(1 - p)."""
    import numpy as np

    table = np.column_stack([-np.logaddexp(0, -logodds), np.logaddexp(0, logodds)])
    (a, b), c = _logistic(table, right, weights)
    # A negative slope would turn the ranking round; Platt's single slope is then what the data carry.
    return Calibrator(kind="beta", a=a, b=b, c=c) if min(a, b) >= 0 else _platt(logodds, right, weights)


def _isotonic(logodds: Any, right: Any, weights: Any) -> Calibrator:
    """Pool adjacent violators; kept as steps at the knots that scikit-learn reports."""
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0.0, y_max=1.0).fit(logodds, right, sample_weight=weights)
    return Calibrator(kind="isotonic", knots=model.X_thresholds_.tolist(), values=model.y_thresholds_.tolist())


def _logistic(table: Any, right: Any, weights: Any) -> tuple[list[float], float]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0, max_iter=1000).fit(table, right, sample_weight=weights)
    return model.coef_[0].tolist(), float(model.intercept_[0])


FITS = {"identity": _identity, "platt": _platt, "beta": _beta, "isotonic": _isotonic}
