"""The one setting that is measured: a question, two models that answer at once, a gate of plain numbers.

Nothing is imported from the package here but inside functions: peers read the texts in environments
without it. The question is short and plain because such a one is the cheapest for the peers.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from cascade.engine import Cascade
    from cascade.lock import Lock
    from cascade.policy import Policy
    from cascade.types import Draft

QUESTION = "What is the capital of France?"
ANSWER = "Paris is the capital of France."
LOGPROBS = [-0.01 * (i % 7 + 1) for i in range(40)]
UNSURE = [-4.0] * 40
USAGE = {"prompt_tokens": 14, "completion_tokens": 40}

Passes = Literal["accepted", "escalated"]
_turn = count()
_FEATURES = {
    "logprobs": "mean min q10 q25 sum unlikely first last",
    "text": "length length_ratio hedging repetition digits asks_back not_stop",
}


def question() -> str:
    """The question, never twice the same: nobody's memory of earlier ones may help."""
    return f"{QUESTION} {next(_turn)}"


def messages() -> list[dict[str, Any]]:
    """The question as a conversation."""
    return [{"role": "user", "content": question()}]


class Ready:
    """A transport whose answers are there before they are asked for."""

    def __init__(self, drafts: Mapping[str, Draft]) -> None:
        self._drafts = drafts

    async def complete(self, call: Any) -> Draft:
        """The tier's draft."""
        return self._drafts[call.tier]

    def stream(self, call: Any) -> Any:
        """Never asked for here."""
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing to give back."""


def ready() -> Ready:
    """Two models: the cheap one with 40 log-probabilities, the last one without, as it is asked."""
    from cascade.types import Draft, Usage

    given: dict[str, Any] = {"text": ANSWER, "finish_reason": "stop", "usage": Usage(**USAGE), "cost": 1e-4}
    cheap = Draft(tier="cheap", model="small", logprobs=LOGPROBS, **given)
    return Ready({"cheap": cheap, "strong": Draft(tier="strong", model="large", **given)})


def engine(
    store: Path, passes: Passes = "accepted", base_url: str | None = None, signals: str = "logprobs+text"
) -> Cascade:
    """An engine whose gate lets every draft pass, or none; at a server, or with ``ready`` models."""
    from cascade.engine import Cascade

    policy = _policy(base_url, signals)
    threshold = -1e6 if passes == "accepted" else 1e6
    return Cascade(policy, _lock(policy, signals, threshold), store=store, transport=None if base_url else ready())


def _lock(policy: Policy, signals: str, threshold: float) -> Lock:
    """One gate over all signals of the set, and a certificate that vouches for nothing but the timing."""
    from cascade.confidence import Scorer
    from cascade.lock import Certificate, Gate, Lock, identity

    features = [f"{family}.{name}" for family in signals.split("+") for name in _FEATURES[family].split()]
    n = len(features)
    scorer = Scorer(
        id="scorer",
        tier="cheap",
        signal_set=signals,
        features=features,
        means=[0.1] * n,
        scales=[1.5] * n,
        weights=[0.5] * n,
        intercept=0.2,
    )
    certificate = Certificate(
        id="certificate",
        gates=["gate"],
        kind="error",
        level=policy.target.level,
        confidence=policy.target.confidence,
        delta=0.05,
        method="none",
        population="none",
        judged=0,
        accepted=0,
        bad=0,
        bound=policy.target.level,
        judge="none",
        issued_at="2000-01-01",
        identity=identity(policy),
    )
    gate = Gate(id="gate", tier="cheap", signal_set=signals, scorer="scorer", threshold=threshold)
    return Lock(policy=policy.name, scorers=[scorer], gates=[gate], certificates=[certificate])


def _policy(base_url: str | None, signals: str) -> Policy:
    from cascade.policy import Policy

    asks = "logprobs" in signals
    return Policy.model_validate(
        {
            "name": "speed",
            "target": {"max_error": 0.05},
            "tiers": [
                {"name": "cheap", "model": "small", "base_url": base_url, "logprobs": asks, "price": _price(0.75, 4.5)},
                {"name": "strong", "model": "large", "base_url": base_url, "price": _price(5.0, 30.0)},
            ],
            "signals": {"sets": [signals.split("+")]},
        }
    )


def _price(into: float, out: float) -> dict[str, float]:
    return {"input": into, "output": out}
