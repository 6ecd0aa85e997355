"""Populations whose true risk is known: what a promise is held against before real traffic is.

A promise speaks of the risk over all requests to come, which recorded data never shows. Here a draft's
score and its chance of being right follow from a normal latent, so that the risk at every threshold is
an integral and no estimate. ``TYPICAL``, ``WEAK`` and ``OVERCONFIDENT`` are tuned to the share of right
answers, the AUROC and the oracle's accept rate at 5 % that the statistics notes ask of a typical scorer,
of a weak one, and of one whose most confident answers are worse than the next.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cascade.types import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NODES = 200_000
"""Points of the integral for one cheap tier; with more tiers it is a fixed draw of ``POINTS``."""

POINTS = 2**20

GRADED = 2.0
"""Sum of the two parameters of the Beta distribution that graded qualities are drawn from."""


class Head(Record, frozen=True, kw_only=True):
    """How one cheap tier's score goes with its answers: the score is ``intercept + slope * z``, z normal.

    The score is the log-odds of a right answer, except among the most confident share ``top``, where the
    chance is ``1 - top_error`` whatever the score.
    """

    intercept: float
    slope: float
    top: float = 0.0
    top_error: float = 0.0

    def scores(self, z: Floats, values: int) -> Floats:
        """Scores of latents; rounded to so many different values, each equally frequent, unless 0."""
        import numpy as np
        from scipy.special import ndtr, ndtri

        if values:
            z = ndtri((np.minimum(np.floor(ndtr(z) * values), values - 1) + 0.5) / values)
        return self.intercept + self.slope * z

    def right(self, z: Floats) -> Floats:
        """Chance that the answer is right."""
        import numpy as np
        from scipy.special import expit, ndtri

        found: Floats = expit(self.intercept + self.slope * z)
        return np.where(z >= ndtri(1.0 - self.top), 1.0 - self.top_error, found) if self.top else found


class Judge(Record, frozen=True, kw_only=True):
    """A judge that rejects a bad answer with chance ``catches`` and accepts a good one with ``passes``."""

    catches: float = 1.0
    passes: float = 1.0

    def expected(self, quality: Floats) -> Floats:
        """The mean verdict on answers of this chance to be right."""
        return self.passes * quality + (1.0 - self.catches) * (1.0 - quality)

    def verdicts(self, quality: Floats, random: Generator) -> Floats:
        """0.0 or 1.0 for each right or wrong answer."""
        return (random.random(quality.shape) < self.expected(quality)).astype(float)


class Population(Record, frozen=True, kw_only=True):
    """A law of requests to a ladder of ``k`` cheap tiers and a last one.

    The latents of two tiers have this ``correlation``. The last tier is right with chance
    ``last_if_right`` where the first cheap one is, and ``last_if_wrong`` where it is not. ``values`` is
    how many different scores there are (0: no ties). ``graded`` qualities lie anywhere in [0, 1].
    """

    name: str
    heads: tuple[Head, ...]
    correlation: float = 0.0
    last_if_right: float = 0.97
    last_if_wrong: float = 0.78
    values: int = 0
    graded: bool = False

    def draw(self, rows: int, random: Generator) -> tuple[Floats, Floats]:
        """Independent rows: scores (k, rows) and qualities (k + 1, rows)."""
        import numpy as np

        scores, chances = self._given(self._latents(rows, random))
        if self.graded:
            means = np.clip(chances, 1e-6, 1.0 - 1e-6)
            return scores, random.beta(GRADED * means, GRADED * (1.0 - means))
        right = (random.random(chances[:-1].shape) < chances[:-1]).astype(float)
        last = np.where(right[0] > 0, self.last_if_right, self.last_if_wrong)
        return scores, np.vstack([right, random.random(rows) < last])

    def law(self, judge: Judge | None = None) -> Law:
        """The truth about it; with ``judge``, the truth about that judge's verdicts."""
        return _law(self, judge)

    def _latents(self, rows: int, random: Generator) -> Floats:
        import numpy as np

        z = random.standard_normal((len(self.heads), rows))
        z[1:] = self.correlation * z[0] + np.sqrt(1.0 - self.correlation**2) * z[1:]
        return z

    def _given(self, z: Floats) -> tuple[Floats, Floats]:
        """Scores (k, n) and chances of a right answer (k + 1, n), given the latents."""
        import numpy as np

        scores = np.array([head.scores(one, self.values) for head, one in zip(self.heads, z, strict=True)])
        right = np.array([head.right(one) for head, one in zip(self.heads, z, strict=True)])
        last = self.last_if_right * right[0] + self.last_if_wrong * (1.0 - right[0])
        return scores, np.vstack([right, last])


