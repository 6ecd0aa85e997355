"""Traffic with repeats: needs that come back in several wordings, by Zipf's law, among questions that come once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cascade.errors import ConfigError
from cascade.learning.pairing import connected

NEW = 0.3
"""Share of requests that nobody asks again."""


class Needs(NamedTuple):
    """``wordings`` of each need that comes back, its ``near`` misses, the ``others``, and whose question is whose.

    ``of`` gives the number of a question's need: those that labels connect, directly or through others, have
    the same one. Two that nobody has labelled count as different, even where they are not.
    """

    wordings: list[list[str]]
    near: list[list[str]]
    others: list[str]
    of: dict[str, int]


class Stream(NamedTuple):
    """Requests as numbers of texts, (n,), the texts, and the need of each text."""

    asked: Any
    texts: list[str]
    needs: Any


def needs_of(clusters: Sequence[dict[str, Any]], pairs: Sequence[dict[str, Any]]) -> Needs:
    """The needs that clusters of questions and labelled pairs tell of."""
    same = [(one["text_a"], one["text_b"]) for one in pairs if one["equivalent"] == 1]
    same += [(one["queries"][0], text) for one in clusters for text in one["queries"]]
    groups = connected(same).tolist()
    of = {text: group for pair, group in zip(same, groups, strict=True) for text in pair}
    single = [text for one in pairs for text in (one["text_a"], one["text_b"])]
    for text in single + [text for one in clusters for text in one["hard_negatives"]]:
        of.setdefault(text, len(groups) + len(of))
    wanted = {of[one["queries"][0]] for one in clusters}
    near = [[text for text in one["hard_negatives"] if of[text] not in wanted] for one in clusters]
    taken = {text for some in near for text in some}
    others = [text for text in dict.fromkeys(single) if of[text] not in wanted and text not in taken]
    return Needs([one["queries"] for one in clusters], near, others, of)


def divided(needs: Needs, share: float, seed: int) -> tuple[Needs, Needs]:
    """Two parts that have no need in common, the first with this share of them."""
    random = np.random.default_rng([seed, 1])
    coins = random.random(len(needs.wordings)) < share
    numbers = sorted({needs.of[text] for text in needs.others})
    firsts = {number for number, value in zip(numbers, random.random(len(numbers)), strict=True) if value < share}

    def part(first: bool) -> Needs:
        places = np.flatnonzero(coins == first)
        others = [text for text in needs.others if (needs.of[text] in firsts) == first]
        return Needs([needs.wordings[i] for i in places], [needs.near[i] for i in places], others, needs.of)

    return part(True), part(False)


def stream(needs: Needs, exponent: float, requests: int, seed: int) -> Stream:
    """So many requests. The k-th most popular need is asked as often as 1/k^``exponent`` says, in any of its
    wordings alike; the questions that come once are the near misses and as many others as it takes.
    ``ConfigError`` where there are not so many.
    """
    random = np.random.default_rng([seed, 2])
    popularity = random.permutation(np.arange(1.0, len(needs.wordings) + 1) ** -exponent)
    back = random.random(requests) >= NEW
    drawn = random.choice(len(needs.wordings), size=requests, p=popularity / popularity.sum())
    once = list(dict.fromkeys(text for some in needs.near for text in some))
    lacking = max(int((~back).sum()) - len(once), 0)
    if lacking > len(needs.others):
        raise ConfigError(f"{requests} requests want {lacking} more questions than there are: ask for fewer requests")
    once += [needs.others[i] for i in random.permutation(len(needs.others))[:lacking]]
    fresh = iter(random.permutation(len(once)).tolist())
    asked = []
    for repeats, need in zip(back.tolist(), drawn.tolist(), strict=True):
        wordings = needs.wordings[need]
        asked.append(wordings[random.integers(len(wordings))] if repeats else once[next(fresh)])
    texts = list(dict.fromkeys(asked))
    numbers = {text: number for number, text in enumerate(texts)}
    return Stream(np.array([numbers[text] for text in asked]), texts, np.array([needs.of[text] for text in texts]))
