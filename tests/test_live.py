"""The demo's ladder live: real local models, a real server, the real transport and flow."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from cascade import local
from cascade.demo import live_demo, recorded
from cascade.judging.gold import matches

SECONDS = 15.0


@pytest.fixture(scope="module")
def files() -> local.Ladder:
    """The verified weight files of this machine; a test never fetches them."""
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed: uv run --extra local pytest")
    if not all((local.home() / weight.name).is_file() for weight in (local.CHEAP, local.FRONTIER)):
        pytest.skip(f"the models' weights are not in {local.home()}: cascade demo --live fetches them")
    return local.weights()


def test_real_models_answer_through_the_flow_as_they_were_recorded(files: local.Ladder) -> None:
    """Every question ends in a decision; cheap ones by a calibrated confidence out of real
    log-probabilities; and the figures agree with those of the same questions as recorded.
    """
    with local.serve(files.cheap) as cheap, local.serve(files.frontier) as frontier:
        servers = {files.cheap.name: cheap, files.frontier.name: frontier}
        shown = live_demo(servers, matches, seconds=SECONDS)
    assert shown.overall.rows >= 3
    assert not shown.overall.left_out
    live = next(s for s in shown.overall.strategies if s.name == "cascade")
    single = next(s for s in shown.overall.strategies if s.name == "always-frontier")
    assert live.quality.high is not None
    assert single.quality.low is not None
    assert live.quality.high >= single.quality.low
    assert live.cpu is not None
    assert live.cpu.estimate > 0


def test_the_server_gives_log_probabilities_of_every_token(files: local.Ladder) -> None:
    """Without them there is no gate in the demo at all."""
    import asyncio

    from cascade.demo import rules
    from cascade.replay import request_of
    from cascade.transports import DirectTransport

    made, _ = rules()
    question = next(row for row in recorded() if row.slice == "sentiment" and row.split == "test")
    with local.serve(files.cheap) as served:
        tier = made.policy.tiers[0].model_copy(update={"base_url": served.url})
        policy = made.policy.model_copy(update={"tiers": [tier, *made.policy.tiers[1:]]})
        call = type(made.ladder)(policy).call(request_of(question), "sentiment", tier, tier, "whole", 60.0)

        async def ask() -> tuple[str, list[float] | None, int]:
            transport = DirectTransport()
            try:
                draft = await transport.complete(call)
            finally:
                await transport.close()
            return draft.text, draft.logprobs, draft.usage.completion_tokens

        text, logprobs, tokens = asyncio.run(ask())
    assert text
    assert logprobs is not None
    assert abs(len(logprobs) - tokens) <= 1
    assert all(value <= 0.0 for value in logprobs)
