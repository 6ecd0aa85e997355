"""``cascade plan``: what a promise costs and when it pays, before any money is spent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli.assumed import Assumption, Measured, Money, call_costs, measured, settled
from cascade.cli.places import AsJson
from cascade.cli.planned import draw, record
from cascade.cli.printing import emit, status, tracked
from cascade.errors import ConfigError

if TYPE_CHECKING:
    from cascade.economics import CallCosts, Traffic
    from cascade.plan import Promise
    from cascade.policy import Policy


def _option(flag: str, help: str, metavar: str) -> Any:
    return typer.Option(flag, metavar=metavar, help=help, show_default=False)


Given = float | None
MaxError = Annotated[Given, _option("--max-error", "Target: so much of what is served cheap may be wrong.", "RATE")]
MaxRegret = Annotated[Given, _option("--max-regret", "Target: so much may be lost against the frontier.", "RATE")]
Confidence = Annotated[Given, _option("--confidence", "Of the promise. Default 0.95.", "RATE")]
Slices = Annotated[int | None, _option("--slices", "So many equal slices, each with its own promise.", "N")]
Named = Annotated[list[str] | None, _option("--slice", "One slice and its share of the traffic; repeat.", "NAME=SHARE")]
Refits = Annotated[int | None, _option("--refits", "Calibrations that share the doubt. Default 1.", "K")]
Power = Annotated[Given, _option("--power", "Wanted chance that the test passes. Default 0.8.", "RATE")]
Truth = Annotated[Given, _option("--true-error", "What is believed to be true. Default: half the target.", "RATE")]
Accept = Annotated[Given, _option("--accept-rate", "Expected share served cheap. Default 0.4.", "RATE")]
Requests = Annotated[Given, _option("--requests-per-day", "Default 1000.", "N")]
PerDay = Annotated[Given, _option("--labels-per-day", "Labels that can be had a day. Default: every request.", "N")]
AuditRate = Annotated[Given, _option("--audit-rate", "Share of accepted answers audited. Default 0.05.", "RATE")]
AuditRest = Annotated[Given, _option("--audit-escalated", "Share of escalated ones judged. Default 0.05.", "RATE")]
Drifts = Annotated[list[float] | None, _option("--drift-to", "A rate of wrong answers to be noticed; repeat.", "RATE")]
Cheap = Annotated[str | None, _option("--cheap", "Price it by its model's list price.", "MODEL")]
Frontier = Annotated[str | None, _option("--frontier", "The same for the frontier.", "MODEL")]
Judge = Annotated[str | None, _option("--judge", "The same for the judge. Default: what the frontier costs.", "MODEL")]
CostCheap = Annotated[Given, _option("--cost-cheap", "Or dollars a call.", "USD")]
CostFrontier = Annotated[Given, _option("--cost-frontier", "The same for the frontier.", "USD")]
CostJudge = Annotated[Given, _option("--cost-judge", "The same for the judge, who may be a person.", "USD")]
CostExtra = Annotated[Given, _option("--cost-extra", "What a scorer adds to each cheap call. Default 0.", "USD")]
TokensIn = Annotated[Given, _option("--tokens-in", "Prompt tokens of a request. Default 800.", "N")]
TokensOut = Annotated[Given, _option("--tokens-out", "Tokens of an answer. Default 200.", "N")]
PolicyOf = Annotated[Path | None, _option("--policy", "Take target, slices, audits and prices from it.", "FILE")]
OutcomesOf = Annotated[Path | None, _option("--outcomes", "Measured costs, tokens and accept rate.", "FILE")]


def plan(  # noqa: PLR0913 (an option for each assumption)
    *,
    max_error: MaxError = None,
    max_regret: MaxRegret = None,
    confidence: Confidence = None,
    slices: Slices = None,
    slice: Named = None,
    refits: Refits = None,
    power: Power = None,
    true_error: Truth = None,
    accept_rate: Accept = None,
    requests_per_day: Requests = None,
    labels_per_day: PerDay = None,
    audit_rate: AuditRate = None,
    audit_escalated: AuditRest = None,
    drift_to: Drifts = None,
    cheap: Cheap = None,
    frontier: Frontier = None,
    judge: Judge = None,
    cost_cheap: CostCheap = None,
    cost_frontier: CostFrontier = None,
    cost_judge: CostJudge = None,
    cost_extra: CostExtra = None,
    tokens_in: TokensIn = None,
    tokens_out: TokensOut = None,
    policy: PolicyOf = None,
    outcomes: OutcomesOf = None,
    json: AsJson = False,
) -> None:
    """What a promise costs, and when it pays, before any money is spent.

    Labels that the exact test needs, dollars, days to the first certificate, days until a drift
    would be noticed, and whether auditing leaves something of the saving; each with what it rests on.

    JSON: `answer` (in words), `promise` (`kind`, `level`, `confidence`, `slices`, `refits`), `delta`
    (of one certificate), `power`, `traffic` (`requests`, `labels`, `accept`, `audit`,
    `audit_escalated`), `floor`, `needed` and `table` (labels: `true_rate`, `accepted`, `certify`,
    `rows`, `total`), `first_days`, `days`, `drift` (`level`, `before`; `delays` in audits: `rate`,
    `bound`, `median`, `p90`, `horizon`; `alarms`: `slice`, `rate`, `audits_a_day`, `median_days`,
    `p90_days`), `costs` (dollars a call: `cheap`, `frontier`, `judge`, `extra`), `economics` (dollars:
    `label`, `labels`, `frontier_share`, `saving`, `audits`, `net`, `net_a_day`, `net_share`,
    `audit_share`, `break_even`, `payback` in days, `why`), both null without prices, and
    `assumptions` (`name`, `value`, `source`, `option`, `bears_on`).
    """
    from cascade.plan import plan as planned

    models = {"cheap": cheap, "frontier": frontier, "judge": judge}
    dollars = {"cheap": cost_cheap, "frontier": cost_frontier, "judge": cost_judge}
    money = Money(models=models, dollars=dollars, extra=cost_extra, tokens_in=tokens_in, tokens_out=tokens_out)
    basis = _Basis(policy, outcomes)
    promise = basis.promise((max_error, max_regret), confidence, _shares(slices, slice), refits)
    chance = basis.settle("power", "--power", power, on="labels", assumed=0.8)
    truth = basis.settle(
        f"true {promise.kind}", "--true-error", true_error, on="labels alarms", assumed=promise.level / 2
    )
    traffic = basis.traffic(requests_per_day, labels_per_day, accept_rate, audit_rate, audit_escalated)
    costs = basis.costs(money)
    with status("simulating the alarms"):
        found = planned(promise, traffic, costs, true_rate=truth, power=chance, rates=drift_to or ())
    emit(record(found, basis.assumptions)) if json else draw(found, basis.assumptions)


class _Basis:
    """Settles figure after figure, and remembers where each came from."""

    def __init__(self, policy: Path | None, outcomes: Path | None) -> None:
        from cascade.ledger import read_outcomes
        from cascade.policyfile import load_policy

        self._policy: Policy | None = load_policy(policy) if policy is not None else None
        rows = tracked("outcomes")(read_outcomes(outcomes)) if outcomes is not None else None
        self._known: Measured | None = measured(rows) if rows is not None else None
        self.assumptions: list[Assumption] = []

    def settle(
        self,
        name: str,
        option: str,
        given: Given,
        *,
        on: str,
        assumed: float,
        policy: Given = None,
        known: Given = None,
    ) -> float:
        """The figure to use, noted down; ``on`` says which answers rest on it."""
        one = settled(name, option, on, given=given, policy=policy, measured=known, assumed=assumed)
        self.assumptions.append(one)
        return one.value

    def promise(
        self, targets: tuple[Given, Given], confidence: Given, slices: dict[str, float] | None, refits: Given
    ) -> Promise:
        """Target and confidence as given or as the policy has them; slices and refits divide the doubt."""
        from cascade.plan import Promise

        target = self._policy.target if self._policy is not None else None
        if targets == (None, None) and target is not None:
            targets = (target.max_error, target.max_regret)
        error, regret = targets
        if (error is None) == (regret is None):
            raise ConfigError("state one target: --max-error RATE, --max-regret RATE, or a policy with --policy FILE")
        declared = [] if self._policy is None else [n for n, one in self._policy.slices.items() if one.route is None]
        shares = slices or {name: 1 / len(declared) for name in declared} or {"all": 1.0}
        self.settle(
            "slices",
            "--slices",
            len(slices) if slices else None,
            policy=len(declared) or None,
            on="labels alarms",
            assumed=1,
        )
        stated = target.confidence if target is not None else None
        return Promise(
            kind="error" if error is not None else "regret",
            level=error if error is not None else regret or 0.0,
            confidence=self.settle(
                "confidence", "--confidence", confidence, policy=stated, on="labels alarms", assumed=0.95
            ),
            slices=shares,
            refits=int(self.settle("refits", "--refits", refits, on="labels alarms", assumed=1)),
        )

    def traffic(self, requests: Given, labels: Given, accept: Given, audit: Given, escalated: Given) -> Traffic:
        """A day's traffic."""
        from cascade.economics import Traffic

        audits = self._policy.audit if self._policy is not None else None
        accepts = self._known.accept if self._known is not None else None
        shares = [audits.accepted, audits.escalated] if audits is not None else [None, None]
        observed = self._policy.observe.rate if self._policy is not None else None
        a_day = self.settle("requests a day", "--requests-per-day", requests, on="labels alarms money", assumed=1000.0)
        return Traffic(
            requests=a_day,
            labels=self.settle(
                "labels a day",
                "--labels-per-day",
                labels,
                on="labels",
                policy=a_day * observed if observed else None,
                assumed=a_day,
            ),
            accept=self.settle(
                "accept rate", "--accept-rate", accept, known=accepts, on="labels alarms money", assumed=0.4
            ),
            audit=self.settle(
                "audited of accepted", "--audit-rate", audit, policy=shares[0], on="alarms money", assumed=0.05
            ),
            audit_escalated=self.settle(
                "judged of escalated", "--audit-escalated", escalated, policy=shares[1], on="money", assumed=0.05
            ),
        )

    def costs(self, money: Money) -> CallCosts | None:
        """Dollars a call, where anything was said of money."""
        costs, noted = call_costs(money, self._policy, self._known)
        self.assumptions += noted
        return costs


def _shares(count: int | None, named: list[str] | None) -> dict[str, float] | None:
    """Each slice's share of the traffic: equal ones, or as named; None where nothing was said."""
    if not named:
        if count is not None and count < 1:
            raise ConfigError(f"--slices must be at least 1; got {count}")
        return {f"slice {i}": 1 / count for i in range(1, count + 1)} if count is not None else None
    shares: dict[str, float] = {}
    for text in named:
        name, _, share = text.rpartition("=")
        try:
            if not name or name in shares:
                raise ValueError
            shares[name] = float(share)
        except ValueError:
            raise ConfigError(f"--slice {text}: write NAME=SHARE, each name once, as in --slice billing=0.3") from None
    if count not in (None, len(shares)):
        raise ConfigError(f"--slices {count} and {len(shares)} named slices: leave one out")
    return shares
