"""Answers kept for the next time they are asked for: exact by identity, semantic by similarity."""

from cascade.cache.cache import Cache

__all__ = ["Cache"]
