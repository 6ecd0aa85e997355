"""Peers on recorded answers: the committed words of cascadeflow, and what the two benchmarks count, by hand."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers import apart, cases, gsm8k, page, published, report, routers
from benchmarks.peers.cases import Row, Source, lines_of
from benchmarks.peers.curves import Answers, apgr, cpt, curve
from benchmarks.peers.measured import Word, area, ece, rules
from benchmarks.peers.recorded import GIVEN, Kept, keep, kept, read
from benchmarks.speed.rounds import CASCADEFLOW
from cascade.errors import ConfigError
from cascade.learning.features import auroc

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
TWO = Answers(*(np.array(column) for column in ([0.0, 1.0], [1.0, 1.0], [1.0, 1.0], [10.0, 20.0])))
EVEN = np.ones(2)


@pytest.fixture(scope="module")
def words() -> list[Kept]:
    """cascadeflow's committed words."""
    return read()


def test_every_recorded_answer_of_the_demo_has_one_word_with_and_without_log_probabilities(words: list[Kept]) -> None:
    wanted = {(case.model, given, row.id) for case in cases.own_cases() for given in GIVEN for row in case.rows}
    seen = Counter((word.tier, word.given, word.id) for word in words)
    assert set(seen) == wanted
    assert set(seen.values()) == {1}


def test_a_draft_is_accepted_only_if_it_was_asked_for_and_the_peer_is_the_pinned_one(words: list[Kept]) -> None:
    assert all(word.asked or not word.accepted for word in words)
    assert all(0 <= word.confidence <= 1 for word in words)
    assert {word.peer for word in words} == {CASCADEFLOW.replace("==", " ")}


def test_the_committed_table_comes_out_of_the_committed_words(words: list[Kept]) -> None:
    """Equal at printed precision: the peer's lines of the own recording, its accept decisions among them."""
    committed = json.loads((RESULTS / "peers.json").read_text())["lines"]
    made = report.own_lines(cases.own_cases(), words)
    theirs = [one for one in committed if one["source"] == cases.OWN.name and not one["peer"].startswith("uqlm")]
    assert [report._ranks(one) for one in made] == [report._ranks(one) for one in theirs]
    assert [report._serves(one) for one in made if one["rules"]] == [
        report._serves(one) for one in theirs if one["rules"]
    ]


def test_words_are_kept_as_they_were_said(tmp_path: Path) -> None:
    row = Row("q", "q", "test", "?", "!", True, 0.0, logprobs=[-0.5])
    case = cases.Case("own", "cheap", "", [row])
    said = [
        [{"confidence": 1 / 3, "threshold": 0.4, "asked": True, "accepted": accepted}] for accepted in (True, False)
    ]
    lines = kept([case], said, "peer 1")
    keep(lines, tmp_path / "kept.gz")
    assert read(tmp_path / "kept.gz") == lines
    assert [(one.given, one.confidence, one.accepted) for one in lines] == [
        ("logprobs", 0.333333, True),
        ("text", 0.333333, False),
    ]
    assert "logprobs" in row.shown()
    assert "logprobs" not in row.untold().shown()
    assert not {"right", "own"} & set(row.shown())


def test_each_rule_counts_what_it_takes_and_what_of_that_is_wrong() -> None:
    said = [
        Word(0.9, 0.4, True, True),
        Word(0.5, 0.55, True, True),
        Word(0.45, 0.4, True, False),
        Word(0.1, 0.4, False),
    ]
    found = rules(said, np.array([True, False, False, True]))
    shares = {name: (rule["accepted"]["estimate"], rule["wrong"]["estimate"]) for name, rule in found.items()}
    assert shares == {"half": (0.5, 0.5), "complexity": (0.5, 0.5), "agent": (0.5, 0.5)}
    assert found["agent"]["not_asked"] == 0.25
    assert rules([Word(0.3)], np.array([True])) == {}


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(1, 3)), min_size=2, max_size=30))
def test_the_weighted_auroc_is_that_of_repeated_rows(rows: list[tuple[int, bool, int]]) -> None:
    values, right, times = (np.array(column) for column in zip(*rows, strict=True))
    plain = auroc(np.repeat(values, times).astype(float), np.repeat(right, times))
    if plain is not None:
        assert area(values, right, times.astype(float)) == pytest.approx(plain)
        assert area(values, right, np.stack([times, times]).astype(float)) == pytest.approx([plain, plain])


