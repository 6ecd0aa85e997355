"""Signals of a draft: numbers that say something about how likely it is to be right.

They come in families; a value is named ``family.signal``. A family is there as a whole or not at
all: one value that is not a finite number, or log-probabilities that cannot be those of the whole
answer, and it is absent. Nothing is imputed. All logarithms are natural.

Direction: ``+`` likelier right as it grows, ``-`` likelier wrong, ``?`` either way, for the scorer
to find. Sources: [G] Gupta et al. 2404.10136 (quantiles beat mean and sum: the sum overrates length,
the mean underrates it), [K] Kadavath et al. 2207.05221 (P(True)), [T] Tao et al. 2505.23854 and
[X] Xiong et al. 2306.13063 (verbal confidence), [W] Wang et al. 2203.11171 (self-consistency),
[L] Li et al. 1510.03055 (distinct n-grams). Where none is named it is this project's own.

====================== ========================================= ============ === ======
name                   what it is, unit                          range        dir source
====================== ========================================= ============ === ======
text.length            log(1 + characters of the answer)         [0, inf)     ?   [G]
text.length_ratio      text.length less the same of the question (-inf, inf)  ?
text.hedging           hedging phrases per 100 words             [0, 100]     -   [T]
text.repetition        1 - distinct share of word trigrams       [0, 1)       -   [L]
text.digits            share of bytes that are ASCII digits      [0, 1]       ?
text.asks_back         1 if the answer ends with a question mark 0 or 1       -
text.not_stop          1 if the finish reason is not ``stop``    0 or 1       ?
size.question          log(1 + characters of the question)       [0, inf)     ?
size.draft             log(1 + tokens of the answer)             [0, inf)     ?   [G]
logprobs.mean          mean log-probability, nats per token      (-inf, 0]    +   [G]
logprobs.min           of the least likely token                 (-inf, 0]    +   [G]
logprobs.q10           10 % quantile, linear interpolation       (-inf, 0]    +   [G]
logprobs.q25           25 % quantile                             (-inf, 0]    +   [G]
logprobs.sum           of the whole answer                       (-inf, 0]    +   [G]
logprobs.unlikely      share of tokens with probability < 1/2    [0, 1]       -   [G]
logprobs.first         of the first token                        (-inf, 0]    +
logprobs.last          of the last token                         (-inf, 0]    +
top.first_margin       p1 - p2 at the first token                [0, 1]       +   [G]
top.min_margin         smallest p1 - p2 of all tokens            [0, 1]       +
top.mean_entropy       mean entropy of the shown alternatives    [0, log k]   -   [K]
top.max_entropy        largest of them, nats                     [0, log k]   -   [K]
verbal.confidence      what the answer says of itself            [0, 1]       +   [T][X]
votes.exact            share of other samples that say the same  [0, 1]       +   [W]
votes.overlap          mean Jaccard similarity of their words    [0, 1]       +   [W]
verifier.p_true        a verifier's probability of ``True``      [0, 1]       +   [K]
====================== ========================================= ============ === ======

Within the family ``text`` the question's own length is ``length - length_ratio``. ``size`` needs no
text at all, only the provider's count of tokens, so recorded answers without a text have it. Hedging and
repetition count words between blanks, so in scripts without blanks they stay near zero.
"""

from __future__ import annotations

import math
import re
import string
from bisect import bisect_left
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from operator import mul
from types import MappingProxyType

from cascade import matching
from cascade.pairing import FAMILY as PAIR
from cascade.types import SAME, Draft, Message, Request, Signals

FREE = frozenset({"logprobs", "size", "text", "top"})
"""The families that need nothing but the draft as it comes."""

HEDGES = frozenset(
    b"maybe perhaps possibly probably presumably apparently seemingly arguably likely unlikely might"
    b" unsure uncertain unclear guess assume approximately roughly".split()
)
HEDGING_PHRASES = tuple(
    f" {phrase} ".encode()
    for phrase in ("not sure", "dont know", "not certain", "i think", "i believe", "could be", "may be",
                   "it seems", "it appears", "as far as i know", "hard to say", "it depends")
)  # fmt: skip
_PHRASE_ENDS = frozenset(phrase.split()[-1] for phrase in HEDGING_PHRASES)

