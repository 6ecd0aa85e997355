"""``cascade ask``: one request through a policy."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli.places import AsJson, PolicyFile, policy_file
from cascade.cli.printing import emit, note

if TYPE_CHECKING:
    from cascade.engine import Cascade
    from cascade.types import Decision, Message


def ask(
    prompt: Annotated[str, typer.Argument(help="The question; - reads it from stdin.", show_default=False)],
    policy: PolicyFile = None,
    slice: Annotated[
        str | None, typer.Option("--slice", metavar="NAME", help="Slice of the policy.", show_default=False)
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT", help="System message.", show_default=False)
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the answer while it arrives.")] = False,
    json: AsJson = False,
) -> None:
    """Ask one question through a policy.

    The answer goes to stdout; who gave it, why, with which confidence and at what cost goes to
    stderr, with the id that `cascade explain` takes.

    JSON: `answer`, `id`, `served`, `served_by`, `why`, `confidence` (probability or null), `cost`
    (dollars), `cost_known`, `decision` (the ledger's record; fields at their default left out).
    """
    from cascade import background
    from cascade.engine import Cascade

    if stream and json:
        raise typer.BadParameter("--stream and --json exclude each other")
    text = sys.stdin.read() if prompt == "-" else prompt
    turns: list[Message] = [{"role": "system", "content": system}] if system else []
    with Cascade.load(policy_file(policy)) as cascade:
        try:
            answer, decision = _asked(cascade, [*turns, {"role": "user", "content": text}], slice, stream)
        finally:
            background.call(cascade.parts.transport.close)
    if json:
        emit(_record(answer, decision))
        return
    if not stream:
        print(answer)
    note(_line(decision))


def _asked(cascade: Cascade, messages: list[Message], slice: str | None, stream: bool) -> tuple[str, Decision]:
    """The answer's text and the decision; a streamed answer is printed on the way."""
    if not stream:
        reply = cascade.completion(messages, slice=slice)
        return reply.choices[0].message.content or "", reply.cascade
    chunks = cascade.completion(messages, slice=slice, stream=True)
    with chunks:
        for chunk in chunks:
            for choice in chunk.choices:
                print(getattr(choice.delta, "content", None) or "", end="", flush=True)
    print()
    return chunks.draft.text, chunks.cascade


def _record(answer: str, decision: Decision) -> dict[str, object]:
    confidence = decision.confidence
    return {
        "answer": answer,
        "id": decision.id,
        "served": decision.served,
        "served_by": decision.served_by,
        "why": decision.why,
        "confidence": confidence.probability if confidence is not None else None,
        "cost": decision.cost,
        "cost_known": decision.cost_known,
        "decision": decision,
    }


def _line(decision: Decision) -> str:
    confidence = decision.confidence
    sure = f"confidence {confidence.probability:.3f}" if confidence is not None else "no confidence"
    cost = f"{decision.cost:.6f} USD{'' if decision.cost_known else ' or more'}"
    return f"{decision.served} by {decision.served_by}: {decision.why}; {sure}; {cost}; {decision.id}"
