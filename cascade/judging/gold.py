"""Deterministic judges of an answer with a reference: is this answer right?

Deterministic and deliberately plain, so that a recorded verdict can be made again from the recorded answer. A
reference may hold several right answers, separated by " | ".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from types import MappingProxyType

SPARE_WORDS = 12  # how many words an answer may spend beside the reference: more is not an answer but a copy

NUMBER = re.compile(r"(?<![\w^])-?\d[\d,]*(?:\.\d+)?")  # not the 2 of m2 or m^2
LETTER = re.compile(
    r"^(?:the )?(?:correct )?(?:(?:answer|option|choice)(?: is)?:? )?\(?([a-z])(?:[).:,]|$| is correct)"
)
UNDECIDED = re.compile(
    r"\b(?:(?:can ?not|can ?t|can not|could not|impossible to|unable to|not possible to) (?:be )?"
    r"(?:tell|told|say|know|known|determine|determined|answer|answered)"
    r"|(?:not|n t|isn t) (?:enough|sufficient) (?:information|detail|details|context|data)"
    r"|insufficient (?:information|detail|details|context|data)"
    r"|(?:is|are|was|were) not (?:specified|given|stated|mentioned|provided|known)"
    r"|not (?:specified|stated|mentioned|provided)"
    r"|(?:do not|don t) (?:know|have enough)|unknown|depends on|it depends|no information)\b"
)


def normalised(text: str) -> str:
    """Lower case, no accents, punctuation as single spaces.

    >>> normalised("  São Tomé,\\n INV-20931! ")
    'sao tome inv 20931'
    """
    plain = unicodedata.normalize("NFKD", text).casefold()
    letters = "".join(mark for mark in plain if not unicodedata.combining(mark))
    return " ".join(re.sub(r"[\W_]+", " ", letters).split())


def exact(answer: str, reference: str) -> bool:
    """The same words and nothing else.

    >>> exact("Billing.", "billing"), exact("billing or account", "billing")
    (True, False)
    """
    return normalised(answer) == normalised(reference)


def last_number(text: str) -> Decimal | None:
    """The last number in a text, or None.

    >>> last_number("12 x 4 = 48."), last_number("$1,250.50"), last_number("an area in m2")
    (Decimal('48'), Decimal('1250.50'), None)
    """
    said = NUMBER.findall(text)
    return Decimal(said[-1].replace(",", "")) if said else None


def number(answer: str, reference: str) -> bool:
    """The last number that is said, whatever stands around it.

    >>> number("12 x 4 = 48.", "48"), number("$1,250.50", "1250.5"), number("48 or 49", "48"), number("none", "0")
    (True, True, False, False)
    >>> number("The area is 20 m2.", "20")
    True
    """
    said = last_number(answer)
    return said is not None and said == Decimal(reference.replace(",", ""))


def choice(answer: str, reference: str) -> bool:
    """The letter of one option, alone or in front of its text.

    >>> choice("B", "B"), choice("b) Mercury", "B"), choice("The answer is C.", "C"), choice("Before 1900", "B")
    (True, True, True, False)
    """
    found = LETTER.match(" ".join(answer.casefold().split()))
    return found is not None and found[1] == reference.casefold()


def contains(answer: str, reference: str) -> bool:
    """The reference as whole words in a short answer; a long one that lists or copies everything does not count.

    >>> contains("It is Paris.", "paris"), contains("Parish", "paris"), contains("paris " * 20, "paris")
    (True, False, False)
    """
    said, wanted = normalised(answer), normalised(reference)
    return len(said.split()) <= len(wanted.split()) + SPARE_WORDS and f" {wanted} " in f" {said} "


def cannot_tell(answer: str, reference: str) -> bool:
    """The answer admits that the question does not hold enough to know.

    >>> cannot_tell("Cannot tell.", ""), cannot_tell("It can't be determined", ""), cannot_tell("Tuesday", "")
    (True, True, False)
    >>> cannot_tell("The weight is not specified.", ""), cannot_tell("I can tell: Tuesday", "")
    (True, False)
    """
    return UNDECIDED.search(normalised(answer)) is not None


JUDGES: MappingProxyType[str, Callable[[str, str], bool]] = MappingProxyType(
    {judge.__name__: judge for judge in (exact, number, choice, contains, cannot_tell)}
)


def alternatives(reference: str) -> list[str]:
    """The right answers that a reference lists."""
    return reference.split(" | ")


def matches(match: str, answer: str, reference: str) -> bool:
    """Whether `answer` is one of the right answers in `reference`, by the judge that `match` names.

    >>> matches("contains", "The United States", "USA | United States")
    True
    >>> matches("exact", "", "billing")
    False
    """
    return any(JUDGES[match](answer, one) for one in alternatives(reference))
