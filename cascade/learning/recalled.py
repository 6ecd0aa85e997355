"""What a cache would have found: the nearest stored question of each recorded row, for calibration.

Live traffic records the nearest stored answer with every request. Outcomes that were recorded without
a cache get it here: the last tier's answers of the rows that may be stored are the cache.

A row looks among the rows of split ``fit`` and among the earlier ones of its own unit (the question
that it rewords). Not among all earlier rows, which is what a cache in service would hold: then what
one certified row finds would hang on the other certified rows, and the exact test needs them to be
independent, given what the fit rows hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cascade.cache.opening import cache_of
from cascade.checks import built_in
from cascade.decide import find_slice
from cascade.embedding import Embedder
from cascade.errors import ConfigError
from cascade.ladder import Ladder
from cascade.learning.drawn import FIT, splits_of, unit_of
from cascade.matching import FAMILY, measure
from cascade.policy import Policy
from cascade.replay import draft_of, request_of
from cascade.types import CACHE, Draft, Hit, ModelOutcome, Outcome, Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 1024
"""Rows that are compared with all others at once."""


class _Question(Record, frozen=True, kw_only=True):
    """A row as the cache sees it: ``place`` among the outcomes; ``stored`` says whether it is an entry."""

    place: int
    key: str
    text: str
    split: str
    unit: str
    stored: bool


def recalled(outcomes: Iterable[Outcome], policy: Policy, embedder: Embedder) -> list[Outcome]:
    """The outcomes in their order, each with ``models["cache"]`` where a stored question lies in its context.

    Rows that have one already stay as they are. The label of a stored answer is known where the row's
    own answers, labelled, contain it word for word; elsewhere a judge has to give it (``cascade
    judge``). ``ConfigError`` where the policy's cache is off.
    """
    rows = list(outcomes)
    shelves: defaultdict[str, list[_Question]] = defaultdict(list)
    cache = cache_of(policy, Ladder(policy, priced=False), None)
    if cache is None or not policy.cache.semantic:
        raise ConfigError(f"policy {policy.name!r} has no semantic cache: [cache] semantic = true")
    for place, (row, split) in enumerate(zip(rows, splits_of(rows), strict=True)):
        request = request_of(row)
        if not request.question or not cache.cacheable(request):
            continue
        last = row.models.get(policy.last.name)
        context = cache.context(request, embedder.name)
        shelves[context].append(
            _Question(
                place=place,
                key=cache.key(request),
                text=request.question,
                split=split,
                unit=unit_of(row),
                stored=last is not None and _storable(row, last, policy),
            )
        )
    for shelf in shelves.values():
        for asked, stored, hit in _nearest(shelf, embedder):
            if CACHE not in rows[asked.place].models:
                rows[asked.place] = _with_answer(rows[asked.place], rows[stored.place], hit, policy.last.name)
    return rows


def _storable(row: Outcome, last: ModelOutcome, policy: Policy) -> bool:
    request, name = request_of(row), policy.last.name
    draft = draft_of(name, last, "")
    checks = built_in(request, draft, policy.consistent(name, find_slice(request, policy)))
    return bool(draft.text) and all(check.outcome != "fail" for check in checks)


def _nearest(shelf: list[_Question], embedder: Embedder) -> list[tuple[_Question, _Question, Hit]]:
    """Each question of one context with the nearest that it may be answered from."""
    import numpy as np

    entries = [one for one in shelf if one.stored]
    if not entries:
        return []
    asked = embedder.embed([one.text for one in shelf])
    held = embedder.embed([one.text for one in entries])
    found = []
    for start in range(0, len(shelf), BLOCK):
        some, vectors = shelf[start : start + BLOCK], asked[start : start + BLOCK]
        near = np.where(_allowed(some, entries), vectors @ held.T, -np.inf)
        for one, vector, row, best in zip(some, vectors, near, near.argmax(axis=1), strict=True):
            if np.isfinite(row[best]):
                both = np.stack([vector, held[best]])
                found.append((one, entries[best], _hit(entries[best], float(row[best]), both)))
    return found


def _allowed(asked: list[_Question], entries: list[_Question]) -> NDArray[np.bool_]:
    """Who may be answered from what, (asked, entries). The same request again would be an exact hit."""
    import numpy as np

    def columns(some: list[_Question]) -> tuple[Any, Any, Any]:
        return (
            np.array([one.key for one in some]),
            np.array([one.unit for one in some]),
            np.array([one.place for one in some]),
        )

    (key, unit, place), (keys, units, places) = columns(asked), columns(entries)
    fitted = np.array([one.split == FIT for one in entries])
    kin = unit[:, None] == units
    found: NDArray[np.bool_] = np.where(kin, place[:, None] > places, fitted) & (key[:, None] != keys)
    return found


def _hit(stored: _Question, similarity: float, vectors: Any) -> Hit:
    draft = Draft(tier=CACHE, model="")
    return Hit(
        key=stored.key, draft=draft, kind="semantic", similarity=similarity, question=stored.text, vectors=vectors
    )


def _with_answer(row: Outcome, stored: Outcome, hit: Hit, last: str) -> Outcome:
    """The row with the stored answer as a draft of the cache, and its label where that is known."""
    answer = stored.models[last]
    hit = replace(hit, draft=replace(hit.draft, text=answer.answer or ""))
    signals = {f"{FAMILY}.{name}": value for name, value in measure(request_of(row).question, hit).items()}
    known = next((m for m in row.models.values() if m.answer == answer.answer and m.quality is not None), NOT_JUDGED)
    found = ModelOutcome(
        answer=answer.answer,
        question=hit.question,
        entry=hit.key,
        correct=known.correct,
        score=known.score,
        verdicts=known.verdicts,
        signals=signals,
        families=[FAMILY],
        finish_reason=answer.finish_reason,
        tool_calls=answer.tool_calls,
        completion_tokens=answer.completion_tokens,
        cost=0.0,
        latency_ms=0.0,
        cpu_ms=0.0,
        model=answer.model,
    )
    return replace(row, models={**row.models, CACHE: found})


NOT_JUDGED = ModelOutcome()
