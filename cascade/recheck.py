"""Does a promise still hold? Its certificate against fresh labelled outcomes.

The rows are an even draw of independent ones, scored as serving scores them, and counted where the
gates of the lock would serve them. Two tests look at the counts: is the risk above the promised level
(``broken``), and is it below (``holds``)? Their false-alarm level is stated and shared by all
certificates of the lock. Without a memory both are the exact tests of one look; with one they are
bets that may be gone on with at every look (``cascade.watch``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import exp
from typing import TYPE_CHECKING, Any, Literal

from msgspec import to_builtins
from msgspec.structs import replace

from cascade.embedding import Embedder
from cascade.errors import ConfigError
from cascade.evidence import LeftOut
from cascade.gates import ROUTED, Gates
from cascade.learning import path as paths
from cascade.learning.drawn import FIT
from cascade.learning.pairs import with_pairs
from cascade.learning.path import Counts
from cascade.learning.populations import population_of
from cascade.learning.rows import EXAMPLES, Rows, evenly, independent, read_rows
from cascade.learning.scores import scores_of, with_neighbours
from cascade.lock import Certificate, Lock, digest
from cascade.paired import betting_log_pvalue, paired_pvalue
from cascade.policy import Policy
from cascade.types import RIGHT, Outcome, Record
from cascade.watch import Memory, Watch, remembered, written

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Answer = Literal["broken", "holds", "undecided", "void"]
WORST = ("broken", "void", "undecided", "holds")


class Finding(Record, frozen=True, kw_only=True):
    """What the rows say of one certificate.

    ``alarm`` is its share of the false-alarm level, ``delta`` the level of the proof that it holds.
    ``rows`` are those of its population, ``n`` the ones that count (for an error promise the accepted
    ones), ``bad``, ``better`` and ``risk`` as in the certificate; in a watch that goes on, those of all
    checks, ``new`` of which came with this one. ``p_broken`` and ``p_holds`` are p-values, of a watch
    the inverse of its e-values. ``more_rows`` is about how many further judged rows would decide; None
    where nothing is left to decide or no number would.
    """

    certificate: str
    population: str
    answer: Answer
    reason: str
    kind: Literal["error", "regret"]
    level: float
    alarm: float
    delta: float
    rows: int = 0
    accepted: int = 0
    n: int = 0
    new: int = 0
    bad: int = 0
    better: int = 0
    risk: float | None = None
    p_broken: float = 1.0
    p_holds: float = 1.0
    more_rows: int | None = None


class Checked(Record, frozen=True, kw_only=True):
    """A whole check. ``answer`` is the worst of the certificates'; ``alarm`` is the level over all of them.

    ``test`` is ``exact`` (of one look) or ``anytime`` (goes on at the next). ``same_rows`` says that
    these are the very rows that the lock was made from, which prove nothing new.
    """

    policy: str
    answer: Answer
    test: Literal["exact", "anytime"]
    alarm: float
    rows: int
    findings: list[Finding]
    left_out: list[LeftOut]
    same_rows: bool = False


class Sample(Record, frozen=True, kw_only=True):
    """Rows of one population: counts, and of each row that counts its name and its loss."""

    counts: Counts
    rows: int
    names: list[str]
    losses: Any


def check(
    outcomes: Iterable[Outcome],
    policy: Policy,
    lock: Lock,
    *,
    alarm: float | None = None,
    embedder: Embedder | None = None,
    memory: Memory | None = None,
) -> Checked:
    """Test every certificate of the lock. ``ConfigError`` where it has none, or for an ``alarm`` not in (0, 0.5).

    ``alarm`` is the chance, over all certificates, of calling a promise broken that holds (default:
    one minus the policy's confidence). Rows of split ``fit`` are left out: the scorers know them.
    """
    alarm = round(1.0 - policy.target.confidence, 12) if alarm is None else alarm
    if not 0.0 < alarm < 0.5:
        raise ConfigError(f"a false-alarm level lies between 0 and 0.5; got {alarm:g}")
    if not lock.certificates:
        raise ConfigError("the lock holds no certificate, so that there is no promise to check: calibrate first")
    if lock.neighbours and embedder is None:
        raise ConfigError("the lock's scorers read neighbours, which needs an embedder")
    rows, left = read_rows(outcomes, policy, embedder)
    same = lock.outcomes == digest([to_builtins(row) for row in rows.outcomes])
    rows, gone = _drawn(rows, lock, policy, embedder)
    gates = Gates(policy, lock, embedder=embedder.name if embedder is not None else None)
    scores = scores_of(rows, lock.scorers, lock.scouts, lock.gates, policy)
    share = alarm / max(sum(one.id not in gates.reasons for one in lock.certificates), 1)
    findings = []
    for one in lock.certificates:
        found = _unjudged(one, gates.reasons.get(one.id, ""), share)
        if found.answer != "void":
            found = _judged(found, one, _sample(one, rows, scores, gates, lock, policy), lock, memory)
        findings.append(found)
    return Checked(
        policy=policy.name,
        answer=min((found.answer for found in findings), key=WORST.index),
        test="exact" if memory is None else "anytime",
        alarm=alarm,
        rows=len(rows),
        findings=findings,
        left_out=[*left, *gone],
        same_rows=same,
    )


def _drawn(rows: Rows, lock: Lock, policy: Policy, embedder: Embedder | None) -> tuple[Rows, list[LeftOut]]:
    """An even draw of independent rows that fitted no scorer, and the rows that had to go for it."""
    fitted = [row.id for row in rows.outcomes if row.split == FIT]
    rows, tied = independent(rows.take([place for place, row in enumerate(rows.outcomes) if row.split != FIT]))
    rows = with_neighbours(rows.take(evenly(rows)), lock.neighbours, policy, embedder, own=False)
    rows = with_pairs(rows, lock.pairing, policy)
    reason = "of split fit: the scorers were fitted on such rows"
    gone = [LeftOut(reason=reason, rows=len(fitted), examples=fitted[:EXAMPLES])] if fitted else []
    return rows, [*gone, tied] if tied else gone


def _sample(certificate: Certificate, rows: Rows, scores: Floats, gates: Gates, lock: Lock, policy: Policy) -> Sample:
    """What the certificate's gates would serve of its population, by the same look-up as serving's."""
    import numpy as np

    here = np.flatnonzero(population_of(certificate, lock, policy).holds(rows)).tolist()
    rows, scores = rows.take(here), scores[:, here]
    thresholds = np.full(scores.shape, np.inf)
    for index, source in enumerate(policy.sources):
        for i, signals in enumerate(rows.signals):
            found = signals[index]
            key = ROUTED if rows.routed[i] == index else found.set_name if found is not None else None
            door = gates.find(source.name, rows.slices[i], key) if key is not None else None
            if door is not None and door.gate.id in certificate.gates:
                thresholds[index, i] = -np.inf if door.gate.routed else door.gate.threshold
    served, got = paths.answers(thresholds, scores, rows.quality)
    counts = paths.tally(served, got, rows.quality, certificate.kind)
    if certificate.kind == "error":
        counted, losses = np.flatnonzero(served), (got < RIGHT).astype(float)
    else:
        counted, losses = np.arange(len(rows)), np.where(served, rows.quality[-1] - got, 0.0)
    return Sample(counts=counts, rows=len(rows), names=[rows.units[i] for i in counted], losses=losses[counted])


def _unjudged(certificate: Certificate, void: str, share: float) -> Finding:
    return Finding(
        certificate=certificate.id,
        population=certificate.population,
        answer="void" if void else "undecided",
        reason=f"it promises nothing any more: it {void}" if void else "",
        kind=certificate.kind,
        level=certificate.level,
        alarm=share,
        delta=certificate.delta,
    )


def _judged(finding: Finding, certificate: Certificate, sample: Sample, lock: Lock, memory: Memory | None) -> Finding:
    found = replace(finding, rows=sample.rows, accepted=sample.counts.served)
    if memory is None:
        found = _exact(found, sample)
    else:
        gates = [gate for gate in lock.gates if gate.id in certificate.gates]
        found = _watched(found, sample, f"check {lock.policy} {digest([certificate, gates])}", memory)
    broken = found.p_broken <= found.alarm
    answer: Answer = "broken" if broken else "holds" if found.p_holds <= found.delta else "undecided"
    found = replace(found, answer=answer)
    return replace(found, reason=_reason(found))


def _exact(finding: Finding, sample: Sample) -> Finding:
    """One look: the exact tests, in both directions."""
    counts = sample.counts
    found = replace(
        finding,
        n=counts.n,
        new=counts.n,
        bad=counts.bad,
        better=counts.better,
        risk=counts.risk(finding.kind) if counts.n else None,
        p_broken=p_broken(counts, finding.kind, finding.level, finding.alarm),
        p_holds=p_holds(counts, finding.kind, finding.level, finding.delta),
    )

    def decided(times: float) -> bool:
        more = paths.times(counts, times)
        if counts.risk(finding.kind) > finding.level:
            return p_broken(more, finding.kind, finding.level, finding.alarm) <= finding.alarm
        return p_holds(more, finding.kind, finding.level, finding.delta) <= finding.delta

    return replace(found, more_rows=_more_rows(found, decided))


def _watched(finding: Finding, sample: Sample, key: str, memory: Memory) -> Finding:
    """A further look: the bets go on with the rows that no look has counted yet."""
    watch = remembered(memory, key, Watch(kind=finding.kind, level=finding.level))
    places = watch.unseen(sample.names)
    after = watch.fed([sample.names[place] for place in places], sample.losses[places])
    if places:
        memory.keep_watch(key, written(after))
    found = replace(
        finding,
        n=after.n,
        new=len(places),
        bad=after.bad,
        better=after.better,
        risk=after.total / after.n if after.n else None,
        p_broken=exp(-max(after.log_e_broken, 0.0)),
        p_holds=exp(-max(after.log_e_holds, 0.0)),
    )
    return replace(found, more_rows=_more_rows(found, lambda times: after.enough(times, found.alarm, found.delta)))


def p_broken(counts: Counts, kind: str, level: float, alarm: float) -> float:
    """p-value of "the risk is at most the level": small when it is surprisingly high; 1.0 beyond ``alarm``."""
    if not counts.n:
        return 1.0
    if kind == "error":
        from scipy.stats import binom

        return float(binom.sf(counts.bad - 1, counts.n, level))
    if counts.losses is not None:
        return exp(betting_log_pvalue(-counts.losses, -level))
    return paired_pvalue(counts.bad, counts.better, counts.n, level, alarm, "high")


def p_holds(counts: Counts, kind: str, level: float, delta: float) -> float:
    """p-value of "the risk is above the level", as certification tests it; 1.0 beyond ``delta`` for a regret."""
    if not counts.n:
        return 1.0
    if kind == "error":
        from scipy.stats import binom

        return float(binom.cdf(counts.bad, counts.n, level))
    if counts.losses is not None:
        return exp(betting_log_pvalue(counts.losses, level))
    return paired_pvalue(counts.bad, counts.better, counts.n, level, delta, "low")


def _more_rows(finding: Finding, decided: Callable[[float], bool]) -> int | None:
    """Further judged rows after which an answer would be due if the rates stayed as they are."""
    if not finding.n or finding.p_broken <= finding.alarm or finding.p_holds <= finding.delta:
        return None
    times = paths.factor(decided)
    # Of an error promise only accepted rows count; of this file's rows, so many were accepted.
    judged = finding.n * (finding.rows / finding.accepted if finding.kind == "error" and finding.accepted else 1.0)
    return None if times is None else max(int(judged * (times - 1.0)), 1)


def _reason(finding: Finding) -> str:
    if not finding.n:
        return (
            "no labelled row belongs to its population"
            if not finding.rows
            else f"its gates would serve none of the {finding.rows:,} labelled rows of its population"
        )
    gains = f", on {finding.better:,} it gains" if finding.better else ""
    if finding.kind == "error":
        said = f"of {finding.n:,} accepted answers {finding.bad:,} are unacceptable"
    else:
        said = f"of {finding.n:,} answers {finding.bad:,} lose against the last tier{gains}"
    risk = finding.risk or 0.0
    said += f": {risk:.2%}, promised are at most {finding.level:.2%}"
    if finding.answer == "broken":
        return f"{said} (p {finding.p_broken:.3g} against a false-alarm level of {finding.alarm:g})"
    if finding.answer == "holds":
        return f"{said} (p {finding.p_holds:.3g} against {finding.delta:.3g}: proved again)"
    return said
