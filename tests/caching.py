"""Requests, answers, caches and embedders for the laws of the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cascade.cache import Cache
from cascade.types import Draft, Entry, Hit, Request


def ask(text: str = "Where is my order?", **changes: Any) -> Request:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    return Request(**{"id": "r", "messages": messages, "params": {"temperature": 0}, **changes})


def answer(text: str = "On its way.", **changes: Any) -> Entry:
    return Entry(draft=Draft(tier="cheap", model="m", text=text, **changes))


def build(folder: Path | None = None, **changes: Any) -> Cache:
    arguments = {"identity": "ladder", "ttl": None, "size_limit": 2**24, "max_temperature": 0.0}
    return Cache(folder=folder, **{**arguments, **changes})


def text_of(hit: Hit | None) -> str | None:
    return None if hit is None else hit.draft.text


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Fixed:
    """An embedder that gives each text the vector that it was told, or (1, 0)."""

    name = "fixed"
    dimensions = 2

    def __init__(self, **vectors: tuple[float, float]) -> None:
        self.vectors = vectors
        self.calls = 0

    def embed(self, texts: list[str]) -> Any:
        self.calls += 1
        return np.array([self.vectors.get(text, (1.0, 0.0)) for text in texts], np.float32)
