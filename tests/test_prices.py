"""Prices are the map's, found by the names litellm takes; what is not in it has none."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.prices import Price, cost, price_of
from cascade.types import Usage

MINI = Price(input=0.75, output=4.5, cached_input=0.075)


@pytest.mark.parametrize("name", ["gpt-5.4-mini", "openai/gpt-5.4-mini"])
def test_a_model_costs_the_same_with_and_without_its_own_provider(name: str) -> None:
    assert price_of(name) == MINI


@pytest.mark.parametrize(
    ("prefixed", "bare"),
    [
        ("anthropic/claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("vertex_ai/gemini-2.5-flash", "gemini-2.5-flash"),
        ("ft:gpt-4o-2024-08-06:acme::abc123", "ft:gpt-4o-2024-08-06"),
    ],
)
def test_the_name_is_found_as_litellm_finds_it(prefixed: str, bare: str) -> None:
    assert price_of(bare) is not None
    assert price_of(prefixed) == price_of(bare)


@pytest.mark.parametrize(
    "name",
    [
        "no-such-model",
        "openai/no-such-model",
        "",
        "/",
        "anthropic/gpt-5.4-mini",  # another provider's price is a guess
        "ollama/llama2",  # zero in the map: unpriced, which is not free
        "sample_spec",
        "fallback_generalizations",
    ],
)
def test_an_unknown_price_is_none_never_a_guess_or_a_zero(name: str) -> None:
    assert price_of(name) is None


def test_cached_tokens_without_a_discount_in_the_map_cost_what_others_do() -> None:
    price = price_of("together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo")
    assert price is not None
    assert price.cached_input == price.input


def test_cost_is_dollars_and_cached_tokens_count_at_their_own_price() -> None:
    usage = Usage(prompt_tokens=1_000_000, completion_tokens=1_000_000, cached_tokens=400_000)
    assert cost(usage, MINI) == pytest.approx(0.6 * 0.75 + 0.4 * 0.075 + 4.5)


tokens = st.integers(0, 10**7)


@given(prompt=tokens, completion=tokens, cached=tokens)
def test_a_discount_never_makes_a_call_dearer_or_negative(prompt: int, completion: int, cached: int) -> None:
    full = cost(Usage(prompt_tokens=prompt, completion_tokens=completion), MINI)
    discounted = cost(Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached), MINI)
    assert 0 <= discounted <= full + 1e-9


def test_reading_the_map_does_not_import_litellm() -> None:
    code = "import sys; from cascade.prices import price_of; assert price_of('gpt-5.5'); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "litellm" not in modules.split()
