"""The options of ``cascade trial``, and the setting that they describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cascade.cli import judge_options
from cascade.cli.judge_options import price_in
from cascade.errors import ConfigError

if TYPE_CHECKING:
    from cascade.policy import Policy
    from cascade.trial import Setting

MODELS, JUDGE, PROMISE, MONEY = "Two models", "A judge", "What is promised", "Money and time"


def _option(panel: str | None, *names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, show_default=more.pop("show_default", False), rich_help_panel=panel, **more)


Cheap = Annotated[
    str | None, _option(MODELS, "--cheap", metavar="MODEL", help="As litellm names it: openai/gpt-5.4-mini, ...")
]
Frontier = Annotated[str | None, _option(MODELS, "--frontier", metavar="MODEL", help="Answers when in doubt.")]
PolicyFile = Annotated[
    Path | None,
    _option(MODELS, "--policy", metavar="FILE", help="A policy of two tiers of your own, instead of the two models."),
]
BaseUrl = Annotated[
    str | None, _option(MODELS, "--base-url", metavar="URL", help="An OpenAI-compatible server, for all three models.")
]
CheapUrl = Annotated[str | None, _option(MODELS, "--base-url-cheap", metavar="URL", help="For the cheap one.")]
FrontierUrl = Annotated[str | None, _option(MODELS, "--base-url-frontier", metavar="URL", help="For the frontier.")]
ApiKeyEnv = Annotated[
    str | None, _option(MODELS, "--api-key-env", metavar="NAME", help="Environment variable with that server's key.")
]
CheapPrice = Annotated[
    str | None,
    _option(MODELS, "--price-cheap", metavar="IN,OUT", help="Dollars a million tokens, where litellm's map has none."),
]
FrontierPrice = Annotated[str | None, _option(MODELS, "--price-frontier", metavar="IN,OUT", help="The same.")]
JudgeModel = Annotated[str | None, _option(JUDGE, "--judge", metavar="MODEL", help="A model that judges by a rubric.")]
RubricName = Annotated[
    str | None,
    _option(
        JUDGE,
        "--rubric",
        metavar="NAME|FILE",
        help="general (default), support, triage, compliance, coding, or your own Markdown.",
    ),
]
JudgeUrl = Annotated[str | None, _option(JUDGE, "--base-url-judge", metavar="URL", help="For the judge.")]
JudgePrice = Annotated[str | None, _option(JUDGE, "--price-judge", metavar="IN,OUT", help="As --price-cheap.")]
Exact = Annotated[bool, _option(JUDGE, "--exact", help="By rule: the words of the prompt's reference.")]
Numeric = Annotated[bool, _option(JUDGE, "--numeric", help="By rule: the last number said is the reference's.")]
Tolerance = Annotated[
    float, _option(JUDGE, "--tolerance", metavar="X", min=0.0, help="For --numeric: or no further from it than X.")
]
JsonEqual = Annotated[bool, _option(JUDGE, "--json-equal", help="By rule: the same JSON value as the reference.")]
Command = Annotated[
    str | None, _option(JUDGE, "--command", metavar="WORDS", help="By a test command; see cascade judge --help.")
]
MaxError = Annotated[
    float | None,
    _option(PROMISE, "--max-error", metavar="SHARE", help="Of what is served cheap at most so much is bad: 0.05."),
]
MaxRegret = Annotated[
    float | None,
    _option(PROMISE, "--max-regret", metavar="SHARE", help="At most so much is lost against always-frontier."),
]
Sure = Annotated[
    float | None,
    _option(PROMISE, "--confidence", metavar="SHARE", help="Of the promise. Default: 0.95 or the policy's."),
]
AllowConflict = Annotated[
    bool,
    _option(PROMISE, "--allow-conflict", help="Certify though the judge is of a judged model's family."),
]
Ceiling = Annotated[
    float | None,
    _option(MONEY, "--budget", metavar="USD", min=0.0, help="No call begins that could pass it, in all runs together."),
]
MaxTokens = Annotated[
    int,
    _option(MONEY, "--max-tokens", metavar="N", min=1, help="The longest answer, where a prompt says none.",
            show_default=True),
]  # fmt: skip
Concurrency = Annotated[
    int, _option(MONEY, "--concurrency", metavar="N", min=1, help="Prompts at once.", show_default=True)
]
Yes = Annotated[bool, _option(MONEY, "--yes", "-y", help="Do not ask before money is spent.")]
Name = Annotated[
    str | None,
    _option(None, "--name", metavar="NAME", help="Of the trial and its files. Default: that of the prompts' file."),
]
Seed = Annotated[int, _option(None, "--seed", metavar="N", help="Of the order of asking.", show_default=True)]


class Wanted(NamedTuple):
    """What the options ask of models, judge and promise."""

    cheap: str | None
    frontier: str | None
    policy: Path | None
    base_url: str | None
    urls: tuple[str | None, str | None, str | None]
    """Of the cheap model, the frontier and the judge."""
    api_key_env: str | None
    prices: tuple[str | None, str | None, str | None]
    judge: str | None
    rubric: str | None
    exact: bool
    numeric: bool
    tolerance: float
    json_equal: bool
    command: str | None
    max_error: float | None
    max_regret: float | None
    confidence: float | None
    name: str | None

    def check(self) -> None:
        """``BadParameter`` for options that are missing or do not go together."""
        if (self.policy is None) == (self.cheap is None or self.frontier is None):
            raise typer.BadParameter("give --cheap and --frontier, or a --policy of two tiers")
        if self.policy is not None and any((self.cheap, self.frontier, *self.urls[:2], *self.prices[:2])):
            raise typer.BadParameter("--policy names models, servers and prices: leave out those options")
        kinds = {"--judge": self.judge, "--exact": self.exact, "--numeric": self.numeric}
        kinds |= {"--json-equal": self.json_equal, "--command": self.command}
        if sum(map(bool, kinds.values())) != 1:
            raise typer.BadParameter(f"give exactly one judge of {', '.join(kinds)}")
        if not self.judge and any((self.rubric, self.urls[2], self.prices[2])):
            raise typer.BadParameter("--rubric, --base-url-judge and --price-judge are for --judge")
        if self.tolerance and not self.numeric:
            raise typer.BadParameter("--tolerance is for --numeric")
        if self.max_error is not None and self.max_regret is not None:
            raise typer.BadParameter("--max-error and --max-regret: state one of them")
        if self.policy is None and self.max_error is None and self.max_regret is None:
            raise typer.BadParameter("what is promised? --max-error 0.05, or --max-regret 0.02")

    @property
    def target(self) -> dict[str, float]:
        """What is said of the promise."""
        said = {"max_error": self.max_error, "max_regret": self.max_regret, "confidence": self.confidence}
        return {name: value for name, value in said.items() if value is not None}

    def url(self, place: int) -> str | None:
        """The server of the cheap model, the frontier or the judge."""
        return self.urls[place] or self.base_url


def setting_of(wanted: Wanted, prompts: Path, **more: Any) -> Setting:
    """The trial's setting. ``ConfigError`` where files of somebody else's are in its place, or prices unknown."""
    from cascade.trial import Setting

    wanted.check()
    base = prompts.name.removesuffix(".gz").rpartition(".")[0] if wanted.policy is None else wanted.policy.stem
    home = Path() if wanted.policy is None else wanted.policy.parent
    folder = home / f"{wanted.name or base}.trial"
    given = wanted.policy is not None
    policy = _given(wanted, folder.stem) if given else _named(wanted, folder)
    setting = Setting(policy=policy, judge=_judge(wanted), folder=folder, given=wanted.policy, **more)
    for suffix in (".lock.json", ".html") if given else (".toml", ".lock.json", ".html"):
        file = setting.beside(suffix)
        if file.exists() and not folder.exists():
            raise ConfigError(f"{file} is there and is not of this trial: give a --name, or move it aside")
    return setting


def _given(wanted: Wanted, name: str) -> Policy:
    """The user's policy, under the target of the command line if there is one."""
    from cascade.policy import Target
    from cascade.policyfile import load_policy

    assert wanted.policy is not None
    policy = load_policy(wanted.policy)
    if len(policy.tiers) != 2:
        raise ConfigError(f"{wanted.policy}: a trial compares two tiers, this policy has {len(policy.tiers)}")
    asked = wanted.target
    if asked:
        kept = policy.target.model_dump(exclude_none=True)
        if "max_error" in asked or "max_regret" in asked:
            kept = {key: value for key, value in kept.items() if key not in ("max_error", "max_regret")}
        policy = policy.model_copy(update={"target": Target.model_validate(kept | asked)})
    return policy


