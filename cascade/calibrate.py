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
from msgspec.structs import replace

from cascade.confidence import Scorer, Scout
from cascade.decide import coin
from cascade.embedding import Embedder
from cascade.errors import ConfigError
from cascade.exact import Candidate, fixed_sequence, least_rows, power_start, upper_limit
from cascade.fit import (
    Labelled,
    fit_neighbours,
    fit_scorers,
    fit_scouts,
    labelled,
    scores_of,
    skipped,
    with_neighbours,
)
from cascade.lock import Certificate, Gate, Lock, digest, identity
from cascade.policy import Policy
from cascade.types import RIGHT, Outcome

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CANDIDATES = 60
FIT_SHARE = 0.4
"""Of rows that bring no split: a certificate needs more rows than the scorer that it is about."""


def calibrate(
    outcomes: Iterable[Outcome],
    policy: Policy,
    *,
    judge: str = "",
    embedder: Embedder | None = None,
    now: str | None = None,
) -> Lock:
    """Fit and certify a lock. ``ConfigError`` when the rows cannot carry a fit at all.

    Nothing certified is not an error: the lock then holds closed gates and a note that says how
    many labels are needed at least. ``judge`` says whose labels they are; ``embedder`` is needed
    where a declared signal set reads ``neighbours``; ``now`` is the date of the certificate.
    """
    # Sorted, so that neither folds nor digests depend on the order in which rows happen to come.
    drawn = [row for row in outcomes if drawn_evenly(row)]
    rows = sorted((row for row in drawn if split_of(row) in ("fit", "certify")), key=lambda row: row.id)
    fit = labelled([row for row in rows if split_of(row) == "fit"], policy)
    # A paraphrase is not a second draw from the traffic: the certificate counts each question once.
    certify = labelled([r for r in rows if split_of(r) == "certify" and r.paraphrase_of is None], policy)
    if not fit or not certify:
        raise ConfigError(
            "calibration needs labelled rows of split 'fit' and of split 'certify' (rows without a split are "
            "dealt out; rows of enforced traffic are not drawn evenly and left out); "
            f"found {len(fit)} and {len(certify)} in which every tier has an answer and a label"
        )
    neighbours = fit_neighbours(fit, policy, embedder)
    fit = with_neighbours(fit, neighbours, policy, embedder, own=True)
    certify = with_neighbours(certify, neighbours, policy, embedder, own=False)
    made, fit_scores = _fitted(fit, policy)
    scores = scores_of(certify, made.scorers, made.scouts, policy)
    path = _path(fit_scores)
    chosen = _choose(path, fit, fit_scores, certify, scores, policy)
    threshold = None if chosen is None else float(path[chosen])
    made = replace(
        made,
        neighbours=neighbours,
        gates=[_gate(scorer, threshold) for scorer in made.scorers],
        outcomes=digest([msgspec.to_builtins(row) for row in rows]),
    )
    if threshold is None:
        return replace(made, notes=[_refusal(policy)])
    issued_at = now or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return replace(made, certificates=[_certificate(made, certify, scores, threshold, policy, judge, issued_at)])


def drawn_evenly(outcome: Outcome) -> bool:
    """Was every tier's answer to this row as likely to be had as to any other?

    So in recorded data sets and in observe mode. Under enforcement the gate chose who was asked,
    and labels that a gate has chosen say nothing exact about that gate.
    """
    return outcome.decision is None or outcome.decision.mode == "observe"


def split_of(outcome: Outcome) -> str:
    """The outcome's own split, else one drawn by a hash of its id; rewordings go with their question."""
    if outcome.split is not None:
        return outcome.split
    return "fit" if coin("", "split", outcome.paraphrase_of or outcome.id) < FIT_SHARE else "certify"


def _fitted(fit: list[Labelled], policy: Policy) -> tuple[Lock, Floats]:
    """Scorers and scouts, and the fit rows' out-of-fold scores as serving would see them."""
    import numpy as np

    scorers, fit_scores = fit_scorers(fit, policy)
    scouts = _scouts(fit, fit_scores, policy)
    fit_scores = np.where(skipped(fit, scouts, policy), -np.inf, fit_scores)
    return Lock(policy=policy.name, scorers=scorers, scouts=scouts), fit_scores


def _certificate(
    made: Lock,
    certify: list[Labelled],
    scores: Floats,
    threshold: float,
    policy: Policy,
    judge: str,
    issued_at: str,
) -> Certificate:
    target, found = policy.target, _count(certify, scores, threshold, policy)
    delta = 1.0 - target.confidence
    return Certificate(
        id=f"{policy.name}-{digest([made.outcomes, policy.model_dump(mode='json')])}",
        gates=[gate.id for gate in made.gates],
        kind=target.kind,
        level=target.level,
        confidence=target.confidence,
        delta=delta,
        method="fixed sequence of exact binomial tests over one threshold path",
        population="all requests" if target.kind == "regret" else "requests served without the last tier",
        judged=len(certify),
        accepted=int((scores >= threshold).any(axis=0).sum()),
        bad=found.bad,
        bound=upper_limit(found.bad, found.n, delta),
        judge=judge,
        issued_at=issued_at,
        identity=identity(policy),
    )


def _scouts(fit: list[Labelled], fit_scores: Floats, policy: Policy) -> list[Scout]:
    """Scouts for the threshold that the fit rows alone would choose; none where they choose none."""
    if not policy.preroute.enabled:
        return []
    path = _path(fit_scores)
    chosen = _choose(path, fit, fit_scores, fit, fit_scores, policy)
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
) -> int | None:
    level, delta = policy.target.level, 1.0 - policy.target.confidence
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


def _refusal(policy: Policy) -> str:
    target = policy.target
    delta = 1.0 - target.confidence
    rows = "judged rows" if target.kind == "regret" else "accepted rows"
    return (
        f"nothing is certified at {target.kind} {target.level} with confidence {target.confidence}: "
        f"every gate stays closed; at least {least_rows(target.level, delta)} {rows} without a bad one are needed"
    )
