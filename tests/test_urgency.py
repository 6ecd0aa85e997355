"""Labels of two sides on the same rows, a test of their symmetry, and the misses that a score hides."""

from __future__ import annotations

from itertools import product
from math import comb
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2

from cascade.learning.truth import label_of as learned_from
from cascade.tables import ABSENT, AMBIGUOUS
from cascade.types import Miss, ModelOutcome, Verdict
from cascade.urgency import compare_labels, labels_compared, misses_compared, symmetry
from tests.building import policy_of

LABELS = ["P1", "P2", "P3", AMBIGUOUS, ABSENT]
pairs_of_labels = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), max_size=14)


def compared(pairs: list[tuple[str, str]], **more: Any) -> Any:
    return compare_labels(
        [str(i) for i in range(len(pairs))], "f", [a for a, _ in pairs], [b for _, b in pairs], **more
    )


# Worked by hand


def test_mcnemar_by_hand() -> None:
    """6 rows one way, 1 the other: of 2^7 equally likely ways 2 * (1 + 7) are as lopsided, 16/128."""
    made = compared([("A", "Q")] * 6 + [("Q", "A")] + [("Q", "Q")] * 3)
    assert made.values == ["A", "Q"]
    assert made.matrix == [[0, 6], [1, 3]]
    assert made.symmetry.test == "McNemar, exact"
    assert made.symmetry.p == pytest.approx(16 / 128)
    assert made.symmetry.statistic == pytest.approx(25 / 7)
    assert made.differs.estimate == 0.7
    assert (made.differs.low, made.differs.high) == pytest.approx((0.3968, 0.8922), abs=1e-4)


def test_bowker_by_hand() -> None:
    """(3-1)^2/4 + (2-0)^2/2 = 3.

    The first sum is 4 with chance 1/8, 1 with 1/2 and 0 with 3/8, the second 2 or 0 with 1/2 each: at least 3
    are 4 + 2, 4 + 0 and 1 + 2, that is 1/8 + 1/2 * 1/2 = 3/8.
    """
    made = symmetry([[5, 3, 0], [1, 5, 2], [0, 0, 5]])
    assert made.test == "Bowker, exact"
    assert made.statistic == pytest.approx(3.0)
    assert made.p == pytest.approx(3 / 8)


def test_with_many_rows_bowker_s_is_a_chi_square_with_a_degree_for_each_pair_that_differs() -> None:
    big = [[0, 400, 301, 7], [300, 0, 500, 11], [299, 505, 0, 13], [0, 0, 0, 0]]
    made = symmetry(big)
    by_hand = 100**2 / 700 + 2**2 / 600 + 5**2 / 1005 + 7 + 11 + 13
    assert made.test == "Bowker, chi-square"
    assert made.statistic == pytest.approx(by_hand)
    assert made.p == pytest.approx(chi2.sf(by_hand, 6))


@given(st.integers(0, 60), st.integers(0, 60))
def test_with_two_labels_it_is_the_sign_test(more: int, fewer: int) -> None:
    made = symmetry([[3, more], [fewer, 9]])
    if more + fewer == 0:
        assert (made.p, made.statistic) == (None, None)
        assert "nothing to test" in made.said
    else:
        assert made.p == pytest.approx(binomtest(more, more + fewer).pvalue)


def test_the_exact_test_keeps_its_size() -> None:
    """Over all matrices that symmetry makes possible, by their chances: P(p <= a) <= a for every a."""
    tested = []
    for a, b, c in product(range(5), range(4), range(3)):
        chance = comb(4, a) * comb(3, b) * comb(2, c) / 2**9
        tested.append((chance, symmetry([[0, a, b], [4 - a, 0, c], [3 - b, 2 - c, 0]]).p or 0.0))
    assert sum(chance for chance, _ in tested) == pytest.approx(1.0)
    for level in {p for _, p in tested}:
        assert sum(chance for chance, p in tested if p <= level + 1e-12) == pytest.approx(level)


# Laws


