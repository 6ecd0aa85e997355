"""The default embedder, which comes with every installation and ships with its weights."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.embedding.protocol import encodable
from cascade.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class WordLlamaEmbedder:
    """Averaged token vectors of WordLlama: 256 dimensions, no transformer to run, no download.

    The weights come in the wheel and load at the first ``embed``. Raises
    ``ConfigError`` where the package or its weights are missing.
    """

    dimensions = 256

    def __init__(self) -> None:
        # Here, because with it come e-mail, zip and CSV, which importing the engine should not pay for.
        from importlib.metadata import PackageNotFoundError, version

        try:
            self.name = f"wordllama-{version('wordllama')}-{_CONFIG}-{self.dimensions}"
        except PackageNotFoundError as error:
            raise ConfigError(_MISSING) from error

    def embed(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Vectors of shape (len(texts), 256), unit length; a text without tokens is zero."""
        import numpy as np

        # Its own norm=True divides by zero for a text without tokens.
        vectors: npt.NDArray[np.float32] = self._model.embed([encodable(text) for text in texts])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, lengths, out=vectors, where=lengths > 0)
        return vectors

    @cached_property
    def _model(self) -> Any:
        wordllama = _import_quietly()
        # Its plain load() looks for the tokenizer in the user's cache, then on the network; the
        # wheel has it in a folder that is searched only when the package is named as the cache.
        folder = Path(wordllama.__file__).parent
        try:
            return wordllama.WordLlama.load(_CONFIG, cache_dir=folder, dim=self.dimensions, disable_download=True)
        except FileNotFoundError as error:
            raise ConfigError(f"wordllama is installed without its weights: {error}; reinstall it") from error


_CONFIG = "l2_supercat"
_MISSING = "the embedder needs the package wordllama: pip install wordllama"


def _import_quietly() -> Any:
    """wordllama, without the handler and level that importing it gives to the root logger."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        import wordllama
    except ImportError as error:
        raise ConfigError(_MISSING) from error
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
    return wordllama
