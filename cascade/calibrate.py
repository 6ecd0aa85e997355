"""From labelled outcomes and a target to a lock: scorers, one threshold path, one certificate.

The rows that fit the scorers (split ``fit``) also lay out the candidate thresholds; the rows of the
certificate (split ``certify``) are looked at once, by one fixed-sequence test over the path. All
tiers share one threshold on the scale of log-odds, so that the path has one dimension and the
promise is about everything that the last tier did not answer.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from cascade.certify import Candidate, fixed_sequence, least_rows, power_start, upper_limit
from cascade.checks import built_in
from cascade.confidence import SLICE_FEATURE, Scorer
from cascade.errors import ConfigError
from cascade.lock import Certificate, Gate, Lock, digest, identity
from cascade.policy import Policy
from cascade.replay import draft_of, request_of
from cascade.signals import measure
from cascade.types import Outcome, Record, Signals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CANDIDATES = 60
LEAST_LABELS = 20
RIGHT = 0.5
"""Graded qualities from here on count as right where a label must be one of two."""


class Labelled(Record, frozen=True, kw_only=True):
    """One row as calibration sees it: per cheap tier its signals (None: it cannot be served there).

    ``qualities`` are in ladder order, the last tier's last.
    """

    slice: str
    signals: list[Signals | None]
    qualities: list[float]


def calibrate(
    outcomes: Iterable[Outcome], policy: Policy, *, judge: str = "", now: str | None = None
) -> Lock:
    """Fit and certify a lock. ``ConfigError`` when the rows cannot carry a fit at all.

    Nothing certified is not an error: the lock then holds closed gates and a note that says how
    many more labels are needed.
    """
    rows = [row for row in outcomes if row.split in ("fit", "certify")]
    fit = _labelled([row for row in rows if row.split == "fit"], policy)
    # A paraphrase is not a second draw from the traffic: the certificate counts each question once.
    certify = _labelled([r for r in rows if r.split == "certify" and r.paraphrase_of is None], policy)
    if not fit or not certify:
        raise ConfigError(
            "calibration needs labelled rows of split 'fit' and of split 'certify'; "
            f"found {len(fit)} and {len(certify)} in which every tier has an answer and a label"
        )
    scorers, fit_scores = _fit_all(fit, policy)
    scores = _score_all(certify, scorers, policy)
    path = _path(fit_scores)
    delta = 1.0 - policy.target.confidence
    chosen = _choose(path, fit, fit_scores, certify, scores, policy, delta)
    gates = [_gate(scorer, None if chosen is None else float(path[chosen])) for scorer in scorers]
    made = Lock(
        policy=policy.name,
        scorers=scorers,
        gates=gates,
        outcomes=digest([msgspec.to_builtins(row) for row in rows]),
    )
    if chosen is None:
        return msgspec.structs.replace(made, notes=[_refusal(policy, delta)])
    found = _count(certify, scores, float(path[chosen]), policy)
    served = int((scores >= path[chosen]).any(axis=0).sum())
    certificate = Certificate(
        id=f"{policy.name}-{digest([made.outcomes, policy.model_dump(mode='json')])}",
        gates=[gate.id for gate in gates],
        kind=policy.target.kind,
        level=policy.target.level,
        confidence=policy.target.confidence,
        delta=delta,
        method="fixed sequence of exact binomial tests over one threshold path",
        population="all requests" if policy.target.kind == "regret" else "requests served without the last tier",
        judged=len(certify),
        accepted=served,
        bad=found.bad,
        bound=upper_limit(found.bad, found.n, delta),
        judge=judge,
        issued_at=now or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        identity=identity(policy),
    )
    return msgspec.structs.replace(made, certificates=[certificate])


def _labelled(outcomes: Sequence[Outcome], policy: Policy) -> list[Labelled]:
    made = [_label(outcome, policy) for outcome in outcomes]
    return [row for row in made if row is not None]


def _label(outcome: Outcome, policy: Policy) -> Labelled | None:
    """None unless every tier has an answer with a quality."""
    models = [outcome.models.get(tier.name) for tier in policy.tiers]
    qualities = [model.quality for model in models if model is not None]
    known = [quality for quality in qualities if quality is not None]
    if len(known) != len(policy.tiers):
        return None
    request = request_of(outcome)
    signals: list[Signals | None] = []
    for tier in policy.tiers[:-1]:
        draft = draft_of(tier.name, outcome.models[tier.name], tier.model)
        failed = any(check.outcome == "fail" for check in built_in(request, draft))
        signals.append(None if failed else draft.measured or measure(request, draft))
    return Labelled(slice=outcome.slice, signals=signals, qualities=known)


def _fit_all(rows: list[Labelled], policy: Policy) -> tuple[list[Scorer], Floats]:
    """A scorer for each cheap tier and declared set, and the rows' out-of-fold scores (tiers, rows)."""
    import numpy as np

    slices = sorted({row.slice for row in rows})
    scorers: list[Scorer] = []
    out_of_fold = np.full((len(policy.tiers) - 1, len(rows)), -np.inf)
    for index, tier in enumerate(policy.tiers[:-1]):
        for families in policy.signals.sets:
            name = "+".join(sorted(families))
            usable = [
                i for i, row in enumerate(rows) if (s := row.signals[index]) is not None and s.set_name == name
            ]
            if len(usable) < LEAST_LABELS:
                continue
            labels = np.array([rows[i].qualities[index] >= RIGHT for i in usable])
            if labels.all() or not labels.any():
                continue
            scorer, scores = _fit(tier.name, name, [rows[i] for i in usable], index, labels, slices)
            scorers.append(scorer)
            out_of_fold[index, usable] = scores
    if not scorers:
        raise ConfigError(
            "no scorer can be fitted: each declared signal set needs at least "
            f"{LEAST_LABELS} labelled answers of both kinds, right and wrong; "
            f"declared: {['+'.join(sorted(s)) for s in policy.signals.sets]}"
        )
    return scorers, out_of_fold


