"""From labelled outcomes and a target to a lock: scorers, threshold paths, certificates.

Rows of split ``fit`` fit the scorers and lay out the candidate thresholds; rows of split ``certify``
are looked at once, by one fixed-sequence test for each population; rows of split ``test`` are seen by
no step, may contradict what was found, and give every figure that a report shows.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from cascade.embedding import Embedder
from cascade.errors import ConfigError
from cascade.evidence import Contestant, LeftOut, RefusedSignal, Status, Stratum
from cascade.judging.families import family, family_of_judge
from cascade.learning import path as paths
from cascade.learning.contest import contest
from cascade.learning.drawn import CERTIFY, FIT, TEST
from cascade.learning.issue import Issued, Scored, Terms, issue
from cascade.learning.ladders import minimal_policy
from cascade.learning.pairs import fitted_pairs, with_pairs
from cascade.learning.populations import divide
from cascade.learning.rows import Rows, evenly, independent, read_rows
from cascade.learning.scores import (
    fit_neighbours,
    fit_scouts,
    routed_gates,
    scores_of,
    skipped,
    standing,
    with_neighbours,
)
from cascade.learning.truth import at_odds, labeller_of, truth_of
from cascade.lock import Lock, digest, identity
from cascade.neighbours import Neighbours
from cascade.pairing import Pairing
from cascade.policy import Policy, Target
from cascade.types import CACHE, SAME, Outcome, Record

RECORDED = "recorded with the data"


class Learned(Record, frozen=True, kw_only=True):
    """A lock, and everything that was found out on the way to it.

    ``fit`` and ``certify`` are the rows that it was made of, ``test`` those that no step has seen;
    ``sets`` are the signal sets asked for.
    """

    lock: Lock
    status: Status
    strata: list[Stratum]
    contestants: list[Contestant]
    refused: list[RefusedSignal]
    left_out: list[LeftOut]
    judges: dict[str, int]
    fit: Rows
    certify: Rows
    test: Rows
    rows: dict[str, int]
    sets: list[list[str]]
    at: str
    notes: list[str] = []


def learn(
    outcomes: Iterable[Outcome],
    policy: Policy,
    *,
    judge: str = "",
    embedder: Embedder | None = None,
    now: str | None = None,
    allow_conflict: bool = False,
    base: Lock | None = None,
) -> Learned:
    """Fit and certify. ``ConfigError`` when the rows cannot carry a fit at all.

    Nothing certified is not an error: the lock then holds closed gates and notes that say how many
    labels are missing. ``judge`` names who labelled rows whose verdicts do not; ``embedder`` is needed
    where a declared signal set reads ``neighbours`` or slices are told apart by examples; ``now`` is
    the date of the certificates; ``base`` is a lock whose scorers are kept, and only certified anew.
    """
    rows, left_out = read_rows(outcomes, policy, embedder)
    fit = rows.of(FIT)
    certify, tied = independent(rows.of(CERTIFY), set(fit.units))
    test, _ = independent(rows.of(TEST), {*fit.units, *certify.units})
    if tied:
        left_out = [*left_out, tied]
    if not len(certify) or (base is None and not len(fit)):
        raise ConfigError(_too_few(fit, certify, left_out))
    (fit, certify, test), neighbours, pairing = _with_references((fit, certify, test), policy, embedder, base)
    made, fit_scores, contestants, refused = _scorers(fit, policy, len(certify), base)
    made = replace(
        made,
        neighbours=neighbours,
        pairing=pairing,
        outcomes=digest([msgspec.to_builtins(row) for row in rows.outcomes]),
    )
    judges = _judges(certify, judge)
    terms = _terms(made, policy, judges, certify, now, embedder)
    blocked = terms.conflict if not allow_conflict else ""
    scored = [
        Scored(rows=some, scores=scores_of(some, made.scorers, made.scouts, made.gates, policy))
        for some in (certify, test)
    ]
    issued, closed = _issue_all(made, Scored(rows=fit, scores=fit_scores), scored[0], scored[1], terms, blocked)
    return Learned(
        lock=_assembled(made, issued, blocked, closed),
        status=_status(issued, blocked),
        strata=[found.stratum for found in issued],
        contestants=contestants,
        refused=refused,
        left_out=left_out,
        judges=judges,
        fit=fit,
        certify=certify,
        test=test,
        rows={FIT: len(fit), CERTIFY: len(certify), TEST: len(test)},
        sets=policy.signals.sets,
        at=terms.issued_at,
        notes=at_odds(rows.outcomes),
    )


def calibrate(
    outcomes: Iterable[Outcome], target: Policy | Target, *, tiers: Sequence[str] = (), **options: Any
) -> Lock:
    """From labelled outcomes and a target to a lock: ``learn``, and its lock alone.

    With a policy the target is the policy's; with a ``Target`` alone ``tiers`` names the ladder,
    cheapest first, and the lock belongs to ``ladders.minimal_policy`` of them. Options are those of
    ``learn``, and so are the errors.
    """
    if isinstance(target, Policy):
        return learn(outcomes, target, **options).lock
    rows = list(outcomes)
    if len(tiers) < 2:
        raise ConfigError("a target alone does not say who is cheap and who is last: tiers=['cheap', 'frontier']")
    stated = target.model_dump(exclude_none=True)
    return learn(rows, minimal_policy("calibrated", tiers, stated, outcomes=rows), **options).lock


def certify(outcomes: Iterable[Outcome], policy: Policy, lock: Lock, **options: Any) -> Lock:
    """New certificates for the scorers that a lock has, on fresh rows: nothing is fitted.

    Rows of split ``fit`` lay out the path; without any, a fixed grid and three starts do.
    """
    return learn(outcomes, policy, base=lock, **options).lock


def _with_references(
    splits: tuple[Rows, Rows, Rows], policy: Policy, embedder: Embedder | None, base: Lock | None
) -> tuple[tuple[Rows, Rows, Rows], list[Neighbours], Pairing | None]:
    """The rows of the three splits with the signals that are themselves learned, and what they are read from."""
    fit, certify, test = splits
    neighbours = fit_neighbours(fit, policy, embedder) if base is None else base.neighbours
    fit = with_neighbours(fit, neighbours, policy, embedder, own=base is None)
    fit, pairing = fitted_pairs(fit, policy) if base is None else (with_pairs(fit, base.pairing, policy), base.pairing)
    certify, test = (
        with_pairs(with_neighbours(some, neighbours, policy, embedder, own=False), pairing, policy)
        for some in (certify, test)
    )
    return (fit, certify, test), neighbours, pairing


def _scorers(
    fit: Rows, policy: Policy, certifying: int, base: Lock | None
) -> tuple[Lock, object, list[Contestant], list[RefusedSignal]]:
    """Scorers, scouts and routed gates, and the fit rows' scores as serving would see them."""
    import numpy as np

    if base is not None:
        gates = [gate for gate in base.gates if gate.routed]
        made = Lock(policy=policy.name, scorers=base.scorers, scouts=base.scouts, gates=gates)
        return made, scores_of(fit, base.scorers, base.scouts, gates, policy), [], []
    delta = (1.0 - policy.target.confidence) / policy.target.refits
    cascaded = [i for i, tier in enumerate(fit.routed) if tier == -1]
    scores = np.full((len(policy.sources), len(fit)), -np.inf)
    kind, scorers, contestants, refused = "right", [], [], []
    if cascaded:
        won = contest(fit.take(cascaded), policy, delta=delta, certifying=certifying)
        scorers, contestants, refused = won.scorers, won.contestants, won.refused
        kind = "right" if all(scorer.gain is None for scorer in scorers) else "gain"
        scores[:, cascaded] = won.scores
    gates = routed_gates(fit, kind, policy)
    scouts = []
    if policy.preroute.enabled and scorers:
        line = paths.candidates(scores, certifying, policy.target, delta)
        counts = paths.sweep(line, scores, fit.quality, policy.target.kind)
        place = paths.walk(
            counts, paths.start_of(counts, len(fit), certifying, policy.target, delta), policy.target, delta
        )
        scouts = [] if place is None else fit_scouts(fit, scores, float(line[place]), policy)
    scores = np.where(skipped(fit, scouts, policy), -np.inf, scores)
    if all(scout.tier != CACHE for scout in scouts):  # nobody would ask, so nothing is promised of what is asked about
        scorers = [one for one in scorers if SAME not in one.signal_set.split("+")]
    made = Lock(policy=policy.name, scorers=scorers, scouts=scouts, gates=gates)
    return made, standing(scores, fit, gates, policy), contestants, refused


