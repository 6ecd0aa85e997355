"""``cascade plan``: the answer in words first, all its fields documented, one line for what cannot be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cascade.cli import app
from cascade.cli.assumed import measured
from cascade.cli.plan import plan as command
from cascade.ledger import write_outcomes
from cascade.prices import price_of
from cascade.types import Decision, ModelOutcome, Outcome, Verdict

DOLLARS = ("--cost-cheap", "0.001", "--cost-frontier", "0.01", "--cost-judge", "0.005")
POLICY = """
[target]
max_error = 0.1
confidence = 0.9
[audit]
accepted = 0.2
escalated = 0.03
[observe]
rate = 0.5
[slices.billing]
[slices.code]
route = "last"
[slices.default]
[[tiers]]
name = "small"
model = "small-model"
price = { input = 1.0, output = 4.0 }
[[tiers]]
name = "last"
model = "last-model"
price = { input = 10.0, output = 40.0 }
"""


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", *arguments])


def found(*arguments: str) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    read = json.loads(done.stdout)
    assert isinstance(read, dict)
    return read


def source(plan: dict[str, Any], option: str) -> tuple[float, str]:
    one = next(one for one in plan["assumptions"] if one["option"] == option)
    return one["value"], one["source"]


@pytest.fixture
def policy(tmp_path: Path) -> str:
    file = tmp_path / "mine.toml"
    file.write_text(POLICY)
    return str(file)


@pytest.fixture
def outcomes(tmp_path: Path) -> str:
    file = tmp_path / "rows.jsonl"
    write_outcomes(file, rows())
    return str(file)


def rows() -> list[Outcome]:
    """Four requests, three of them accepted; every second verdict is priced."""
    return [
        Outcome(
            id=str(i),
            models={
                "small": ModelOutcome(
                    cost=0.001 * (i + 1),
                    prompt_tokens=100,
                    verdicts=[Verdict(judge="llm:x", acceptable=True, cost=0.004 if i % 2 else None)],
                ),
                "last": ModelOutcome(cost=0.02, prompt_tokens=300, completion_tokens=50),
            },
            decision=Decision(
                id=str(i),
                at=0.0,
                policy="p",
                mode="enforce",
                slice="",
                served="escalated" if i == 0 else "accepted",
                served_by="last" if i == 0 else "small",
                why="",
            ),
        )
        for i in range(4)
    ]


def test_the_page_begins_with_the_answer() -> None:
    """Labels, days, dollars and when it pays, before any table."""
    done = run("--max-error", "0.05", "--requests-per-day", "2000", *DOLLARS)
    assert (done.exit_code, done.stderr) == (0, "")
    words = " ".join(done.stdout.partition("───")[0].split())
    for said in ("361 accepted labels", "2,258 rows", "Below 59 accepted", "after 2 days", "36.13 USD", "pays after"):
        assert said in words
    assert all(len(line.rstrip()) <= 120 for line in done.stdout.splitlines())


def test_every_assumption_is_beside_what_rests_on_it() -> None:
    done = run("--max-error", "0.05", "--accept-rate", "0.3", *DOLLARS)
    beneath = [" ".join(part.split()) for part in re.findall(r"Rests on (.*?)\.\n\n", done.stdout, re.DOTALL)]
    assert len(beneath) == 3
    assert all("accept rate 0.3," in f"{line}," for line in beneath)
    assert "power 0.8 (assumed)" in beneath[0]
    assert "audited of accepted 0.05 (assumed)" in beneath[1]
    assert "frontier call, USD 0.01" in beneath[2]


def fields(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(fields, value))
    return set(value).union(*map(fields, value.values())) if isinstance(value, dict) else set()


@pytest.mark.parametrize("slices", [(), ("--slice", "billing=0.25", "--slice", "rest=0.75")])
def test_the_help_names_every_field_and_no_other(slices: tuple[str, ...]) -> None:
    written = found("--max-error", "0.05", *DOLLARS, *slices)
    names = set(written["promise"]["slices"])
    documented = set(re.findall(r"`(\w+)`", (command.__doc__ or "").partition("JSON:")[2]))
    assert fields(written) - names == documented


def test_without_prices_the_labels_are_still_counted() -> None:
    written = found("--max-error", "0.05")
    assert (written["needed"]["accepted"], written["costs"], written["economics"]) == (361, None, None)
    assert "--cheap" in " ".join(written["answer"])


def test_regret_says_that_the_paired_test_needs_fewer() -> None:
    done = run("--max-regret", "0.01", *DOLLARS)
    assert "Below 299 judged rows" in " ".join(done.stdout.split())
    assert "paired test usually needs fewer" in " ".join(done.stdout.split())


def test_what_never_pays_says_why() -> None:
    """An accept rate below the break-even, or nothing to be saved at any."""
    low = found("--max-error", "0.05", "--accept-rate", "0.05", *DOLLARS)
    assert any("never pays" in line and "break-even of 13.2 %" in line for line in low["answer"])
    dear = found("--max-error", "0.05", "--cost-cheap", "1", "--cost-frontier", "1")
    assert any("never pays" in line and "every cheap answer" in line for line in dear["answer"])
    assert dear["economics"]["break_even"] is None


def test_a_calibration_that_is_due_before_it_pays_is_named() -> None:
    written = found("--max-error", "0.05", "--refits", "12", "--requests-per-day", "50", *DOLLARS)
    assert any("of 12 calibrations a year is due after 31 days" in line for line in written["answer"])


def test_equal_slices_share_the_doubt_and_the_traffic() -> None:
    written = found("--max-error", "0.05", "--slices", "5", "--refits", "2")
    assert written["delta"] == pytest.approx(0.005)
    assert list(written["promise"]["slices"].values()) == [0.2] * 5
    alarms = written["drift"]["alarms"]
    assert len(alarms) == 15
    assert len({alarm["median_days"] for alarm in alarms}) == 3


def test_a_listed_model_is_priced_by_its_tokens() -> None:
    """The judge reads the question and both answers; unless it is named it costs what the frontier does."""
    arguments = ("--max-error", "0.05", "--cheap", "gpt-5.4-mini", "--frontier", "gpt-5.5")
    tokens = ("--tokens-in", "1000", "--tokens-out", "100")
    price = price_of("gpt-5.4-mini")
    assert price is not None
    written = found(*arguments, *tokens, "--judge", "gpt-5.4-mini")
    assert written["costs"]["cheap"] == pytest.approx((1000 * price.input + 100 * price.output) / 1e6)
    assert written["costs"]["judge"] == pytest.approx((1200 * price.input + 150 * price.output) / 1e6)
    unsaid = found(*arguments, *tokens)
    assert unsaid["costs"]["judge"] == unsaid["costs"]["frontier"]
    assert source(unsaid, "--cost-judge")[1] == "assumed"


def test_a_policy_says_target_slices_audits_and_prices(policy: str) -> None:
    """A routed slice makes no promise; what the command line says goes first."""
    written = found("--policy", policy, "--tokens-in", "1000", "--tokens-out", "100")
    assert written["promise"] == {
        "kind": "error",
        "level": 0.1,
        "confidence": 0.9,
        "slices": {"billing": 0.5, "default": 0.5},
        "refits": 1,
    }
    assert written["traffic"] == {
        "requests": 1000.0,
        "labels": 500.0,
        "accept": 0.4,
        "audit": 0.2,
        "audit_escalated": 0.03,
    }
    assert written["costs"]["cheap"] == pytest.approx(0.0014)
    assert written["costs"]["frontier"] == pytest.approx(0.014)
    assert source(written, "--audit-rate") == (0.2, "policy")
    other = found("--policy", policy, "--max-regret", "0.02", "--audit-rate", "0.5", "--slices", "1")
    assert (other["promise"]["kind"], other["traffic"]["audit"]) == ("regret", 0.5)
    assert list(other["promise"]["slices"]) == ["slice 1"]


def test_measured_outcomes_are_means_over_what_was_recorded() -> None:
    means = measured(rows())
    assert means.costs == {"small": pytest.approx(0.0025), "last": pytest.approx(0.02)}
    assert (means.judge, means.tokens_in, means.tokens_out, means.accept) == (0.004, 200.0, 50.0, 0.75)
    assert measured([]).accept is None


def test_what_was_measured_goes_before_list_prices(policy: str, outcomes: str) -> None:
    for arguments in (("--max-error", "0.05"), ("--policy", policy)):
        written = found(*arguments, "--outcomes", outcomes)
        assert written["costs"]["cheap"] == pytest.approx(0.0025)
        assert written["costs"]["frontier"] == pytest.approx(0.02)
        assert source(written, "--cost-judge") == (0.004, "measured")
        assert source(written, "--accept-rate") == (0.75, "measured")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--max-error"),
        (("--max-error", "0.05", "--max-regret", "0.01"), "one target"),
        (("--max-error", "1.5"), "max_error"),
        (("--max-error", "nan"), "max_error"),
        (("--max-error", "0.05", "--confidence", "1"), "confidence"),
        (("--max-error", "0.05", "--power", "0"), "power"),
        (("--max-error", "0.05", "--accept-rate", "1.2"), "accept rate"),
        (("--max-error", "0.05", "--audit-rate", "-0.1"), "audit rate"),
        (("--max-error", "0.05", "--true-error", "0.05"), "true error"),
        (("--max-error", "0.05", "--true-error", "0.0499"), "--true-error"),
        (("--max-error", "0.05", "--requests-per-day", "0"), "requests per day"),
        (("--max-error", "0.05", "--labels-per-day", "-3"), "labels per day"),
        (("--max-error", "0.05", "--refits", "0"), "refits"),
        (("--max-error", "0.05", "--slices", "0"), "--slices"),
        (("--max-error", "0.05", "--slice", "a"), "NAME=SHARE"),
        (("--max-error", "0.05", "--slice", "a=0.5"), "sum to 1"),
        (("--max-error", "0.05", "--slice", "a=0.5", "--slice", "a=0.5"), "NAME=SHARE"),
        (("--max-error", "0.05", "--slices", "2", "--slice", "a=1"), "leave one out"),
        (("--max-error", "0.05", "--drift-to", "0.04"), "drift"),
        (("--max-error", "0.05", "--cost-cheap", "-1", "--cost-frontier", "1"), "cost_cheap"),
        (("--max-error", "0.05", "--cheap", "gpt-5.4-mini"), "--cost-frontier"),
        (("--max-error", "0.05", "--cheap", "no-such-model", "--cost-frontier", "1"), "--cost-cheap"),
        (("--max-error", "0.05", "--cheap", "gpt-5.4-mini", "--cost-cheap", "1"), "give one"),
        (("--max-error", "0.05", "--tokens-in", "-5", "--cheap", "gpt-5.4-mini"), "--tokens-in"),
        (("--max-error", "0.05", "--outcomes", "nowhere.jsonl"), "nowhere.jsonl"),
        (("--policy", "nowhere.toml"), "nowhere.toml"),
    ],
)
def test_what_cannot_be_is_one_line_and_status_two(arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
