"""``cascade schema``: the JSON Schemas of the files that this package reads and writes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from cascade.cli.printing import emit


class Kind(StrEnum):
    """The files that have a schema."""

    policy = "policy"
    lock = "lock"
    outcome = "outcome"


def schema(kind: Annotated[Kind, typer.Argument(help="Which file: policy, lock or outcome.")]) -> None:
    """Print the JSON Schema of a policy (as TOML's tables), a lock, or one outcome (a JSON line).

    JSON: the schema itself, draft 2020-12.
    """
    emit(of(kind))


def of(kind: Kind) -> dict[str, Any]:
    """The schema of one kind of file."""
    if kind is Kind.policy:
        from cascade.policy import Policy

        return Policy.model_json_schema()
    if kind is Kind.lock:
        import msgspec

        from cascade.lock import Lock

        return msgspec.json.schema(Lock)
    from cascade.ledger import outcome_schema

    return outcome_schema()
