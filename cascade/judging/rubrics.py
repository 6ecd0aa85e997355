"""Rubrics: what a model that judges has to go by, in Markdown, shipped or the user's own."""

from __future__ import annotations

import re
from pathlib import Path

from cascade.errors import ConfigError
from cascade.policy import nearest
from cascade.shipped import names, shipped
from cascade.types import Record

SUFFIX = ".rubric.md"


class Rubric(Record, frozen=True, kw_only=True):
    """``name`` goes into the judge's name; the whole ``text`` is shown to the model."""

    name: str
    text: str


def rubric_names() -> list[str]:
    """Names of the shipped rubrics."""
    return [file.removesuffix(SUFFIX) for file in names(SUFFIX)]


def load_rubric(wanted: str) -> Rubric:
    """A shipped rubric by its name, else a file of the user's own (Markdown, any text).

    ``ConfigError`` where there is neither, the file is empty, or its name would not fit into a judge's.
    """
    known = rubric_names()
    if wanted in known:
        return Rubric(name=wanted, text=shipped(f"{wanted}{SUFFIX}").read_text("utf-8"))
    file = Path(wanted)
    if not file.is_file():
        raise ConfigError(f"there is no rubric {wanted!r}{nearest(wanted, known)}, or name a file")
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{wanted}: cannot be read as a rubric: {error}") from None
    name = re.sub(r"[^\w.-]+", "-", file.name.removesuffix(SUFFIX).removesuffix(file.suffix))
    if not text.strip() or not name:
        raise ConfigError(f"{wanted}: an empty rubric says nothing about what is acceptable")
    return Rubric(name=name, text=text)
