"""The shipped policies hold what they teach: they load, their prices are known, their words are plain."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cascade.engine import embedder_of
from cascade.gates import Gates
from cascade.ladder import Ladder
from cascade.lock import load_lock, lock_path
from cascade.policy import Policy
from cascade.policyfile import load_policy
from cascade.prices import price_of

FOLDER = Path(__file__).parent.parent / "policies"
TEMPLATES = ("support", "triage", "compliance", "coding")


@pytest.fixture(params=TEMPLATES)
def file(request: pytest.FixtureRequest) -> Path:
    """Each template in turn."""
    return FOLDER / f"{request.param}.toml"


@pytest.fixture
def policy(file: Path) -> Policy:
    """What the template says."""
    return load_policy(file)


def test_a_template_takes_the_name_of_its_file(file: Path, policy: Policy) -> None:
    """So that a copy under another name is another policy."""
    assert policy.name == file.stem
    assert not re.search(r"^name =", file.read_text().partition("[[tiers]]")[0], re.MULTILINE)


def test_every_model_of_a_template_has_a_price_in_the_map(policy: Policy) -> None:
    """The policy itself states none: nothing in it grows old unseen."""
    for tier in policy.tiers:
        for model in (tier, *tier.fallbacks):
            assert model.price is None
            assert price_of(model.model) is not None, model.model
    Ladder(policy)


def test_tiers_stand_cheapest_first(policy: Policy) -> None:
    """The order is the order in which they are asked."""
    prices = [price for tier in policy.tiers if (price := price_of(tier.model)) is not None]
    assert [price.output for price in prices] == sorted(price.output for price in prices)


def test_adopting_a_template_changes_no_answer(policy: Policy) -> None:
    """It observes, with a ceiling on what that may cost."""
    assert policy.mode == "observe"
    assert policy.observe.ceiling_usd_a_day is not None


def test_every_regular_expression_of_a_template_matches_something(policy: Policy) -> None:
    """A pattern whose backslashes TOML has eaten matches nothing and says nothing."""
    rules = [declared.when for declared in policy.slices.values()] + [rule.when for rule in policy.stakes]
    for pattern in [when.pattern for when in rules if when is not None and when.pattern is not None]:
        words = re.findall(r"[a-z ]{4,}", pattern.replace(r"\b", "").replace(r"\w", ""))
        assert any(re.search(pattern, word.strip()) for word in words), pattern


def test_a_template_explains_itself(file: Path) -> None:
    """It opens with what it is for, says more on the way, and every line fits a screen."""
    lines = file.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert sum("# " in line for line in lines) >= 10
    assert all(len(line) <= 120 for line in lines)


def test_no_template_states_a_threshold(file: Path) -> None:
    """Thresholds come out of labelled outcomes and live in locks."""
    said = "\n".join(line.partition("#")[0] for line in file.read_text().splitlines())
    assert "threshold" not in said


def test_triage_asks_for_the_business_impact() -> None:
    """Severity cannot be judged without it; acting escalates, reviewing is marked."""
    slices = load_policy(FOLDER / "triage.toml").slices
    assert "business_impact" in slices["act"].require_context
    assert slices["act"].missing_context == "escalate"
    assert slices["review"].missing_context == "flag"


def test_coding_is_checked_by_a_command() -> None:
    """The tests decide before any confidence does."""
    (check,) = load_policy(FOLDER / "coding.toml").checks
    assert check.command


def test_the_demo_is_priced_as_the_hosted_pair_that_it_stands_in_for() -> None:
    """gpt-5.4-mini and gpt-5.5, as litellm's map has them."""
    policy = load_policy(FOLDER / "demo.toml")
    for tier in policy.tiers:
        hosted = price_of("openai/gpt-5.5" if tier is policy.last else "openai/gpt-5.4-mini")
        assert tier.price is not None
        assert hosted is not None
        assert (tier.price.input, tier.price.output) == (hosted.input, hosted.output)


@pytest.mark.skipif(not lock_path(FOLDER / "demo.toml").exists(), reason="the demo's lock is not here")
def test_every_certificate_of_the_demo_is_in_force() -> None:
    """The lock was made for the policy as it stands."""
    policy = load_policy(FOLDER / "demo.toml")
    lock = load_lock(lock_path(FOLDER / "demo.toml"))
    assert lock is not None
    embedder = embedder_of(policy)
    assert embedder is not None
    reasons = Gates(policy, lock, embedder=embedder.name).reasons
    assert not [certificate.id for certificate in lock.certificates if certificate.id in reasons]
