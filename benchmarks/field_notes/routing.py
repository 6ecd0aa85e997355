"""What the published example of routing implies."""

from __future__ import annotations

from benchmarks.field_notes.findings import DIGITS
from benchmarks.field_notes.notes import Notes, Routing
from cascade.types import Record


class Routed(Record, frozen=True, kw_only=True):
    """What the routing example, as ``told``, implies. Dollars of the same traffic.

    With N requests, a share e = 1 - cheap_share of them escalated, E dollars for those and F for all of
    them at the frontier: an escalated request costs (E / e N) / (F / N) = E / (e F) mean ones. The others
    would cost F - E at the frontier and cost C cheap, so the price ratio on them is (F - E) / C; if every
    request had first been drafted cheap, it would be F / C.
    """

    told: Routing
    saving: float
    escalated_if_mean: float
    rest_at_frontier: float
    escalated_times: float
    reproduced: bool
    escalated_share_of_bill: float
    cheap_times: float
    price_ratio: float
    price_ratio_if_all_drafted: float
    price_ratio_in_range: bool
    saving_at_range: tuple[float, float]
    saving_if_escalated_were_mean: float
    saving_if_all_drafted: float


def routed(notes: Notes) -> Routed:
    """The algebra of the routing example."""
    told = notes.routing
    cheap, escalated, frontier = told.cheap_dollars, told.escalated_dollars, told.frontier_dollars
    share, rest = 1 - told.cheap_share, frontier - escalated
    ratio, low, high = rest / cheap, *told.price_ratio
    times = escalated / (share * frontier)
    return Routed(
        told=told,
        escalated_if_mean=round(share * frontier, DIGITS),
        rest_at_frontier=rest,
        saving=round(1 - (cheap + escalated) / frontier, DIGITS),
        escalated_times=round(times, DIGITS),
        reproduced=round(times, 1) == told.escalated_times,
        escalated_share_of_bill=round(escalated / (cheap + escalated), DIGITS),
        cheap_times=round(rest / (told.cheap_share * frontier), DIGITS),
        price_ratio=round(ratio, DIGITS),
        price_ratio_if_all_drafted=round(frontier / cheap, DIGITS),
        price_ratio_in_range=low <= ratio <= high and low <= frontier / cheap <= high,
        saving_at_range=(
            round(1 - (rest / low + escalated) / frontier, DIGITS),
            round(1 - (rest / high + escalated) / frontier, DIGITS),
        ),
        saving_if_escalated_were_mean=round(1 - (cheap + share * frontier) / frontier, DIGITS),
        saving_if_all_drafted=round(1 - (cheap + escalated / ratio + escalated) / frontier, DIGITS),
    )
