"""A trial: the cost said right and kept to, nothing paid for twice, and a verdict that the evidence carries."""

from __future__ import annotations

import asyncio
import gzip
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cascade.asks import Call
from cascade.batch.meter import Meter
from cascade.batch.recording import RowCost
from cascade.economics import CallCosts
from cascade.errors import BudgetError, ConfigError, UpstreamError
from cascade.evidence import BreakEven, PathPoint, Stratum
from cascade.intervals import proportion
from cascade.ledger import read_outcomes
from cascade.lock import load_lock
from cascade.policyfile import load_policy
from cascade.report import html
from cascade.testing import FakeModels, draft
from cascade.trial import Trial, read_prompts
from cascade.trial.prompts import ordered
from cascade.trial.quoting import LEAST, MOST, quote
from cascade.trial.running import BATCH
from cascade.trial.verdict import conclude, unfitted
from cascade.types import Outcome
from tests.building import policy_of
from tests.trying import questions, setting, world

COSTS = CallCosts(cheap=0.001, frontier=0.01, judge=0.001, extra=0.0)
POLICY = policy_of()


# Prompts


def test_prompts_come_from_lines_with_every_bad_one_named(tmp_path: Path) -> None:
    """Each line is asked, a repetition, or bad; ids that are missing are the same in every run."""
    file = tmp_path / "prompts.jsonl.gz"
    lines = [
        '{"id": 7, "query": "why?", "system": "be short", "reference": "so", "slice": "s", "models": {"x": {}}}',
        '{"messages": [{"role": "user", "content": "how?"}], "metadata": {"team": "a"}}',
        '{"query": "how?"}',
        '{"id": "7", "query": "what else?"}',
        '{"prompt": "no question"}',
        '{"query": 5}',
        "",
        '{"messages": [{"content": "nobody"}]}',
        '{"query": "cut',
    ]
    file.write_bytes(gzip.compress("\n".join(lines).encode()))
    read = read_prompts(file)
    assert {(row.query, row.reference, row.models == {}) for row in read.prompts} == {
        ("why?", "so", True),
        (None, None, True),
    }
    assert [one.row for one in read.repeated] == [3]
    assert sorted(one.row for group in read.bad for one in group.found) == [4, 5, 6, 8, 9]
    assert {row.id for row in read.prompts} == {row.id for row in read_prompts(file).prompts}
    assert all(row.split for row in read.prompts)


