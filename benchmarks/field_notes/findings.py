"""What the published figures say, what they hide, and how little six scenarios can show."""

from __future__ import annotations

from math import log, sqrt

from msgspec.structs import replace

from benchmarks.field_notes.notes import TEN, Candidate, Notes, Study, labels_read, outcomes
from cascade.exact import least_rows, rows_with_power, upper_limit
from cascade.intervals import Bootstrap, Figure
from cascade.judging.families import family, family_of_judge
from cascade.plan import Promise, floor
from cascade.types import Record
from cascade.urgency import LabelComparison, MissesCompared, compare_labels, misses_compared

DELTA = 0.05
TARGET = 0.05
"""The error that one would want to promise of answers that are served cheap."""
LIKELY = 0.02
POWER = 0.8
DIGITS = 4
"""Decimals of what is computed: more would differ between machines."""


class Ratio(Record, frozen=True, kw_only=True):
    """How many times dearer than the cheapest model; the ends are what the rounding of the dollars leaves open."""

    study: str
    model: str
    dollars: float
    dollars_of: str
    seconds: tuple[int, int] | None
    times: Figure
    published: float | None
    reproduced: bool | None


class Scored(Record, frozen=True, kw_only=True):
    """Mean score out of ten by one judge, with Student's interval and with one that no distribution can break."""

    study: str
    model: str
    judge: str
    scores: list[int]
    student: Figure
    bounded: Figure
    more_than_cheapest: Figure | None


class Leaning(Record, frozen=True, kw_only=True):
    """Mean of the first judge's score minus the second's on one model's answers (Student)."""

    study: str
    model: str
    differences: list[int]
    mean: Figure


class Conflict(Record, frozen=True, kw_only=True):
    """A judge of a candidate's own family."""

    judge: str
    family: str
    candidates: list[str]


class Judges(Record, frozen=True, kw_only=True):
    """Where two judges part: the first's score minus the second's, and how often which is higher.

    ``own_family`` is that difference on answers of the first judge's family less the same on those of the
    second's: above 0.0 each judge is kinder to its own. Both by a bootstrap over scenarios.
    """

    first: str
    second: str
    models: list[Leaning]
    largest: list[str]
    overall: Figure
    first_higher: int
    second_higher: int
    equal: int
    own_family: Figure
    conflicts: list[Conflict]


class Labelled(Record, frozen=True, kw_only=True):
    """A model's labels against those of the study's dearest, as published or as the whole answer reads."""

    study: str
    served: str
    frontier: str
    source: str
    context: str
    comparison: LabelComparison


class Missing(Record, frozen=True, kw_only=True):
    """What one model missed and another did not, and the scores that hide it."""

    study: str
    served: str
    frontier: str
    found: MissesCompared


class Certifiable(Record, frozen=True, kw_only=True):
    """What three answers bound with 95 % confidence, and how many a promise needs.

    ``without_one_bad`` answers certify ``target`` if none is bad, ``with_power`` of them do so with a
    chance of 80 % where ``likely`` is the truth; ``labelled`` are those and the rows that fit and test.
    """

    seen: int
    none_bad: float
    one_bad: float
    target: float
    without_one_bad: int
    labelled: int
    likely: float
    with_power: int | None


def ratios(notes: Notes) -> list[Ratio]:
    """Prices against the cheapest of each study, and whether the published ratio comes out."""
    return [_ratio(study, one) for study in notes.studies for one in study.candidates]


def _ratio(study: Study, one: Candidate) -> Ratio:
    cheapest, half = study.candidates[0], study.dollars_rounded_to / 2
    times = one.dollars / cheapest.dollars
    ends = ((one.dollars - half) / (cheapest.dollars + half), (one.dollars + half) / (cheapest.dollars - half))
    return Ratio(
        study=study.name,
        model=one.model,
        dollars=one.dollars,
        dollars_of=study.dollars_of,
        seconds=one.seconds,
        times=rounded(Figure(estimate=times) if one is cheapest else Figure(estimate=times, low=ends[0], high=ends[1])),
        published=one.times,
        reproduced=None if one.times is None else round(times, 1) == one.times,
    )


def scored(notes: Notes) -> list[Scored]:
    """Every mean with its intervals."""
    return [
        Scored(
            study=study.name,
            model=one.model,
            judge=judge,
            scores=scores,
            student=student([float(score) for score in scores]),
            bounded=bounded([float(score) for score in scores]),
            more_than_cheapest=(
                student(_minus(scores, study.candidates[0].scores[judge])) if one is not study.candidates[0] else None
            ),
        )
        for study in notes.studies
        for one in study.candidates
        for judge, scores in one.scores.items()
    ]


def _minus(ours: list[int], theirs: list[int]) -> list[float]:
    return [float(a - b) for a, b in zip(ours, theirs, strict=True)]


