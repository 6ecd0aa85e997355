"""Does a cascade pay? Its costs and savings against sending everything to the frontier.

Expected values, audits included: the cheap call is paid also where its answer is thrown away, and a
label costs both answers and a verdict. Money in US dollars, shares in [0, 1], times in days.
"""

from __future__ import annotations

from math import inf

from cascade.types import Record


class Traffic(Record, frozen=True, kw_only=True):
    """A day's requests, how many of them may be labelled, and what happens to them.

    ``accept`` is the expected share served cheap; ``audit`` and ``audit_escalated`` are the shares
    of accepted and of escalated answers that a judge will see.
    """

    requests: float
    labels: float
    accept: float
    audit: float
    audit_escalated: float


class CallCosts(Record, frozen=True, kw_only=True):
    """Dollars of one call. ``extra`` is what a scorer adds to each cheap call (samples, a verifier)."""

    cheap: float
    frontier: float
    judge: float
    extra: float

    @property
    def label(self) -> float:
        """Dollars of one label: both answers and a verdict."""
        return self.cheap + self.extra + self.frontier + self.judge


class Economics(Record, frozen=True, kw_only=True):
    """Whether it pays. Dollars a request where nothing else is said, against always-frontier.

    ``saving`` is before audits, ``audits`` what they cost, ``net`` what is left. ``audit_share`` is
    audits / saving, None where nothing is saved. ``break_even`` is the accept rate from which on
    ``net`` is positive, None where no rate would do. ``payback`` is in days from the certificate on,
    None where it never pays, and ``why`` then says why.
    """

    label: float
    labels: float
    frontier_share: float
    saving: float
    audits: float
    net: float
    net_a_day: float
    net_share: float
    audit_share: float | None
    break_even: float | None
    payback: float | None
    why: str


def economics(labels: int, traffic: Traffic, costs: CallCosts) -> Economics:
    """What so many labels cost, against the net saving of a day. Nothing is rounded."""
    a, cheap = traffic.accept, costs.cheap + costs.extra
    saving = a * costs.frontier - cheap
    audits = a * traffic.audit * (costs.frontier + costs.judge) + (1 - a) * traffic.audit_escalated * costs.judge
    net = saving - audits
    from_rate = break_even(costs, traffic.audit, traffic.audit_escalated)
    spent = labels * costs.label
    return Economics(
        label=costs.label,
        labels=spent,
        frontier_share=labels * costs.frontier / spent if spent else 0.0,
        saving=saving,
        audits=audits,
        net=net,
        net_a_day=net * traffic.requests,
        net_share=net / costs.frontier if costs.frontier else 0.0,
        audit_share=audits / saving if saving > 0 else None,
        break_even=from_rate,
        payback=spent / (net * traffic.requests) if net > 0 else None,
        why="" if net > 0 else _why_not(a, from_rate),
    )


def break_even(costs: CallCosts, audit: float, audit_escalated: float) -> float | None:
    """Accept rate above which a cascade with audits is cheaper than always-frontier; None if none is.

    From c + x + (1-a)(F + e J) + a d (F + J) < F for cheap c, extra x, frontier F, judge J, shares
    audited d of accepted and e of escalated answers.
    """
    gain = (1.0 - audit) * costs.frontier - (audit - audit_escalated) * costs.judge
    least = (costs.cheap + costs.extra + audit_escalated * costs.judge) / gain if gain > 0 else inf
    return least if least < 1.0 else None


def _why_not(accept: float, from_rate: float | None) -> str:
    if from_rate is None:
        return "even if every cheap answer were served, the cheap calls and audits would cost what the frontier does"
    return f"an accept rate of {accept * 100:.3g} % is not above the break-even of {from_rate * 100:.3g} %"
