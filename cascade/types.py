"""What flows through a cascade: frozen values, named for what they are.

``msgspec`` structs rather than dataclasses: building one is cheaper, and the JSON Schema of a
record comes with it. Money is in US dollars, durations in seconds, probabilities in [0, 1].
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Message = dict[str, Any]
"""One chat message in OpenAI's shape: ``{"role": ..., "content": ...}``."""

Mode = Literal["observe", "enforce"]
Served = Literal["accepted", "routed", "escalated", "cached", "failed over", "failed", "shadow"]


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the values here: immutable, keyword-only, defaults left out of the JSON."""


class Usage(Record, frozen=True, kw_only=True):
    """Tokens of one call. ``cached_tokens`` is the part of ``prompt_tokens`` billed at a discount."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class Request(Record, frozen=True, kw_only=True):
    """One question as the caller asked it.

    ``params`` is everything the caller sent besides messages and model (temperature, tools,
    response_format, ...), untranslated. ``slice`` is None when the caller named none and the
    policy has to find it.
    """

    id: str
    messages: list[Message]
    params: dict[str, Any] = {}
    slice: str | None = None
    tenant: str = ""
    metadata: dict[str, str] = {}
    stakes: str | None = None

    @property
    def question(self) -> str:
        """Text of the last user turn, or an empty string."""
        for message in reversed(self.messages):
            if message.get("role") == "user":
                return text_of(message)
        return ""


def text_of(message: Message) -> str:
    """Text of one message; the text parts of a multi-part content, joined by newlines."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts: list[Any] = content if isinstance(content, list) else []
    return "\n".join(p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str))


CACHE = "cache"
"""Name of the cache wherever the tiers' names stand: as an outcome's model, a gate's tier, who served."""


SAME = "same"
"""The signal family of a stored answer about which a tier was asked."""


class CheckResult(Record, frozen=True, kw_only=True):
    """Three-valued outcome of one hard check; ``abstain`` means that it could not tell."""

    name: str
    outcome: Literal["pass", "fail", "abstain"]
    detail: str = ""
    cost: float = 0.0


class Signals(Record, frozen=True, kw_only=True):
    """The measured signals of a draft. A family that is not in ``families`` is absent, not zero.

    ``families`` is sorted; joined with ``+`` it names the signal set (``text``,
    ``logprobs+text``), to which scorers and certificates are bound.
    """

    values: dict[str, float]
    families: tuple[str, ...]

    @property
    def set_name(self) -> str:
        """Name of the signal set."""
        return "+".join(self.families)


class Draft(Record, frozen=True, kw_only=True):
    """What one model answered to one call, read once from the provider's own object.

    ``logprobs`` holds the natural-log probability of each answer token; ``top_logprobs`` the
    alternatives of each position, best first. Both are None where the provider gave none, which is
    not the same as unsure. ``cost`` is None where no price is known. ``measured`` holds signals
    that were taken when a recorded answer was new. ``raw`` is the provider's own object, handed back
    to the caller and never written to the ledger.
    """

    tier: str
    model: str
    text: str = ""
    tool_calls: list[dict[str, Any]] = []
    finish_reason: str | None = None
    refusal: str | None = None
    logprobs: list[float] | None = None
    top_logprobs: list[list[float]] | None = None
    usage: Usage = Usage()
    cost: float | None = None
    latency: float = 0.0
    fingerprint: str | None = None
    measured: Signals | None = None
    raw: Any = None


class Confidence(Record, frozen=True, kw_only=True):
    """A calibrated probability that the draft is acceptable, and what it was made of.

    ``score`` is the scorer's raw output, which thresholds are compared with; see ``confidence.Scorer``.
    """

    probability: float
    score: float
    signal_set: str
    scorer: str


class Hit(Record, frozen=True, kw_only=True):
    """A stored answer that a look-up found: exact (by identity) or semantic (by ``similarity``).

    ``confidence`` and ``certificate`` are those under which the answer was accepted when it was
    stored; both are None for an answer of the last tier. ``age`` is in seconds. ``shared`` says
    that it was not stored yet: an identical request under way answered both.

    Of a semantic hit ``question`` is the stored one, ``passed`` how many audits the entry has stood,
    and ``vectors`` the asked and the stored question's, unit length, shape (2, d); they stay in memory.
    ``cost`` is what finding it cost in dollars, None where that is not known.
    """

    key: str
    draft: Draft
    kind: Literal["exact", "semantic"]
    similarity: float = 1.0
    age: float = 0.0
    slice: str = ""
    confidence: Confidence | None = None
    certificate: str | None = None
    shared: bool = False
    question: str = ""
    passed: int = 0
    vectors: Any = None
    cost: float | None = 0.0


class Entry(Record, frozen=True, kw_only=True):
    """An answer to be kept: the draft and, unless the last tier gave it, why it was accepted."""

    draft: Draft
    slice: str = ""
    confidence: Confidence | None = None
    certificate: str | None = None


class Step(Record, frozen=True, kw_only=True):
    """One thing done for a request that took time or money, in the order it was done."""

    kind: Literal["lookup", "call", "check", "signal", "embed", "wait"]
    outcome: str = "ok"
    tier: str = ""
    model: str = ""
    cost: float | None = 0.0
    latency: float = 0.0
    usage: Usage | None = None
    billed: bool | None = None
    detail: str = ""


