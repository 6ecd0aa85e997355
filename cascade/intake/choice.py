"""Which part of each row is wanted: some tiers, some signals, and where the slice is taken from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from cascade.intake.findings import Fault, Found, Row
from cascade.intake.rows import plain
from cascade.types import ModelOutcome, Outcome

NO_SLICE = "no value to slice by"
NO_SIGNAL = "a signal was asked for that no row has"


class Choice:
    """Applied to one row after the other. ``None`` or nothing chosen means: as it is."""

    def __init__(
        self, tiers: Sequence[str] | None = None, slice_by: str | None = None, signals: Sequence[str] | None = None
    ) -> None:
        self.tiers, self.slice_by, self.signals = tiers or (), slice_by, frozenset(signals or ())
        self._seen: set[str] = set()

    def of(self, outcome: Outcome, row: Row) -> Outcome:
        """What is wanted of an outcome; ``row`` is what stood in the source.

        Raises ``Fault`` when a tier or the field to slice by is missing.
        """
        models = outcome.models
        try:
            if self.tiers:
                models = {tier: _tier(models, tier) for tier in self.tiers}
            where = outcome.slice
            if self.slice_by is not None:
                where = field_at({**plain(row.body), **row.beside}, self.slice_by)
        except Fault as fault:
            fault.id = outcome.id
            raise
        if self.signals:
            models = {tier: self._measured(model) for tier, model in models.items()}
        return replace(outcome, models=models, slice=where)

    def missed(self, found: Found) -> None:
        """Note the signals asked for that no row has, once all rows have been seen."""
        for name in sorted(self.signals - {part for seen in self._seen for part in _names(seen)}):
            close = nearest(name, {part for seen in self._seen for part in _names(seen)})
            found.note(NO_SIGNAL, 0, detail=f"{name}{close}")

    def _measured(self, model: ModelOutcome) -> ModelOutcome:
        self._seen.update(model.signals)
        kept = {name: v for name, v in model.signals.items() if not self.signals.isdisjoint(_names(name))}
        return replace(model, signals=kept, families=sorted({name.partition(".")[0] for name in kept}))


def field_at(raw: dict[str, Any], path: str) -> str:
    """The text at a dotted path; a key may hold dots itself. Raises ``Fault`` where no value is."""
    node, rest = raw, path
    while rest not in node:
        head, dot, rest = rest.partition(".")
        below = node.get(head)
        if not dot or not isinstance(below, dict):
            raise Fault(f"{NO_SLICE}: {path}")
        node = below
    value = node[rest]
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value == "" or isinstance(value, dict | list):
        raise Fault(f"{NO_SLICE}: {path}")
    return str(value)


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint at the name that may be meant, to end a message with, or nothing."""
    close = difflib.get_close_matches(name, sorted(names), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _tier(models: dict[str, ModelOutcome], tier: str) -> ModelOutcome:
    if tier not in models:
        raise Fault(f"no answer of tier {tier}", f"there are {', '.join(models) or 'none'}{nearest(tier, models)}")
    return models[tier]


def _names(signal: str) -> tuple[str, str]:
    """By what a signal can be asked for: its name, or its family's."""
    return signal, signal.partition(".")[0]
