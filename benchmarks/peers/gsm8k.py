"""RouteLLM's GSM8K answers as rows of a cascade, and what its scores rank: each row by a fit that has not seen it.

The answers have texts and no log-probabilities. Beside the text signals stands a family that a user would write for
such answers: Mixtral notes its sums as ``<<3*4=12>>`` and ends with ``#### 12``, so whether it came to an end and
whether its noted sums come out can be seen without another call.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec.structs import replace

from benchmarks.pairs.fits import Kinds
from benchmarks.pairs.pairs import Pair, Source
from benchmarks.pairs.splits import KINDS
from benchmarks.peers.cases import MIXTRAL, Answered, Line
from benchmarks.peers.curves import Answers
from cascade.learning.rows import Rows, read_rows
from cascade.replay import request_of
from cascade.signals import extend, measure
from cascade.types import Draft, ModelOutcome, Outcome

GPT4 = "gpt-4-1106-preview"
WEAK = "mixtral-8x7b"
LOG = Source("routellm_mmlu_gsm8k", ("data.jsonl.gz",), "evaluation logs of github.com/lm-sys/RouteLLM (Apache-2.0)")
PAIRS = (Pair(LOG, WEAK, GPT4, ("text",)), Pair(LOG, WEAK, GPT4, ("text", "worked")))
FOLDS = 5
CLOSE = 0.01
"""A noted result may be rounded."""

_NOTED = re.compile(r"<<([0-9+\-*/(). ]{1,80})=([0-9,. ]{1,20})>>")
_MEANS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def worked(answer: str) -> dict[str, float]:
    """Of a worked answer, 1 or 0 each: ``finished`` with a result, ``noted`` a sum, ``no_slip`` in those noted."""
    sums = _NOTED.findall(answer)
    slips = [value for value in (_comes_out(*noted) for noted in sums) if value is False]
    return {"finished": float("####" in answer), "noted": float(bool(sums)), "no_slip": float(not slips)}


def _comes_out(sum_: str, result: str) -> bool | None:
    """Whether the noted result is that of the sum; None where either cannot be read."""
    try:
        value, said = _value(ast.parse(sum_.strip(), mode="eval").body), float(result.replace(",", ""))
    except (ValueError, SyntaxError, ArithmeticError, RecursionError, MemoryError):
        return None
    return abs(value - said) <= CLOSE * max(1.0, abs(value))


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _MEANS:
        return _MEANS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("not a plain sum")


def outcome(line: Line) -> Outcome:
    """A line as an outcome of the two tiers, the weak answer's signals measured from question and text."""
    weak, strong = (line.surely(name) for name in (MIXTRAL, GPT4))
    asked = Outcome(id=line.id, slice="gsm8k", query=line.query, propensity=1.0)
    draft = Draft(tier=WEAK, model=WEAK, text=weak.answer or "")
    signals = extend(measure(request_of(asked), draft, {"text"}), "worked", worked(draft.text))
    models = {
        WEAK: replace(_recorded(weak), signals=signals.values, families=list(signals.families)),
        GPT4: _recorded(strong),
    }
    return replace(asked, models=models)


def _recorded(found: Answered) -> ModelOutcome:
    return ModelOutcome(answer=found.answer, correct=int(found.correct), cost=found.cost)


def rows_of(lines: list[Line], pair: Pair) -> Rows:
    """The labelled rows of a pair."""
    return read_rows([outcome(line) for line in lines], pair.policy(max_regret=0.01))[0]


def answers_of(rows: Rows) -> Answers:
    return Answers(rows.quality[0], rows.quality[1], rows.cost[0], rows.cost[1])


def needs(pair: Pair, rows: Rows, seed: int) -> dict[str, Any]:
    """How much each row needs the strong model (n,), by each kind of score: less its score by the folds it is not in.

    Folds that are too poor for a kind are scored by how likely the weak answer is right.
    """
    fold = np.random.default_rng([7, seed]).permutation(len(rows)) % FOLDS
    found = {kind: np.empty(len(rows)) for kind in KINDS}
    for one in range(FOLDS):
        places = np.flatnonzero(fold == one)
        kinds, unseen = (
            Kinds(pair, rows.take(np.flatnonzero(fold != one).tolist()), len(places)),
            rows.take(places.tolist()),
        )
        for kind in KINDS:
            found[kind][places] = -kinds.score(kind if kind in kinds.fitted else "right", unseen).scores
    return found