def test_a_text_holds_one_prompt_a_line(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffone?\n\ntwo?\none?\n".encode() + b"\xff\n")
    read = read_prompts(file)
    assert sorted(str(row.query) for row in read.prompts) == ["one?", "two?"]
    assert [one.row for one in read.repeated] == [4]
    assert [one.row for group in read.bad for one in group.found] == [5]
    file.write_text("\n")
    with pytest.raises(ConfigError, match="holds no prompt"):
        read_prompts(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prompts(tmp_path / "none.txt")


def test_the_order_is_a_draw_and_not_the_files() -> None:
    """Another seed is another draw; the lines' own order is none."""
    rows = [Outcome(id=f"r{i}", query=f"question {i}") for i in range(50)]
    drawn = [row.id for row in ordered(rows, 0)]
    assert drawn == [row.id for row in ordered(reversed(rows), 0)]
    assert drawn != [row.id for row in ordered(rows, 1)]
    assert drawn != [row.id for row in rows]


# The quote


def row_cost(rng: random.Random, spread: float) -> RowCost:
    cheap, frontier = ((rate * 250 * math.exp(rng.gauss(0, spread))) / 1e6 for rate in (2, 25))
    verdicts = 1 + (rng.random() < 0.2)
    judge = sum(0.0007 + 0.0005 * math.exp(rng.gauss(0, 0.4)) for _ in range(verdicts))
    return RowCost(cheap=cheap, frontier=frontier, judge=judge, verdicts=verdicts)


def quoted(rows: list[RowCost]) -> tuple[float, bool]:
    """Quote over real cost after the pilot that a trial would make, and whether the interval holds it."""
    real = sum(row.total for row in rows)
    for aim in range(LEAST, MOST + BATCH, BATCH):
        seen = rows[: min(aim, MOST)]
        spent = {part: sum(getattr(row, part) for row in seen) for part in ("cheap", "frontier", "judge")}
        made = quote(seen, len(rows), sum(row.verdicts for row in rows[len(seen) :]), spent)
        if made.close:
            break
    return made.total / real, made.low <= real <= made.high


@pytest.mark.parametrize("prompts", [100, 1000])
@pytest.mark.parametrize("spread", [0.4, 0.8])
def test_the_quote_is_within_20_percent_of_the_real_cost(prompts: int, spread: float) -> None:
    """Of lognormal answer lengths, 19 times of 20; its interval holds it 9 times of 10 at the least."""
    rng = random.Random(3)
    found = [quoted([row_cost(rng, spread) for _ in range(prompts)]) for _ in range(200)]
    assert sum(0.8 <= ratio <= 1.2 for ratio, _ in found) >= 0.95 * len(found)
    assert sum(held for _, held in found) >= 0.9 * len(found)


@given(st.integers(1, 40), st.integers(0, 500), st.floats(0.0, 3.0))
def test_a_quote_reaches_no_further_than_its_budget(recorded: int, left: int, budget: float) -> None:
    rng = random.Random(recorded)
    rows = [row_cost(rng, 0.5) for _ in range(recorded)]
    spent = {part: sum(getattr(row, part) for row in rows) for part in ("cheap", "frontier", "judge")}
    made = quote(rows, recorded + left, left, spent, budget=budget)
    assert recorded <= made.reach <= made.prompts
    assert made.within <= max(budget, sum(spent.values())) + 1e-9
    assert made.low <= made.total <= made.high
    assert made.total == pytest.approx(made.cheap + made.frontier + made.judge)


def test_a_trial_costs_what_it_was_quoted(tmp_path: Path) -> None:
    with Trial(setting(tmp_path), questions(120), world(0.7)) as trial:
        answers, verdicts = trial.at_most
        trial.pilot()
        made = trial.quoted
        assert made is not None
        assert made.recorded <= MOST
        assert trial.meter.total <= answers + verdicts
        trial.rest()
        assert trial.meter.total == pytest.approx(made.total, rel=0.2)
        assert not trial.left


# The budget


@pytest.mark.parametrize("budget", [0.05, 0.12, 0.3])
def test_a_budget_is_never_passed_and_nearly_used(tmp_path: Path, budget: float) -> None:
    """Not at any call: what is under way counts with the most that it can cost."""
    highest = 0.0

    def look(call: Call) -> None:
        nonlocal highest
        highest = max(highest, trial.meter.total)

    with Trial(setting(tmp_path, budget=budget, max_tokens=800), questions(200), world(0.7, on=look)) as trial:
        trial.pilot()
        trial.rest()
        assert trial.recorder.stopped == "budget"
        assert highest <= trial.meter.total <= budget
        assert trial.meter.total >= budget - 2 * trial.meter.dearest
        reached = [trial.recorder.complete(prompt) for prompt in trial.prompts]
        # An even draw: what was reached is a beginning of the drawn order, but for what was under way.
        assert sum(reached[: sum(reached) + 4]) == sum(reached)
        assert len(trial.recorder.rows) == sum(reached), "a prompt was begun that the budget did not hold"


def test_a_call_whose_bill_nobody_knows_counts_as_the_dearest(tmp_path: Path) -> None:
    def broken(call: Call) -> Any:
        return UpstreamError("cut", billed=None)

    call = Call(
        tier="cheap",
        endpoint=setting(tmp_path).judge(FakeModels(broken))._endpoint,
        messages=[{"role": "user", "content": "?"}],
        params={"max_tokens": 1000},
        timeout=1.0,
    )
    with Meter(FakeModels(broken), tmp_path / "m" / "spending.jsonl", budget=0.007) as meter:
        with pytest.raises(UpstreamError):
            asyncio.run(meter.complete(call))
        assert meter.total == pytest.approx(0.004, rel=0.1)
        with pytest.raises(BudgetError):
            asyncio.run(meter.complete(call))
        with pytest.raises(ConfigError, match="another process"):
            Meter(FakeModels(broken), tmp_path / "m" / "spending.jsonl")
    with (tmp_path / "m" / "spending.jsonl").open("ab") as journal:
        journal.write(b'{"tier": "che')
    with Meter(FakeModels(broken), tmp_path / "m" / "spending.jsonl") as meter:
        assert meter.total == pytest.approx(0.004, rel=0.1)


def test_a_budget_that_holds_no_prompt_is_said_to(tmp_path: Path) -> None:
    models = world(0.7)
    with Trial(setting(tmp_path, budget=0.01), questions(20), models) as trial:
        trial.pilot()
        with pytest.raises(BudgetError, match="not even one"):
            trial.conclude()
    assert not models.calls
    assert not (tmp_path / "tried.toml").exists()


# Recording


def asked(models: FakeModels) -> Counter[tuple[str, str]]:
    return Counter((call.tier, str(call.messages[-1]["content"])) for call in models.calls)


def test_a_second_run_asks_nothing_again(tmp_path: Path) -> None:
    prompts, first, second = questions(30), world(0.7), world(0.7)
    with Trial(setting(tmp_path), prompts, first) as trial:
        trial.rest()
        spent = trial.meter.total
    assert {count for (tier, _), count in asked(first).items() if tier != "judge"} == {1}
    with Trial(setting(tmp_path), prompts, second) as trial:
        assert not trial.left
        trial.pilot()
        trial.rest()
        assert trial.meter.total == pytest.approx(spent)
    assert not second.calls


def test_what_is_missing_of_a_prompt_is_made_up_for_alone(tmp_path: Path) -> None:
    """A cheap model that was down: next time only it is asked, and then the judge."""

    def down(call: Call) -> None:
        if call.tier == "cheap" and "1" in str(call.messages[-1]["content"]).split()[1]:
            raise UpstreamError("down", billed=False, retryable=False)

    prompts, first, second = questions(40), world(0.7, on=down), world(0.7)
    hit = {row.id for row in prompts if "1" in row.id}
    with Trial(setting(tmp_path), prompts, first) as trial:
        trial.rest()
        assert set(trial.recorder.failed) == hit
        assert all("down" in why for why in trial.recorder.failed.values())
        assert {row.id for row in trial.left} == hit
        found = trial.conclude()
        left = next(one for one in found.evidence.left_out if "down" in one.reason)
        assert left.rows == len(hit)
    with Trial(setting(tmp_path), prompts, second) as trial:
        trial.rest()
        assert not trial.left
    assert {tier for tier, _ in asked(second)} == {"cheap", "judge"}
    assert asked(second)["cheap", str(next(row.query for row in prompts if row.id == "q1"))] == 1
    assert sum(tier == "cheap" for tier, _ in asked(second)) == len(hit)


def test_an_abstention_is_paid_for_once(tmp_path: Path) -> None:
    def mute(call: Call) -> Any:
        return draft(call, '{"acceptable": null}' if call.tier == "judge" else "right", cost=0.001)

    prompts = questions(10)
    for models in (FakeModels(mute), FakeModels(mute)):
        with Trial(setting(tmp_path), prompts, models) as trial:
            trial.rest()
            assert not trial.left
    assert not models.calls


def test_models_that_are_gone_end_the_trial(tmp_path: Path) -> None:
    """One fault after the other is no bad luck; a rejected key ends it at the first."""
    gone = FakeModels(lambda call: UpstreamError("refused", billed=False, retryable=False))
    with Trial(setting(tmp_path), questions(60), gone) as trial, pytest.raises(UpstreamError, match="refused"):
        trial.pilot()
    assert len(gone.calls) < 20
    keyless = FakeModels(lambda call: ConfigError("no key") if call.tier == "cheap" else draft(call, "x", cost=0.0))
    with Trial(setting(tmp_path), questions(60), keyless) as trial, pytest.raises(ConfigError, match="no key"):
        trial.pilot()


def test_an_interrupted_trial_keeps_what_it_has(tmp_path: Path) -> None:
    def interrupt(call: Call) -> None:
        if len(first.calls) == 25:
            raise KeyboardInterrupt

    prompts, second = questions(30), world(0.7)
    first = world(0.7, on=interrupt)
    with Trial(setting(tmp_path), prompts, first) as trial, pytest.raises(KeyboardInterrupt):
        trial.rest()
    with Trial(setting(tmp_path), prompts, second) as trial:
        done = {prompt.query for prompt in prompts if trial.recorder.complete(prompt)}
        assert 0 < len(done) < 25
        trial.rest()
        assert not trial.left
    assert not done & {question for _, question in asked(second)}


def test_a_folder_holds_one_trial(tmp_path: Path) -> None:
    with Trial(setting(tmp_path), questions(3), world(0.5)), pytest.raises(ConfigError, match="another process"):
        Trial(setting(tmp_path), questions(3), world(0.5))
    with pytest.raises(ConfigError, match="seed"):
        Trial(setting(tmp_path, seed=1), questions(3), world(0.5))
    other = setting(tmp_path)
    tiers = [tier.model_copy(update={"model": f"other/{tier.name}"}) for tier in other.policy.tiers]
    changed = replace(other, policy=other.policy.model_copy(update={"tiers": tiers}))
    with pytest.raises(ConfigError, match="other models"):
        Trial(changed, questions(3), world(0.5))


# The verdict


def test_a_pair_that_pays(tmp_path: Path) -> None:
    """Certified, checked on held-out rows; the same words everywhere; the frontier judged where it must be."""
    models, prompts = world(0.75), questions(260)
    with Trial(setting(tmp_path), prompts, models) as trial:
        trial.rest()
        found = trial.conclude()
    assert found.conclusion.headline == found.evidence.headline == "pays"
    page = (tmp_path / "tried.html").read_text()
    assert page == html(found.evidence)
    assert page.index(">pays<") < page.index(found.evidence.statement[:30])
    policy, lock = load_policy(tmp_path / "tried.toml"), load_lock(tmp_path / "tried.lock.json")
    assert lock is not None
    assert lock.certificates[0].held_out is not None
    assert policy.families >= {"logprobs", "text"}
    rows = list(read_outcomes(tmp_path / "tried.trial" / "outcomes.jsonl.gz"))
    assert {row.propensity for row in rows} == {1.0}
    assert {bool(row.models["frontier"].verdicts) for row in rows if row.split == "test"} == {True}
    assert {bool(row.models["frontier"].verdicts) for row in rows if row.split != "test"} == {False}
    assert all(row.models["cheap"].verdicts for row in rows)


def test_a_cheap_model_that_is_useless(tmp_path: Path) -> None:
    with Trial(setting(tmp_path), questions(60), world(0.0)) as trial:
        trial.rest()
        found = trial.conclude()
    assert found.conclusion.headline == "does not pay"
    assert found.lock is None


def test_too_few_prompts_say_how_many_and_what_they_cost(tmp_path: Path) -> None:
    with Trial(setting(tmp_path), questions(12), world(0.6)) as trial:
        trial.rest()
        a_row = trial.meter.total / 12
        found = trial.conclude().conclusion
    assert found.word == "cannot tell yet"
    assert found.labels is not None
    assert found.cost is not None
    assert found.labels > 29 / 0.4
    assert found.cost == pytest.approx(found.labels * a_row, rel=0.2)
    assert found.headline == f"cannot tell yet: {found.labels:,} labels, ${found.cost:,.2f}"


def stratum(rows: int, *points: tuple[float, int, int], **fields: Any) -> Stratum:
    """A population of so many rows, and (served, n, bad) of its thresholds."""
    path = [
        PathPoint(threshold=-float(i), served=served, n=n, bad=bad, risk=bad / n, bound=1.0)
        for i, (served, n, bad) in enumerate(points)
    ]
    return Stratum(name="all", slices=[], signal_sets=[], delta=0.05, rows=rows, path=path, **fields)


def reached(good: int, n: int, pays: Any) -> BreakEven:
    return BreakEven(
        needed=0.2,
        reached=proportion(good, n),
        pays=pays,
        audit_rate=0.05,
        cost_cheap=0.001,
        cost_frontier=0.01,
        cost_judge=0.001,
    )


def test_nothing_saved_does_not_pay_whatever_is_certified() -> None:
    dear = CallCosts(cheap=0.01, frontier=0.01, judge=0.001, extra=0.0)
    found = conclude([stratum(400, (0.9, 360, 1), chosen=0)], reached(90, 100, "pays"), {"test": 100}, POLICY, dear)
    assert found.word == "does not pay"


def test_what_is_certified_is_as_good_as_its_break_even() -> None:
    certified = [stratum(400, (0.3, 120, 0), chosen=0)]
    for word in ("pays", "does not pay"):
        assert conclude(certified, reached(30, 100, word), {"test": 100}, POLICY, COSTS).word == word
    near = conclude(certified, reached(15, 80, "cannot tell yet"), {"test": 80}, POLICY, COSTS)
    assert near.word == "cannot tell yet"
    assert near.labels is not None
    assert near.labels > 80


def test_it_does_not_pay_where_every_threshold_that_would_is_refuted() -> None:
    """One that serves too few to pay needs no refuting; one that could pay and may hold does."""
    bad = stratum(400, (0.02, 8, 0), (0.4, 160, 40), (0.9, 360, 120))
    rows = {"fit": 400, "certify": 400, "test": 200}
    assert conclude([bad], None, rows, POLICY, COSTS).word == "does not pay"
    young = conclude([bad], None, {**rows, "fit": 20}, POLICY, COSTS)
    assert (young.word, young.labels) == ("cannot tell yet", 200)
    open_ = stratum(400, (0.3, 120, 4), (0.9, 360, 120), missing_labels=200)
    found = conclude([open_], None, rows, POLICY, COSTS)
    assert (found.word, found.labels) == ("cannot tell yet", 500)
    assert found.cost == pytest.approx(500 * COSTS.label)
    unlucky = conclude([replace(open_, missing_labels=1)], None, rows, POLICY, COSTS)
    assert unlucky.labels == 250, "a quarter of what there is, at the least"


def test_a_promise_that_held_out_rows_contradict_is_no_matter_of_labels() -> None:
    doubted = stratum(400, (0.9, 360, 1), chosen=0, refusal="held-out rows contradict the promise")
    found = conclude([doubted], reached(0, 100, "cannot tell yet"), {"test": 100}, POLICY, COSTS)
    assert (found.headline, found.labels) == ("cannot tell yet", None)
    assert "contradict" in found.why


@given(st.integers(1, 400), st.data())
def test_without_a_scorer_only_hopeless_models_are_sent_away(judged: int, data: st.DataObject) -> None:
    """Served at best are the good answers and the bad ones that the target allows."""
    bad = data.draw(st.integers(0, judged))
    found = unfitted(judged, bad, {"fit": judged}, POLICY, COSTS, "no scorer")
    best = (judged - bad) / judged / 0.95
    assert found.word in ("does not pay", "cannot tell yet")
    assert found.word == "cannot tell yet" or best < 0.2
