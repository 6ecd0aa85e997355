"""Texts to vectors at a provider, through litellm: any embedding model that it knows, and what that costs."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from cascade.asks import Call, Endpoint
from cascade.errors import ConfigError, UpstreamError
from cascade.transports.faults import broken
from cascade.transports.hosted import key_of, load, provider_of, translated

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PROBE = "dimensions"
"""Text that is embedded to learn a vector's length, where neither the caller nor litellm's map says it."""


class Embedded(NamedTuple):
    """Vectors as ``Embedder.embed`` gives them, and US dollars for them: None where litellm has no price."""

    vectors: npt.NDArray[np.float32]
    dollars: float | None


class HostedEmbedder:
    """A provider's embedding model (``openai/text-embedding-3-small``). It blocks: not for an event loop.

    ``dimensions`` asks for shorter vectors, where the model can. ``timeout`` is in seconds and for each try;
    ``retries`` are litellm's own, after refusals for load and broken connections; it takes none for two, so
    there is at least one. ``batch`` is how many texts go in one request.
    Raises ``ConfigError`` for a missing key or an unknown provider, ``UpstreamError`` for
    what the provider does wrong.

    The name holds the dimensions, so asking for it may cost a call; see ``dimensions``.
    """

    slow = True

    def __init__(
        self,
        model: str,
        *,
        dimensions: int | None = None,
        base_url: str | None = None,
        api_key_env: str | None = None,
        timeout: float = 30.0,
        retries: int = 2,
        batch: int = 128,
    ) -> None:
        for option, value in {"dimensions": dimensions, "retries": retries, "batch": batch}.items():
            if value is not None and value < 1:
                raise ConfigError(f"{option} of the embedder {model} must be at least 1, not {value}")
        self.model = model
        self._asked_for = dimensions
        self._endpoint = Endpoint(model=model, base_url=base_url, api_key_env=api_key_env)
        # What its errors are told by is a call, as of any other model.
        self._call = Call(tier="embedder", endpoint=self._endpoint, messages=[], params={}, timeout=timeout)
        self._retries = retries
        self._batch = batch

    @property
    def name(self) -> str:
        """Model and dimensions: what the vectors are bound to."""
        return f"litellm:{self.model}-{self.dimensions}"

    @cached_property
    def dimensions(self) -> int:
        """Length of a vector: as asked for, else as in litellm's map, else as the model answers a probe."""
        known = self._asked_for or _mapped(load(), self.model)
        return known or len(self._request([PROBE])[0][0])

    def embed(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Vectors of shape (len(texts), dimensions), unit length; a text without tokens is zero."""
        return self.embed_charged(texts).vectors

    def embed_charged(self, texts: list[str]) -> Embedded:
        """The same, and what it cost. Blank texts, which providers refuse, are not sent."""
        import numpy as np

        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        wanted = [i for i, text in enumerate(texts) if text.strip()]
        costs: list[float | None] = []
        for start in range(0, len(wanted), self._batch):
            chosen = wanted[start : start + self._batch]
            found, dollars = self._request([texts[i] for i in chosen])
            vectors[chosen] = self._units(found)
            costs.append(dollars)
        return Embedded(vectors, None if None in costs else math.fsum(filter(None, costs)))

    def _request(self, texts: list[str]) -> tuple[list[Any], float | None]:
        """One call: a vector for each text, as the provider has it, and dollars."""
        litellm = load()
        provider = provider_of(litellm, self.model)
        arguments: dict[str, Any] = {"model": self.model, "input": texts, "timeout": self._call.timeout}
        arguments |= {"max_retries": self._retries, "no-log": True, "cache": {"no-cache": True, "no-store": True}}
        arguments["api_key"] = key_of(litellm, self._endpoint, provider)
        if self._endpoint.base_url:
            arguments["api_base"] = self._endpoint.base_url
        if self._asked_for:
            # litellm lets only the models it knows by name be asked for a length; whoever states one knows theirs.
            arguments |= {"dimensions": self._asked_for, "allowed_openai_params": ["dimensions"]}
        try:
            raw = litellm.embedding(**arguments)
            rows = sorted(raw.data, key=lambda row: int(row["index"]))
            found = [row["embedding"] for row in rows]
        except Exception as error:
            raise translated(error, self._call, provider) from None
        if len(found) != len(texts):
            raise self._odd(f"gave {len(found)} vectors for {len(texts)} texts")
        # A zero in the map means "unpriced" or "free for now", as for any other model.
        return found, raw._hidden_params.get("response_cost") or None

    def _units(self, found: list[Any]) -> npt.NDArray[np.float32]:
        import numpy as np

        for row in found:
            if not isinstance(row, list) or len(row) != self.dimensions:
                length = len(row) if isinstance(row, list) else "no"
                raise self._odd(f"gave a vector of {length} dimensions, not {self.dimensions}")
        try:
            vectors: npt.NDArray[np.float64] = np.array(found, np.float64)
        except (TypeError, ValueError):
            raise self._odd("gave a vector of something else than numbers") from None
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or not lengths.all():
            raise self._odd("gave a vector that has no direction: all zero, or not finite")
        vectors /= lengths
        return vectors.astype(np.float32)

    def _odd(self, what: str) -> UpstreamError:
        return broken(provider_of(load(), self.model), f"{what} ({self.model})", 200)


def _mapped(litellm: Any, model: str) -> int | None:
    """Length of the model's vectors in litellm's packaged map, if it is there."""
    try:
        return litellm.get_model_info(model).get("output_vector_size") or None
    except Exception:  # it raises several kinds, for a model that it does not know
        return None
