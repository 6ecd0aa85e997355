"""Where the noise of a measured quality comes from: which questions, which draw of an answer, which judge.

One answer's quality is taken as mean + question + draw within the question + judge within the answer,
each with a variance of its own. Those are estimated by the method of moments on unweighted means, which
is unbiased for missing draws and verdicts too, and for complete data the analysis of variance. Source:
Searle, Casella and McCulloch, Variance Components, 1992, chapters 3 and 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING

from cascade.errors import ConfigError
from cascade.intervals import Z95
from cascade.types import ModelOutcome, Outcome, Record, Sample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class VarianceSplit(Record, frozen=True, kw_only=True):
    """Variance of one answer's quality, or of the difference of two models' on one question, by its source.

    ``question``: between questions, were each answered and judged without end. ``draw``: between answers
    of one model to one question. ``judge``: between verdicts on one answer, a judge's general leniency
    included. None is what the data cannot show, for lack of a second question, draw or judge; it is then
    inside the next one that they do show (an unseen judge in ``draw``, an unseen draw in ``question``).
    Those named in ``clipped`` were estimated below 0 and are given as 0. ``of_mean`` is the share that each
    has in the variance of a mean over questions with one draw and one verdict each; empty where all are 0.
    """

    questions: int
    mean: float
    question: float | None
    draw: float | None
    judge: float | None
    clipped: list[str] = []

    @property
    def total(self) -> float:
        """Variance of one answer's quality; over n questions, n times the variance of their mean."""
        return sum(part for part in (self.question, self.draw, self.judge) if part is not None)

    @property
    def of_mean(self) -> dict[str, float]:
        """Shares of ``total``, without what the data cannot show."""
        parts = {"question": self.question, "draw": self.draw, "judge": self.judge}
        total = self.total
        return {name: part / total for name, part in parts.items() if part is not None and total > 0.0}


def split_variance(qualities: Floats) -> VarianceSplit:
    """Split the variance of one model's quality, shape (questions, draws, judges), NaN where there is none.

    Judges are the same column of every answer or not: only their spread within an answer counts. A
    question without any quality is left out; ``ConfigError`` where none has one.
    """
    return _split([_Moments(qualities)])


def paired_split(ours: Floats, theirs: Floats) -> VarianceSplit:
    """Split the variance of ours - theirs on the same questions, both of the shape of ``split_variance``.

    Row i of both is the same question; the draws of the two models are independent, so ``draw`` and
    ``judge`` are sums over the models, and a leniency that a judge shows both alike is in them though
    it cancels in the difference. A question that one of them lacks is left out of ``question``;
    ``ConfigError`` where the numbers of questions differ, or no question has both.
    """
    if len(ours) != len(theirs):
        raise ConfigError(f"{len(ours)} questions of one model cannot be paired with {len(theirs)} of the other")
    return _split([_Moments(ours), _Moments(theirs)])


def noise_of_drawing(split: VarianceSplit, questions: int) -> float | None:
    """Half of the 95 % interval in which a mean over so many questions would fall were all answers drawn again.

    For one draw a question of the model, or of each of the two that ``split`` compares: 1.96 sqrt(draw / n).
    The questions stay; so a difference smaller than this may be nothing but the draw. It takes judge
    noise in where ``draw`` does. None where the data show no second draw.
    """
    return None if split.draw is None else Z95 * sqrt(split.draw / questions)


def drawn_qualities(outcomes: Sequence[Outcome], tier: str) -> Floats:
    """Qualities of one tier's draws, shape (outcomes, draws, judges), NaN where there is none.

    The draws of an outcome are its ``samples``; without any, its one answer. Each judge who gave a
    verdict has a column, its last verdict on an answer counting; a label that came with the data has one too.
    """
    import numpy as np

    draws = [_draws(outcome.models.get(tier)) for outcome in outcomes]
    said = [[_said(answer) for answer in answers] for answers in draws]
    judges = {name: at for at, name in enumerate(sorted({name for row in said for one in row for name in one}))}
    found = np.full((len(outcomes), max(map(len, said), default=0), len(judges)), np.nan)
    for i, row in enumerate(said):
        for d, one in enumerate(row):
            for name, quality in one.items():
                found[i, d, judges[name]] = quality
    return found


