"""Would a broken engine be noticed here? The calibration, the monitor and the lock, under hard conditions.

Each scenario draws traffic whose true risk is known (``cascade.simulate``), at the rates of a lock's
certificate or, without a lock, at those of a typical scorer, puts the installed code to it many times,
and counts how often the promise broke. Three demands: what must hold (broken no more often than the
confidence allows, within Monte Carlo error), what must be noticed, and what nobody can promise, which
is shown with its price. The parts under test are handed in, so that a test can hand in broken ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cascade import betting
from cascade.learning import path as paths
from cascade.learning.drawn import thinned
from cascade.learning.threshold import certified, remembering
from cascade.lock import Certificate, Lock
from cascade.policy import Policy, Target
from cascade.selftest.findings import Demand, Finding, limit
from cascade.selftest.locked import read_off
from cascade.simulate import PAIRED, TYPICAL, Head, Judge, Population
from cascade.types import Record

if TYPE_CHECKING:
    from numpy.random import Generator

REPETITIONS, LEAST = 200, 60
ROWS = 1000
HONEST, LENIENT = Judge(catches=0.95, passes=0.99), Judge(catches=0.5, passes=0.99)
UNEVEN = (0.3, 0.9)
"""Chances of a label under an old threshold and from there on."""

UNEVEN_FROM = 0.75
"""Quantile of the scores at which the old threshold stood."""

SLICES, VALUES, MISSING = 5, 7, 0.3
WORSE, NOTICED = 3.0, 0.9
"""The drift: errors rise to three times the level, which nine streams of ten must notice in time."""


Labels = Callable[[Any, Any, Any], tuple[Any, Any]]


class Engine(Record, frozen=True, kw_only=True):
    """The parts under test: how rows are counted, and how a stream of audits raises its alarm."""

    sweep: Callable[..., Any] = paths.sweep
    alarms: Callable[..., Any] = betting.alarms


INSTALLED = Engine()


class Stage(Record, frozen=True, kw_only=True):
    """Where the scenarios are played: simulated traffic, a target, rows to certify on, and why these."""

    name: str
    population: Population
    target: Target
    delta: float
    rows: int


class Trial(Record, frozen=True, kw_only=True):
    """One scenario's runs: true risks of the thresholds certified, in one array a run.

    ``risks`` are zero where nothing was certified.
    """

    risks: Any
    certified: Any

    def finding(self, scenario: str, stage: Stage, demand: Demand, said: str) -> Finding:
        """How often the worst of a run's promises broke."""
        runs = len(self.risks)
        broke = int((self.risks.max(axis=1) > stage.target.level).sum())
        may = limit(runs, stage.delta)
        return Finding(
            stage=stage.name,
            scenario=scenario,
            demand=demand,
            runs=runs,
            broke=broke,
            may=may,
            ok=broke <= may or demand == "cannot be promised",
            said=said,
            certified=float(self.certified.mean()),
        )