def test_a_peer_that_cannot_run_is_named_in_the_table() -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("no network")

    assert apart.tried(broken, []) == "no network"
    page_ = report.markdown(report.document([], {"cascadeflow": "no network"}, 1.0))
    assert "Not measured: cascadeflow: no network" in page_


def test_recovered_gap_by_hand() -> None:
    """Half the questions sent recover all of a gap of 0.25: area 0.25 + 0.5, half of it at a quarter of the calls."""
    share, quality = np.array([0.0, 0.5, 1.0]), np.array([0.5, 0.75, 0.75])
    assert apgr(share, quality, 0.5, 0.75) == pytest.approx(0.75)
    assert cpt(share, quality, 0.5, 0.75, 0.5) == pytest.approx(0.25)
    assert cpt(share, quality, 0.5, 0.75, 0.8) == pytest.approx(0.4)


def test_the_least_share_is_the_first_that_gets_there_and_all_where_none_does() -> None:
    share = np.array([0.0, 0.5, 1.0])
    assert cpt(share, np.array([0.5, 0.9, 0.6]), 0.5, 1.0, 0.8) == pytest.approx(0.5)
    assert cpt(share, np.array([0.5, 0.6, 0.7]), 0.5, 1.0, 0.8) == 1.0
    assert cpt(share, np.array([1.0, 1.0, 1.0]), 0.5, 1.0, 0.8) == 0.0


def test_a_cascade_pays_the_weak_model_for_every_question_and_a_router_where_it_stays() -> None:
    """First question sent: 1 + 10/2 against (10 + 1)/2; both sent: 1 + 15 against 15."""
    ours, theirs = (curve(np.array([1.0, 0.0]), TWO, EVEN, cascade=cascade) for cascade in (True, False))
    assert [ours.dollars(share) for share in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 6.0, 16.0])
    assert [theirs.dollars(share) for share in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 5.5, 15.0])
    assert ours.quality[[0, 5, 10]] == pytest.approx([0.5, 1.0, 1.0])


def test_one_score_for_all_is_lots() -> None:
    made = curve(np.zeros(2), TWO, EVEN, cascade=False)
    assert apgr(made.share, made.quality, 0.5, 1.0) == pytest.approx(0.5)
    assert cpt(made.share, made.quality, 0.5, 1.0, 0.8) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("answer", "signals"),
    [
        ("3 boxes of 4: <<3*4=12>>12\n#### 12", (1, 1, 1)),
        ("<<3*4=13>>13\n#### 13", (1, 1, 0)),
        ("<<1,000=1,000>> <<10/3=3.33>>", (0, 1, 1)),
        ("<<9**9**9**9**9=1>> <<1/0=1>> <<(((=1>>", (0, 1, 1)),
        ("I do not know", (0, 0, 1)),
    ],
)
def test_a_slip_is_a_noted_sum_that_does_not_come_out(answer: str, signals: tuple[float, ...]) -> None:
    """What cannot be read is no slip, and a tower of powers is not climbed."""
    assert tuple(gsm8k.worked(answer).values()) == signals


def line(place: int, task: str) -> dict[str, Any]:
    """A question whose weak answer is right wherever it comes to an end."""
    right = place % 3 > 0
    answer = "<<2*2=4>> so it is four.\n#### 4" if right else f"well, {place} or so"
    weak = {"correct": float(right), "cost": 1e-4, "answer": answer}
    strong = {"correct": float(place % 10 > 0), "cost": 4e-3 + place * 1e-6, "answer": "4"}
    models = {cases.MIXTRAL: weak, gsm8k.GPT4: strong}
    return {"id": f"{task}-{place}", "task": task, "query": f"How many are {place} and {task}?", "models": models}