VERBAL_INSTRUCTION = "End with a line of its own that says how likely your answer is to be right, as 'Confidence: N%'."
"""What to put into a prompt so that the family ``verbal`` is there to be measured."""

VERIFIER_QUESTION = (
    "Is your last message above a right and complete answer to what was asked? Reply with one word, True or False."
)

DIRECTIONS: Mapping[str, str] = MappingProxyType(
    dict(matching.DIRECTIONS)
    | dict.fromkeys(
        ("text.length", "text.length_ratio", "text.digits", "text.not_stop", "size.question", "size.draft",
         "neighbours.nearest"), "?")
    | dict.fromkeys(
        ("text.hedging", "text.repetition", "text.asks_back", "logprobs.unlikely", "top.mean_entropy",
         "top.max_entropy", "neighbours.failures", "neighbours.failure"), "-")
)  # fmt: skip
"""Direction of the signals that are not ``+``, as in the table above and in that of ``cascade.matching``."""

_LOG_HALF = -math.log(2.0)
_ROUNDING = 1e-4  # providers round in half precision: a certain token may come out just above 0,
_WHOLE = 1.01  # and the alternatives of one token sum to a little more than 1
_DIGITS = string.digits.encode()
_LOWER = bytes(range(256)).lower()
_PUNCTUATION = string.punctuation.encode()
_CURLY_APOSTROPHE = "\u2019".encode()
_VERBAL = re.compile(r"\W*confidence\W{1,6}(\d{1,3}(?:\.\d{1,9})?)\s*%\W*", re.IGNORECASE)


NO_SIGNALS = Signals(values={}, families=())


def measure(request: Request, draft: Draft, wanted: Container[str] = FREE) -> Signals:
    """The free families of a draft, as far as they are wanted and there. Never raises.

    ``wanted`` are the families of the policy's declared sets: what no scorer reads costs nothing, and
    what a provider sends unasked does not change the draft's signal set. ``verbal`` is measured only
    when named here, since a model may state a confidence that nobody asked for.
    """
    values: dict[str, float] = {}
    families = []
    for family, measured in _MEASURES.items():
        if family in wanted and (found := measured(request, draft)):
            values |= found
            families.append(family)
    return Signals(values=values, families=tuple(families))


def of_draft(request: Request, draft: Draft, wanted: Container[str] = FREE) -> Signals:
    """The free families of a draft: as they were recorded when it was new, else measured.

    A recorded answer still has its tokens, so ``size`` is measured where nobody recorded it.
    """
    recorded = draft.measured
    if recorded is None:
        return measure(request, draft, wanted)
    if "size" not in wanted or "size" in recorded.families:
        return recorded
    found = _size(request, draft)
    if found is None:
        return recorded
    return Signals(values=recorded.values | found, families=tuple(sorted({*recorded.families, "size"})))


def extend(signals: Signals, family: str, values: Mapping[str, float] | None) -> Signals:
    """``signals`` and one more family, for paid and for users' signals.

    ``values`` are named without the family. None, nothing, or any value that is not a finite number
    leaves the family absent and ``signals`` as they were.
    """
    if not values or not all(map(math.isfinite, values.values())):
        return signals
    named = {f"{family}.{name}": float(value) for name, value in values.items()}
    return Signals(values=signals.values | named, families=tuple(sorted({*signals.families, family})))


def without(signals: Signals, families: Collection[str]) -> Signals:
    """``signals`` less these families; the same object where none of them is there."""
    if not any(family in families for family in signals.families):
        return signals
    kept = {name: value for name, value in signals.values.items() if name.partition(".")[0] not in families}
    return Signals(values=kept, families=tuple(family for family in signals.families if family not in families))


