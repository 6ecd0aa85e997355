"""The options of ``cascade judge``, and the judge that they describe."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cascade.cli.printing import note
from cascade.errors import BudgetError, ConfigError

if TYPE_CHECKING:
    from cascade.asks import Transport
    from cascade.judging.case import Judge
    from cascade.judging.drawing import Docket
    from cascade.judging.llm import ModelJudge
    from cascade.policy import Policy
    from cascade.types import Outcome

RULES = "Judge by rule"
MODEL = "Judge by a model"
PEOPLE = "Take in verdicts"
DRAW = "Which answers"


def _option(panel: str | None, *names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, show_default=more.pop("show_default", False), rich_help_panel=panel, **more)


Exact = Annotated[bool, _option(RULES, "--exact", help="The words of the row's reference, and nothing else.")]
Numeric = Annotated[bool, _option(RULES, "--numeric", help="The last number said is the reference's.")]
Tolerance = Annotated[
    float, _option(RULES, "--tolerance", metavar="X", min=0.0, help="For --numeric: or no further from it than X.")
]
JsonEqual = Annotated[bool, _option(RULES, "--json-equal", help="The same JSON value as the reference.")]
Command = Annotated[
    str | None,
    _option(
        RULES,
        "--command",
        metavar="WORDS",
        help="A test command, run without a shell: status 0 accepts, 1 does not, all else abstains. "
        "{answer_file} stands for the answer's text; on stdin comes what a policy's check gets.",
    ),
]
Timeout = Annotated[
    float,
    _option(None, "--timeout", metavar="S", min=0.001, help="Seconds for one command or call.", show_default=True),
]
Model = Annotated[
    str | None, _option(MODEL, "--model", metavar="MODEL", help="As litellm names it: openai/gpt-5.5, ...")
]
RubricName = Annotated[
    str | None,
    _option(
        MODEL,
        "--rubric",
        metavar="NAME|FILE",
        help="general (default), support, triage, compliance, coding, or your own Markdown.",
    ),
]
Against = Annotated[
    bool,
    _option(
        MODEL, "--against", help="At least as good as the last tier's answer? The judge is not told which is which."
    ),
]
BaseUrl = Annotated[
    str | None, _option(MODEL, "--base-url", metavar="URL", help="An OpenAI-compatible server, such as a local one.")
]
ApiKeyEnv = Annotated[
    str | None, _option(MODEL, "--api-key-env", metavar="NAME", help="Environment variable that holds the key.")
]
Priced = Annotated[
    str | None,
    _option(MODEL, "--price", metavar="IN,OUT", help="Dollars a million tokens, where litellm's map has none."),
]
Ceiling = Annotated[
    float | None,
    _option(MODEL, "--budget", metavar="USD", min=0.0, help="Refuse to begin above it, and stop before it is passed."),
]
Yes = Annotated[bool, _option(MODEL, "--yes", "-y", help="Do not ask before money is spent.")]
Verdicts = Annotated[
    Path | None,
    _option(
        PEOPLE,
        "--verdicts",
        metavar="FILE",
        help="CSV or JSON lines: id, acceptable; also tier, score, judge, propensity, note. All or nothing.",
    ),
]
KeepGoing = Annotated[bool, _option(PEOPLE, "--keep-going", help="Take the good rows although there are bad ones.")]
JudgeName = Annotated[
    str, _option(None, "--judge-name", metavar="NAME", help="Who judges, where no rule or row says: human:ann, ...")
]
Tiers = Annotated[
    list[str] | None,
    _option(DRAW, "--tier", metavar="NAME", help="Only this tier's answers; may be repeated. Default: every tier's."),
]
SliceName = Annotated[str | None, _option(DRAW, "--slice", metavar="NAME", help="Only rows of this slice.")]
Share = Annotated[
    float | None,
    _option(DRAW, "--share", metavar="P", max=1.0, help="Draw rows with probability P, by a hash of each row's id."),
]
Limit = Annotated[int | None, _option(DRAW, "--limit", metavar="N", min=1, help="Draw N rows at random.")]
Concurrency = Annotated[
    int, _option(None, "--concurrency", metavar="N", min=1, help="Judged at once.", show_default=True)
]
PolicyFile = Annotated[
    Path | None,
    _option(
        DRAW,
        "--policy",
        metavar="FILE",
        help="Only a ledger's rows of this policy; drawn by its audit.salt. --against and --verdicts find it "
        "as other commands do, for its order of tiers.",
    ),
]
Output = Annotated[
    Path | None, _option(None, "-o", "--output", metavar="FILE", help="Write here, and leave SOURCE as it is.")
]


class Wanted(NamedTuple):
    """What the options ask of a judge."""

    exact: bool
    numeric: bool
    tolerance: float
    json_equal: bool
    command: str | None
    timeout: float
    model: str | None
    rubric: str | None
    against: bool
    base_url: str | None
    api_key_env: str | None
    price: str | None
    budget: float | None
    verdicts: Path | None
    keep_going: bool
    name: str

    def check(self) -> None:
        """Exactly one kind of judge, and no option that belongs to another. ``BadParameter`` otherwise."""
        kinds = {
            "--exact": self.exact,
            "--numeric": self.numeric,
            "--json-equal": self.json_equal,
            "--command": self.command,
            "--model": self.model,
            "--verdicts": self.verdicts,
        }
        chosen = [kind for kind, given in kinds.items() if given]
        if len(chosen) != 1:
            raise typer.BadParameter(f"give exactly one judge of {', '.join(kinds)}; found {len(chosen)}")
        model = [self.rubric, self.against, self.base_url, self.api_key_env, self.price, self.budget]
        if chosen != ["--model"] and any(option not in (None, False) for option in model):
            raise typer.BadParameter(
                "--rubric, --against, --base-url, --api-key-env, --price and --budget are for --model"
            )
        if self.tolerance and not self.numeric:
            raise typer.BadParameter("--tolerance is for --numeric")
        if self.keep_going and not self.verdicts:
            raise typer.BadParameter("--keep-going is for --verdicts")
        if self.name and self.model:
            raise typer.BadParameter("--judge-name is not for --model: its name says which model and rubric it was")

    def judge(self, transport: Transport) -> Judge:
        """The judge. ``ConfigError`` where rubric or command do not hold."""
        from cascade.judging.rules import CommandJudge, RuleJudge, exact, json_equal, numeric

        if self.model is not None:
            return self._model(self.model, transport)
        if self.command is not None:
            try:
                words = shlex.split(self.command)
            except ValueError as error:
                raise typer.BadParameter(f"--command cannot be read: {error}") from None
            return CommandJudge(words, self.timeout, self.name)
        if self.numeric:
            usual = f"numeric:{self.tolerance:g}" if self.tolerance else "numeric"
            return RuleJudge(self.name or usual, numeric(self.tolerance))
        return RuleJudge(self.name or "exact", exact) if self.exact else RuleJudge(self.name or "json", json_equal)

    def _model(self, model: str, transport: Transport) -> ModelJudge:
        from cascade.asks import Endpoint
        from cascade.judging.llm import ModelJudge
        from cascade.judging.rubrics import load_rubric

        price = None if self.price is None else price_in(self.price)
        endpoint = Endpoint(model=model, base_url=self.base_url, api_key_env=self.api_key_env, price=price)
        rubric = load_rubric(self.rubric or "general")
        return ModelJudge(endpoint, rubric, transport, paired=self.against, timeout=self.timeout)


class Drawing(NamedTuple):
    """What the options say about which answers."""

    tiers: list[str]
    slice: str | None
    share: float | None
    limit: int | None

    def check(self, *, importing: bool) -> None:
        """At most one way to draw, and one that draws something. ``BadParameter`` otherwise."""
        if importing and (self.slice, self.share, self.limit) != (None, None, None):
            raise typer.BadParameter("--slice, --share and --limit are not for --verdicts: its rows are drawn already")
        if importing and len(self.tiers) > 1:
            raise typer.BadParameter("--verdicts takes one --tier, for rows that name none")
        if self.share is not None and self.limit is not None:
            raise typer.BadParameter("--share and --limit exclude each other")
        if self.share is not None and not self.share > 0.0:
            raise typer.BadParameter("--share must be above 0: what is never drawn is never judged")

    def names_hold(self, rows: list[Outcome]) -> None:
        """``ConfigError`` for a tier or a slice that no row has."""
        from cascade.policy import nearest

        known = sorted({tier for row in rows for tier in row.models})
        for tier in self.tiers:
            if tier not in known:
                raise ConfigError(f"no row has an answer of tier {tier!r}{nearest(tier, known)}")
        slices = sorted({row.slice for row in rows})
        if self.slice is not None and self.slice not in slices:
            raise ConfigError(f"no row is of slice {self.slice!r}{nearest(self.slice, slices)}")


def price_in(text: str) -> tuple[float, float, float]:
    """``1.25,10`` as a price; cached input costs what other input does."""
    try:
        paid, earned = map(float, text.split(","))
    except ValueError:
        paid = earned = -1.0
    if not (0.0 <= paid < float("inf") and 0.0 <= earned < float("inf")):
        raise typer.BadParameter(f"--price {text}: write dollars a million tokens, in and out, as 1.25,10")
    return paid, earned, paid


def agree(judge: ModelJudge, docket: Docket, wanted: Wanted, *, yes: bool) -> None:
    """Say what it is expected to cost, and have that agreed to. ``BudgetError`` above the budget."""
    expected = sum(judge.estimate(case) for case, _ in docket.cases)
    local = wanted.base_url is not None and not judge.priced
    if judge.priced:
        note(f"{len(docket.cases):,} answers to be judged by {judge.name}: about {expected:.4f} USD")
    elif wanted.budget is not None:
        raise ConfigError(f"no price is known of {wanted.model}, so no budget can be kept: give --price IN,OUT")
    else:
        cost = "which costs nothing that is counted" if local else "at a price that is not known (--price IN,OUT)"
        note(f"{len(docket.cases):,} answers to be judged by {judge.name}, {cost}")
    if wanted.budget is not None and expected > wanted.budget:
        raise BudgetError(
            f"about {expected:.4f} USD is more than the budget of {wanted.budget:g}: "
            "judge fewer (--limit, --share) or raise --budget"
        )
    if yes or local or not docket.cases or (judge.priced and not expected):
        return
    if not sys.stdin.isatty() or not sys.stderr.isatty():
        raise ConfigError("nobody is here to agree to that: pass --yes")
    # typer.confirm would put a space on stdout, even where it is told to ask on stderr.
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Abort


def policy_meant(given: Path | None, wanted: Wanted) -> Policy | None:
    """The policy, where one was named or ``--against`` needs its order of tiers.

    For imported verdicts the one that other commands would find, if any, since it says which tier is first.
    """
    from cascade.cli.places import policy_file
    from cascade.policyfile import load_policy

    if given is None and not wanted.against:
        if wanted.verdicts is None:
            return None
        try:
            return load_policy(policy_file(None))
        except ConfigError:
            return None
    return load_policy(policy_file(given))
