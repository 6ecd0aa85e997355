"""What of an answer its reader acts on: the value of a declared label, or why there is none.

Two models can score alike and yet call one finding Adverse and Qualified. So a label is read from the
whole answer: a header that says one thing and a text that says another are ``ambiguous``, a category of
its own, since the first match would be an opinion that the answer does not have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from cascade.tables import ABSENT, AMBIGUOUS, LABEL_CONSISTENT, OTHER, STEP, Label
from cascade.types import CheckResult, Draft, ModelOutcome

LONGEST = 20_000
"""Characters of an answer that is read for labels: a careless pattern takes time with their square.

A longer one is not read at all, for a part of it could hide the second value.
"""


def label_of(answer: str, label: Label) -> str:
    """The one value that the answer names, as the policy spells it (else in lower case, if case is ignored).

    ``absent`` where there is none or the answer is longer than ``LONGEST``, ``ambiguous`` where there
    are two, ``other`` where it is not one of the declared.
    """
    if len(answer) > LONGEST:
        return ABSENT
    said = _matched(answer, label) if label.pattern is not None else _pointed(answer, label.path or "")
    found = {spelt for text in said if (spelt := _spelt(text, label))}
    return _named(found, label)


def label_in(outcome: ModelOutcome, name: str, label: Label) -> str | None:
    """The label of a recorded answer, or of its latest verdict where the policy says so.

    None where that was not recorded: no text was kept, or nobody has judged.
    """
    if label.source == "answer":
        return None if outcome.answer is None else label_of(outcome.answer, label)
    if not outcome.verdicts:
        return None
    spelt = _spelt(outcome.verdicts[-1].labels.get(name, ""), label)
    return _named({spelt} if spelt else set(), label)


def label_consistent(draft: Draft, labels: Mapping[str, Label]) -> CheckResult:
    """Fails an answer that names two values of one label; abstains where it names none of another."""
    found = {name: label_of(draft.text, label) for name, label in labels.items()}
    torn = [name for name, value in found.items() if value == AMBIGUOUS]
    if torn:
        return CheckResult(name=LABEL_CONSISTENT, outcome="fail", detail=f"label {torn[0]} has two values")
    silent = [name for name, value in found.items() if value == ABSENT]
    if silent:
        return CheckResult(name=LABEL_CONSISTENT, outcome="abstain", detail=f"label {silent[0]} has no value")
    return CheckResult(name=LABEL_CONSISTENT, outcome="pass")


def _spelt(text: str, label: Label) -> str:
    plain = " ".join(text.split())
    return plain.casefold() if label.ignore_case else plain


def _named(found: set[str], label: Label) -> str:
    """The category of the values found."""
    if len(found) != 1:
        return AMBIGUOUS if found else ABSENT
    (value,) = found
    if label.values:
        return {_spelt(known, label): known for known in label.values}.get(value, OTHER)
    return OTHER if value.casefold() in (ABSENT, AMBIGUOUS, OTHER) else value


def _matched(answer: str, label: Label) -> Iterator[str]:
    pattern = _compiled(label.pattern or "", label.ignore_case)
    for match in pattern.finditer(answer):
        yield match[min(pattern.groups, 1)] or ""


@lru_cache(maxsize=256)
def _compiled(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE if ignore_case else 0)


def _pointed(answer: str, path: str) -> Iterator[str]:
    """What stands at a path of every JSON value in the answer, in a code fence or bare.

    Keys and indexes are all that a label needs; a library's whole JSONPath, with its filters and
    wildcards, would be a language in which a policy could ask for several values.
    """
    steps = [int(step[1:-1]) if step[0] == "[" else step[1:] for step in re.findall(STEP, path)]
    for document in _documents(answer):
        places: list[Any] = [document]
        for step in steps:
            places = [inner for place in places for inner in _within(place, step)]
        for place in places:
            yield from _texts(place)


class _Object(list[tuple[str, Any]]):
    """A JSON object as its pairs: a key that stands twice has two values, of which a dict would keep one."""


def _documents(answer: str) -> Iterator[Any]:
    decode = json.JSONDecoder(object_pairs_hook=_Object).raw_decode
    start = 0
    while opened := re.compile(r"[{\[]").search(answer, start):
        try:
            document, start = decode(answer, opened.start())
        except ValueError:
            start = opened.end()
        except RecursionError:
            return  # so deep is nothing that anybody meant
        else:
            yield document


def _within(place: Any, step: str | int) -> list[Any]:
    if isinstance(step, str):
        return [value for key, value in place if key == step] if isinstance(place, _Object) else []
    is_list = isinstance(place, list) and not isinstance(place, _Object)
    return place[step : step + 1] if is_list else []


def _texts(value: Any) -> list[str]:
    """The values at a place: each of a list, none for null."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, _Object):
        return [json.dumps(value)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [] if value is None else [json.dumps(value)]