def matched(signals: Signals) -> Signals:
    """The signals of a stored answer that cost nothing and hang on no lock: a pairing's word is that of its time."""
    families = tuple(name for name in signals.families if name not in (PAIR, SAME))
    return signals if families == signals.families else Signals(values=signals.values, families=families)


def narrowed(signals: Signals, declared: Iterable[Collection[str]]) -> Signals:
    """``signals`` as the first declared set that is wholly there; as they are where none is.

    A draft may bring more families than any scorer was fitted to; which set then speaks is the
    policy's order, never a matter of what a provider happened to send.
    """
    present: set[str] = set()
    for families in declared:
        if signals.families == tuple(families):  # as most drafts are
            return signals
        present = present or set(signals.families)
        if present.issuperset(families):
            read = set(families)
            return signals if read == present else Signals(values=signals.values, families=tuple(sorted(read)))
    return signals


def sets(families: Iterable[str]) -> str:
    """The name of the signal set made of these families, as in ``Signals.set_name``."""
    return "+".join(sorted(set(families)))


def agreement(answers: list[str], text: str) -> dict[str, float]:
    """Family ``votes``: how far other samples agree with the draft's text. Empty without samples.

    ``exact``: the share whose words are the same in the same order, whatever their case,
    punctuation and blanks. ``overlap``: the mean Jaccard similarity of the sets of words.
    """
    if not answers:
        return {}
    mine = _spoken(text)
    theirs = [_spoken(answer) for answer in answers]
    return {
        "exact": sum(words == mine for words in theirs) / len(theirs),
        "overlap": math.fsum(_jaccard(set(words), set(mine)) for words in theirs) / len(theirs),
    }


def verifier_messages(request: Request, draft: Draft) -> list[Message]:
    """The messages that ask a model whether the draft is right, for one token of ``True`` or ``False``.

    The conversation goes first and unchanged: the provider's prompt cache then pays for most of it.
    Quoting it inside one new message was the alternative, and costs the whole prompt again.
    """
    said = draft.text
    if draft.tool_calls:
        said = "\n".join([said, *(str(call.get("function", call)) for call in draft.tool_calls)]).strip()
    return [
        *request.messages,
        {"role": "assistant", "content": said},
        {"role": "user", "content": VERIFIER_QUESTION},
    ]


def p_true(tokens: Mapping[str, float]) -> float | None:
    """Family ``verifier``: the probability of True from the alternatives of the reply's one token.

    ``tokens`` maps each alternative to its log-probability; case and blanks do not matter. Without
    alternatives pass the one token that came. A word that is not shown gets all the probability that
    is not shown, so a missing rival never makes a certainty. None when neither word is shown, or a
    value is not a log-probability.
    """
    shown = {"true": 0.0, "false": 0.0}
    total = 0.0
    for token, logprob in tokens.items():
        if not logprob <= _ROUNDING:  # NaN too
            return None
        word = token.strip().lower()
        total += math.exp(logprob)
        if word in shown:
            shown[word] += math.exp(logprob)
    if not shown["true"] + shown["false"] > 0.0:
        return None
    hidden = max(1.0 - total, 0.0)
    true, false = shown["true"] or hidden, shown["false"] or hidden
    return true / (true + false)


def _text(request: Request, draft: Draft) -> dict[str, float]:
    """The family ``text``.

    On bytes, where one C call lowers the case and drops punctuation, whatever the script: the same
    on ``str`` costs a dictionary look-up a character once a single curly quote is in the answer.
    """
    body = draft.text.encode("utf-8", "replace")
    words = body.replace(_CURLY_APOSTROPHE, b"").translate(_LOWER, _PUNCTUATION).split()
    count = len(words)
    hedges = sum(map(HEDGES.__contains__, words))
    if count > 1 and not _PHRASE_ENDS.isdisjoint(words):
        joined = b" %b " % b" ".join(words)
        hedges += sum(map(joined.count, HEDGING_PHRASES))
    distinct = len(set(zip(words, words[1:], words[2:], strict=False))) if count > 2 else 1
    length = math.log1p(len(draft.text))
    return {
        "text.length": length,
        "text.length_ratio": length - math.log1p(len(request.question)),
        "text.hedging": 100.0 * hedges / count if count else 0.0,
        "text.repetition": 1.0 - distinct / max(count - 2, 1),
        "text.digits": 1.0 - len(body.translate(None, _DIGITS)) / len(body) if body else 0.0,
        "text.asks_back": 1.0 if body.rstrip().endswith(b"?") else 0.0,
        "text.not_stop": 0.0 if draft.finish_reason == "stop" else 1.0,
    }