def selftest(
    policy: Policy,
    lock: Lock | None,
    *,
    repetitions: int = REPETITIONS,
    seed: int = 0,
    engine: Engine = INSTALLED,
    only: Collection[str] | None = None,
) -> Iterator[Finding]:
    """What can be read off the lock, then every scenario on every stage. Deterministic in ``seed``.

    ``repetitions`` are of one scenario; several certificates share them, down to ``LEAST`` each. ``only``
    are names of ``SCENARIOS``: then only these are played.
    """
    import numpy as np

    if lock is not None and only is None:
        yield from read_off(policy, lock, np.random.default_rng(seed))
    played = stages(policy, lock)
    runs = max(repetitions // len(played), min(repetitions, LEAST))
    for place, stage in enumerate(played):
        for number, (name, scenario) in enumerate(SCENARIOS.items()):
            if only is None or name in only:
                yield scenario(stage, runs, np.random.default_rng([seed, place, number]), engine)


def stages(policy: Policy, lock: Lock | None) -> list[Stage]:
    """One for each certificate of the lock, at its rates; without any, one for the policy's target."""
    target = policy.target
    typical = PAIRED if target.kind == "regret" else TYPICAL
    if lock is None or not lock.certificates:
        delta = (1.0 - target.confidence) / target.refits
        return [
            Stage(name=f"typical traffic, {_of(target)}", population=typical, target=target, delta=delta, rows=ROWS)
        ]
    return [
        Stage(
            name=f"{one.id}, {_of(_target(one))}",
            population=_alike(one, typical),
            target=_target(one),
            delta=one.delta,
            rows=max(one.judged, 1),
        )
        for one in lock.certificates
    ]


def _of(target: Target) -> str:
    return f"{target.kind} {target.level:g}"


def _target(certificate: Certificate) -> Target:
    level = {f"max_{certificate.kind}": certificate.level}
    return Target.model_validate({**level, "confidence": certificate.confidence})


def _alike(certificate: Certificate, typical: Population) -> Population:
    """Traffic of which as many requests are served, at the risk that the certificate's rows had."""
    from scipy.optimize import brentq
    from scipy.special import ndtri

    share = min(max(certificate.accepted / max(certificate.judged, 1), 0.02), 0.98)
    rows = certificate.accepted if certificate.kind == "error" else certificate.judged
    seen = (certificate.bad - (certificate.better if certificate.kind == "regret" else 0)) / max(rows, 1)
    slope = typical.heads[0].slope

    def of(intercept: float) -> Population:
        return replace(typical, heads=(Head(intercept=intercept, slope=slope),))

    def excess(intercept: float) -> float:
        threshold = intercept - slope * float(ndtri(share))
        return float(of(intercept).law().risk(threshold, certificate.kind)) - max(seen, 1e-4)

    ends = (-6.0, 8.0)
    return of(brentq(excess, *ends, xtol=0.01)) if excess(ends[0]) > 0 > excess(ends[1]) else typical


class Traffic(Record, frozen=True, kw_only=True):
    """What a run draws: ``parts`` populations of ``rows`` rows each.

    Labels are the ``judge``'s verdicts; ``truth`` is the judge that the promise is about (None: the truth
    itself). ``labels`` changes the rows as drawn. ``scored`` is the share of requests whose draft has a
    score: the others lose nothing.
    """

    population: Population
    rows: int
    parts: int = 1
    judge: Judge | None = None
    truth: Judge | None = None
    labels: Labels | None = None
    scored: float = 1.0

    def drawn(self, random: Generator) -> tuple[Any, Any]:
        """Scores (1, n) and labels (2, n)."""
        scores, quality = self.population.draw(self.rows, random)
        if self.judge is not None:
            quality = self.judge.verdicts(quality, random)
        return (scores, quality) if self.labels is None else self.labels(scores, quality, random)


def _play(stage: Stage, traffic: Traffic, runs: int, random: Generator, engine: Engine) -> Trial:
    """Certify every part in every run, and look up the true risks."""
    import numpy as np

    sweep, law = remembering(engine.sweep), traffic.population.law(traffic.truth)
    share = traffic.scored if stage.target.kind == "regret" else 1.0
    risks, found = np.zeros((runs, traffic.parts)), np.zeros((runs, traffic.parts), dtype=bool)
    for place in np.ndindex(risks.shape):
        fit, rows = traffic.drawn(random), traffic.drawn(random)
        threshold = certified(fit, rows, stage.target, stage.delta / traffic.parts, sweep=sweep)
        if threshold is not None:
            found[place], risks[place] = True, share * law.risk(threshold, stage.target.kind)
    return Trial(risks=risks, certified=found)


def _as_is(stage: Stage) -> Traffic:
    return Traffic(population=stage.population, rows=stage.rows)


def _honest(stage: Stage, runs: int, random: Generator, engine: Engine) -> Finding:
    trial = _play(stage, replace(_as_is(stage), judge=HONEST, truth=HONEST), runs, random, engine)
    said = "labels of a judge that errs now and then; the promise is about its verdicts"
    return trial.finding("honest judge", stage, "must hold", said)


def _tied(stage: Stage, runs: int, random: Generator, engine: Engine) -> Finding:
    """Equal scores are served together, so they must be counted together: what is served is what is tested."""
    import numpy as np

    tied = replace(_as_is(stage), population=replace(stage.population, values=VALUES))
    trial = _play(stage, tied, runs, random, engine)
    found = trial.finding("ties", stage, "must hold", f"only {VALUES} different scores: equal ones go together")
    scores, quality = tied.drawn(random)
    line = np.unique(scores)[::-1]
    counted = [counts.served for counts in engine.sweep(line, scores, quality, stage.target.kind)]
    served = [int((scores[0] >= threshold).sum()) for threshold in line]
    wrong = [(c, s) for c, s in zip(counted, served, strict=True) if c != s]
    if not wrong:
        return found
    return replace(found, ok=False, said=f"{wrong[0][1]} drafts are served where {wrong[0][0]} were counted")


def _tiny(stage: Stage, runs: int, random: Generator, engine: Engine) -> Finding:
    each = max(stage.rows // SLICES, 1)
    trial = _play(stage, replace(_as_is(stage), parts=SLICES, rows=each), runs, random, engine)
    return trial.finding("tiny slices", stage, "must hold", f"{SLICES} slices of {each} rows, all promises at once")


def _missing(stage: Stage, runs: int, random: Generator, engine: Engine) -> Finding:
    """A draft without its signals has no score: it must escalate, and may not count as served."""
    import numpy as np

    def without(scores: Any, quality: Any, random: Generator) -> Any:
        return np.where(random.random(scores.shape) < MISSING, -np.inf, scores), quality

    trial = _play(stage, replace(_as_is(stage), labels=without, scored=1 - MISSING), runs, random, engine)
    scores, quality = without(*stage.population.draw(stage.rows, random), random)
    (lowest,) = engine.sweep(np.array([-1e9]), scores, quality, stage.target.kind)
    served = lowest.served - int(np.isfinite(scores).sum())
    found = trial.finding(
        "missing signals", stage, "must hold", f"{MISSING:.0%} of the drafts have no score: escalated"
    )
    return found if served <= 0 else replace(found, ok=False, said=f"{served} drafts without a score were served")


def _uneven(stage: Stage, runs: int, random: Generator, engine: Engine) -> Finding:
    """Labels are likelier where an old gate accepted; recorded chances and thinning make up for it."""
    import numpy as np

    def chosen(thin: bool) -> Any:
        def labels(scores: Any, quality: Any, random: Generator) -> Any:
            chance = np.where(scores[0] >= np.quantile(scores[0], UNEVEN_FROM), UNEVEN[1], UNEVEN[0])
            kept = np.flatnonzero(random.random(len(chance)) < chance)
            if thin:
                kept = kept[thinned(chance[kept], [f"{random.integers(2**40)}" for _ in kept])]
            return scores[:, kept], quality[:, kept]

        return labels

    rows = round(stage.rows / min(UNEVEN))
    drawn = replace(_as_is(stage), rows=rows)
    trial = _play(stage, replace(drawn, labels=chosen(True)), runs, random, engine)
    raw = _play(stage, replace(drawn, labels=chosen(False)), max(runs // 5, 1), random, engine)
    broke = float((raw.risks.max(axis=1) > stage.target.level).mean())
    said = f"labels that a gate chose, thinned by their recorded chances; taken as they come {broke:.0%} break"
    return trial.finding("biased labels", stage, "must hold", said)


def _lenient(stage: Stage, runs: int, random: Generator, engine: Engine) -> Finding:
    import numpy as np

    trial = _play(stage, replace(_as_is(stage), judge=LENIENT), runs, random, engine)
    true = trial.risks[trial.certified]
    mean = f"{np.mean(true):.1%}" if len(true) else "nothing certified, so nothing"
    said = (
        f"a judge that misses {1 - LENIENT.catches:.0%} of the bad answers: the true {stage.target.kind} of what it "
        f"certifies is {mean} against {stage.target.level:.1%} promised of its verdicts; only people's labels show it"
    )
    return trial.finding("lenient judge", stage, "cannot be promised", said)


def _drift(stage: Stage, runs: int, random: Generator, engine: Engine) -> Finding:
    import numpy as np

    level, delta = stage.target.level, 1.0 - stage.target.confidence
    worse = min(WORSE * level, (1.0 + level) / 2.0)
    bound = float(np.log(1.0 / delta) / betting.divergence(worse, level))
    before, horizon = 200, int(12 * bound) + 200
    rates = np.repeat([level / 2.0, worse], [before, horizon])
    ends = engine.alarms(random.random((runs, len(rates))) < rates, level, delta)
    late = sorted(end - before if end is not None else horizon + 1 for end in ends if end is None or end > before)
    missed = sum(delay > horizon for delay in late)
    may = limit(runs, 1.0 - NOTICED)
    middle = late[len(late) // 2] if late else 0
    seen = f"noticed after {middle} audits (median; the least possible mean is {bound:.0f})"
    return Finding(
        stage=stage.name, scenario="drift", demand="must be noticed", runs=runs, broke=missed, may=may,
        ok=missed <= may,
        said=f"bad answers rise from {level / 2:.1%} to {worse:.1%}: {seen if missed <= may else 'mostly not noticed'}",
    )  # fmt: skip


def _silence(stage: Stage, runs: int, random: Generator, engine: Engine) -> Finding:
    level, delta = stage.target.level, 1.0 - stage.target.confidence
    ends = engine.alarms(random.random((runs, 2000)) < level, level, delta)
    false, may = sum(end is not None for end in ends), limit(runs, delta)
    said = "2,000 audits at exactly the promised rate: false alarms, however often one looks"
    return Finding(
        stage=stage.name, scenario="no drift", demand="must hold", runs=runs, broke=false, may=may, ok=false <= may,
        said=said,
    )  # fmt: skip


SCENARIOS: dict[str, Callable[[Stage, int, Generator, Engine], Finding]] = {
    "honest judge": _honest,
    "ties": _tied,
    "tiny slices": _tiny,
    "missing signals": _missing,
    "biased labels": _uneven,
    "lenient judge": _lenient,
    "drift": _drift,
    "no drift": _silence,
}
"""By the name of their finding."""
