"""The worker for cascadeflow, run in a throw-away environment of its own; see ``apart``."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from importlib.metadata import version
from typing import Any

logging.disable(logging.CRITICAL)

from cascadeflow import CascadeAgent, ModelConfig  # noqa: E402  after its log is quiet
from cascadeflow.providers import PROVIDER_REGISTRY  # noqa: E402
from cascadeflow.providers.base import BaseProvider, ModelResponse  # noqa: E402
from cascadeflow.quality import (  # noqa: E402
    ComplexityDetector,
    ProductionConfidenceEstimator,
    QualityConfig,
)

DRAFTER, VERIFIER = "drafter", "verifier"


class Recorded(BaseProvider):  # type: ignore[misc]
    """Answers with what was recorded, at the confidence that its own estimator gives it, as its own providers do."""

    def __init__(self) -> None:
        super().__init__(api_key="none")
        self.row: dict[str, Any] = {}
        self.confidence = 0.0
        self.asked: list[str] = []

    async def _complete_impl(self, prompt: str, model: str, **_: Any) -> Any:
        self.asked.append(model)
        logprobs = self.row.get("logprobs")
        return ModelResponse(
            content=self.row["answer"] if model == DRAFTER else "The verifier's answer.",
            model=model,
            provider="custom",
            cost=1e-4,
            tokens_used=len(logprobs or ()) or 50,
            confidence=self.confidence,
            logprobs=logprobs,
            metadata={"finish_reason": self.row.get("finish_reason"), "query": prompt},
        )

    async def _stream_impl(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def estimate_cost(self, tokens: int, model: str) -> float:
        """Some price."""
        return 1e-4

    def _check_logprobs_support(self) -> bool:
        return True


async def words(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What it makes of the rows in their order: one agent, as its README makes one, sees them all."""
    provider = Recorded()
    PROVIDER_REGISTRY["custom"] = lambda **_: provider
    priced = [(DRAFTER, 0.000375), (VERIFIER, 0.00562)]
    agent = CascadeAgent(models=[ModelConfig(name, provider="custom", cost=cost) for name, cost in priced])
    estimator, detector = ProductionConfidenceEstimator(), ComplexityDetector()
    thresholds = QualityConfig.for_cascade().confidence_thresholds
    said = []
    for row in rows:
        known = {name: row[name] for name in ("logprobs", "finish_reason", "temperature") if name in row}
        found = estimator.estimate(row["answer"], row["question"], **known)
        provider.row, provider.confidence, provider.asked = row, found.final_confidence, []
        result = await agent.run(row["question"], temperature=row.get("temperature", 0.7))
        said.append(
            {
                "confidence": found.final_confidence,
                "threshold": thresholds[detector.detect(row["question"])[0].value],
                "asked": DRAFTER in provider.asked,
                "accepted": bool(result.draft_accepted),
            }
        )
    return said


def main() -> None:
    """Read the cases from stdin, write what was said of them to stdout; what the peer prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    said = [asyncio.run(words(rows)) for rows in json.load(sys.stdin)]
    json.dump({"versions": {"cascadeflow": version("cascadeflow")}, "said": said}, answers)
    answers.close()


if __name__ == "__main__":
    main()
