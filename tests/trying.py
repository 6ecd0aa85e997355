"""A world to try a cascade in: questions of known difficulty, two models, a judge, and what they cost."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cascade.asks import Call, Endpoint, Transport
from cascade.judging.llm import ModelJudge
from cascade.judging.rubrics import Rubric
from cascade.judging.rules import RuleJudge, exact
from cascade.learning.ladders import minimal_policy
from cascade.testing import FakeModels, draft
from cascade.trial import Setting
from cascade.trial.prompts import ordered
from cascade.types import Draft, Outcome, Usage

RIGHT, WRONG = "right", "wrong"
PRICES = {"cheap": (0.5, 2.0), "frontier": (5.0, 25.0), "judge": (1.0, 4.0)}
MODELS = {
    "cheap": {"model": "openai/gpt-small", "price": {"input": 0.5, "output": 2.0}},
    "frontier": {"model": "anthropic/claude-large", "price": {"input": 5.0, "output": 25.0}},
}


def questions(count: int) -> list[Outcome]:
    """So many prompts, their difficulty uniform in [0, 1), in the order of a trial."""
    rng = random.Random(7)
    rows = [Outcome(id=f"q{i}", query=f"question {i} of {rng.random():.4f}", reference=RIGHT) for i in range(count)]
    return ordered(rows, 0)


def world(right_below: float, *, spread: float = 0.7, on: Callable[[Call], None] = lambda call: None) -> FakeModels:
    """The cheap model is right below a difficulty, and less sure of hard questions; lengths are lognormal."""

    def answer(call: Call) -> Draft:
        on(call)
        said = next(str(m["content"]) for m in reversed(call.messages) if m["role"] == "user")
        rng = random.Random(f"{call.tier} {said}")
        if call.tier == "judge":
            text = '{"acceptable": %s}' % ("false" if f"\n{WRONG}\n" in said else "true")
            return priced(call, text, 120 * math.exp(rng.gauss(0, 0.4)))
        hard = float(said.split()[-1])
        right = call.tier == "frontier" or hard < right_below
        logprobs = [-0.02 - 2.0 * hard * rng.random() for _ in range(12)]
        return priced(call, RIGHT if right else WRONG, 200 * math.exp(rng.gauss(0, spread)), logprobs=logprobs)

    return FakeModels(answer)


def priced(call: Call, text: str, tokens: float, **more: Any) -> Draft:
    """A draft of so many tokens, at the tier's price."""
    paid, earned = PRICES[call.tier]
    usage = Usage(prompt_tokens=40, completion_tokens=min(int(tokens), call.params.get("max_tokens", 4096)))
    cost = (usage.prompt_tokens * paid + usage.completion_tokens * earned) / 1e6
    return draft(call, text, usage=usage, cost=cost, **more)


def setting(folder: Path, *, rule: bool = False, **more: Any) -> Setting:
    """A trial of the two models at ``max_error`` 0.1, judged by a third model, or by a rule for nothing."""

    def judge(transport: Transport) -> Any:
        endpoint = Endpoint(model="gemini/judge", price=(*PRICES["judge"], PRICES["judge"][0]))
        return RuleJudge("exact", exact) if rule else ModelJudge(endpoint, Rubric(name="r", text="Right?"), transport)

    target = more.pop("target", {"max_error": 0.1})
    policy = minimal_policy("tried", list(MODELS), target, signals=["logprobs", "text"], models=MODELS)
    return Setting(policy=policy, judge=judge, folder=folder / "tried.trial", **more)