def _draws(model: ModelOutcome | None) -> Sequence[Sample | ModelOutcome]:
    if model is None:
        return []
    return model.samples or [model]


def _said(answer: Sample | ModelOutcome) -> dict[str, float]:
    """Quality by who said it; under no name where the data set did."""
    if not answer.verdicts:
        return {} if answer.quality is None else {"": answer.quality}
    return {v.judge: float(v.acceptable) if v.score is None else v.score for v in answer.verdicts}


class _Moments:
    """Components of one model's quality within questions, and the mean of each question with its noise.

    ``judge`` and ``draw`` are None where they were not seen, else not clipped. ``means`` has a mean for each
    question, NaN where nobody judged it, of its answers' means; ``noise`` how far the seen components
    make that mean vary.
    """

    def __init__(self, qualities: Floats) -> None:
        import numpy as np

        seen = ~np.isnan(qualities)
        verdicts = seen.sum(axis=2)
        answers = (verdicts > 0).sum(axis=1)
        answer = _means(qualities, verdicts, axis=2)
        self.means = _means(answer, answers, axis=1)
        more = int((verdicts - 1).clip(min=0).sum())
        self.judge = float(np.nansum((qualities - answer[:, :, None]) ** 2)) / more if more else None
        by_verdicts = (self.judge or 0.0) * np.divide(1.0, verdicts, where=verdicts > 0, out=np.zeros(verdicts.shape))
        judged = by_verdicts.sum(axis=1)
        more = int((answers - 1).clip(min=0).sum())
        each = np.divide(1.0, answers, where=answers > 0, out=np.zeros(len(answers)))
        apart = float(np.nansum((answer - self.means[:, None]) ** 2))
        self.draw = (apart - float(((1 - each) * judged)[answers > 0].sum())) / more if more else None
        self.noise = (self.draw or 0.0) * each + judged * each**2


def _means(values: Floats, counts: NDArray[np.int64], axis: int) -> Floats:
    """Means over an axis without what is NaN; NaN where all of it is."""
    import numpy as np

    means: Floats = np.full(counts.shape, np.nan)
    np.divide(np.nansum(values, axis=axis), counts, where=counts > 0, out=means)
    return means


def _split(models: Sequence[_Moments]) -> VarianceSplit:
    """Of one model, or of the first minus the second."""
    import numpy as np

    means = models[0].means - models[1].means if len(models) > 1 else models[0].means
    known = ~np.isnan(means)
    n = int(known.sum())
    if not n:
        raise ConfigError("no question has a judged answer" + (" of both models" if len(models) > 1 else ""))
    judge, unshown = _shown([model.judge for model in models], 0.0)
    draw, unshown = _shown([model.draw for model in models], unshown)
    noise = sum(model.noise for model in models)
    between = float(means[known].var(ddof=1) - noise[known].mean()) + unshown if n > 1 else None
    raw = {"question": between, "draw": draw, "judge": judge}
    return VarianceSplit(
        questions=n,
        mean=float(means[known].mean()),
        clipped=[name for name, value in raw.items() if value is not None and value < 0.0],
        **{name: None if value is None else max(value, 0.0) for name, value in raw.items()},
    )


def _shown(parts: Sequence[float | None], below: float) -> tuple[float | None, float]:
    """A component summed over the models, with what was unshown below it; and what is to be added above.

    Where one model's part is unknown the sum is too, and the other's part goes to the next component.
    """
    total = below + sum(part for part in parts if part is not None)
    return (None, total) if None in parts else (total, 0.0)
