"""Reading a policy file, with errors that name the file, the field, and what would be right."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cascade.errors import PolicyError
from cascade.policy import Policy, nearest
from cascade.tables import Section


def load_policy(path: str | Path) -> Policy:
    """Read a policy file. ``PolicyError`` names the file, the field, and what would be right."""
    file = Path(path)
    try:
        with file.open("rb") as stream:
            table = tomllib.load(stream)
    except OSError as error:
        raise PolicyError(f"cannot be read: {error.strerror}", file=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"is not TOML: {error}", file=str(path)) from None
    return parse_policy(table, file=str(path))


def parse_policy(table: dict[str, Any], *, file: str = "") -> Policy:
    """A policy out of a table, with the same errors as a file."""
    try:
        return Policy.model_validate({"name": Path(file).stem or "policy", **table})
    except ValidationError as error:
        raise _explained(error, file) from None


def _explained(error: ValidationError, file: str) -> PolicyError:
    errors = error.errors(include_url=False, include_context=False)
    # A misspelt key also leaves the right one missing: the misspelling is the mistake to name.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    loc = first["loc"]
    field = ".".join(str(part) for part in loc)
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        names = list(_section_at(loc[:-1]).model_fields)
        message = f"no such key{nearest(str(loc[-1]), names)}"
    elif first["type"] not in ("missing", "value_error"):
        message = f"{message} (found {_shown(first.get('input'))})"
    more = error.error_count() - 1
    if more:
        message += f" (and {more} more)"
    return PolicyError(message, file=file, field=field)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _section_at(loc: tuple[int | str, ...]) -> type[Section]:
    """The section class at an error's location, found by walking the annotations."""
    section: type[Section] = Policy
    for part in loc:
        field = section.model_fields.get(part) if isinstance(part, str) else None
        inner = _sections_in(field.annotation) if field is not None else []
        section = inner[0] if inner else section
    return section


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [s for arg in getattr(annotation, "__args__", ()) for s in _sections_in(arg)]