def _size(request: Request, draft: Draft) -> dict[str, float] | None:
    """The family ``size``, or None where the provider counted no tokens or the question is not there."""
    question, tokens = request.question, draft.usage.completion_tokens
    if not question or not tokens:
        return None
    return {"size.question": math.log1p(len(question)), "size.draft": math.log1p(tokens)}


def _verbal(request: Request, draft: Draft) -> dict[str, float] | None:
    """The family ``verbal``: the last line, if it has the form that ``VERBAL_INSTRUCTION`` asks for."""
    stated = _VERBAL.fullmatch(draft.text.rstrip().rpartition("\n")[2])
    share = float(stated[1]) / 100.0 if stated else math.inf
    return {"verbal.confidence": share} if share <= 1.0 else None


def _covers(positions: int, draft: Draft) -> bool:
    """Whether so many tokens can be the whole answer.

    No tokenizer in use has fewer tokens than there are words between blanks; fewer positions than
    words means that the provider left some out.
    """
    return positions >= len(draft.text.split())


def _logprobs(request: Request, draft: Draft) -> dict[str, float] | None:
    """The family ``logprobs``, or None where they cannot be those of the whole answer."""
    logprobs = draft.logprobs
    if not logprobs:
        return None
    ordered = sorted(logprobs)
    count = len(ordered)
    total = sum(ordered)  # plain: a sum a few ulps off ranks drafts no differently, at a third of fsum
    if not _covers(count, draft) or not math.isfinite(total) or ordered[-1] > _ROUNDING:
        return None
    return {
        "logprobs.mean": total / count,
        "logprobs.min": ordered[0],
        "logprobs.q10": _quantile(ordered, 0.10),
        "logprobs.q25": _quantile(ordered, 0.25),
        "logprobs.sum": total,
        "logprobs.unlikely": bisect_left(ordered, _LOG_HALF) / count,
        "logprobs.first": logprobs[0],
        "logprobs.last": logprobs[-1],
    }


def _quantile(ordered: list[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    if low + 1 == len(ordered):
        return ordered[low]
    return ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])


def _top(request: Request, draft: Draft) -> dict[str, float] | None:
    """The family ``top``, or None where a token lacks two alternatives or they are no probabilities.

    The entropy is that of the alternatives shown, renormalised: without, a token whose alternatives
    share little probability would look certain. Going down columns instead of row by row was tried
    and is no faster: 200 exponentials and their sums are the cost.
    """
    rows = draft.top_logprobs
    if not rows or len(rows) != len(draft.logprobs or rows) or not _covers(len(rows), draft):
        return None
    entropies, margins = [], []
    try:
        for row in rows:
            chances = list(map(math.exp, row))
            mass = sum(chances)
            if mass > _WHOLE:
                return None
            entropies.append(math.log(mass) - sum(map(mul, chances, row)) / mass)
            margins.append(chances[0] - chances[1])
    except (ValueError, OverflowError, IndexError):  # no mass; a log-probability over 709; one alternative
        return None
    total = sum(entropies)
    if not math.isfinite(total):
        return None
    return {
        "top.first_margin": margins[0],
        "top.min_margin": min(margins),
        "top.mean_entropy": total / len(rows),
        "top.max_entropy": max(entropies),
    }


def _spoken(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0


# In the order of their names, which is the order that ``Signals.families`` promises.
_MEASURES: dict[str, Callable[[Request, Draft], dict[str, float] | None]] = {
    "logprobs": _logprobs,
    "size": _size,
    "text": _text,
    "top": _top,
    "verbal": _verbal,
}
