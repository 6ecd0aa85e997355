"""Routing by itself, certified the way gates are: the cheap model answers what the question alone lets it.

Ridge regression of the quality difference on the question's embedding and shape is fitted on the fit rows,
its threshold certified on the certification rows by the same path and exact test as a gate's. One call for each
request, and nothing looks at the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cascade.confidence import question_signals
from cascade.embedding import Embedder
from cascade.learning.rows import Rows
from cascade.learning.threshold import certified
from cascade.policy import Target
from cascade.types import RIGHT, Record

FOLDS = 5
ALPHA = 1.0
"""Ridge penalty on unit-length embeddings: the scale at which a few hundred rows neither drown nor shout."""


class Router(Record, frozen=True, kw_only=True):
    """A fitted router. ``score`` maps rows to (n,), higher where the cheap model is more likely to do;
    ``threshold`` is None where nothing was certified.
    """

    score: Callable[[Rows], Any]
    threshold: float | None

    def accepts(self, rows: Rows) -> Any:
        """Rows that go to the cheap model, bool (n,)."""
        import numpy as np

        return np.zeros(len(rows), dtype=bool) if self.threshold is None else self.score(rows) >= self.threshold


def certified_router(fit: Rows, certify: Rows, tier: int, target: Target, delta: float, embedder: Embedder) -> Router:
    """Fit on one split, certify on the other at ``delta``."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import cross_val_predict

    read = features(embedder)
    known = _labelled(fit, tier)
    aim = (
        (fit.quality[tier] >= RIGHT).astype(float) - 0.5
        if target.kind == "error"
        else fit.quality[tier] - fit.quality[-1]
    )
    made = Ridge(alpha=ALPHA).fit(read(fit)[known], aim[known])
    unseen = cross_val_predict(Ridge(alpha=ALPHA), read(fit)[known], aim[known], cv=FOLDS)
    rows = certify.take([int(i) for i in _labelled(certify, tier).nonzero()[0]])
    threshold = certified(
        (unseen[None], fit.quality[[tier, -1]][:, known]),
        (made.predict(read(rows))[None], rows.quality[[tier, -1]]),
        target,
        delta,
        scale="gain",
    )
    return Router(score=lambda some: made.predict(read(some)), threshold=threshold)


def features(embedder: Embedder) -> Callable[[Rows], Any]:
    """What the question says before any call, (n, d): its vector, its length and digits.

    A slice that the caller names is not read: a rule routes that, and no model is needed for it.
    """
    import numpy as np

    def read(rows: Rows) -> Any:
        vectors = embedder.embed([request.question for request in rows.requests])
        shape = [list(question_signals(request).values.values()) for request in rows.requests]
        return np.hstack([vectors, np.array(shape)])

    return read


def _labelled(rows: Rows, tier: int) -> Any:
    import numpy as np

    return np.isfinite(rows.quality[[tier, -1]]).all(axis=0)
