"""Weights and the local server: resumed, verified by hash, refused aloud, and gone when their parent is."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cascade import local
from cascade.errors import ConfigError
from cascade.local import Weight, WeightsMismatch, WeightsUnavailable, held

CONTENT = bytes(range(256)) * 5000


class Hub(ThreadingHTTPServer):
    """A hub that knows Range, remembers what it was asked, and can cut a reply short."""

    asked: list[str | None]
    cut: int | None = None


class Shelf(BaseHTTPRequestHandler):
    """Hands out one file."""

    server: Hub

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        rest = CONTENT[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.server.cut])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A running hub."""
    server = Hub(("127.0.0.1", 0), Shelf)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def weight(hub: Hub, sha256: str = hashlib.sha256(CONTENT).hexdigest()) -> Weight:
    """The hub's one file."""
    return Weight("model.gguf", len(CONTENT), sha256, f"http://127.0.0.1:{hub.server_address[1]}/model.gguf")


def test_a_file_that_is_missing_is_fetched_verified_and_then_kept(hub: Hub, tmp_path: Path) -> None:
    for _ in range(2):
        path = held(weight(hub), tmp_path / "new")
        assert path.read_bytes() == CONTENT
    assert hub.asked == [None]


def test_a_cut_connection_is_told_and_resumed_from_where_it_was(hub: Hub, tmp_path: Path) -> None:
    hub.cut = 700_000
    with pytest.raises(WeightsUnavailable, match="un it again"):
        held(weight(hub), tmp_path)
    hub.cut = None
    assert held(weight(hub), tmp_path).read_bytes() == CONTENT
    assert hub.asked == [None, "bytes=700000-"]
    assert not list(tmp_path.glob("*.part"))


def test_a_wrong_hash_names_file_expected_and_found_and_keeps_nothing(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatch, match=rf"model\.gguf.*{'0' * 64}.*{weight(hub).sha256}"):
        held(weight(hub, "0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_ones_own_with_a_wrong_hash_is_refused_and_left_alone(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"something else")
    with pytest.raises(WeightsMismatch, match=r"model\.gguf"):
        held(weight(hub), tmp_path)
    assert (tmp_path / "model.gguf").read_bytes() == b"something else"
    assert hub.asked == []


def test_a_verified_file_is_hashed_again_only_after_a_change(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = held(weight(hub), tmp_path)
    monkeypatch.setattr(local.hashlib, "file_digest", None)
    assert held(weight(hub), tmp_path) == path
    monkeypatch.undo()
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(WeightsMismatch):
        held(weight(hub), tmp_path)


def test_no_hub_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="put the file into"):
        held(Weight("model.gguf", 10, "0" * 64, "http://127.0.0.1:9/model.gguf"), tmp_path)


def test_a_folder_that_cannot_be_made_is_the_same_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsUnavailable):
        held(Weight("model.gguf", 10, "0" * 64, "http://127.0.0.1:9/model.gguf"), tmp_path / "file")


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "xllamacpp.py").write_text("raise ImportError('not here')\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(local.__file__).parent.parent}")
    with pytest.raises(ConfigError, match=r"cascade-gate\[local\]"), local.serve(tmp_path / "model.gguf"):
        pass