@given(pairs_of_labels)
def test_the_matrix_holds_every_row_once_and_its_diagonal_those_that_agree(pairs: list[tuple[str, str]]) -> None:
    made = compared(pairs)
    size = len(made.values)
    assert sum(map(sum, made.matrix)) == len(pairs) == made.rows
    assert [sum(row) for row in made.matrix] == [sum(a == v for a, _ in pairs) for v in made.values]
    assert [sum(column) for column in zip(*made.matrix, strict=True)] == [
        sum(b == v for _, b in pairs) for v in made.values
    ]
    agree = sum(made.matrix[i][i] for i in range(size))
    if pairs:
        assert made.differs.estimate == pytest.approx(1 - agree / len(pairs))
    assert made.ambiguous_served == sum(a == AMBIGUOUS for a, _ in pairs)
    assert made.ambiguous_frontier == sum(b == AMBIGUOUS for _, b in pairs)


@given(pairs_of_labels, st.permutations(LABELS))
def test_neither_the_order_of_labels_nor_of_rows_nor_of_sides_changes_the_test(
    pairs: list[tuple[str, str]], order: list[str]
) -> None:
    made, other = compared(pairs), compared(pairs[::-1], values=order)
    turned = compared([(b, a) for a, b in pairs])
    for one in (other, turned):
        assert one.symmetry.statistic == pytest.approx(made.symmetry.statistic)
        assert one.symmetry.p == pytest.approx(made.symmetry.p)
    assert {(a, b) for a in made.values for b in made.values} == {(a, b) for a in other.values for b in other.values}


@given(pairs_of_labels.filter(lambda pairs: any(a != b for a, b in pairs)))
def test_a_symmetric_matrix_has_the_largest_p_and_a_lopsided_one_a_smaller(pairs: list[tuple[str, str]]) -> None:
    even = compared(pairs + [(b, a) for a, b in pairs])
    assert (even.symmetry.statistic, even.symmetry.p) == (0.0, pytest.approx(1.0))
    leaning = compared([(max(pair), min(pair)) for pair in pairs])
    assert leaning.symmetry.p <= compared(pairs).symmetry.p + 1e-12


def test_declared_values_come_first_and_what_is_no_value_last() -> None:
    made = compared([("absent", "b"), ("a", "ambiguous"), ("z", "other")], values=["z", "never", "b"])
    assert made.values == ["z", "b", "a", "other", "ambiguous", "absent"]


@pytest.mark.parametrize(
    ("pairs", "uninformative"),
    [
        ([("P2", "P2")] * 3, True),
        ([("P2", "P2"), ("P1", "P1")], False),
        ([("P1", "P2")] * 3, False),
        ([(ABSENT, ABSENT)] * 3, True),
        ([], True),
    ],
)
def test_a_label_that_never_varies_is_uninformative_and_no_agreement(
    pairs: list[tuple[str, str]], uninformative: bool
) -> None:
    """Two sides that never vary and never agree say a lot."""
    assert compared(pairs).uninformative == uninformative


def test_labels_are_read_from_outcomes_as_the_policy_declares_them() -> None:
    policy = policy_of(
        labels={"risk": {"pattern": r"risk: (\w+)", "values": ["Adverse", "Qualified"]}, "grade": {"from": "verdict"}}
    )
    graded = Verdict(judge="j", acceptable=True, labels={"grade": "A"})
    pairs = [
        (ModelOutcome(answer="risk: adverse", verdicts=[graded]), ModelOutcome(answer="risk: qualified")),
        (ModelOutcome(answer="risk: adverse ... risk: qualified"), ModelOutcome(answer="risk: qualified")),
        (ModelOutcome(), ModelOutcome(answer="risk: qualified")),
    ]
    risk, grade = labels_compared(pairs, ["1", "2", "3"], policy)
    assert (risk.field, risk.rows, risk.left_out) == ("risk", 2, 1)
    assert risk.values == ["Adverse", "Qualified", AMBIGUOUS]
    assert risk.matrix == [[0, 1, 0], [0, 0, 0], [0, 1, 0]]
    assert (risk.ambiguous_served, risk.ambiguous_frontier) == (1, 0)
    assert (grade.rows, grade.left_out) == (0, 3)
    assert labels_compared(pairs, ["1", "2", "3"], policy_of()) == []


# Misses


LOCK = Miss(what="Needs an exclusive lock.", critical=True)


def judged(score: float | None, *misses: str | Miss, judge: str = "j", **more: Any) -> Verdict:
    return Verdict(judge=judge, acceptable=False, score=score, misses=list(misses), **more)