def logged(folder: Path, lines: list[dict[str, Any]]) -> Path:
    (folder / gsm8k.LOG.folder).mkdir()
    path = folder / gsm8k.LOG.folder / gsm8k.LOG.files[0]
    path.write_bytes(gzip.compress(b"\n".join(map(msgspec.json.encode, lines))))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The whole benchmark on a small made-up log; one of its questions is contaminated."""
    folder = tmp_path_factory.mktemp("log")
    lines = [line(place, task) for task in ("gsm8k", "mmlu") for place in range(120)]
    lines[0]["contaminated_for_arena_routers"] = True
    logged(folder, lines)
    return routers.measure(folder, 1, 1, lambda _: None)


def test_the_cascade_finds_what_the_answers_tell_and_nobody_beats_who_knows(made: dict[str, Any]) -> None:
    maths = made["benchmarks"][0]
    assert maths["questions"] == 119
    by_name = {one["name"]: one for one in maths["lines"]}
    cascade, lots = by_name["our cascade, text+worked, score of right"], by_name["RouteLLM random"]
    assert cascade["apgr"]["estimate"] > 0.6 > lots["apgr"]["estimate"]
    assert cascade["apgr"]["low"] <= cascade["apgr"]["estimate"] <= cascade["apgr"]["high"]
    assert all(one["apgr"]["estimate"] <= by_name["oracle"]["apgr"]["estimate"] for one in maths["lines"])
    half = 0.5 * maths["strong_dollars"] + 0.5 * maths["weak_dollars"]
    assert lots["dollars50"]["estimate"] == pytest.approx(half)


def test_the_page_says_of_each_of_ours_whether_it_is_cheaper(made: dict[str, Any]) -> None:
    for bench in made["benchmarks"]:
        mine = [one for one in bench["lines"] if one["name"].startswith("our")]
        said = page.verdict(bench, "50")
        assert all(f"{one['name']} ($" in said for one in mine)
        best = min(one["dollars50"]["estimate"] for one in bench["lines"] if one["name"].startswith("RouteLLM"))
        cheaper = any(one["dollars50"]["high"] < best for one in mine)
        assert ("cheaper:" in said) == cheaper
    assert page.markdown(made).count("| our ") == sum(
        one["name"].startswith("our") for bench in made["benchmarks"] for one in bench["lines"]
    )


def test_published_routers_need_more_calls_for_more_of_the_gap_and_lots_recover_half() -> None:
    for bench in (published.GSM8K, published.MMLU):
        assert len(bench) == 9
        assert all(one.cpt50 < one.cpt80 for one in bench)
        assert bench[0].apgr == pytest.approx(0.5, abs=0.01)


def test_a_broken_line_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="are missing"):
        lines_of(tmp_path / "data.jsonl.gz")
    path = logged(tmp_path, [line(0, "gsm8k"), {"id": 3}])
    with pytest.raises(ConfigError, match="line 2"):
        lines_of(path)


def test_a_question_without_both_answers_is_an_error_and_a_cut_text_is_left_out(tmp_path: Path) -> None:
    whole, cut = line(1, "gsm8k"), line(2, "gsm8k")
    cut["models"][cases.MIXTRAL]["answer"] = "x" * 40
    del cut["models"][gsm8k.GPT4]
    for one in (whole, cut):
        one["models"][cases.MIXTRAL]["signals"] = {"sure": 0.5}
    lines = lines_of(logged(tmp_path, [whole, cut]))
    source = Source("made up", "", (cases.MIXTRAL,), "sure", task="gsm8k", most=40)
    assert [row.id for row in cases._rows(source, cases.MIXTRAL, lines)] == ["gsm8k-1"]
    with pytest.raises(ConfigError, match="gsm8k-2"):
        lines[1].surely(gsm8k.GPT4)


def test_calibration_error_by_hand() -> None:
    """Ten bins of one row each: nine are off by 0.1, one by 0.9."""
    confidence = np.full(10, 0.9)
    assert ece(confidence, np.array([True] * 9 + [False])) == pytest.approx((9 * 0.1 + 0.9) / 10)
