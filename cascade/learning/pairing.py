"""Fitting the family ``pair``: labelled pairs of questions in, a weight for each word out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cascade.learning.fit import FOLDS
from cascade.matching import read
from cascade.pairing import BUCKETS, FINEST, Pairing, places

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STRENGTH = 0.1
"""Inverse of the L2 penalty; what is found changes little when it does."""


def fit_pairing(
    pairs: Sequence[tuple[str, str]], right: NDArray[np.bool_], weights: Floats
) -> tuple[Pairing, Floats] | None:
    """A pairing, and the log-odds (n,) it gives the pairs that fitted it, each from a fold that had not seen it.

    ``pairs`` are (asked, stored), ``right`` and ``weights`` have shape (n,). Pairs that have a question
    in common, directly or through others, share a fold: words of a question that was seen would tell
    its label. None where fewer groups or labels of a kind are there than folds.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    groups = connected(pairs)
    if min(int(right.sum()), int((~right).sum()), len(np.unique(groups))) < FOLDS:
        return None
    words = _words(pairs)
    model = LogisticRegression(C=STRENGTH, max_iter=1000)
    logodds = np.empty(len(right))
    for train, held in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(words, right, groups):
        if len(np.unique(right[train])) < 2:
            return None
        model.fit(words[train], right[train], sample_weight=weights[train])
        logodds[held] = model.decision_function(words[held])
    model.fit(words, right, sample_weight=weights)
    return _packed(model.coef_[0], float(model.intercept_[0])), logodds


def connected(pairs: Sequence[tuple[str, str]]) -> NDArray[np.int_]:
    """For each pair the number of its group, (n,): pairs that share a question are in the same one."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known: dict[str, int] = {}
    found = [known.setdefault(text, len(known)) for pair in pairs for text in pair]
    ends = np.array(found, dtype=int).reshape(-1, 2)
    edges = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(known), len(known)))
    groups: NDArray[np.int_] = connected_components(edges, directed=False)[1][ends[:, 0]]
    return groups


def _words(pairs: Sequence[tuple[str, str]]) -> Any:
    """A sparse row for each pair with a one, or more where words collide, at each of its places."""
    import numpy as np
    from scipy.sparse import csr_array

    found = [places(read(asked), read(stored)) for asked, stored in pairs]
    ends = np.cumsum([0, *map(len, found)])
    columns = np.array([place for row in found for place in row], dtype=np.int32)
    return csr_array((np.ones(len(columns)), columns, ends), shape=(len(pairs), 2 * BUCKETS))


def _packed(weights: Floats, intercept: float) -> Pairing:
    import numpy as np

    scale = float(np.abs(weights).max()) / FINEST or 1.0
    return Pairing(weights=np.round(weights / scale).astype(np.int8).tobytes(), scale=scale, intercept=intercept)
