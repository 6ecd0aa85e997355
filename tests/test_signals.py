"""Signals: absent as a family or finite as a whole, and never an exception."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cascade import signals
from cascade.signals import agreement, extend, measure, p_true, sets, verifier_messages
from cascade.types import Draft, Request, Signals, Usage

any_text = st.text(st.characters())  # lone surrogates too, as a JSON escape can bring them
any_floats = st.lists(st.floats(), max_size=20)
any_family = st.sampled_from(["text", "logprobs", "top", "verbal", "votes"])
logprob = st.floats(max_value=0.0, min_value=-1e4)
NOT_FINITE = [math.nan, math.inf, -math.inf]


def ask(question: str = "Where is my order?") -> Request:
    return Request(id="1", messages=[{"role": "user", "content": question}])


def draft(text: str = "On its way", **fields: Any) -> Draft:
    return Draft(**{"tier": "cheap", "model": "m", "text": text, "finish_reason": "stop"} | fields)


def position(*chances: float) -> list[float]:
    return [math.log(chance) for chance in chances]


def documented() -> set[str]:
    """Names in the first column of the table."""
    assert signals.__doc__ is not None
    rows = [line.split() for line in signals.__doc__.splitlines() if line[:1].isalpha()]
    return {row[0] for row in rows if "." in row[0][1:-1] and row[0].islower()}


@given(any_text, any_text, any_floats, st.lists(any_floats, max_size=20), st.sets(any_family))
def test_any_draft_can_be_measured(
    question: str, text: str, logprobs: list[float], top: list[list[float]], wanted: set[str]
) -> None:
    """Never raises, every value is finite, and families say exactly what is there."""
    found = measure(ask(question), draft(text, logprobs=logprobs, top_logprobs=top), wanted)
    assert all(map(math.isfinite, found.values.values()))
    assert tuple(sorted({name.split(".")[0] for name in found.values})) == found.families
    assert found.values.keys() <= documented()
    assert wanted & {"text"} <= set(found.families) <= wanted


@given(st.lists(logprob, min_size=3, max_size=50), st.data())
def test_one_value_that_is_no_number_removes_the_family(logprobs: list[float], data: st.DataObject) -> None:
    assert measure(ask(), draft(logprobs=logprobs)).families == ("logprobs", "text")
    logprobs[data.draw(st.integers(0, len(logprobs) - 1))] = data.draw(st.sampled_from(NOT_FINITE))
    found = measure(ask(), draft(logprobs=logprobs))
    assert found.families == ("text",)
    assert not [name for name in found.values if name.startswith("logprobs")]


@pytest.mark.parametrize("bad", [*NOT_FINITE, 800.0])
def test_one_bad_alternative_removes_top_and_leaves_logprobs(bad: float) -> None:
    rows = [position(0.6, 0.3), position(0.9, 0.05), position(0.5, 0.4)]
    given_ = [row[0] for row in rows]
    assert measure(ask(), draft(logprobs=given_, top_logprobs=rows)).families == ("logprobs", "text", "top")
    rows[1][1] = bad
    assert measure(ask(), draft(logprobs=given_, top_logprobs=rows)).families == ("logprobs", "text")


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [position(0.6, 0.3)],
        [position(0.6)] * 3,
        [[], [], []],
        [position(0.6, 0.3)] * 4,
        [[-9e3, -9e3]] * 3,
        [[-0.1, -0.1]] * 3,
    ],
)
def test_alternatives_that_are_too_few_or_no_probabilities_are_absent(rows: list[list[float]]) -> None:
    found = measure(ask(), draft(logprobs=[-0.1, -0.2, -0.3], top_logprobs=rows))
    assert found.families == ("logprobs", "text")


def test_log_probabilities_of_only_a_part_of_the_answer_are_absent() -> None:
    """Ten words cannot be three tokens: the provider left some out."""
    assert measure(ask(), draft("one two three four five six seven eight nine ten", logprobs=[-0.1] * 3)).families == (
        "text",
    )
    assert measure(ask(), draft("one two three", logprobs=[-0.1] * 3)).families == ("logprobs", "text")


@pytest.mark.parametrize("logprobs", [None, [], [0.3, -0.1, -0.1]])
def test_none_or_impossible_log_probabilities_are_absent(logprobs: list[float] | None) -> None:
    assert measure(ask(), draft(logprobs=logprobs)).families == ("text",)


@given(st.lists(logprob, min_size=3, max_size=30), st.randoms())
def test_order_of_tokens_matters_to_first_and_last_only(logprobs: list[float], random_: random.Random) -> None:
    one = measure(ask(), draft(logprobs=logprobs)).values
    other = measure(ask(), draft(logprobs=random_.sample(logprobs, len(logprobs)))).values
    assert {k for k in one if one[k] != other[k]} <= {"logprobs.first", "logprobs.last"}


@given(st.lists(logprob, min_size=3, max_size=50))
@example([-math.log(2.0)] * 3)
def test_log_probability_statistics_stand_in_their_order(logprobs: list[float]) -> None:
    v = measure(ask(), draft(logprobs=logprobs)).values
    assert v["logprobs.min"] <= v["logprobs.q10"] <= v["logprobs.q25"] <= max(logprobs)
    assert v["logprobs.min"] - 1e-9 <= v["logprobs.mean"] <= max(logprobs) + 1e-9
    assert v["logprobs.sum"] == pytest.approx(v["logprobs.mean"] * len(logprobs))
    assert v["logprobs.unlikely"] == sum(p < -math.log(2.0) for p in logprobs) / len(logprobs)


def test_quantiles_are_interpolated_linearly() -> None:
    v = measure(ask(), draft(logprobs=[-float(i) for i in range(11)])).values
    assert v["logprobs.q10"] == pytest.approx(-9.0)
    assert v["logprobs.q25"] == pytest.approx(-7.5)


def test_entropy_is_zero_when_certain_and_log_k_when_even() -> None:
    """Also where the alternatives shown share little probability: a flat tail is not certainty."""
    rows = [position(1.0, 1e-300), position(0.25, 0.25, 0.25, 0.25), position(0.01, 0.01)]
    v = measure(ask(), draft(logprobs=[row[0] for row in rows], top_logprobs=rows)).values
    assert v["top.max_entropy"] == pytest.approx(math.log(4))
    assert v["top.mean_entropy"] == pytest.approx((0.0 + math.log(4) + math.log(2)) / 3)
    assert v["top.first_margin"] == pytest.approx(1.0)
    assert v["top.min_margin"] == pytest.approx(0.0)


@given(any_text)
def test_text_signals_stay_in_their_ranges(text: str) -> None:
    v = measure(ask(), draft(text)).values
    assert 0.0 <= v["text.repetition"] < 1.0
    assert 0.0 <= v["text.digits"] <= 1.0
    assert v["text.length"] == math.log1p(len(text))
    assert v["text.length_ratio"] == v["text.length"] - math.log1p(len(ask().question))


def test_repetition_grows_with_each_repeat() -> None:
    said = [measure(ask(), draft("the order is late " * n)).values["text.repetition"] for n in (1, 2, 4, 16)]
    assert said == sorted(said)
    assert said[0] == 0.0 < said[-1]


@pytest.mark.parametrize(
    "text", ["Perhaps it is late.", "I'm not sure it is.", "I don\u2019t know that.", "IT MAY BE SO"]
)
def test_a_hedge_is_counted_whatever_its_case_and_punctuation(text: str) -> None:
    words = len(text.split())
    assert measure(ask(), draft(text)).values["text.hedging"] == pytest.approx(100.0 / words)


def test_words_that_contain_a_hedge_are_no_hedges() -> None:
    assert measure(ask(), draft("The almighty unlikeliest mighty oak")).values["text.hedging"] == 0.0


@pytest.mark.parametrize(
    ("finish_reason", "expected"), [("stop", 0.0), ("tool_calls", 1.0), ("length", 1.0), (None, 1.0)]
)
def test_only_stop_counts_as_stopped(finish_reason: str | None, expected: float) -> None:
    assert measure(ask(), draft(finish_reason=finish_reason)).values["text.not_stop"] == expected


def test_a_question_back_is_seen() -> None:
    assert measure(ask(), draft("Which order do you mean? \n")).values["text.asks_back"] == 1.0
    assert measure(ask(), draft("It is here.")).values["text.asks_back"] == 0.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Paris.\nConfidence: 85%", 0.85),
        ("Paris.\n**Confidence: 7.5 %**\n", 0.075),
        ("Paris.\nConfidence: 130%", None),
        ("Confidence: 85%\nParis.", None),
        ("I have 85% confidence", None),
    ],
)
def test_a_stated_confidence_counts_in_its_declared_form_and_where_declared(text: str, expected: float | None) -> None:
    found = measure(ask(), draft(text), {"text", "verbal"})
    assert found.values.get("verbal.confidence") == expected
    assert found.families == (("text",) if expected is None else ("text", "verbal"))
    assert measure(ask(), draft(text)).families == ("text",)


@given(st.lists(st.sampled_from(["text", "logprobs", "top", "votes", "verifier", "neighbours"])))
def test_a_set_is_named_like_the_signals_that_have_it(families: list[str]) -> None:
    found = Signals(values={}, families=())
    for family in families:
        found = extend(found, family, {"x": 1.0})
    assert sets(families) == found.set_name


@pytest.mark.parametrize("values", [None, {}, {"a": 1.0, "b": math.nan}, {"a": math.inf}])
def test_a_family_with_nothing_or_a_gap_is_not_added(values: dict[str, float] | None) -> None:
    found = measure(ask(), draft())
    assert extend(found, "votes", values) == found


def test_extending_leaves_the_signals_it_started_from() -> None:
    found = measure(ask(), draft())
    more = extend(found, "votes", agreement(["on its way"], "On its way."))
    assert (found.set_name, more.set_name) == ("text", "text+votes")
    assert more.values["votes.exact"] == 1.0
    assert "votes.exact" not in found.values


@given(st.lists(any_text, min_size=1, max_size=6), any_text, st.randoms())
def test_agreement_is_a_share_and_knows_no_order(answers: list[str], text: str, random_: random.Random) -> None:
    found = agreement(answers, text)
    assert all(0.0 <= value <= 1.0 for value in found.values())
    assert found["exact"] <= found["overlap"]
    assert agreement(random_.sample(answers, len(answers)), text) == found


@given(any_text, st.integers(1, 4))
def test_whoever_repeats_the_draft_agrees_with_it(text: str, samples: int) -> None:
    assert agreement([text] * samples, text) == {"exact": 1.0, "overlap": 1.0}


def test_no_samples_are_no_agreement() -> None:
    assert agreement([], "Paris") == {}
    assert agreement(["PARIS!", "Lyon"], "Paris.") == {"exact": 0.5, "overlap": 0.5}


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ({"True": 0.6, "False": 0.2}, 0.75),
        ({"True": 0.3, " true": 0.3, "FALSE": 0.2}, 0.75),
        ({"True": 0.9}, 0.9),
        ({"False": 0.8}, 0.2),
        ({"True": 0.6, "The": 0.3}, 0.6 / 0.7),
        ({"The": 0.9}, None),
        ({}, None),
    ],
)
def test_p_true_shares_between_the_two_words(tokens: dict[str, float], expected: float | None) -> None:
    found = p_true({token: math.log(chance) for token, chance in tokens.items()})
    assert found == (None if expected is None else pytest.approx(expected))


@given(st.dictionaries(st.sampled_from(["True", "False", " true", "Yes", "\ud800"]), st.floats()))
def test_p_true_is_a_probability_or_none(tokens: dict[str, float]) -> None:
    found = p_true(tokens)
    assert found is None or 0.0 <= found <= 1.0


def test_the_verifier_reads_the_whole_conversation_first() -> None:
    """Unchanged and in front, or the provider's prompt cache could not serve it."""
    request = Request(id="1", messages=[{"role": "system", "content": "Be brief."}, *ask().messages])
    messages = verifier_messages(request, draft("Paris"))
    assert messages[:2] == request.messages
    assert [message["role"] for message in messages[2:]] == ["assistant", "user"]
    assert messages[2]["content"] == "Paris"
    calls = [{"type": "function", "function": {"name": "locate", "arguments": "{}"}}]
    assert "locate" in verifier_messages(request, draft("", tool_calls=calls))[2]["content"]


SIX = Usage(prompt_tokens=4, completion_tokens=6)


def test_every_documented_signal_has_its_family_measured_somewhere() -> None:
    rows = [position(0.6, 0.3)] * 6
    found = measure(
        ask(),
        draft("Paris.\nConfidence: 85%", logprobs=[row[0] for row in rows], top_logprobs=rows, usage=SIX),
        signals.FREE | {"verbal"},
    )
    found = extend(found, "votes", agreement(["Paris"], "Paris"))
    found = extend(found, "verifier", {"p_true": p_true({"True": -0.1}) or 0.0})
    assert found.values.keys() == documented()


def test_what_is_not_wanted_does_not_change_the_set() -> None:
    """A provider that sends alternatives unasked leaves the declared set as it was."""
    rows = [position(0.6, 0.3)] * 3
    sent = draft(logprobs=[row[0] for row in rows], top_logprobs=rows)
    assert measure(ask(), sent, {"text", "logprobs"}).set_name == "logprobs+text"
    assert measure(ask(), sent, {"top"}).set_name == "top"