def _named(wanted: Wanted, folder: Path) -> Policy:
    """A policy of the two models; the file of an earlier run of the same trial where there is one."""
    from cascade.learning.ladders import minimal_policy
    from cascade.policyfile import load_policy
    from cascade.prices import price_of

    models: dict[str, dict[str, Any]] = {}
    for place, (tier, model) in enumerate((("cheap", wanted.cheap), ("frontier", wanted.frontier))):
        assert model is not None
        models[tier] = {"model": model}
        if url := wanted.url(place):
            models[tier] |= {"base_url": url, "api_key_env": wanted.api_key_env}
        if said := wanted.prices[place]:
            models[tier]["price"] = dict(zip(("input", "output"), price_in(said)[:2], strict=True))
        elif price_of(model) is None:
            raise ConfigError(f"no price is known of {model}: give --price-{tier} IN,OUT, in dollars a million tokens")
    made = minimal_policy(folder.stem, list(models), dict(wanted.target), signals=["logprobs", "text"], models=models)
    file = folder.with_suffix(".toml")
    if not (file.exists() and folder.exists()):
        return made
    known = load_policy(file)
    same = [[(tier.name, tier.model, tier.base_url) for tier in policy.tiers] for policy in (known, made)]
    if same[0] != same[1] or known.target != made.target:
        raise ConfigError(f"{file} is of a trial of other models or another promise: give a --name, or --policy {file}")
    return known


def _judge(wanted: Wanted) -> Any:
    """What makes the judge on a transport."""
    from cascade.prices import price_of

    price, url = wanted.prices[2], wanted.url(2) if wanted.judge else None
    if wanted.judge and price is None and price_of(wanted.judge) is None:
        raise ConfigError(
            f"no price is known of {wanted.judge}: give --price-judge IN,OUT, in dollars a million tokens"
        )
    kind = judge_options.Wanted(
        exact=wanted.exact,
        numeric=wanted.numeric,
        tolerance=wanted.tolerance,
        json_equal=wanted.json_equal,
        command=wanted.command,
        timeout=120.0,
        model=wanted.judge,
        rubric=wanted.rubric,
        against=False,
        base_url=url,
        api_key_env=wanted.api_key_env if url else None,
        price=price,
        budget=None,
        verdicts=None,
        keep_going=False,
        name="",
    )
    return kind.judge
