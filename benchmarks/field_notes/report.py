"""All findings as one document, for ``field_notes.json`` and for the page."""

from __future__ import annotations

from typing import Any

import msgspec

from benchmarks.field_notes import findings
from benchmarks.field_notes.findings import Certifiable, Judges, Labelled, Missing, Ratio, Scored
from benchmarks.field_notes.notes import Notes, load
from benchmarks.field_notes.routing import Routed, routed
from cascade.types import Record

COMMAND = "python -m benchmarks field_notes"


class Document(Record, frozen=True, kw_only=True):
    """``field_notes.json``. Shares and scores of outcomes in [0, 1], published scores out of ten, money in dollars."""

    command: str
    temperature: float
    draws: int
    ratios: list[Ratio]
    scores: list[Scored]
    judges: Judges
    labels: list[Labelled]
    misses: list[Missing]
    certifiable: Certifiable
    routing: Routed
    caveats: list[str]


def document(notes: Notes | None = None) -> Document:
    """Everything that the notes say and hide; the same for the same notes."""
    notes = load() if notes is None else notes
    seen = min(len(study.scenarios) for study in notes.studies)
    made = findings.certifiable(seen)
    judges = findings.judges(notes)
    return Document(
        command=COMMAND,
        temperature=notes.temperature,
        draws=notes.draws,
        ratios=findings.ratios(notes),
        scores=findings.scored(notes),
        judges=judges,
        labels=findings.labelled(notes),
        misses=findings.missing(notes),
        certifiable=made,
        routing=routed(notes),
        caveats=_caveats(notes, made, judges),
    )


def _caveats(notes: Notes, made: Certifiable, judges: Judges) -> list[str]:
    drawn = "one draw" if notes.draws == 1 else f"{notes.draws} draws"
    return [
        "These runs test a fixed choice of model, not a router: every model answered every task, and no rule chose "
        "between them.",
        f"{made.seen} scenarios a study certify nothing: 0 bad of {made.seen} bounds the error at most at "
        f"{made.none_bad:.0%} (95% confidence).",
        f"Temperature {notes.temperature:g}, {drawn} of each answer: how much a second draw would differ was not "
        "measured, and no difference here can be told from it.",
        *(
            f"Conflict of interest: judge {one.judge} is of the family {one.family}, as are the candidates "
            f"{' and '.join(one.candidates)}."
            for one in judges.conflicts
        ),
        "Misses were published of one answer; of the others it is not known that somebody looked for any.",
    ]


def as_json(made: Document) -> dict[str, Any]:
    """With every field written out, also where it is the default."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(_plain(made)))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _plain(inner) for name, inner in msgspec.structs.asdict(value).items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
