"""Which embedder a name means: one on this machine, or a provider's."""

from __future__ import annotations

from cascade.embedding import Embedder, MiniLM, WordLlamaEmbedder
from cascade.errors import ConfigError
from cascade.policy import nearest

HOSTED = "litellm:"
LOCAL: dict[str, type[WordLlamaEmbedder] | type[MiniLM]] = {"wordllama": WordLlamaEmbedder, "minilm": MiniLM}


def embedder_named(name: str) -> Embedder:
    """``wordllama``, ``minilm`` or ``litellm:MODEL``; ``ConfigError`` for another, or one not installed."""
    if name in LOCAL:
        return LOCAL[name]()
    model = name.removeprefix(HOSTED)
    if not name.startswith(HOSTED) or not model:
        raise ConfigError(f"there is no embedder {name!r}{nearest(name, [*LOCAL, f'{HOSTED}MODEL'])}")
    from cascade.transports.embeddings import HostedEmbedder

    return HostedEmbedder(model)
