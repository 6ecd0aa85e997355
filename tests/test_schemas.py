"""The published JSON Schemas are those of the code, and fit the files that the project commits."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from cascade.cli.schema import Kind, of
from cascade.demo import recorded
from cascade.ledger.records import encode

ROOT = Path(__file__).parent.parent
PUBLISHED = {
    Kind.policy: ROOT / "policies" / "policy.schema.json",
    Kind.lock: ROOT / "policies" / "lock.schema.json",
    Kind.outcome: ROOT / "benchmarks" / "recordings" / "outcome.schema.json",
}


@pytest.mark.parametrize("kind", list(Kind))
def test_the_published_schema_is_the_code_s(kind: Kind) -> None:
    """`cascade schema KIND` prints what is committed."""
    assert json.loads(PUBLISHED[kind].read_text()) == json.loads(json.dumps(of(kind)))


@pytest.mark.parametrize("file", sorted((ROOT / "policies").glob("*.toml")), ids=lambda file: file.name)
def test_every_shipped_policy_fits_the_schema(file: Path) -> None:
    """The schema accepts what the loader accepts."""
    table = {"name": file.stem, **tomllib.loads(file.read_text())}
    Draft202012Validator(of(Kind.policy)).validate(table)


def test_the_demo_s_lock_and_outcomes_fit_their_schemas() -> None:
    """What the machine writes is what the schema says."""
    Draft202012Validator(of(Kind.lock)).validate(json.loads((ROOT / "policies" / "demo.lock.json").read_text()))
    outcomes = Draft202012Validator(of(Kind.outcome))
    for outcome in recorded()[:50]:
        outcomes.validate(json.loads(encode(outcome)))


def test_a_policy_with_an_unknown_key_does_not_fit() -> None:
    """The schema can say no."""
    table = tomllib.loads((ROOT / "policies" / "support.toml").read_text())
    assert not Draft202012Validator(of(Kind.policy)).is_valid({**table, "name": "x", "tiersz": []})
