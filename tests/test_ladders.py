"""A policy written for tiers that somebody names is the policy that is read back."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from cascade.learning.ladders import families_of, minimal_policy, policy_toml
from cascade.policyfile import parse_policy
from tests.populations import outcomes

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
MONEY = st.floats(0, 99)
MODELS = st.fixed_dictionaries(
    {"model": st.text(min_size=1, max_size=30), "price": st.fixed_dictionaries({"input": MONEY, "output": MONEY})},
    optional={
        "base_url": st.just("http://127.0.0.1:1/v1"),
        "api_key_env": st.just("KEY"),
        "params": st.dictionaries(st.text(min_size=1, max_size=8), st.booleans() | st.integers() | st.text(max_size=9)),
    },
)


@given(
    st.lists(NAMES, min_size=2, max_size=4, unique=True),
    st.floats(0.001, 0.5),
    st.sampled_from(["max_error", "max_regret"]),
    st.sets(NAMES, min_size=1, max_size=4),
    st.lists(MODELS, min_size=4, max_size=4),
)
def test_a_written_policy_is_read_back_as_it_was(
    tmp_path_factory: object,
    tiers: list[str],
    level: float,
    kind: str,
    signals: set[str],
    models: list[dict[str, object]],
) -> None:
    known = dict(zip(tiers, models, strict=False))
    made = minimal_policy("mine", tiers, {kind: level, "confidence": 0.9}, signals=sorted(signals), models=known)
    assert parse_policy(tomllib.loads(policy_toml(made))) == made


def test_the_families_of_a_ladder_are_those_that_most_rows_bring_for_every_cheap_tier() -> None:
    assert families_of(outcomes(0, (50, 0, 0)), ["cheap"]) == ["size", "sure"]
    assert families_of(outcomes(0, (50, 0, 0)), ["cheap", "frontier"]) == ["size"]
    assert families_of([], ["cheap"]) == ["text"]