class Decision(Record, frozen=True, kw_only=True):
    """Who answered and why: the record that every request leaves behind, exactly one each.

    ``audit_probability`` was fixed before the outcome was known and is the propensity of every
    label that this decision may get. ``flags`` name what a reader should know and that did not
    decide anything (``missing_context``, ``unrecorded``).
    """

    id: str
    at: float
    policy: str
    mode: Mode
    slice: str
    served: Served
    served_by: str
    why: str
    confidence: Confidence | None = None
    threshold: float | None = None
    certificate: str | None = None
    audit_probability: float = 0.0
    explore_probability: float = 0.0
    steps: list[Step] = []
    flags: list[str] = []

    @property
    def cost(self) -> float:
        """Dollars of all steps whose price is known; see ``cost_known``."""
        return sum(step.cost for step in self.steps if step.cost is not None)

    @property
    def cost_known(self) -> bool:
        """Whether ``cost`` is all of it."""
        return all(step.cost is not None for step in self.steps)


class Answer(Record, frozen=True, kw_only=True):
    """What the caller gets: the draft that was served and the decision that served it."""

    draft: Draft
    decision: Decision


class Miss(Record, frozen=True, kw_only=True):
    """Something that an answer gets wrong or leaves out, in a judge's words.

    A ``critical`` one harms whoever acts on the answer: it is unacceptable whatever its score.
    """

    what: str
    critical: bool = False


class Verdict(Record, frozen=True, kw_only=True):
    """A judge's word on one answer. ``score`` is in [0, 1] where the judge gives one.

    ``judge`` begins with its kind: ``human:NAME``, ``llm:MODEL/...``, or the name of a rule such as
    ``exact``. ``propensity`` is the probability, fixed before the answer was looked at, with which
    this answer was drawn to be judged; None where nobody said. ``cost`` in dollars is what the verdict
    itself cost, None where that is not known. ``misses`` are as the judge said them, a bare text or
    with the word on whether it is critical; read ``missed``.
    """

    judge: str
    acceptable: bool
    score: float | None = None
    propensity: float | None = None
    cost: float | None = None
    misses: list[str | Miss] = []
    labels: dict[str, str] = {}

    @property
    def missed(self) -> list[Miss]:
        """All misses; a bare text is not critical."""
        return [miss if isinstance(miss, Miss) else Miss(what=miss) for miss in self.misses]

    @property
    def quality(self) -> float:
        """In [0, 1]: 0.0 with a critical miss, else the score, else the word."""
        if any(miss.critical for miss in self.missed):
            return 0.0
        return self.score if self.score is not None else float(self.acceptable)


RIGHT = 0.5
"""Graded qualities from here on count as right wherever an answer must be right or wrong."""


class Sample(Record, frozen=True, kw_only=True):
    """One of several answers that a tier drew to the same request; the fields mean what they mean there."""

    answer: str | None = None
    correct: int | None = None
    score: float | None = None
    verdicts: list[Verdict] = []

    @property
    def quality(self) -> float | None:
        """In [0, 1], found as the quality of a tier's one answer is."""
        return _quality(self)


class ModelOutcome(Record, frozen=True, kw_only=True):
    """What is known of one tier's answer to one request, or of the stored answer that was nearest.

    ``correct`` (0 or 1) and ``score`` are what recorded data sets bring; ``verdicts`` are what
    judges of this project say. ``latency_ms`` is in milliseconds, as such data sets have it.
    ``entry`` is the key under which the answer is stored; of a stored answer that was found ``question``
    is the one that it was given to. ``samples`` are further draws of the same tier, to tell how much its
    answers differ; none of them was served.
    """

    answer: str | None = None
    question: str | None = None
    entry: str | None = None
    correct: int | None = None
    score: float | None = None
    verdicts: list[Verdict] = []
    samples: list[Sample] = []
    checks: list[CheckResult] = []
    signals: dict[str, float] = {}
    families: list[str] | None = None
    finish_reason: str | None = None
    refusal: str | None = None
    logprobs: list[float] | None = None
    top_logprobs: list[list[float]] | None = None
    tool_calls: list[dict[str, Any]] = []
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_prompt_tokens: int | None = None
    cost: float | None = None
    latency_ms: float | None = None
    cpu_ms: float | None = None
    model: str | None = None
    fingerprint: str | None = None

    @property
    def quality(self) -> float | None:
        """In [0, 1]: the latest verdict's, else what the data set brought; else None."""
        return _quality(self)


def _quality(judged: Sample | ModelOutcome) -> float | None:
    if judged.verdicts:
        return judged.verdicts[-1].quality
    if judged.score is not None:
        return judged.score
    return None if judged.correct is None else float(judged.correct)


OUTCOME_VERSION = 1


class Outcome(Record, frozen=True, kw_only=True):
    """The hinge: written by the engine, labelled by judges, learned from, replayed.

    One record, one file format (JSON lines), one published JSON Schema. Recorded data sets that
    bring only ``id``, ``slice``, ``query`` and ``models`` are read as they are. ``paraphrase_of``
    names the row that asks the same in other words: the two are not independent evidence.
    ``conversation`` names what the row is one turn of, with the same consequence. ``propensity`` is
    the probability, fixed beforehand, with which this request got answers and labels of every tier:
    1.0 for a recorded data set, None where the decision and its verdicts say it.
    """

    id: str
    slice: str = ""
    models: dict[str, ModelOutcome] = {}
    split: str | None = None
    query: str | None = None
    system: str | None = None
    messages: list[Message] | None = None
    params: dict[str, Any] = {}
    reference: Any = None
    tenant: str = ""
    metadata: dict[str, str] = {}
    stakes: str | None = None
    content: Literal["full", "hashed", "none"] = "full"
    query_hash: str | None = None
    decision: Decision | None = None
    shadow_of: str | None = None
    paraphrase_of: str | None = None
    conversation: str | None = None
    propensity: float | None = None
    version: int = OUTCOME_VERSION