def _issue_all(
    made: Lock, fit: Scored, certify: Scored, test: Scored, terms: Terms, blocked: str
) -> tuple[list[Issued], list[str]]:
    """Every population's certificate, and what is said of slices too small for one.

    Thinned, so that the rows are an even draw for exact tests.
    """
    import numpy as np

    kept = []
    for some in (fit, certify, test):
        places = evenly(some.rows)
        kept.append(Scored(rows=some.rows.take(places), scores=np.asarray(some.scores)[:, places]))
    sets = sorted({scorer.signal_set for scorer in made.scorers})
    division = divide(kept[1].rows, sets, terms.policy)
    shared = replace(terms, shares=division.shares)
    laid, judged, unseen = kept
    found = [issue(p, made.scorers, made.gates, laid, judged, unseen, shared) for p in division.populations]
    closed = [
        f"{name}: closed, its certification rows are too few for any promise of its own: {missing} more at the least"
        for name, missing in division.closed.items()
    ]
    if blocked:
        found = [replace(one, certificate=None, stratum=replace(one.stratum, refusal=blocked)) for one in found]
    return found, closed


def _assembled(made: Lock, issued: list[Issued], blocked: str, closed: list[str]) -> Lock:
    notes = [blocked] if blocked else [*(one.stratum.refusal for one in issued if one.stratum.refusal), *closed]
    certified = [one.certificate for one in issued if one.certificate is not None]
    gates = [gate if not blocked else replace(gate, threshold=None) for one in issued for gate in one.gates]
    return replace(made, gates=gates, certificates=certified, notes=notes)


