"""What another system decided on the same rows, recorded: a strategy beside the others without being rebuilt.

JSON lines, ``{"id": ..., "name": "theirs 1.2", "accepted": true}``: was the first cheap tier's answer to the
question of that id good enough for it? Lines of a name that speak of several tiers name one with ``tier``.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import msgspec

from cascade.errors import ConfigError
from cascade.intake.streams import opened


class Decided(msgspec.Struct, frozen=True):
    """One line."""

    id: str
    name: str
    accepted: bool
    tier: str = ""


def read_decisions(file: Path, tier: str) -> dict[str, frozenset[str]]:
    """Ids whose cheap answer was accepted, by the system's name; ``ConfigError`` names the line that is wrong.

    Lines about another tier than ``tier`` are not read.
    """
    found: dict[str, set[str]] = defaultdict(set)
    try:
        with opened(file) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip() and (one := _decided(line, f"{file}, line {number}")).tier in ("", tier):
                    found[one.name] |= {one.id} if one.accepted else set()
    except (OSError, EOFError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    if not found:
        raise ConfigError(f"{file} holds no decision about tier {tier!r}")
    return {name: frozenset(ids) for name, ids in found.items()}


def _decided(line: bytes, where: str) -> Decided:
    try:
        return msgspec.json.decode(line, type=Decided)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{where}: {error}; a line is {{id, name, accepted}}") from None
