"""A router of ours that sees the question alone: what it ranks on rows that its fit has not seen.

Logistic regressions on the embedding that policies use (WordLlama), one for each model being right; a question needs
the strong one by the difference of the two probabilities.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers.cases import MIXTRAL, Line
from benchmarks.peers.curves import Answers
from benchmarks.peers.gsm8k import FOLDS, GPT4

PENALTIES = (0.001, 0.01, 0.1, 1.0)
"""Inverse penalties on columns of unit variance; each fit chooses by log loss within the rows that it sees."""

INNER = 3


def embedded(lines: list[Line]) -> Any:
    """Unit vectors of the questions, (n, d)."""
    from cascade.embedders import embedder_named

    return np.asarray(embedder_named("wordllama").embed([line.query for line in lines]))


def answers_of(lines: list[Line]) -> Answers:
    """Right or wrong and dollars of both models."""
    found = [[line.surely(model) for line in lines] for model in (MIXTRAL, GPT4)]
    quality = np.array([[one.correct for one in row] for row in found])
    cost = np.array([[one.cost for one in row] for row in found], dtype=float)
    return Answers(quality[0], quality[1], cost[0], cost[1])


def needs(vectors: Any, answers: Answers, seed: int, most: int | None = None) -> Any:
    """How much each question needs the strong model (n,), by fits that have not seen it.

    Each fold is scored by what was learned from the others, or from ``most`` of their rows.
    """
    random = np.random.default_rng([7, seed])
    fold = random.permutation(len(vectors)) % FOLDS
    found = np.empty(len(vectors))
    for one in range(FOLDS):
        seen = random.permutation(np.flatnonzero(fold != one))[:most]
        unseen = fold == one
        strong, weak = (
            _fitted(vectors[seen], right[seen] > 0).predict_proba(vectors[unseen])[:, 1]
            for right in (answers.strong, answers.weak)
        )
        found[unseen] = strong - weak
    return found


def _fitted(vectors: Any, right: Any) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return GridSearchCV(plain, {"logisticregression__C": PENALTIES}, scoring="neg_log_loss", cv=INNER).fit(
        vectors, right
    )
