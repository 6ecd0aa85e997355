"""Fixtures that several test modules share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.misbehaving import Server, serving


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
    return _server
