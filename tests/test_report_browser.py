"""The report in a real browser: all of it is there, without a script, a network or a complaint."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cascade.evidence import Evidence
from cascade.report import write
from tests.evidence_examples import certified, contradicted, refused, wrong_rows
from tests.report_reading import HOSTILE, Page, everywhere

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--enable-logging=stderr",
)  # fmt: skip
NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")


def opened(file: Path, *options: str) -> tuple[str, str]:
    """The document as the browser holds it, and what it logged."""
    boxed = () if os.getuid() else ("--no-sandbox",)  # it refuses root with one
    command = (CHROMIUM or "", *QUIET, *boxed, *options, f"--user-data-dir={file.parent / 'profile'}")
    done = subprocess.run(
        [*command, "--dump-dom", file.as_uri()], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout, done.stderr


class Listening(http.server.ThreadingHTTPServer):
    """A server on this machine that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Listening)
        self.server.asked.append(self.path)
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def listening() -> Iterator[Listening]:
    with Listening() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("evidence", [certified(), refused(), contradicted()], ids=lambda e: e.status)
def test_all_of_the_report_is_there_where_no_name_resolves(evidence: Evidence, tmp_path: Path) -> None:
    """The browser holds what the file holds: its parser dropped, moved and added nothing that can be read."""
    write(tmp_path / "report.html", evidence)
    document, log = opened(tmp_path / "report.html", NOWHERE)
    seen, meant = Page(document), Page((tmp_path / "report.html").read_text())
    assert seen.headings[0].replace("\N{NO-BREAK SPACE}", " ") == evidence.statement
    assert seen.headings == meant.headings
    assert seen.rows == meant.rows
    assert seen.texts == meant.texts
    assert document.count("<svg viewBox") == document.count("</svg>")
    assert "CONSOLE" not in log


def test_hostile_data_runs_nothing_and_asks_for_nothing(tmp_path: Path, listening: Listening) -> None:
    """Text that would fetch and run, if it were not text, in every field of the evidence."""
    url = listening.url
    said = f"{HOSTILE}<script src='{url}s'></script><img src='{url}i'><style>@import '{url}c'"
    write(tmp_path / "report.html", everywhere(certified(), said))
    document, log = opened(tmp_path / "report.html")
    assert not listening.asked
    assert "CONSOLE" not in log
    assert Page(document).headings[0] == said


def test_such_text_would_be_noticed(tmp_path: Path, listening: Listening) -> None:
    """The same without escaping fetches, and complains: what the test above looks for can be seen."""
    said = f"<script>console.log('I ran')</script><img src='{listening.url}i'>"
    (tmp_path / "raw.html").write_text(said)
    _, log = opened(tmp_path / "raw.html")
    assert listening.asked == ["/i"]
    assert "CONSOLE" in log


def test_even_unescaped_the_pages_policy_lets_nothing_run(tmp_path: Path, listening: Listening) -> None:
    """The second lock: were escaping ever broken, the page still forbids scripts and every fetch."""
    write(tmp_path / "report.html", msgspec.structs.replace(refused(), confidently_wrong=wrong_rows(1)))
    text = (tmp_path / "report.html").read_text()
    said = f"<script>console.log('I ran')</script><img src='{listening.url}i' onerror='console.log(1)'>"
    (tmp_path / "report.html").write_text(re.sub("</main>", said + "</main>", text))
    _, log = opened(tmp_path / "report.html")
    assert not listening.asked
    assert "I ran" not in log
    assert "Content Security Policy" in log
