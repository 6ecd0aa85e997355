"""What is to be asked: questions out of JSON lines, tables or a plain text, every bad row named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from cascade.errors import ConfigError
from cascade.intake.findings import Fault, Found, Group
from cascade.intake.rows import plain
from cascade.intake.sources import rows_of
from cascade.intake.streams import opened
from cascade.lock import digest
from cascade.replay import request_of
from cascade.types import Message, Outcome

NOT_UTF8 = "the line is not UTF-8"
NOTHING_ASKED = 'no question: a prompt has "query" or "messages"'
TWO_QUESTIONS = 'both "messages" and "query" or "system": put everything into "messages"'
ODD_MESSAGES = 'each of "messages" must be {"role": ..., "content": ...}'
WRONG_TYPE = "a field has the wrong type"
TWICE = "the id of an earlier question"


class Questions(msgspec.Struct, frozen=True, kw_only=True):
    """Questions as outcomes without answers, in the order of their source, and the row of each.

    Every row of the source is among the questions or the ``bad`` ones; ``notes`` leave none out.
    """

    questions: list[Outcome]
    rows: list[int]
    bad: list[Group]
    notes: list[Group]


class _Line(msgspec.Struct):
    """The fields of a question; all others of an outcome are answers and have no place here."""

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


def read_questions(source: Path) -> Questions:
    """Questions of ``.jsonl``, ``.csv``, ``.tsv``, ``.txt`` (each also ``.gz``) or ``.parquet``.

    A question without an id gets a digest of what it asks and of its row, the same in every run: one that
    is asked twice is answered twice. Raises ``ConfigError`` when the file cannot be read or holds none.
    """
    found = Found()
    questions: dict[str, Outcome] = {}
    rows: list[int] = []
    for number, question in questions_in(source, found):
        id = question.id or f"q{digest([_content(question), number])}"
        if id in questions:
            found.problem(TWICE, number, id)
        else:
            questions[id] = replace(question, id=id)
            rows.append(number)
    intake = found.intake([], 0)
    if not questions and not intake.problems:
        raise ConfigError(f"{source}: holds no question")
    return Questions(questions=list(questions.values()), rows=rows, bad=intake.problems, notes=intake.notes)


def identity_of(questions: Questions) -> str:
    """A digest of what is asked, and under which ids, in which order."""
    return digest([[question.id, _content(question)] for question in questions.questions])


def questions_in(source: Path, found: Found) -> Iterator[tuple[int, Outcome]]:
    """Row by row what a source asks, an id only where the row has one; bad rows go to ``found``."""
    texts = source.suffixes[-1:] == [".txt"] or source.suffixes[-2:] == [".txt", ".gz"]
    yield from _texts(source, found) if texts else _rows(source, found)


def _content(question: Outcome) -> list[Any]:
    request = request_of(question)
    return [request.messages, request.params, request.slice, request.tenant, request.metadata, request.stakes]


def _rows(source: Path, found: Found) -> Iterator[tuple[int, Outcome]]:
    for row in rows_of(source, None, None, found, named=False):
        try:
            if isinstance(row.body, Fault):
                raise row.body
            yield row.number, _question(plain(row.body))
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


def _question(raw: dict[str, Any]) -> Outcome:
    """The question of one row; raises ``Fault``."""
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
