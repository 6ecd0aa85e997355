"""A scenario in one or two sentences: what the cascade lost, whether it noticed, and who lost most."""

from __future__ import annotations

from collections.abc import Mapping

from cascade.bench.document import Lost
from cascade.bench.field import CASCADE, FRONTIER
from cascade.bench.worlds import World
from cascade.policy import Policy
from cascade.recheck import Answer

ALIKE = 5e-4
"""Figures that differ by less are told as the same: they would print alike."""


def sentence(
    world: World, before: Mapping[str, Lost], after: Mapping[str, Lost], policy: Policy, answer: Answer | None
) -> str:
    """All of it in words; ``answer`` is that of a check of the promise with the labels of this world."""
    ours = after[CASCADE]
    quality = _moved("quality", before[CASCADE].quality, ours.quality)
    saving = _moved("saving", before[CASCADE].saving, ours.saving)
    told = [f"The cascade's {quality} and its {saving}{_promise(ours, policy)}."]
    checked = "" if answer is None else f"With these rows and their labels `cascade check` answers: {answer}."
    return " ".join([*told, *filter(None, (_noticed(world, before, after, policy), checked, _most(after)))])


def _promise(ours: Lost, policy: Policy) -> str:
    """Does the promise hold on these rows?"""
    if ours.kept is None:
        return ""
    held = "holds" if ours.kept else "does not hold"
    if policy.target.kind == "error":
        return f"; on these rows its promise {held} ({_share(ours.accepted_error)} of what it serves is wrong)"
    return f"; on these rows its promise {held} ({_points(ours.quality_delta)} against {FRONTIER})"


def _noticed(world: World, before: Mapping[str, Lost], after: Mapping[str, Lost], policy: Policy) -> str:
    """What the cascade's own safeguards made of it."""
    ours, frontier = after[CASCADE], after[FRONTIER]
    served = _moved("share served without the last tier", before[CASCADE].accept_rate, ours.accept_rate)
    match world.kind:
        case "silent":
            audits = f"audits of {policy.audit.accepted:.1%} of the served answers"
            return f"Nothing in its drafts shows that, so it serves as before: only {audits} see it."
        case "blind":
            bound = "A gate is bound to the signals that it was certified with: the"
            return f"{bound} {served}, and the rest goes to the last tier at its price."
        case "lenient":
            return (
                f"By these labels {_share(ours.reported_error)} of what it serves is wrong, in truth "
                f"{_share(ours.accepted_error)}; only people's verdicts, or another judge's, show the difference."
            )
        case "outage":
            lost, theirs = (round(one.failed * len(world.outcomes)) for one in (ours, frontier))
            asked = f"Of the {len(world.hour):,} requests of that hour"
            return f"{asked} it leaves {lost:,} unanswered, {FRONTIER} {theirs:,}."
        case "price":
            return "No decision reads a price."
        case _:
            return f"Its {served}."


def _most(after: Mapping[str, Lost]) -> str:
    """Who lost most quality, where that is more than the cascade."""
    worst = max(after.values(), key=lambda one: one.quality_lost)
    if worst.quality_lost <= max(after[CASCADE].quality_lost, 0.0) + ALIKE:
        return ""
    return f"Most quality is lost by {worst.name}: {_points(-worst.quality_lost)}."


def _moved(what: str, before: float, after: float) -> str:
    if abs(before - after) < ALIKE:
        return f"{what} stays at {before:.1%}"
    return f"{what} {'falls' if after < before else 'rises'} from {before:.1%} to {after:.1%}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"


def _share(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"
