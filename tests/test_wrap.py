"""A wrapped function: what goes in and comes out is the user's own, and runs where the user is."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest

from cascade.asks import Call
from cascade.engine import IN_MEMORY, Cascade
from cascade.errors import ConfigError, UpstreamError
from cascade.lock import Lock
from cascade.policy import Policy
from cascade.testing import FakeModels
from cascade.types import Draft, Usage
from tests.misbehaving import SURE, UNSURE, completion
from tests.test_decide import gate_of, lock_of, policy_of, tier

LOGPROBS_ONLY = {"signals": {"sets": [["logprobs"]]}}


def nobody(call: Call) -> BaseException:
    return AssertionError("a wrapped function is all that may be asked")


def cascade_of(policy: Policy | None = None, lock: Lock | None = None) -> Cascade:
    return Cascade(policy or policy_of(), lock, transport=FakeModels(nobody), store=IN_MEMORY)


def gated(**more: Any) -> Cascade:
    """The cheap tier may serve what it is sure of, by its log-probabilities alone."""
    policy = policy_of(**LOGPROBS_ONLY | more)
    return cascade_of(policy, lock_of(policy, gate_of(signal_set="logprobs", scorer="cheap/logprobs")))


def said(model: str, text: str = "four", *, logprob: float = SURE) -> dict[str, Any]:
    return completion(model, text, logprobs=True, logprob=logprob)


def about(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


class Models:
    """A function that takes ``model=`` and writes down with which models it was run."""

    def __init__(self, **by_model: Any) -> None:
        self.by_model = by_model
        self.asked: list[str] = []

    def __call__(self, model: str) -> Any:
        self.asked.append(model)
        found = self.by_model[model.removesuffix("-model")]
        if isinstance(found, BaseException):
            raise found
        return found


@pytest.fixture
def cascade() -> Iterator[Cascade]:
    with gated() as made:
        yield made


def test_the_very_object_comes_back_and_the_decision_beside_it(cascade: Cascade) -> None:
    answer = SimpleNamespace(**said("cheap-model"), extra=object())
    models = Models(cheap=answer)

    @cascade.wrap
    def ask(text: str, *, model: str) -> Any:
        return models(model)

    found, decision = ask.decided("two and two?")
    assert found is answer
    assert not hasattr(answer, "cascade")
    assert (decision.served, decision.served_by, models.asked) == ("accepted", "cheap", ["cheap-model"])
    assert ask("two and two?") is answer
    assert ask.last().served_by == "cheap"


def test_what_is_not_sure_enough_escalates_and_the_function_runs_once_a_tier(cascade: Cascade) -> None:
    models = Models(cheap=said("cheap", "five or so", logprob=UNSURE), frontier="four")

    @cascade.wrap
    def ask(*, model: str) -> Any:
        return models(model)

    assert ask() == "four"
    assert models.asked == ["cheap-model", "frontier-model"]
    assert ask.last().served == "escalated"


def test_asynchronous_functions_stay_asynchronous_and_in_their_task(cascade: Cascade) -> None:
    ran: list[Any] = []

    @cascade.wrap
    async def ask(text: str, *, model: str) -> Any:
        await asyncio.sleep(0)
        ran.append(asyncio.current_task())
        return said(model)

    async def run() -> None:
        found, decision = await ask.decided("two and two?")
        assert found["model"] == "cheap-model"
        assert decision.served_by == "cheap"
        assert (await ask("two and two?"))["model"] == "cheap-model"
        assert ran == [asyncio.current_task()] * 2

    asyncio.run(run())


def test_a_synchronous_function_never_leaves_its_callers_thread_or_context(cascade: Cascade) -> None:
    """Thread-locals and context variables of the user hold; what the function sets stays set."""
    seen: list[tuple[int, str]] = []
    flavour: ContextVar[str] = ContextVar("flavour", default="none")

    @cascade.wrap
    def ask(*, model: str) -> Any:
        seen.append((threading.get_ident(), flavour.get()))
        flavour.set("inside")
        return said(model)

    flavour.set("outside")
    ask()
    assert seen == [(threading.get_ident(), "outside")]
    assert flavour.get() == "inside"


def test_the_name_the_documentation_and_the_signature_stay_and_model_becomes_optional(cascade: Cascade) -> None:
    def ask(text: str, *, model: str, loud: bool = False) -> str:
        """Ask."""
        return text

    wrapped = cascade.wrap(ask)
    assert (wrapped.__name__, wrapped.__doc__, wrapped.__wrapped__) == ("ask", "Ask.", ask)
    signature = inspect.signature(wrapped)
    assert list(signature.parameters) == ["text", "model", "loud"]
    assert signature.parameters["model"].default is None
    assert signature.bind("hello")


def test_a_model_that_the_caller_gives_is_ignored(cascade: Cascade) -> None:
    ask = cascade.wrap(lambda *, model: said(model))
    assert ask(model="anything")["model"] == "cheap-model"


def test_methods_are_bound_and_their_last_and_decided_with_them(cascade: Cascade) -> None:
    class Desk:
        def __init__(self, name: str) -> None:
            self.name = name

        @cascade.wrap
        def ask(self, text: str, *, model: str) -> Any:
            """Ask the desk."""
            return said(model, f"{self.name} says {text}")

        @cascade.wrap
        async def aask(self, *, model: str) -> Any:
            return said(model, self.name)

    desk = Desk("north")
    assert desk.ask("hello")["choices"][0]["message"]["content"] == "north says hello"
    answer, decision = desk.ask.decided("hello")
    assert answer["model"] == "cheap-model"
    assert desk.ask.last() == decision
    assert list(inspect.signature(desk.ask).parameters) == ["text", "model"]
    assert desk.ask.__doc__ == "Ask the desk."
    assert asyncio.run(desk.aask())["choices"][0]["message"]["content"] == "north"


def test_an_exception_of_a_cheap_tier_escalates_and_is_recorded(cascade: Cascade) -> None:
    models = Models(cheap=ValueError("my secret question"), frontier="four")
    ask = cascade.wrap(lambda *, model: models(model))
    assert ask() == "four"
    step = ask.last().steps[0]
    assert (step.outcome, step.tier) == ("error", "cheap")
    assert "ValueError" in step.detail
    assert "secret" not in step.detail
    assert models.asked == ["cheap-model", "frontier-model"]


def test_the_exception_of_the_last_tier_is_raised_again_the_same_object_and_recorded(cascade: Cascade) -> None:
    error = KeyError("mine")
    models = Models(cheap=RuntimeError("first"), frontier=error)
    ask = cascade.wrap(lambda *, model: models(model))
    with pytest.raises(KeyError) as caught:
        ask()
    assert caught.value is error
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    decision = ask.last()
    assert (decision.served, decision.served_by) == ("failed", "")
    assert [step.tier for step in decision.steps] == ["cheap", "frontier"]


def test_the_same_holds_for_asynchronous_functions(cascade: Cascade) -> None:
    error = KeyError("mine")

    @cascade.wrap
    async def ask(*, model: str) -> Any:
        raise error

    async def run() -> None:
        with pytest.raises(KeyError) as caught:
            await ask()
        assert caught.value is error
        assert ask.last().served == "failed"

    asyncio.run(run())


def test_an_empty_answer_of_the_last_tier_is_an_upstream_error_not_an_older_exception(cascade: Cascade) -> None:
    models = Models(cheap=RuntimeError("first"), frontier="")
    with pytest.raises(UpstreamError, match="empty"):
        cascade.wrap(lambda *, model: models(model))()


def test_what_ends_the_program_passes_and_is_recorded(cascade: Cascade) -> None:
    @cascade.wrap
    def ask(*, model: str) -> Any:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        ask()
    assert ask.last().served == "failed"


def test_last_is_local_to_threads_and_tasks(cascade: Cascade) -> None:
    @cascade.wrap
    def ask(*, model: str) -> Any:
        return said(model)

    @cascade.wrap
    async def aask(*, model: str) -> Any:
        return said(model)

    ask()
    here = ask.last()
    seen: list[Any] = []

    def elsewhere() -> None:
        seen.append(ask.last())
        ask()
        seen.append(ask.last().id)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen[0] is None
    assert seen[1] != here.id
    assert ask.last() is here

    async def one() -> str:
        await aask()
        await asyncio.sleep(0.01)
        return str(aask.last().id)

    async def run() -> None:
        ids = await asyncio.gather(*(one() for _ in range(20)))
        assert len(set(ids)) == 20
        assert aask.last() is None

    asyncio.run(run())


@pytest.mark.parametrize(
    ("different", "named"),
    [
        ({"params": {"temperature": 0.0}}, "params"),
        ({"prompt": "Be brief."}, "prompt"),
        ({"prompts": {"billing": "Be brief."}}, "prompts"),
        ({"base_url": "http://localhost:1/v1"}, "base_url"),
        ({"api_key_env": "OTHER_KEY"}, "api_key_env"),
        ({"fallbacks": [{**tier("x"), "params": {"top_p": 0.5}} | {"name": None}]}, "params"),
    ],
)
def test_tiers_that_differ_in_more_than_the_model_are_refused_at_once(different: dict[str, Any], named: str) -> None:
    for fallback in different.get("fallbacks", ()):
        fallback.pop("name", None)
    policy = policy_of(tier("cheap"), tier("frontier", **different))
    with cascade_of(policy) as cascade, pytest.raises(ConfigError, match=f"differs .* in {named}.*cascade.client"):
        cascade.wrap(lambda *, model: model)


def test_what_all_tiers_share_is_no_difference() -> None:
    shared = {"params": {"max_tokens": 9}, "prompt": "Be brief.", "base_url": "http://localhost:1/v1"}
    with cascade_of(policy_of(tier("cheap", **shared), tier("frontier", **shared))) as cascade:
        assert cascade.wrap(lambda *, model: "yes")() == "yes"


@pytest.mark.parametrize("more", [{"mode": "observe"}, {"rollout": 50.0}])
def test_what_runs_the_function_several_times_must_be_allowed(more: dict[str, Any]) -> None:
    with gated(**more) as cascade:
        with pytest.raises(ConfigError, match="repeatable=True"):
            cascade.wrap(lambda *, model: model)
        cascade.wrap(lambda *, model: model, repeatable=True)


def test_in_observe_mode_a_repeatable_function_runs_for_the_cheap_tier_off_the_path() -> None:
    done = threading.Event()
    threads: dict[str, int] = {}

    with gated(mode="observe") as cascade:

        @cascade.wrap(repeatable=True)
        def ask(*, model: str) -> Any:
            threads[model] = threading.get_ident()
            if model == "cheap-model":
                done.set()
            return said(model)

        assert ask()["model"] == "frontier-model"
        assert done.wait(5.0)
        assert threads["frontier-model"] == threading.get_ident() != threads["cheap-model"]


def test_the_shadow_of_an_asynchronous_function_stays_on_its_own_loop() -> None:
    loops: dict[str, Any] = {}

    async def run(cascade: Cascade) -> None:
        done = asyncio.Event()

        @cascade.wrap(repeatable=True)
        async def ask(*, model: str) -> Any:
            loops[model] = asyncio.get_running_loop()
            if model == "cheap-model":
                done.set()
            return said(model)

        assert (await ask())["model"] == "frontier-model"
        await asyncio.wait_for(done.wait(), 5.0)
        await asyncio.sleep(0.05)

    with gated(mode="observe") as cascade:
        asyncio.run(run(cascade))
    assert loops["cheap-model"] is loops["frontier-model"]


def test_a_closed_gate_is_not_explored_with_a_function_that_may_not_be_repeated() -> None:
    """However often it is called: exploring would run it again."""
    with cascade_of(policy_of(explore={"rate": 1.0})) as cascade:
        models = Models(frontier="four")
        ask = cascade.wrap(lambda *, model: models(model))
        assert [ask() for _ in range(5)] == ["four"] * 5
        assert models.asked == ["frontier-model"] * 5
        assert ask.last().explore_probability == 0.0


def test_retries_and_rescues_do_not_run_the_function_again() -> None:
    policy = policy_of(tier("cheap"), tier("frontier", retries=5, rescue_max_tokens=999))
    with cascade_of(policy) as cascade:
        models = Models(frontier=completion("frontier", None, finish="length", tokens=9))
        with pytest.raises(UpstreamError, match="silent"):
            cascade.wrap(lambda *, model: models(model))()
        assert models.asked == ["frontier-model"]


def test_signals_that_call_the_models_again_are_refused() -> None:
    paid = {"sets": [["logprobs"]], "votes": {"samples": 2}}
    with gated(signals=paid) as cascade, pytest.raises(ConfigError, match="votes"):
        cascade.wrap(lambda *, model: model)


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda text: text, "takes no model="),
        (lambda model, text: text, "model before other arguments"),
        ("no function", "takes a function"),
    ],
)
def test_what_cannot_be_wrapped_is_refused(cascade: Cascade, function: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        cascade.wrap(function)


def test_generators_are_refused(cascade: Cascade) -> None:
    def pieces(*, model: str) -> Iterator[str]:
        yield model

    with pytest.raises(ConfigError, match="in pieces"):
        cascade.wrap(pieces)


def test_without_the_question_no_text_signal_is_measured() -> None:
    """A length compared with a question that nobody knows would be a false signal, not a missing one."""
    policy = policy_of(signals={"sets": [["logprobs", "text"]]})
    with cascade_of(policy, lock_of(policy)) as cascade:
        models = Models(cheap=said("cheap"), frontier="four")
        assert cascade.wrap(lambda *, model: models(model))() == "four"
        asked = cascade.wrap(lambda text, *, model: models(model), request=about)
        assert asked("two and two?")["model"] == "cheap"


def test_request_gives_slices_by_text_and_the_function_is_known_to_rules() -> None:
    by_name = {"when": {"metadata": {"function": f"{__name__}.desk"}}}
    slices = {"bills": {"when": {"pattern": "invoice"}}, "desk": by_name}
    with cascade_of(policy_of(slices=slices)) as cascade:
        ask = cascade.wrap(lambda text, *, model: "yes", request=about)
        ask("where is my invoice?")
        assert ask.last().slice == "bills"

        def desk(*, model: str) -> str:
            return "yes"

        desk.__qualname__ = "desk"
        wrapped = cascade.wrap(desk)
        wrapped()
        assert wrapped.last().slice == "desk"


def test_request_may_say_all_that_a_request_is_and_slice_is_the_default() -> None:
    with cascade_of() as cascade:
        ask = cascade.wrap(
            lambda text, *, model: "yes",
            request=lambda text: {"messages": about(text), "tenant": "t1", "metadata": {"who": "me"}},
            slice="billing",
        )
        ask("hello")
        outcome = next(iter(cascade.outcomes()))
        assert (outcome.tenant, outcome.metadata["who"], outcome.slice) == ("t1", "me", "billing")


def test_stored_texts_are_served_and_other_objects_never_are() -> None:
    """And what one function said is no answer of another to the same question."""
    with cascade_of() as cascade:
        models = Models(frontier="four")
        asked = {"request": lambda text: {"messages": about(text), "params": {"temperature": 0.0}}}

        def ask(text: str, *, model: str) -> Any:
            return models(model)

        def other(text: str, *, model: str) -> Any:
            return models(model)

        one, two = cascade.wrap(ask, **asked), cascade.wrap(other, **asked)
        assert (one("q"), one("q"), two("q")) == ("four", "four", "four")
        assert len(models.asked) == 2
        assert one.last().served == "cached"
        models.by_model["frontier"] = whole = completion("frontier-model")
        assert one("another") is whole
        assert one("another") is whole
        assert len(models.asked) == 4


def test_a_plain_string_costs_what_usage_says_else_nobody_knows() -> None:
    with cascade_of() as cascade:
        ask = cascade.wrap(lambda *, model: "four")
        ask()
        assert ask.last().cost_known is False
        counted = cascade.wrap(lambda *, model: "four", usage=lambda text: Usage(prompt_tokens=10, completion_tokens=5))
        counted()
        assert counted.last().cost == pytest.approx((10 * 1.0 + 5 * 2.0) / 1e6)


@pytest.mark.parametrize(
    "reads",
    [
        lambda found: found.text,
        lambda found: completion("x", found.text),
        lambda found: Draft(tier="", model="", text=found.text, usage=Usage(completion_tokens=3)),
    ],
    ids=["text", "dict", "draft"],
)
def test_read_makes_any_type_readable(reads: Any) -> None:
    answer = SimpleNamespace(text="four")
    with cascade_of() as cascade:
        ask = cascade.wrap(lambda *, model: answer, read=reads)
        assert ask() is answer
        assert ask.last().steps[-1].model == "frontier-model"


def test_an_unreadable_type_is_a_config_error_that_names_it_and_read() -> None:
    with cascade_of() as cascade, pytest.raises(ConfigError, match=r"SimpleNamespace.*read="):
        cascade.wrap(lambda *, model: SimpleNamespace(text="four"))()


def test_many_threads_get_each_their_own(cascade: Cascade) -> None:
    @cascade.wrap
    def ask(text: str, *, model: str) -> Any:
        return said(model, text)

    wrong: list[str] = []

    def run(name: str) -> None:
        for turn in range(20):
            found, decision = ask.decided(f"{name} {turn}")
            if found["choices"][0]["message"]["content"] != f"{name} {turn}" or decision != ask.last():
                wrong.append(name)

    threads = [threading.Thread(target=run, args=(f"t{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(list(cascade.outcomes())) == 160


def test_an_answer_shows_no_trace_of_the_cascade(cascade: Cascade) -> None:
    ask = cascade.wrap(lambda *, model: said(model))
    assert "cascade" not in json.dumps(ask())
