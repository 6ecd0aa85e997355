"""From labelled outcomes and a target to a lock: scorers, one threshold path, one certificate.

The rows that fit the scorers (split ``fit``) also lay out the candidate thresholds; the rows of the
certificate (split ``certify``) are looked at once, by one fixed-sequence test over the path. All
tiers share one threshold on the scale of log-odds, so that the path has one dimension and the
promise is about everything that the last tier did not answer.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from cascade.certify import Candidate, fixed_sequence, least_rows, power_start, upper_limit
from cascade.confidence import Scorer, Scout
from cascade.errors import ConfigError
from cascade.fit import RIGHT, Labelled, fit_scorers, fit_scouts, labelled, scores_of, skipped
from cascade.lock import Certificate, Gate, Lock, digest, identity
from cascade.policy import Policy
from cascade.types import Outcome

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CANDIDATES = 60


def calibrate(outcomes: Iterable[Outcome], policy: Policy, *, judge: str = "", now: str | None = None) -> Lock:
    """Fit and certify a lock. ``ConfigError`` when the rows cannot carry a fit at all.

    Nothing certified is not an error: the lock then holds closed gates and a note that says how
    many more labels are needed.
    """
    import numpy as np

    rows = [row for row in outcomes if row.split in ("fit", "certify")]
    fit = labelled([row for row in rows if row.split == "fit"], policy)
    # A paraphrase is not a second draw from the traffic: the certificate counts each question once.
    certify = labelled([r for r in rows if r.split == "certify" and r.paraphrase_of is None], policy)
    if not fit or not certify:
        raise ConfigError(
            "calibration needs labelled rows of split 'fit' and of split 'certify'; "
            f"found {len(fit)} and {len(certify)} in which every tier has an answer and a label"
        )
    delta = 1.0 - policy.target.confidence
    scorers, fit_scores = fit_scorers(fit, policy)
    scouts = _scouts(fit, fit_scores, policy, delta)
    fit_scores = np.where(skipped(fit, scouts, policy), -np.inf, fit_scores)
    scores = scores_of(certify, scorers, scouts, policy)
    path = _path(fit_scores)
    chosen = _choose(path, fit, fit_scores, certify, scores, policy, delta)
    gates = [_gate(scorer, None if chosen is None else float(path[chosen])) for scorer in scorers]
    made = Lock(
        policy=policy.name,
        scorers=scorers,
        scouts=scouts,
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


def _scouts(fit: list[Labelled], fit_scores: Floats, policy: Policy, delta: float) -> list[Scout]:
    """Scouts for the threshold that the fit rows alone would choose; none where they choose none."""
    if not policy.preroute.enabled:
        return []
    path = _path(fit_scores)
    chosen = _choose(path, fit, fit_scores, fit, fit_scores, policy, delta)
    return [] if chosen is None else fit_scouts(fit, fit_scores, float(path[chosen]), policy)


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
    return Gate(id=scorer.id, tier=scorer.tier, signal_set=scorer.signal_set, scorer=scorer.id, threshold=threshold)


def _refusal(policy: Policy, delta: float) -> str:
    target = policy.target
    rows = "judged rows" if target.kind == "regret" else "accepted rows"
    return (
        f"nothing is certified at {target.kind} {target.level} with confidence {target.confidence}: "
        f"every gate stays closed; at least {least_rows(target.level, delta)} {rows} without a bad one are needed"
    )