def judges(notes: Notes) -> Judges:
    """Disagreement is kept, by model and overall; families of judges and candidates are compared."""
    import numpy as np

    first, second = notes.judges
    kin = family(notes.judges[first])
    lines = []
    units, differences, own = [], [], []
    for study in notes.studies:
        for one in study.candidates:
            apart = _minus(one.scores[first], one.scores[second])
            whole = [round(value) for value in apart]
            lines.append(Leaning(study=study.name, model=one.model, differences=whole, mean=student(apart)))
            units += [f"{study.name} {scenario}" for scenario in study.scenarios]
            differences += apart
            own += [float(family(notes.models[one.model]) == kin)] * len(apart)
    boot, values, ours = Bootstrap(units), np.array(differences), np.array(own)
    most = max(abs(line.mean.estimate) for line in lines)
    return Judges(
        first=first,
        second=second,
        models=lines,
        largest=[f"{line.model}, {line.study}" for line in lines if abs(line.mean.estimate) == most],
        overall=rounded(boot.mean(values)),
        first_higher=int((values > 0).sum()),
        second_higher=int((values < 0).sum()),
        equal=int((values == 0).sum()),
        own_family=rounded(
            boot.figure(
                lambda w: (w @ (values * ours)) / (w @ ours) - (w @ (values * (1 - ours))) / (w @ (1 - ours)), ours
            )
        ),
        conflicts=_conflicts(notes),
    )


def _conflicts(notes: Notes) -> list[Conflict]:
    found = []
    for judge, model in notes.judges.items():
        kin = family_of_judge(f"llm:{model}") or ""
        candidates = [name for name, candidate in notes.models.items() if family(candidate) == kin]
        if candidates:
            found.append(Conflict(judge=judge, family=kin, candidates=candidates))
    return found


def labelled(notes: Notes) -> list[Labelled]:
    """Each model's labels against the dearest's: as published, and as read where an answer's text is there."""
    found = []
    for study in notes.studies:
        for one in study.candidates[:-1]:
            read = labels_read(notes, study, one)
            found.append(_labelled(notes, study, one.model, "as published", one.labels))
            if read != one.labels:
                found.append(_labelled(notes, study, one.model, "as read", read))
    return found


def _labelled(notes: Notes, study: Study, model: str, source: str, ours: list[str]) -> Labelled:
    values, theirs = notes.labels[study.label]["values"], study.dearest.labels
    made = compare_labels(study.scenarios, study.label, ours, theirs, values=values)
    return Labelled(
        study=study.name,
        served=model,
        frontier=study.dearest.model,
        source=source,
        context=study.context,
        comparison=replace(made, differs=rounded(made.differs)),
    )


def missing(notes: Notes) -> list[Missing]:
    """Every model of which a miss is known, against each other model of its study."""
    found = []
    for study in notes.studies:
        judged = {one.model: outcomes(notes, study, one) for one in study.candidates}
        for model in dict.fromkeys(miss.model for miss in study.misses):
            for other, theirs in judged.items():
                if other != model:
                    pairs = list(zip(judged[model], theirs, strict=True))
                    made = misses_compared(pairs, study.scenarios)
                    found.append(Missing(study=study.name, served=model, frontier=other, found=made))
    return found


def certifiable(seen: int) -> Certifiable:
    """What so many answers without a bad one, and with one, bound."""
    promise = Promise(kind="error", level=TARGET, confidence=1 - DELTA, slices={"all": 1.0}, refits=1)
    return Certifiable(
        seen=seen,
        none_bad=round(upper_limit(0, seen, DELTA), DIGITS),
        one_bad=round(upper_limit(1, seen, DELTA), DIGITS),
        target=TARGET,
        without_one_bad=least_rows(TARGET, DELTA),
        labelled=floor(promise, accept=1.0).rows,
        likely=LIKELY,
        with_power=rows_with_power(TARGET, LIKELY, DELTA, POWER),
    )


def student(values: list[float]) -> Figure:
    """Mean with Student's 95 % interval; no interval where all values are the same, which leaves it no width."""
    import numpy as np
    from scipy.stats import t

    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    if spread == 0.0:
        return rounded(Figure(estimate=mean))
    half = float(t.ppf(1 - DELTA / 2, len(values) - 1)) * spread / sqrt(len(values))
    return rounded(Figure(estimate=mean, low=mean - half, high=mean + half))


def bounded(values: list[float]) -> Figure:
    """Mean of scores in [0, 10] with an interval that holds for every distribution. Source: Hoeffding, JASA 1963."""
    mean, half = sum(values) / len(values), TEN * sqrt(log(2 / DELTA) / (2 * len(values)))
    return rounded(Figure(estimate=mean, low=max(mean - half, 0.0), high=min(mean + half, float(TEN))))


def rounded(figure: Figure) -> Figure:
    """The figure with as many decimals as are committed."""
    low, high = (None if end is None else round(end, DIGITS) for end in (figure.low, figure.high))
    return Figure(estimate=round(figure.estimate, DIGITS), low=low, high=high)
