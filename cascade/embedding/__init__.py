"""Texts to vectors on this machine, without a network. Hosted embedders are ``cascade.transports.embeddings``."""

from cascade.embedding.minilm import MiniLM
from cascade.embedding.packaged import WordLlamaEmbedder
from cascade.embedding.protocol import Embedder

__all__ = ["Embedder", "MiniLM", "WordLlamaEmbedder"]
