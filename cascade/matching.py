"""Signals of a stored answer: what speaks for and against its being right for another question.

The family ``match`` of a pair, the asked question and the stored one. Nothing here is compared with
a threshold: a fitted scorer weighs the signals, and a certificate says what that is worth. Case is
folded, written-out numbers and digits are one, contractions are taken apart; "own" words are those of
one question that the other lacks. All but ``similarity``, ``age`` and ``passed`` come from the words
alone, and none depends on which question was asked first.

Direction as in ``cascade.signals``: ``+`` likelier right as it grows, ``-`` likelier wrong, ``?``
for the scorer to find. The flags from ``asks`` to ``direction`` speak against a pair when they are
raised and are ``?`` all the same: one that is rarely raised has an AUROC near one half however true
it is, and calibration would refuse it for that. All of it is this project's own.

===================== ================================================== ========= ===
name                  what it is                                         range     dir
===================== ================================================== ========= ===
match.similarity      cosine similarity of the two vectors               [-1, 1]   +
match.overlap         Jaccard similarity of the sets of words            [0, 1]    +
match.content         the same without function words                    [0, 1]    +
match.contained       shared content words, of those of the shorter      [0, 1]    +
match.characters      Jaccard similarity of the pairs of characters      [0, 1]    +
match.order           shared pairs of neighbouring words, of the fewer   [0, 1]    +
match.inverted        pairs of shared content words in another order     [0, 1]    -
match.replaced        own content words, of the question that has fewer  [0, inf)  -
match.added           by how many more content words the other has       [0, inf)  -
match.length          difference of the logarithms of their lengths      [0, inf)  ?
match.asks            1 if they open with different question words       0 or 1    ?
match.numbers         own numbers of both, written out or in digits      [0, inf)  ?
match.dates           own months, weekdays, years, times of day of both  [0, inf)  ?
match.units           own units and currencies of both                   [0, inf)  ?
match.names           own names and acronyms of both                     [0, inf)  ?
match.negation        difference in negations, and words made un- or in- [0, inf)  ?
match.polarity        own words of both whose opposite the other has     [0, inf)  ?
match.direction       1 if one goes from where the other goes to         0 or 1    ?
match.age             log(1 + seconds since the answer was stored)       [0, inf)  ?
match.passed          log(1 + audits that the entry has stood)           [0, inf)  +
match.question        log(1 + characters of the asked question)          [0, inf)  ?
match.answer          log(1 + characters of the stored answer)           [0, inf)  ?
===================== ================================================== ========= ===

The word lists are English. In other languages ``negation``, ``polarity`` and ``direction`` stay at
zero and the rest counts words; scripts without blanks are left to ``similarity`` and ``characters``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations, pairwise
from types import MappingProxyType
from typing import NamedTuple

from cascade.lexicon import DATES, FUNCTION, MEASURED_HOW, NEGATING, NEGATIONS, NUMBERS, OPENINGS, OPPOSED, UNITS, YEAR
from cascade.types import Hit

FAMILY = "match"

DIRECTIONS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("match.inverted", "match.replaced", "match.added"), "-")
    | dict.fromkeys(
        ("match.length", "match.asks", "match.numbers", "match.dates", "match.units", "match.names",
         "match.negation", "match.polarity", "match.direction", "match.age", "match.question", "match.answer"), "?")
)  # fmt: skip
"""Direction of the signals that are not ``+``, as in the table above."""

_TOKEN = re.compile(r"\d+(?:[.,:/]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)?|[.?!:;](?=\s)|[$%\u20ac\u00a3\u00a5\u20b9]")
_ENDS = frozenset(".?!:;")
_AIMS = frozenset(("to", "into", "than"))


class Reading(NamedTuple):
    """One question, read once: its words in order and as sets, and what else ``measure`` compares."""

    words: list[str]
    distinct: set[str]
    content: set[str]
    numbers: set[str]
    dates: set[str]
    units: set[str]
    names: set[str]
    negations: int
    opening: str


def measure(question: str, hit: Hit) -> dict[str, float]:
    """The values of the family ``match`` for a semantic hit; names without the family. Never raises."""
    one, other = read(question), read(hit.question)
    mine, theirs = one.distinct - other.distinct, other.distinct - one.distinct
    shared = len(one.content & other.content)
    fewer, more = sorted((len(one.content), len(other.content)))
    return {
        "similarity": float(hit.similarity),
        "overlap": _jaccard(one.distinct, other.distinct),
        "content": shared / (fewer + more - shared) if more else 1.0,
        "contained": shared / fewer if fewer else float(not more),
        "characters": _jaccard(_characters(one.words), _characters(other.words)),
        "order": _in_order(one.words, other.words),
        "inverted": _inverted(one, other),
        "replaced": float(fewer - shared),
        "added": float(more - fewer),
        "length": abs(math.log1p(len(question)) - math.log1p(len(hit.question))),
        "asks": float(one.opening != other.opening),
        "numbers": float(len(one.numbers ^ other.numbers)),
        "dates": float(len(one.dates ^ other.dates)),
        "units": float(len(one.units ^ other.units)),
        "names": float(len(one.names - other.distinct) + len(other.names - one.distinct)),
        "negation": float(abs(one.negations - other.negations) + _unsaid(mine, theirs)),
        "polarity": float(_opposed(mine, theirs) + _opposed(theirs, mine)),
        "direction": float(_turned(one, other)),
        "age": math.log1p(max(hit.age, 0.0)),
        "passed": math.log1p(max(hit.passed, 0)),
        "question": math.log1p(len(question)),
        "answer": math.log1p(len(hit.draft.text)),
    }


@lru_cache(maxsize=16)
def read(text: str) -> Reading:
    """What a question says, for ``measure`` and for ``cascade.pairing``, which read the same two. Never raises."""
    words: list[str] = []
    numbers, dates, units, names = set[str](), set[str](), set[str](), set[str]()
    negations, starts = 0, True
    for token in _TOKEN.findall(text.replace("\u2019", "'")):
        if token in _ENDS:
            starts = True
            continue
        word = token.casefold()
        if "'" in word:
            word, _, tail = word.partition("'")
            if tail == "t":
                negations += 1
                word = word.removesuffix("n")
        if word in NUMBERS or word[0].isdecimal():
            word = NUMBERS.get(word) or word.replace(",", "")
            (dates if YEAR.fullmatch(word) else numbers).add(word)
        elif word in DATES:
            word = DATES[word]
            dates.add(word)
        elif word in UNITS:
            word = UNITS[word]
            units.add(word)
        elif word in NEGATIONS:
            negations += 1
        elif token[0].isupper() and (not starts or token[1:].isupper()) and len(word) > 1 and word not in FUNCTION:
            names.add(word)
        words.append(word)
        starts = False
    distinct = set(words)
    return Reading(words, distinct, distinct - FUNCTION, numbers, dates, units, names, negations, _opening(words))


def _opening(words: list[str]) -> str:
    """The question word that comes first, with what ``how`` measures; empty where there is none."""
    for place, word in enumerate(words):
        if word in OPENINGS:
            after = words[place + 1] if place + 1 < len(words) else ""
            return f"how {after}" if word == "how" and after in MEASURED_HOW else word
    return ""


def _characters(words: list[str]) -> set[tuple[str, str]]:
    joined = " ".join(words)
    return set(pairwise(joined))


def _in_order(one: list[str], other: list[str]) -> float:
    """Shared pairs of neighbouring words over those of the side that has fewer."""
    mine, theirs = set(pairwise(one)), set(pairwise(other))
    fewer = min(len(mine), len(theirs))
    return len(mine & theirs) / fewer if fewer else float(one == other)


def _inverted(one: Reading, other: Reading) -> float:
    """Share of the pairs of shared content words that stand the other way round, by where each comes first."""
    shared = one.content & other.content
    if len(shared) < 2:
        return 0.0
    places = [other.words.index(word) for word in dict.fromkeys(one.words) if word in shared]
    turned = sum(first > second for first, second in combinations(places, 2))
    return turned / (len(places) * (len(places) - 1) / 2)


def _unsaid(mine: set[str], theirs: set[str]) -> int:
    """Words of one side that are on the other with a negating prefix."""
    return sum(prefix + word in theirs for word in mine for prefix in NEGATING) + sum(
        prefix + word in mine for word in theirs for prefix in NEGATING
    )


def _opposed(mine: set[str], theirs: set[str]) -> int:
    return sum(not theirs.isdisjoint(OPPOSED[word]) for word in mine if word in OPPOSED)


def _turned(one: Reading, other: Reading) -> bool:
    """Does one go from what the other goes to? Only words that have one role a side count."""
    if _AIMS.isdisjoint(one.distinct) and _AIMS.isdisjoint(other.distinct):
        return False
    origins, aims = _roles(one.words)
    their_origins, their_aims = _roles(other.words)
    turned = (origins - aims) & (their_aims - their_origins), (aims - origins) & (their_origins - their_aims)
    return bool(turned[0] or turned[1])


def _roles(words: list[str]) -> tuple[set[str], set[str]]:
    """What stands after ``from`` (or, where there is none, before ``to``), and what after ``to``."""
    origins, aims = set[str](), set[str]()
    for place, word in enumerate(words):
        if word in _AIMS:
            aims.update(_run(words[place + 1 : place + 4]))
            if "from" not in words:
                origins.update(_run(words[max(place - 3, 0) : place][::-1]))
        elif word == "from":
            origins.update(_run(words[place + 1 : place + 4]))
    return origins, aims


def _run(words: list[str]) -> list[str]:
    """The words up to the first function word."""
    for place, word in enumerate(words):
        if word in FUNCTION:
            return words[:place]
    return words


def _jaccard(one: set[str] | set[tuple[str, str]], other: set[str] | set[tuple[str, str]]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared) if one or other else 1.0