def _fit(
    tier: str, set_name: str, rows: list[Labelled], index: int, labels: Any, slices: list[str]
) -> tuple[Scorer, Floats]:
    """Standardised L2 logistic regression as plain numbers, with its out-of-fold log-odds."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    signals = [row.signals[index] for row in rows]
    names = sorted(signals[0].values) if signals[0] is not None else []
    features = [*names, *(SLICE_FEATURE + name for name in slices)]
    table = np.array(
        [
            [*(s.values[name] for name in names), *(float(row.slice == name) for name in slices)]
            for s, row in zip(signals, rows, strict=True)
            if s is not None
        ]
    )
    varies = table.std(axis=0) > 0
    table, features = table[:, varies], [f for f, v in zip(features, varies, strict=True) if v]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))
    folds = StratifiedKFold(n_splits=5, shuffle=True, random_state=0)
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


def _score_all(rows: list[Labelled], scorers: list[Scorer], policy: Policy) -> Floats:
    """Scores as serving computes them, (tiers, rows); minus infinity where a tier may not serve."""
    import numpy as np

    by_key = {(scorer.tier, scorer.signal_set): scorer for scorer in scorers}
    scores = np.full((len(policy.tiers) - 1, len(rows)), -np.inf)
    for i, row in enumerate(rows):
        for index, tier in enumerate(policy.tiers[:-1]):
            signals = row.signals[index]
            scorer = by_key.get((tier.name, signals.set_name)) if signals is not None else None
            score = scorer.score(signals, row.slice) if scorer is not None and signals is not None else None
            scores[index, i] = -np.inf if score is None else score
    return scores


def _path(fit_scores: Floats) -> Floats:
    """Candidate thresholds, strictest first: quantiles of the fit rows' best scores."""
    import numpy as np

    best = fit_scores.max(axis=0)
    best = best[np.isfinite(best)]
    shares = np.geomspace(0.05, 1.0, CANDIDATES)
    return np.unique(np.quantile(best, 1.0 - shares))[::-1]


def _count(rows: list[Labelled], scores: Floats, threshold: float, policy: Policy) -> Candidate:
    """What the test looks at when every draft with at least this score is served."""
    import numpy as np

    passed = scores >= threshold
    served = passed.any(axis=0)
    first = passed.argmax(axis=0)
    quality = np.array([row.qualities for row in rows])
    got = quality[np.arange(len(rows)), first]
    if policy.target.kind == "regret":
        # A graded loss in (0, 1] counts as a whole one: conservative, and keeps the test exact.
        return Candidate(n=len(rows), bad=int((served & (quality[:, -1] > got)).sum()))
    return Candidate(n=int(served.sum()), bad=int((served & (got < RIGHT)).sum()))


def _choose(
    path: Floats,
    fit: list[Labelled],
    fit_scores: Floats,
    certify: list[Labelled],
    scores: Floats,
    policy: Policy,
    delta: float,
) -> int | None:
    level = policy.target.level
    start = 0
    if policy.target.kind == "error":
        guesses = [_count(fit, fit_scores, float(t), policy) for t in path]
        start = power_start(guesses, rows=len(certify), fitted=len(fit), level=level, delta=delta)
    # For regret the strictest threshold has the most power already: all rows count at each of them.
    return fixed_sequence(
        lambda index: _count(certify, scores, float(path[index]), policy),
        count=len(path),
        start=start,
        level=level,
        delta=delta,
    )


def _gate(scorer: Scorer, threshold: float | None) -> Gate:
    return Gate(
        id=scorer.id, tier=scorer.tier, signal_set=scorer.signal_set, scorer=scorer.id, threshold=threshold
    )


def _refusal(policy: Policy, delta: float) -> str:
    target = policy.target
    rows = "judged rows" if target.kind == "regret" else "accepted rows"
    return (
        f"nothing is certified at {target.kind} {target.level} with confidence {target.confidence}: "
        f"every gate stays closed; at least {least_rows(target.level, delta)} {rows} without a bad one are needed"
    )