def outcome(*verdicts: Verdict) -> ModelOutcome:
    return ModelOutcome(answer="x", verdicts=list(verdicts))


def test_a_small_difference_of_scores_that_hides_a_missing_warning_is_shown() -> None:
    made = misses_compared([(outcome(judged(0.8, "too long", LOCK)), outcome(judged(1.0, "Too long!")))], ["simple"])
    (hidden,) = made.hidden
    assert (hidden.row, hidden.served, hidden.frontier, hidden.missed_by) == ("simple", 0.8, 1.0, "served")
    assert hidden.what == [LOCK.what]
    assert [(m.what, m.critical, m.compared) for m in made.missed_by_served] == [(LOCK.what, True, True)]
    assert made.missed_by_frontier == []


@pytest.mark.parametrize(
    ("served", "frontier", "hidden"),
    [
        (judged(0.7, LOCK), judged(0.9), ["served"]),
        (judged(0.6, LOCK), judged(0.9), []),
        (judged(0.9), judged(0.9, LOCK), ["frontier"]),
        (judged(0.9, LOCK), judged(0.9, Miss(what="a backup", critical=True)), ["served", "frontier"]),
        (judged(0.9, LOCK), judged(0.9, LOCK), []),
        (judged(0.9, LOCK), judged(0.9, LOCK.what), ["served"]),
        (judged(0.9, "a comma"), judged(0.9), []),
        (judged(None, LOCK), judged(0.9), []),
        (judged(0.9, LOCK), judged(0.9, judge="another"), []),
    ],
)
def test_only_a_critical_miss_of_one_side_alone_by_one_judge_is_hidden_by_scores(
    served: Verdict, frontier: Verdict, hidden: list[str]
) -> None:
    found = misses_compared([(outcome(served), outcome(frontier))], ["r"])
    assert [line.missed_by for line in found.hidden] == hidden


def test_how_little_a_difference_is_looked_past_is_the_caller_s_to_say() -> None:
    pair = (outcome(judged(0.6, LOCK)), outcome(judged(0.9)))
    assert not misses_compared([pair], ["r"]).hidden
    assert misses_compared([pair], ["r"], little=0.3).hidden


def test_critical_misses_come_first_and_none_is_dropped_where_the_other_side_was_not_judged() -> None:
    pairs = [
        (outcome(judged(0.9, "a comma")), outcome()),
        (outcome(judged(0.2, LOCK)), outcome(judged(0.9, judge="k"))),
        (outcome(judged(None, "a name", labels={"against": "frontier"})), outcome()),
    ]
    made = misses_compared(pairs, ["1", "2", "3"])
    assert [(m.row, m.critical, m.compared) for m in made.missed_by_served] == [
        ("2", True, False),
        ("1", False, False),
        ("3", False, True),
    ]
    assert (made.rows, made.judged) == (3, 0)


def test_the_latest_verdict_of_a_judge_counts() -> None:
    pair = (outcome(judged(0.9, LOCK), judged(0.9)), outcome(judged(0.9)))
    assert misses_compared([pair], ["r"]).missed_by_served == []


def test_misses_whose_words_were_not_kept_are_nobody_else_s() -> None:
    gone = Miss(what="", critical=True)
    found = misses_compared([(outcome(judged(0.9, gone)), outcome(judged(0.9, gone)))], ["r"])
    assert [line.missed_by for line in found.hidden] == ["served", "frontier"]


# The record


def test_a_miss_is_read_from_a_text_or_an_object_and_written_as_it_was() -> None:
    line = b'{"judge":"j","acceptable":false,"misses":["a comma",{"what":"the lock","critical":true}]}'
    verdict = msgspec.json.decode(line, type=Verdict)
    assert verdict.missed == [Miss(what="a comma"), Miss(what="the lock", critical=True)]
    assert msgspec.json.encode(verdict) == line


@pytest.mark.parametrize("score", [None, 0.8, 1.0])
def test_a_critical_miss_is_unacceptable_whatever_the_score(score: float | None) -> None:
    """For the reports and for what calibration learns from alike."""
    for verdict, quality in ((judged(score, LOCK), 0.0), (judged(score, "a comma"), score or 0.0)):
        assert outcome(verdict).quality == quality
        assert learned_from(outcome(verdict)) == quality
