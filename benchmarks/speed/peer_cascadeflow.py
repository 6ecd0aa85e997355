"""The worker for cascadeflow, run in a throw-away environment of its own; see ``rounds``."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from benchmarks.speed import turns
from benchmarks.speed.setting import ANSWER, LOGPROBS, UNSURE, USAGE, question

logging.disable(logging.CRITICAL)

from cascadeflow import CascadeAgent, ModelConfig  # noqa: E402  after its log is quiet
from cascadeflow.providers import PROVIDER_REGISTRY  # noqa: E402
from cascadeflow.providers.base import BaseProvider, ModelResponse  # noqa: E402


class Ready(BaseProvider):  # type: ignore[misc]
    """A provider whose answers are there before they are asked for."""

    def __init__(self, logprobs: list[float], confidence: float) -> None:
        super().__init__(api_key="none")
        self._logprobs, self._confidence = logprobs, confidence

    async def _complete_impl(self, prompt: str, model: str, **_: Any) -> Any:
        return ModelResponse(
            content=ANSWER,
            model=model,
            provider="custom",
            cost=1e-4,
            tokens_used=sum(USAGE.values()),
            confidence=self._confidence,
            tokens=[" word"] * len(self._logprobs),
            logprobs=self._logprobs,
            metadata=dict(USAGE),
        )

    async def _stream_impl(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def estimate_cost(self, tokens: int, model: str) -> float:
        """Some price."""
        return 1e-4

    def _check_logprobs_support(self) -> bool:
        return True


def agent(provider: str, **where: str) -> Any:
    """An agent of two models, as its own README makes one."""
    models = [("gpt-4o-mini", 0.000375), ("gpt-4o", 0.00562)]
    return CascadeAgent(models=[ModelConfig(name, provider=provider, cost=cost, **where) for name, cost in models])


def with_ready(logprobs: list[float], confidence: float) -> Any:
    """An agent whose models answer at once."""
    PROVIDER_REGISTRY["custom"] = lambda **_: Ready(logprobs, confidence)
    return agent("custom")


def case(made: Any, accepted: bool, loop: asyncio.AbstractEventLoop) -> Callable[[], Awaitable[Any]]:
    """A request to this agent, tried once: a peer that does something else is no peer."""

    async def ask() -> Any:
        return await made.run(question())

    found = loop.run_until_complete(ask())
    assert found.draft_accepted is accepted, f"draft accepted: {found.draft_accepted}"
    return ask


def main(address: str) -> None:
    """Serve every case until told to stop."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    cases: dict[str, turns.Case] = {
        "cascadeflow accepted": case(with_ready(LOGPROBS, 0.95), True, loop),
        "cascadeflow escalated": case(with_ready(UNSURE, 0.1), False, loop),
    }
    for body in ("plain", "logprobs"):
        made = agent("vllm", base_url=f"{address}/{body}/v1")
        cases[f"cascadeflow, {body}"] = case(made, True, loop)
    turns.serve(cases, {"cascadeflow": version("cascadeflow")}, loop)


if __name__ == "__main__":
    main(sys.argv[1])
