"""The reports in a real browser: all of them is there, without a script, a network or a complaint."""

from __future__ import annotations

import html
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cascade.bench import page as benchmark
from cascade.bench.document import Bench
from cascade.evidence import Evidence
from cascade.report import write
from tests import bench_examples
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


@pytest.mark.parametrize("bench", [bench_examples.pays(), bench_examples.bare()], ids=lambda b: b.verdict.pays)
def test_all_of_a_benchmark_is_there_where_no_name_resolves(bench: Bench, tmp_path: Path) -> None:
    benchmark.write(tmp_path / "bench.html", bench)
    document, log = opened(tmp_path / "bench.html", NOWHERE)
    seen, meant = Page(document), Page((tmp_path / "bench.html").read_text())
    assert seen.headings == meant.headings
    assert seen.rows == meant.rows
    assert document.count("<svg viewBox") == document.count("</svg>")
    assert "<script" not in document
    assert "CONSOLE" not in log


def test_a_benchmark_of_hostile_names_runs_nothing_and_asks_for_nothing(tmp_path: Path, listening: Listening) -> None:
    """In its tables, and in its pictures, which hold names too."""
    url = listening.url
    said = f"<script src='{url}s'></script><img src='{url}i'><style>@import '{url}c'"
    hostile = everywhere(bench_examples.pays(), said, bench_examples.KEPT)
    benchmark.write(tmp_path / "bench.html", hostile)
    document, log = opened(tmp_path / "bench.html")
    assert not listening.asked
    assert "CONSOLE" not in log
    assert Page(document).headings[0] == said


MEASURE = """
<script>window.onload = () => {
  const inside = document.querySelector("iframe").contentDocument
  const span = one => { const box = one.getBoundingClientRect(); return [box.left, box.right, box.width, box.height] }
  const pictures = [...inside.querySelectorAll("figure > svg")].map(svg => ({
    place: span(svg), texts: [...svg.querySelectorAll("text")].map(text => [text.textContent, ...span(text)])}))
  const found = {wide: inside.documentElement.scrollWidth, pictures}
  document.querySelector("pre").textContent = JSON.stringify(found)
}</script><pre></pre>
"""


def measured(page: str, width: int, folder: Path) -> Any:
    """How wide the page is in a frame of this width, and where its pictures and their texts are."""
    framed = f'<iframe srcdoc="{html.escape(page)}" style="width:{width}px;height:900px;border:0"></iframe>{MEASURE}'
    (folder / "framed.html").write_text(f"<!doctype html><meta charset=utf-8>{framed}")
    document, _ = opened(folder / "framed.html", NOWHERE, "--window-size=1400,1000")
    said = re.search(r"<pre>(.*?)</pre>", document, re.DOTALL)
    assert said is not None
    return json.loads(html.unescape(said[1]))


@pytest.mark.parametrize("width", [1200, 400])
def test_a_benchmark_fits_a_screen_and_a_phone(width: int, tmp_path: Path) -> None:
    """Nothing scrolls sideways but tables, every picture has a size, and no word of one is cut off or tiny."""
    found = measured(benchmark.html(bench_examples.pays()), width, tmp_path)
    assert found["wide"] <= width
    assert len(found["pictures"]) == 8
    for picture in found["pictures"]:
        left, right, wide, high = picture["place"]
        assert 0 <= left < right <= width
        assert wide > 300
        assert high > 100
        for said, start, end, _, tall in picture["texts"]:
            assert 0 <= start <= end <= width, said
            assert tall >= 7, said


def test_a_page_that_is_too_wide_would_be_noticed(tmp_path: Path) -> None:
    page = benchmark.html(bench_examples.bare()).replace("<h2>", "<h2 style='width:50rem'>", 1)
    assert measured(page, 400, tmp_path)["wide"] > 400
