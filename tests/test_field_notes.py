"""The published measurements: their figures stand as they were published, and what is computed of them is committed."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import pytest
from msgspec.structs import replace

from benchmarks.coverage.report import write
from benchmarks.field_notes import findings, page
from benchmarks.field_notes.notes import Notes, labels_read, load
from benchmarks.field_notes.report import Document, as_json, document
from benchmarks.field_notes.routing import routed

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
SCORES = {
    "incident triage": {
        "Haiku": "8/8 8/6 10/8",
        "Sonnet": "10/8 9/8 10/9",
        "GPT-5.4-mini": "9/8 8/9 10/9",
        "GPT-5.5": "10/9 10/8 10/10",
    },
    "SOC2 readiness": {
        "GPT-5.4-mini": "10/9 10/10 10/10",
        "Haiku": "9/9 9/9 9/8",
        "Sonnet": "10/9 10/9 10/9",
        "GPT-5.5": "10/9 10/10 10/10",
    },
}
"""As published: judge Sonnet / judge GPT-5.5."""


@pytest.fixture(scope="module")
def notes() -> Notes:
    return load()


@pytest.fixture(scope="module")
def made() -> Document:
    return document()


def test_the_committed_page_and_document_are_what_the_notes_give(made: Document, tmp_path: Path) -> None:
    """To the byte."""
    write(as_json(made), page.markdown(made), "field_notes", tmp_path)
    for name in ("field_notes.md", "field_notes.json"):
        assert (RESULTS / name).read_bytes() == (tmp_path / name).read_bytes()


def test_every_published_score_is_there(notes: Notes) -> None:
    for study in notes.studies:
        for one in study.candidates:
            both = zip(one.scores["Sonnet"], one.scores["GPT-5.5"], strict=True)
            assert " ".join(f"{a}/{b}" for a, b in both) == SCORES[study.name][one.model]
        assert {one.model for one in study.candidates} == set(SCORES[study.name]) == set(notes.models)


def test_every_published_ratio_comes_out(made: Document) -> None:
    published = {(r.study, r.model): (r.published, r.times.estimate) for r in made.ratios if r.published is not None}
    assert {model: pair[0] for (_, model), pair in published.items()} == {"Haiku": 3.9, "Sonnet": 14.5, "GPT-5.5": 42.3}
    assert all(r.reproduced for r in made.ratios if r.published is not None)
    assert [r.times.estimate for r in made.ratios if r.study == "incident triage"] == [1.0, 3.0, 16.0, 31.0]


def test_a_ratio_that_does_not_come_out_is_said_not_to(notes: Notes) -> None:
    study = notes.studies[1]
    wrong = [replace(one, times=one.times and one.times + 0.1) for one in study.candidates]
    found = findings.ratios(replace(notes, studies=[replace(study, candidates=wrong)]))
    assert [ratio.reproduced for ratio in found] == [None, False, False, False]


def test_the_rounding_of_the_dollars_is_part_of_a_ratio(made: Document) -> None:
    """$0.031 against $0.001, each to a tenth of a cent: 0.0305 / 0.0015 to 0.0315 / 0.0005."""
    times = next(r.times for r in made.ratios if r.study == "incident triage" and r.model == "GPT-5.5")
    assert (times.low, times.high) == pytest.approx((20.3333, 63.0), abs=1e-4)


def test_42_times_dearer_finds_nothing_more(made: Document) -> None:
    scores = {(s.model, s.judge): s.scores for s in made.scores if s.study == "SOC2 readiness"}
    assert all(scores["GPT-5.5", judge] == scores["GPT-5.4-mini", judge] for judge in ("Sonnet", "GPT-5.5"))
    assert "SOC2 readiness: GPT-5.5 finds nothing more." in page.markdown(made)


def test_the_routing_example_by_hand(made: Document) -> None:
    """5.00 / (0.05 * 26) = 3.846; 21 / 0.435 = 48.28; 26 / 0.435 = 59.77; 1 - 5.435 / 26 = 0.79096."""
    found = made.routing
    assert found.reproduced
    assert (found.escalated_times, found.escalated_if_mean) == pytest.approx((3.8462, 1.3))
    assert (found.price_ratio, found.price_ratio_if_all_drafted) == pytest.approx((48.2759, 59.7701))
    assert found.price_ratio_in_range
    assert found.saving == pytest.approx(0.791)
    assert found.saving_at_range == pytest.approx((1 - (21 / 34 + 5) / 26, 1 - (21 / 60 + 5) / 26), abs=1e-4)


def test_a_routing_example_that_contradicts_itself_is_said_to(notes: Notes) -> None:
    found = routed(replace(notes, routing=replace(notes.routing, escalated_dollars=1.3)))
    assert not found.reproduced
    assert found.escalated_times == pytest.approx(1.0)
    assert found.saving == found.saving_if_escalated_were_mean


def test_student_s_interval_by_hand_and_none_without_spread() -> None:
    """9, 8, 10: mean 9, spread 1, 4.3027 / sqrt(3) = 2.4841 to each side."""
    found = findings.student([9.0, 8.0, 10.0])
    half = 4.302653 / sqrt(3)
    assert (found.estimate, found.low, found.high) == pytest.approx((9.0, 9 - half, 9 + half), abs=1e-4)
    assert findings.student([10.0] * 3).low is None


def test_the_bounded_interval_by_hand() -> None:
    """10 * sqrt(ln 40 / 6) = 7.841, cut off at the ends of the scale."""
    found = findings.bounded([8.0, 6.0, 8.0])
    assert (found.low, found.high) == (0.0, 10.0)
    assert findings.bounded([10.0] * 3).low == pytest.approx(2.159)


def test_the_judges_disagreement_and_their_conflict_of_interest_are_shown(made: Document) -> None:
    judges = made.judges
    assert (judges.first_higher, judges.second_higher, judges.equal) == (15, 1, 8)
    assert judges.overall.estimate == 18 / 24
    assert judges.largest == ["Haiku, incident triage", "Sonnet, incident triage"]
    assert [(c.judge, c.family, c.candidates) for c in judges.conflicts] == [
        ("Sonnet", "claude", ["Haiku", "Sonnet"]),
        ("GPT-5.5", "gpt", ["GPT-5.4-mini", "GPT-5.5"]),
    ]
    assert judges.own_family.estimate == 12 / 12 - 6 / 12


def test_a_header_that_the_text_takes_back_is_ambiguous_and_not_its_first_word(notes: Notes, made: Document) -> None:
    study = notes.studies[1]
    haiku = next(one for one in study.candidates if one.model == "Haiku")
    assert labels_read(notes, study, haiku) == ["ambiguous", "ambiguous", "Qualified"]
    lines = {(line.served, line.source): line.comparison for line in made.labels if line.study == study.name}
    assert lines["Haiku", "as published"].uninformative
    read = lines["Haiku", "as read"]
    assert (read.values, read.matrix, read.ambiguous_served) == (["Qualified", "ambiguous"], [[1, 0], [2, 0]], 2)


def test_sonnet_s_adverse_is_the_dearest_s_qualified_at_the_same_score(made: Document) -> None:
    (line,) = (x.comparison for x in made.labels if x.served == "Sonnet" and x.study == "SOC2 readiness")
    assert (line.values, line.matrix) == (["Adverse", "Qualified"], [[0, 2], [0, 1]])
    assert line.symmetry.p == pytest.approx(0.5)
    scores = {s.model: s.scores for s in made.scores if s.study == "SOC2 readiness" and s.judge == "Sonnet"}
    assert scores["Sonnet"] == scores["GPT-5.5"]


def test_severity_is_uninformative_and_no_agreement(made: Document) -> None:
    severity = [line for line in made.labels if line.comparison.field == "severity"]
    assert len(severity) == 3
    assert all(line.comparison.uninformative for line in severity)
    assert "uninformative: it never varies (no business context was given)" in page.markdown(made)


def test_the_critical_miss_shows_beside_every_score_that_hides_it(made: Document) -> None:
    """Haiku's 8 on the simple incident, two points at most under the others: unacceptable all the same."""
    assert [line.frontier for line in made.misses] == ["GPT-5.4-mini", "Sonnet", "GPT-5.5"]
    for line in made.misses:
        assert {h.judge for h in line.found.hidden} == {"llm:anthropic/claude-sonnet", "llm:openai/gpt-5.5"}
        assert {(h.row, h.served, h.missed_by) for h in line.found.hidden} == {("simple", 0.8, "served")}
        assert all(miss.critical for miss in line.found.missed_by_served)


def test_the_output_says_what_these_runs_cannot_show(made: Document) -> None:
    said = page.markdown(made)
    assert "not a router" in said
    assert "3 scenarios a study certify nothing: 0 bad of 3 bounds the error at most at 63%" in said
    assert "Temperature 1, one draw" in said
    assert "Conflict of interest: judge Sonnet" in said
    assert made.certifiable.none_bad == pytest.approx(1 - 0.05 ** (1 / 3), abs=1e-4)
    assert (made.certifiable.without_one_bad, made.certifiable.labelled) == (59, 148)
