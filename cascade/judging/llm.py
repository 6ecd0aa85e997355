"""A model as a judge, by a rubric, through the same seam as every other call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cascade.asks import Call, Endpoint, Transport
from cascade.errors import UpstreamError
from cascade.judging.case import Case
from cascade.judging.families import family
from cascade.judging.prompt import Prompt, asked_again, prompt_of, read_reply, templates
from cascade.judging.rubrics import Rubric
from cascade.ladder import CHARACTERS_PER_TOKEN
from cascade.lock import digest
from cascade.prices import Price, price_of
from cascade.types import Draft, Message, Verdict

REPLY_TOKENS = 300
"""What a reply is expected to take: a few sentences and a line of JSON."""

MAX_TOKENS = 4096
"""The most a reply may take: models that reason spend most of it unseen."""

TRIES = 3
LONGEST_WAIT = 30.0


class ModelJudge:
    """Absolute by the rubric or, where ``paired``, at least as good as the answer that a case is against.

    The two are different judges with different names, and each takes only cases of its kind
    (``ValueError``): their words do not mean the same.

    ``timeout`` is in seconds for each call; a call that may work a second time gets up to two more,
    after the provider's own ``Retry-After`` or a pause that doubles. ``sleep`` is how a pause is made.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        rubric: Rubric,
        transport: Transport,
        *,
        paired: bool = False,
        timeout: float = 120.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = f"llm:{endpoint.model}/{rubric.name}@{digest([rubric.text, templates(paired)])}"
        self.family: str | None = family(endpoint.model)
        self.spent = 0.0
        self._endpoint, self._rubric, self._transport = endpoint, rubric, transport
        self._paired, self._timeout, self._sleep = paired, timeout, sleep
        self._price = Price(*endpoint.price) if endpoint.price else price_of(endpoint.model)

    @property
    def priced(self) -> bool:
        """Whether anybody knows what a verdict costs."""
        return self._price is not None

    def estimate(self, case: Case) -> float:
        """Dollars of one reply of usual length, from the length of what is asked; 0.0 where unpriced."""
        if self._price is None:
            return 0.0
        characters = sum(len(message["content"]) for message in self._prompt(case).messages)
        return (characters / CHARACTERS_PER_TOKEN * self._price.input + REPLY_TOKENS * self._price.output) / 1e6

    async def judge(self, case: Case) -> Verdict | None:
        """The model's verdict; None where it says that it cannot tell, or twice nothing that can be read."""
        prompt = self._prompt(case)
        messages, cost = prompt.messages, 0.0
        for _ in range(2):
            reply = await self._asked(messages)
            cost += reply.cost or 0.0
            said = read_reply(reply, prompt.place)
            if said is not None:
                break
            messages = asked_again(prompt, reply.text)
        if said is None or said.acceptable is None:
            return None
        labels = {"against": case.against or "", "place": str(prompt.place)} if prompt.place else {}
        return Verdict(
            judge=self.name,
            acceptable=said.acceptable,
            score=said.score,
            misses=said.misses,
            cost=cost if self.priced else None,
            labels=labels,
        )

    def _prompt(self, case: Case) -> Prompt:
        prompt = prompt_of(case, self._rubric)
        if bool(prompt.place) != self._paired:
            raise ValueError(f"{self.name} judges {'pairs' if self._paired else 'single answers'} only")
        return prompt

    async def _asked(self, messages: list[Message]) -> Draft:
        """One reply, counted; tried again where the failure may pass."""
        call = Call(
            tier="judge",
            endpoint=self._endpoint,
            messages=messages,
            params={"max_completion_tokens": MAX_TOKENS},
            timeout=self._timeout,
        )
        for attempt in range(1, TRIES + 1):
            try:
                reply = await self._transport.complete(call)
            except UpstreamError as error:
                self.spent += error.cost or 0.0
                if attempt == TRIES or not error.retryable:
                    raise
                pause = 2.0 ** (attempt - 1) if error.retry_after is None else error.retry_after
                await self._sleep(min(pause, LONGEST_WAIT))
            else:
                self.spent += reply.cost or 0.0
                return reply
        raise AssertionError("the last attempt returns or raises")
