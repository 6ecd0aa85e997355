"""Fixtures that several test modules share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.misbehaving import Server, serving

# A busy machine stops any example for longer than a deadline; what is slow shows in the durations.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def _server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def server(_server: Server) -> Server:
    """A real server that misbehaves as the model's name says; see ``tests/misbehaving.py``.

    One server serves the whole session and each test begins with an empty record of requests.
    """
    _server.asked.clear()
    _server.dropped.clear()
    _server.most = _server.busy
    return _server


@pytest.fixture(params=["memory", "disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where a cache lives: nowhere but in memory, or in a folder."""
    return tmp_path if request.param == "disk" else None
