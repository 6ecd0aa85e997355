"""From scores and labels to a certificate for one population, or a refusal that says what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from cascade.confidence import Scorer
from cascade.evidence import Stratum
from cascade.exact import least_rows, lower_limit
from cascade.learning import path as paths
from cascade.learning.missing import labels_missing
from cascade.learning.populations import Population
from cascade.learning.rows import Rows
from cascade.learning.threshold import LEAST_LAID_OUT, furthest, laid_out
from cascade.learning.truth import promised_of_truth
from cascade.lock import Certificate, Gate, HeldOut, seal
from cascade.paired import mean_upper, paired_lower
from cascade.pairing import Pairing
from cascade.policy import Policy, Target
from cascade.types import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

METHODS = {
    "error": "fixed sequence of exact binomial tests over one threshold path",
    "regret": "fixed sequence of exact paired tests over one threshold path",
    "few": "fixed sequence of exact binomial tests of the losses alone over one threshold path",
    "graded": "fixed sequence of betting tests over one threshold path",
}


class Scored(Record, frozen=True, kw_only=True):
    """Rows with their scores (k, n)."""

    rows: Rows
    scores: object

    def within(self, population: Population) -> tuple[Floats, Floats]:
        """Scores and qualities of the population's rows."""
        import numpy as np

        here = np.flatnonzero(population.holds(self.rows))
        scores: Floats = np.asarray(self.scores)[:, here]
        return scores, self.rows.quality[:, here]


class Issued(Record, frozen=True, kw_only=True):
    """What became of one population: its gates, its certificate if there is one, and the account."""

    gates: list[Gate]
    certificate: Certificate | None
    stratum: Stratum
    contradicted: HeldOut | None = None


class Terms(Record, frozen=True, kw_only=True):
    """What all certificates of one calibration have in common."""

    policy: Policy
    kind: str
    prefix: str
    judge: str
    truth: str
    conflict: str
    shares: dict[str, int]
    issued_at: str
    identity: dict[str, str]
    pairing: Pairing | None = None


def issue(
    population: Population, scorers: list[Scorer], routed: list[Gate], fit: Scored, certify: Scored, test: Scored,
    terms: Terms,
) -> Issued:  # fmt: skip
    """Walk the population's path and write down what was found."""
    target, delta = terms.policy.target, population.delta
    scores, quality = certify.within(population)
    line, starts = _layout(population, fit, test, scores.shape[1], terms)
    counts = paths.sweep(line, scores, quality, target.kind)
    start, chosen, share = furthest(counts, starts, target, delta)
    stratum = Stratum(
        name=population.name,
        slices=population.slices,
        signal_sets=population.signal_sets,
        delta=delta,
        rows=scores.shape[1],
        path=paths.points(line, counts, scores.shape[1], start, chosen, target, share),
        start=start,
        chosen=chosen,
    )
    if chosen is None:
        missing = labels_missing(*fit.within(population), scores.shape[1], target, share)
        why = _refusal(population, target, delta, missing)
        gates = _gates(population, scorers, routed, None)
        return Issued(gates=gates, certificate=None, stratum=replace(stratum, refusal=why, missing_labels=missing))
    threshold = float(line[chosen])
    held = _held_out(population, test, threshold, target, delta)
    if held is not None and held.low > target.level:
        gates = _gates(population, scorers, routed, None)
        refused = replace(stratum, refusal=_contradiction(population, held, target))
        return Issued(gates=gates, certificate=None, stratum=refused, contradicted=held)
    gates = _gates(population, scorers, routed, threshold)
    covered = [gate for gate in gates if _open(gate, threshold)]
    people = certify.rows.people[:, population.holds(certify.rows)]
    of_truth = promised_of_truth(line, start, chosen, scores, people, target, share)
    told = replace(terms, truth=f"{of_truth}; {terms.truth}" if of_truth else terms.truth)
    found = _certificate(population, stratum, counts[chosen], [gate.id for gate in covered], share, held, told)
    certificate = replace(found, seal=seal(covered, scorers, terms.pairing))
    return Issued(gates=gates, certificate=certificate, stratum=stratum)


