"""Which family a model belongs to: models of one family were trained on much the same and err alike.

So a judge of a candidate's own family is no witness for it.
"""

from __future__ import annotations

import re

_NAMES = {
    "gpt": r"gpt(?!-?(?:neo|j(?![a-z])))|chatgpt|o\d(?![a-z0-9.])|davinci|codex",
    "claude": r"claude",
    "gemini": r"gemini|gemma|palm|bison",
    "llama": r"(?:code|tiny|open)?llama|vicuna|alpaca",
    "qwen": r"qwen|qwq|qvq",
    "mistral": r"mistral|mixtral|ministral|codestral|magistral|devstral|pixtral",
    "deepseek": r"deepseek",
    "grok": r"grok",
    "command": r"command|c4ai|aya",
    "phi": r"phi(?=[-\d]|$)",
    "nova": r"nova|titan",
    "glm": r"glm|chatglm",
    "kimi": r"kimi|moonshot",
    "granite": r"granite",
    "nemotron": r"nemotron",
    "minimax": r"minimax|abab",
    "jamba": r"jamba",
    "yi": r"yi(?=[-\d]|$)",
    "falcon": r"falcon",
    "olmo": r"olmo",
    "smollm": r"smollm",
}
_FAMILIES = [(family, re.compile(rf"(?<![a-z0-9])(?:{pattern})")) for family, pattern in _NAMES.items()]

_MAKERS = {
    "anthropic": "claude",
    "cohere": "command",
    "deepseek": "deepseek",
    "gemini": "gemini",
    "meta-llama": "llama",
    "mistral": "mistral",
    "mistralai": "mistral",
    "moonshot": "kimi",
    "qwen": "qwen",
    "xai": "grok",
}
"""Providers that serve their own models only; ``openai/`` is also written before other people's."""


def family(model: str) -> str:
    """Family of a model as one writes it for litellm, in lower case; "" for "".

    The model's own name decides, then its provider. Of two names the first counts
    (``deepseek-r1-distill-qwen-32b`` answers as DeepSeek's model does). What is not known is a
    family by itself, under its own name.

    >>> family("openai/gpt-5.4-mini"), family("bedrock/us.anthropic.claude-haiku-4-5"), family("o3-mini")
    ('gpt', 'claude', 'gpt')
    >>> family("ollama/mixtral:8x7b"), family("anthropic/next"), family("our-own/model-7")
    ('mistral', 'claude', 'model-7')
    """
    *path, name = model.lower().split("/")
    found = [(match.start(), known) for known, pattern in _FAMILIES if (match := pattern.search(name))]
    if found:
        return min(found)[1]
    return next((_MAKERS[part] for part in reversed(path) if part in _MAKERS), name)


def family_of_judge(judge: str) -> str | None:
    """Family of the model behind a verdict's judge; None for rules, commands, people and "".

    >>> family_of_judge("llm:openai/gpt-5.5/general@ab12"), family_of_judge("exact"), family_of_judge("human:ann")
    ('gpt', None, None)
    """
    kind, _, rest = judge.partition(":")
    if kind != "llm" or not rest:
        return None
    model, slash, _ = rest.rpartition("@")[0].rpartition("/")
    return family(model if slash else rest)
