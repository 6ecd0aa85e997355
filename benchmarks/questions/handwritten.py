"""The slices that are written by hand, one text file each.

A line holds a question; ` ~ ` separates other ways to ask it; `#` starts a comment line. What a `[section]` line
means differs: in the label files it is the right answer, in `facts.txt` it is a template that the lines below fill.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from types import MappingProxyType

from . import HERE, Asked

LETTERS = "ABCD"


def lines(slice: str) -> Iterator[tuple[str, str]]:
    """Every line of a slice's file with the section that it stands in."""
    section = ""
    for line in (HERE / f"{slice}.txt").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            yield section, line


def ways(text: str) -> tuple[str, tuple[str, ...]]:
    """A question and the other ways to ask it."""
    first, *others = (part.strip() for part in text.split(" ~ "))
    return first, tuple(others)


def labelled(slice: str) -> Iterator[Asked]:
    """Messages under the label that is their right answer."""
    for label, line in lines(slice):
        query, paraphrases = ways(line)
        yield Asked(query, label, "exact", paraphrases)


def facts() -> Iterator[Asked]:
    """Lines `thing = answer` that fill their section's template; a line marked `+` is asked in the second way too."""
    for section, line in lines("facts"):
        thing, _, answer = line.partition(" = ")
        template, others = ways(section)
        twice = thing.startswith("+ ")
        name = thing.removeprefix("+ ")
        paraphrases = tuple(other.format(name) for other in others) if twice else ()
        yield Asked(template.format(name), answer, "contains", paraphrases)


def trivia() -> Iterator[Asked]:
    """Lines `question = right ; wrong ; wrong ; wrong`, the options shuffled by a seed made of the question."""
    for _, line in lines("trivia"):
        question, _, options = line.partition(" = ")
        right, *wrong = (option.strip() for option in options.split(" ; "))
        order = [right, *wrong]
        random.Random(question).shuffle(order)
        listed = "\n".join(f"{letter}) {option}" for letter, option in zip(LETTERS, order, strict=True))
        yield Asked(f"{question}\n{listed}", LETTERS[order.index(right)], "choice")


def unclear() -> Iterator[Asked]:
    """Lines `question` that nobody can answer, and lines `question = answer` of the same shape that anybody can."""
    for _, line in lines("unclear"):
        text, _, answer = line.partition(" = ")
        query, paraphrases = ways(text)
        match = "number" if answer.isdigit() else "contains" if answer else "cannot_tell"
        yield Asked(query, answer or "cannot tell", match, paraphrases)


SLICES: MappingProxyType[str, Callable[[], Iterator[Asked]]] = MappingProxyType(
    {
        "intents": lambda: labelled("intents"),
        "intents12": lambda: labelled("intents12"),
        "sentiment": lambda: labelled("sentiment"),
        "facts": facts,
        "trivia": trivia,
        "unclear": unclear,
    }
)