def _certificate(
    population: Population, stratum: Stratum, found: paths.Counts, gates: list[str], delta: float,
    held: HeldOut | None, terms: Terms,
) -> Certificate:  # fmt: skip
    target, chosen = terms.policy.target, stratum.chosen or 0
    return Certificate(
        id=f"{terms.prefix}-{population.name}".replace(" ", "-").replace(",", ""),
        gates=gates,
        kind=target.kind,
        level=target.level,
        confidence=target.confidence,
        delta=delta,
        method=_method(found, target),
        population=_population(population, target.kind),
        judged=stratum.rows,
        accepted=found.served,
        bad=found.bad,
        better=found.better,
        bound=min(stratum.path[chosen].bound, target.level),
        judge=terms.judge,
        truth=terms.truth,
        conflict=terms.conflict,
        shares=terms.shares,
        candidates=len(stratum.path),
        start=stratum.start,
        chosen=chosen,
        held_out=held,
        issued_at=terms.issued_at,
        identity=terms.identity,
    )


def _method(found: paths.Counts, target: Target) -> str:
    if found.losses is not None:
        return METHODS["graded"]
    return METHODS["few" if target.kind == "regret" and found.few(target) else target.kind]


def _contradiction(population: Population, held: HeldOut, target: Target) -> str:
    return (
        f"{population.name}: held-out rows contradict the promise: their risk is at least {held.low:.3g}, "
        f"the target is {target.level:g}; the rows of the splits are not alike: look at how they were drawn"
    )


def _layout(population: Population, fit: Scored, test: Scored, rows: int, terms: Terms) -> tuple[Floats, list[int]]:
    """By the population's own fit rows, or where it has few by those of all populations."""
    import numpy as np

    labelled = fit.within(population)
    if labelled[0].shape[1] < LEAST_LAID_OUT and len(fit.rows):
        labelled = np.asarray(fit.scores), fit.rows.quality
    scale = "right" if terms.kind == "right" else "gain"
    return laid_out(labelled, rows, terms.policy.target, population.delta, scale, test.within(population)[0])


def _gates(population: Population, scorers: list[Scorer], routed: list[Gate], threshold: float | None) -> list[Gate]:
    """The population's gates: one for each scorer of its signal sets, and those of its routed slices."""
    made = [
        Gate(
            id=scorer.id if population.gate_slice == "*" else f"{scorer.id}@{population.gate_slice}",
            tier=scorer.tier,
            slice=population.gate_slice,
            signal_set=scorer.signal_set,
            scorer=scorer.id,
            threshold=threshold,
            seen=population.slices if population.gate_slice == "*" else [],
        )
        for scorer in scorers
        if scorer.signal_set in population.signal_sets
    ]
    if population.alone and population.signal_sets:
        return made
    return made + [gate for gate in routed if gate.slice in population.slices]


def _open(gate: Gate, threshold: float) -> bool:
    return not gate.routed or (gate.standing is not None and gate.standing >= threshold)


def _held_out(population: Population, test: Scored, threshold: float, target: Target, delta: float) -> HeldOut | None:
    """What the held-out rows say at this threshold; None without any."""
    scores, quality = test.within(population)
    if not scores.shape[1]:
        return None
    found = paths.count(threshold, scores, quality, target.kind)
    if target.kind == "error":
        low = lower_limit(found.bad, found.n, delta)
    elif found.losses is not None:
        low = -mean_upper(-found.losses, delta)
    else:
        low = paired_lower(found.bad, found.better, found.n, delta)
    return HeldOut(n=found.n, bad=found.bad, better=found.better, risk=found.risk(target.kind), low=low)


def _refusal(population: Population, target: Target, delta: float, missing: int | None) -> str:
    least = least_rows(target.level, delta)
    rows = "judged rows" if target.kind == "regret" else "accepted rows"
    more = (
        f"and by the rates of the fit rows about {missing:,} more judged rows would do"
        if missing is not None
        else "and by the rates of the fit rows no number would: the scores do not tell right from wrong well enough"
    )
    return (
        f"{population.name}: nothing is certified at {target.kind} {target.level:g} with confidence "
        f"{target.confidence:g}, every gate stays closed; at least {least} {rows} without a bad one are needed, {more}"
    )


def _population(population: Population, kind: str) -> str:
    who = "all requests" if population.gate_slice == "*" else f"requests of {population.gate_slice}"
    of = f" ({', '.join(population.slices)})" if population.gate_slice == "*" and len(population.slices) > 1 else ""
    sets = " or ".join(population.signal_sets)
    with_ = (f" whose draft has {sets}" if sets else " of routed slices") if population.alone else ""
    return f"{who}{of}{with_}" if kind == "regret" else f"{who}{of}{with_}, served without the last tier"
