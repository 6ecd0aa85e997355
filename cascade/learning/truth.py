"""Whose word is it? A label is a judge's verdict; where people have judged too, what that says of the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cascade.exact import lower_limit, upper_limit
from cascade.learning import path as paths
from cascade.policy import Target
from cascade.types import ModelOutcome, Outcome, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

HUMAN = "human:"
UNAUDITED = "judge not audited"
SURE = 0.05


def label_of(model: ModelOutcome) -> float | None:
    """The label that calibration learns from, in [0, 1].

    The last verdict of a judge that is no person where there is one: labels of two judges are not
    mixed, and what people say of the same answers is kept to audit the judge. Else what there is.
    """
    verdict = _label(model)
    return model.quality if verdict is None else verdict.quality


def labeller_of(model: ModelOutcome) -> str:
    """Whose word ``label_of`` is; empty for labels that came with the data."""
    verdict = _label(model)
    return "" if verdict is None else verdict.judge


def _label(model: ModelOutcome) -> Verdict | None:
    judged = [verdict for verdict in model.verdicts if not verdict.judge.startswith(HUMAN)]
    known = judged or model.verdicts
    return known[-1] if known else None


def word_of_people(model: ModelOutcome) -> float | None:
    """The last person's verdict, in [0, 1]; None where nobody has judged."""
    people = [verdict for verdict in model.verdicts if verdict.judge.startswith(HUMAN)]
    return people[-1].quality if people else None


def at_odds(outcomes: Iterable[Outcome]) -> list[str]:
    """For each judge that judged an answer more than once: how often it contradicted itself, in words."""
    twice: Counter[str] = Counter()
    torn: Counter[str] = Counter()
    for model in (model for outcome in outcomes for model in outcome.models.values()):
        said: dict[str, set[bool]] = {}
        times = Counter(verdict.judge for verdict in model.verdicts)
        for verdict in model.verdicts:
            said.setdefault(verdict.judge, set()).add(verdict.acceptable)
        twice.update(judge for judge, count in times.items() if count > 1)
        torn.update(judge for judge, words in said.items() if len(words) > 1)
    return [
        f"judge {judge or 'without a name'} contradicts itself on {torn[judge]} of the {count} answers that it "
        "judged more than once; its last word counts"
        for judge, count in sorted(twice.items())
        if torn[judge]
    ]


def truth_of(outcomes: list[Outcome], tiers: list[str]) -> str:
    """How often judge and people disagree on the answers that both have judged, in words.

    Exact one-sided 95 % limits: of answers that the judge let pass and a person does not, and of
    those that the judge refused and a person would have let pass.
    """
    passed = failed = wrong = harsh = people_only = 0
    for model in (outcome.models[tier] for outcome in outcomes for tier in tiers if tier in outcome.models):
        person, judged = word_of_people(model), [v for v in model.verdicts if not v.judge.startswith(HUMAN)]
        people_only += person is not None and not judged
        if person is None or not judged:
            continue
        passed, failed = passed + judged[-1].acceptable, failed + (not judged[-1].acceptable)
        wrong += judged[-1].acceptable and person < 0.5
        harsh += not judged[-1].acceptable and person >= 0.5
    if not passed + failed:
        return "the verdicts are people's" if people_only else UNAUDITED
    return (
        f"audited by people: of {passed} answers that the judge accepted {wrong} are not acceptable "
        f"({lower_limit(wrong, passed, SURE):.1%} to {upper_limit(wrong, passed, SURE):.1%}), "
        f"of {failed} that it refused {harsh} are ({lower_limit(harsh, failed, SURE):.1%} to "
        f"{upper_limit(harsh, failed, SURE):.1%})"
    )


def promised_of_truth(
    line: Floats, start: int, chosen: int, scores: Floats, people: Floats, target: Target, delta: float
) -> str:
    """Does the same promise hold of the truth, by the rows that people have judged? In words.

    The same path walked from the same start with people's verdicts in the judge's place: the chosen
    threshold was found with the judge's, so a single test at it would be a test after the fact.
    """
    import numpy as np

    known = np.isfinite(people if target.kind == "regret" else people[:-1]).all(axis=0)
    if not known.any():
        return ""
    counts = paths.sweep(line[: chosen + 1], scores[:, known], people[:, known], target.kind)
    reached = paths.walk(counts, start, target, delta)
    found = counts[chosen]
    seen = f"{int(known.sum())} rows judged by people, {found.bad} of {found.n} against it"
    sure = f"{1 - delta:.0%} confidence"
    if reached == chosen:
        return f"the promise holds of the truth too, with {sure} ({seen})"
    return f"of the truth it is not shown ({seen}; limit {found.bound(target, delta):.1%})"