def _status(issued: list[Issued], blocked: str) -> Status:
    if any(one.contradicted is not None for one in issued):
        return "contradicted"
    return "certified" if not blocked and any(one.certificate is not None for one in issued) else "refused"


def _judges(rows: Rows, given: str) -> dict[str, int]:
    """Whose labels these are, and on how many rows each."""
    names: Counter[str] = Counter()
    for outcome in rows.outcomes:
        names.update({labeller_of(model) or given or RECORDED for model in outcome.models.values()})
    return dict(names.most_common())


def _conflict(judges: dict[str, int], rows: Rows, policy: Policy) -> str:
    """Why these labels cannot carry a certificate by themselves: nobody but the tiers' kin has judged."""
    tiers = {family(tier.model) for tier in policy.tiers}
    heard = {verdict.judge for row in rows.outcomes for model in row.models.values() for verdict in model.verdicts}
    kin = [name for name in judges if family_of_judge(name) in tiers]
    if len(kin) < len(judges) or any(family_of_judge(name) not in tiers for name in heard):
        return ""
    return (
        f"every judge ({', '.join(kin)}) is of the same family as a tier that it judged: have a sample judged by "
        "another family or a person, or allow the conflict, which the certificate then states"
    )


def _terms(
    made: Lock, policy: Policy, judges: dict[str, int], certify: Rows, now: str | None, embedder: Embedder | None
) -> Terms:
    return Terms(
        policy=policy,
        kind="gain" if any(scorer.gain is not None for scorer in made.scorers) else "right",
        prefix=f"{policy.name}-{digest([made.outcomes, policy.model_dump(mode='json')])}",
        judge=", ".join(judges),
        truth=truth_of(certify.outcomes, [source.name for source in policy.sources]),
        conflict=_conflict(judges, certify, policy),
        shares={},
        issued_at=now or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        identity=identity(policy, embedder.name if embedder is not None else None),
        pairing=made.pairing,
    )


def _too_few(fit: Rows, certify: Rows, left_out: list[LeftOut]) -> str:
    gone = "; ".join(f"{one.rows} rows: {one.reason} ({', '.join(one.examples)})" for one in left_out)
    return (
        "calibration needs labelled rows of split 'fit' and of split 'certify' (rows without a split are dealt out); "
        f"found {len(fit)} and {len(certify)}{f'; left out: {gone}' if gone else ''}"
    )