class Law:
    """The true risk at every threshold.

    ``scores`` (k, m) and ``expected`` qualities (k + 1, m) over points of equal weight.
    """

    def __init__(self, scores: Floats, expected: Floats) -> None:
        import numpy as np

        self._best = scores.max(axis=0)
        self.expected = expected
        self._parts: list[tuple[Floats, Floats, Floats, float]] = []
        earlier = np.full(scores.shape[1], -np.inf)
        for mine, quality in zip(scores, expected[:-1], strict=True):
            # A tier serves where its own score passes and no earlier one does: a difference of two tails.
            for reach, sign in ((mine, 1.0), (np.minimum(mine, earlier), -1.0)):
                order = np.argsort(-reach, kind="stable")
                self._parts.append((-reach[order], _tail(1.0 - quality, order), _tail(expected[-1] - quality, order),
                                    sign))  # fmt: skip
            earlier = np.maximum(earlier, mine)
        self._sorted = -np.sort(-self._best)

    def served(self, thresholds: Any) -> Any:
        """Share of all requests that some cheap tier serves."""
        import numpy as np

        return np.searchsorted(-self._sorted, -np.asarray(thresholds), side="right") / len(self._sorted)

    def risk(self, thresholds: Any, kind: str) -> Any:
        """Share of unacceptable answers among those served (``error``), or mean regret over all."""
        import numpy as np

        asked = -np.asarray(thresholds, dtype=float)
        mass = np.zeros(asked.shape)
        for reach, error, regret, sign in self._parts:
            place = np.searchsorted(reach, asked, side="right")
            mass += sign * (error if kind == "error" else regret)[place]
        mass /= len(self._best)
        served = self.served(-asked)
        return np.divide(mass, served, out=np.zeros_like(mass), where=served > 0) if kind == "error" else mass

    def oracle(self, kind: str, level: float) -> float:
        """The largest share that can be served with a risk of at most ``level``."""
        import numpy as np

        thresholds = np.unique(self._sorted[:: max(len(self._sorted) // NODES, 1)])
        allowed = self.risk(thresholds, kind) <= level
        return float(self.served(thresholds)[allowed].max(initial=0.0))

    def auroc(self) -> float:
        """Chance that a right answer of the first tier has the higher score (ties half; one cheap tier)."""
        import numpy as np

        _, place = np.unique(self._best, return_inverse=True)
        right = np.bincount(place, self.expected[0])
        wrong = np.bincount(place, 1.0 - self.expected[0])
        below = np.cumsum(wrong) - wrong / 2.0
        return float(right @ below / (right.sum() * wrong.sum()))


@lru_cache(maxsize=32)
def _law(population: Population, judge: Judge | None) -> Law:
    import numpy as np
    from scipy.special import ndtri

    if len(population.heads) == 1:
        z = ndtri((np.arange(NODES) + 0.5) / NODES)[None, :]
    else:
        z = population._latents(POINTS, np.random.default_rng(0))
    scores, expected = population._given(z)
    return Law(scores, expected if judge is None else judge.expected(expected))


def _tail(mass: Floats, order: Any) -> Floats:
    import numpy as np

    return np.concatenate([[0.0], np.cumsum(mass[order])])


_TYPICAL = Head(intercept=2.1, slope=1.7)
TYPICAL = Population(name="A, typical", heads=(_TYPICAL,))
"""AUROC .84, 81 % right, oracle accepts 54.8 % at 5 %."""

WEAK = Population(name="B, weak", heads=(Head(intercept=2.15, slope=1.05),))
"""AUROC .76, 86 % right, oracle accepts 44.4 %."""

OVERCONFIDENT = Population(name="C, over-confident", heads=(Head(intercept=2.1, slope=1.7, top=0.07, top_error=0.07),))
"""``TYPICAL`` with 7 % errors among the most confident: the risk is not monotone; oracle 47.8 %."""

PAIRED = Population(
    name="D, paired",
    heads=(_TYPICAL,),
    last_if_wrong=0.783,
)
"""Cheap answers 80.7 % right, the last tier's 93.4 %, and on some requests only the cheap one."""

GRADED_PAIRS = Population(name="D, graded", heads=PAIRED.heads, last_if_wrong=0.783, graded=True)
"""The same with qualities anywhere in [0, 1]."""

LADDER = Population(
    name="two cheap tiers",
    heads=(_TYPICAL, Head(intercept=2.9, slope=1.5)),
    correlation=0.6,
)
"""Two cheap tiers of different strength on one threshold path."""

TIED = Population(name="A, five scores", heads=(_TYPICAL,), values=5)
"""``TYPICAL`` with scores rounded to five values."""
