"""``cascade cache``: what it says about a store, and what it takes out of it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cascade.cli import app
from tests.caching import Fixed, answer, ask, build

POLICY = """
name = "mine"
target = { max_error = 0.1 }
[[tiers]]
name = "cheap"
model = "m"
[[tiers]]
name = "last"
model = "n"
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy's store with three answers of two tenants, beside the policy."""
    monkeypatch.delenv("CASCADE_STORE", raising=False)
    (tmp_path / "mine.toml").write_text(POLICY)
    cache = build(tmp_path / ".cascade", embedder=Fixed())
    for tenant, question, text in (("acme", "a", "same"), ("acme", "b", "same"), ("other", "a", "same")):
        cache.keep(ask(question, tenant=tenant), answer(text))
    cache.close()
    return tmp_path / ".cascade"


def run(store: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["cache", *arguments, "--policy", str(store.parent / "mine.toml")])


def said(result: Result, code: int = 0) -> Any:
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_stats_and_check_of_a_sound_store(store: Path) -> None:
    held = said(run(store, "stats", "--json"))
    assert (held["entries"], held["semantic"], held["hits"]) == (3, 3, 0)
    assert held["bytes"] > 0
    assert held["oldest"] > 0
    assert said(run(store, "check", "--json")) == {"ok": True, "findings": []}
    assert "nothing is inconsistent" in run(store, "check").stdout
    assert "entries    3" in run(store, "stats").stdout


def test_the_store_may_be_named_without_a_policy(store: Path) -> None:
    result = CliRunner().invoke(app, ["cache", "stats", "--json", "--store", str(store)])
    assert said(result)["entries"] == 3


def test_check_exits_with_1_where_something_is_found(store: Path) -> None:
    with closing(sqlite3.connect(store / "answers" / "cache.db", isolation_level=None)) as db:
        db.execute("UPDATE answers SET row = X'00' WHERE id = (SELECT MIN(id) FROM answers)")
    found = said(run(store, "check", "--json"), code=1)
    assert not found["ok"]
    assert any("1 rows do not decode" in line for line in found["findings"])
    assert "1 rows do not decode" in run(store, "check").stdout


def test_check_says_that_a_file_was_garbage(store: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        (store / "answers" / f"cache.db{suffix}").unlink(missing_ok=True)
    (store / "answers" / "cache.db").write_bytes(b"garbage" * 1_000)
    (line,) = said(run(store, "check", "--json"), code=1)["findings"]
    assert "begun anew" in line


def test_invalidate_removes_what_has_the_tag(store: Path) -> None:
    assert said(run(store, "invalidate", "tenant=acme", "--json")) == {"tag": "tenant=acme", "removed": 2}
    assert said(run(store, "stats", "--json"))["entries"] == 1
    assert "0 answers removed" in run(store, "invalidate", "tenant=acme").stderr
    assert run(store, "invalidate", "acme").exit_code == 2


def test_retract_removes_the_answer_and_its_echoes_of_the_same_tenant(store: Path) -> None:
    keys = [build().key(ask(question, tenant="acme")) for question in "ab"]
    assert sorted(said(run(store, "retract", keys[0], "--json"))["removed"]) == sorted(keys)
    assert said(run(store, "retract", keys[0], "--json"), code=1) == {"removed": []}
    assert said(run(store, "stats", "--json"))["entries"] == 1


def test_looking_at_a_store_that_is_not_there_makes_none(store: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    result = CliRunner().invoke(app, ["cache", "check", "--store", str(empty)])
    assert result.exit_code == 2
    assert "holds no cache" in result.stderr
    assert not empty.exists()
