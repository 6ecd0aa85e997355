"""What is to be asked: prompts out of JSON lines or a plain text, every bad line named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from cascade.decide import coin
from cascade.errors import ConfigError
from cascade.intake import tie_repeats
from cascade.intake.findings import Fault, Finding, Found, Group
from cascade.intake.rows import plain
from cascade.intake.sources import rows_of
from cascade.intake.streams import opened
from cascade.learning.drawn import splits_of
from cascade.lock import digest
from cascade.replay import request_of
from cascade.types import Message, Outcome

NOT_UTF8 = "the line is not UTF-8"
NOTHING_ASKED = 'no question: a prompt has "query" or "messages"'
TWO_QUESTIONS = 'both "messages" and "query" or "system": put everything into "messages"'
ODD_MESSAGES = 'each of "messages" must be {"role": ..., "content": ...}'
WRONG_TYPE = "a field has the wrong type"
SAME_ID = "the id of an earlier prompt that asks something else"
REPEATED = "asks what an earlier prompt asks, and is asked once"


class Prompts(msgspec.Struct, frozen=True, kw_only=True):
    """Prompts as outcomes without answers, in the order in which they are asked; and what was found.

    Every line is among the prompts, the ``bad`` ones or the ``repeated`` ones. Each prompt has its
    split, so that it is known beforehand which answers of the last tier will be judged.
    """

    prompts: list[Outcome]
    bad: list[Group]
    repeated: list[Finding]


class _Line(msgspec.Struct):
    """The fields of a prompt; all others of an outcome are answers and have no place here."""

    id: str | int | None = None
    query: str | None = None
    messages: list[Message] | None = None
    system: str | None = None
    slice: str = ""
    split: str | None = None
    reference: Any = None
    params: dict[str, Any] = {}
    tenant: str = ""
    metadata: dict[str, str] = {}
    stakes: str | None = None
    paraphrase_of: str | None = None
    conversation: str | None = None


def read_prompts(source: Path, *, seed: int = 0) -> Prompts:
    """Prompts of a ``.jsonl`` file (also ``.gz``), or of a ``.txt`` with one prompt a line.

    A prompt without an id gets a hash of what it asks, the same in every run. The order is drawn by a
    hash of ``seed`` and id: however far a budget reaches, what it reaches is an even draw. Raises
    ``ConfigError`` when the file cannot be read or holds no prompt.
    """
    found = Found()
    texts = source.suffixes[-1:] == [".txt"] or source.suffixes[-2:] == [".txt", ".gz"]
    kept = _Kept(found)
    for number, line in _texts(source, found) if texts else _lines(source, found):
        kept.add(number, line)
    intake = found.intake(kept.prompts, 0)
    repeated = [one for group in intake.notes if group.reason == REPEATED for one in group.found]
    if not kept.prompts:
        why = f": {intake.problems[0].reason} ({intake.problems[0].first[0]})" if intake.problems else ""
        raise ConfigError(f"{source}: holds no prompt{why}")
    return Prompts(prompts=ordered(kept.prompts, seed), bad=intake.problems, repeated=repeated)


def ordered(prompts: Iterable[Outcome], seed: int) -> list[Outcome]:
    """Prompts with their splits, in the order of a coin: any beginning of it is an even draw."""
    tied, _ = tie_repeats(prompts)
    dealt = [replace(row, split=split) for row, split in zip(tied, splits_of(tied), strict=True)]
    return sorted(dealt, key=lambda row: coin(str(seed), "trial", row.id))


class _Kept:
    """The prompts that are good, each once."""

    def __init__(self, found: Found) -> None:
        self.prompts: list[Outcome] = []
        self._found = found
        self._asked: dict[str, str] = {}
        self._ids: set[str] = set()

    def add(self, number: int, prompt: Outcome) -> None:
        """Take a prompt, name it a repetition, or name it bad."""
        request = request_of(prompt)
        content = digest([request.messages, request.params, request.slice, prompt.reference])
        prompt = replace(prompt, id=prompt.id or f"p{content}")
        if content in self._asked:
            self._found.note(REPEATED, number, prompt.id, f"as {self._asked[content]}")
        elif prompt.id in self._ids:
            self._found.problem(SAME_ID, number, prompt.id)
        else:
            self._asked[content] = prompt.id
            self._ids.add(prompt.id)
            self.prompts.append(prompt)


def _lines(source: Path, found: Found) -> Iterator[tuple[int, Outcome]]:
    for row in rows_of(source, None, None, found):
        try:
            if isinstance(row.body, Fault):
                raise row.body
            yield row.number, _prompt(plain(row.body))
        except Fault as fault:
            found.problem(fault.reason, row.number, fault.id, fault.detail)


def _texts(source: Path, found: Found) -> Iterator[tuple[int, Outcome]]:
    try:
        with opened(source) as stream:
            for number, line in enumerate(stream, 1):
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                except UnicodeDecodeError as error:
                    found.problem(NOT_UTF8, number, "", f"byte {error.start + 1}")
                    continue
                if text:
                    yield number, Outcome(id="", query=text)
    except (OSError, EOFError) as error:
        raise ConfigError(f"{source}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _prompt(raw: dict[str, Any]) -> Outcome:
    """The prompt of one line; raises ``Fault``."""
    try:
        line = msgspec.convert(raw, _Line)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Fault(WRONG_TYPE, str(error), id=str(raw.get("id") or "")) from None
    name = "" if line.id is None else str(line.id)
    if line.messages is not None and (line.query is not None or line.system is not None):
        raise Fault(TWO_QUESTIONS, id=name)
    if not (line.query or "").strip() and not line.messages:
        raise Fault(NOTHING_ASKED, f"the line has {', '.join(map(str, list(raw)[:6])) or 'nothing'}", id=name)
    if any(not isinstance(message.get("role"), str) for message in line.messages or []):
        raise Fault(ODD_MESSAGES, id=name)
    fields = {field: getattr(line, field) for field in line.__struct_fields__ if field != "id"}
    return Outcome(id=name, **fields)
