"""Texts to vectors on this machine, without a network. Hosted embedders are ``cascade.transports.embeddings``."""

from cascade.embedding.minilm import MiniLM
from cascade.embedding.packaged import WordLlamaEmbedder
from cascade.embedding.protocol import Embedder
from cascade.embedding.remembered import Remembered

__all__ = ["Embedder", "MiniLM", "Remembered", "WordLlamaEmbedder"]
