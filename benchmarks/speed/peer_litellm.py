"""The worker for litellm's own client, which this project has as a dependency."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from importlib.metadata import version
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import asks the network first

from litellm import acompletion

from benchmarks.speed import turns
from benchmarks.speed.setting import messages


def main(address: str) -> None:
    """Serve every case until told to stop."""
    logging.disable(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    async def ask(body: str, **params: Any) -> Any:
        base = f"{address}/{body}/v1"
        return await acompletion("openai/small", messages(), api_base=base, api_key="none", **params)

    async def plain() -> Any:
        return await ask("plain")

    async def logprobs() -> Any:
        return await ask("logprobs", logprobs=True)

    cases: dict[str, turns.Case] = {"litellm, plain": plain, "litellm, logprobs": logprobs}
    turns.serve(cases, {"litellm": version("litellm")}, loop)


if __name__ == "__main__":
    main(sys.argv[1])
