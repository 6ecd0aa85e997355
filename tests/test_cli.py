"""The command line: one object or one answer on stdout, one line for what went wrong, an exit status that means it."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cascade import local
from cascade.cli import app
from cascade.cli.doctor import foreign
from cascade.cli.export import moment
from cascade.demo import in_blocks, live_demo
from cascade.learning.calibrate import calibrate
from cascade.ledger import Ledger, read_outcomes, write_outcomes
from cascade.lock import load_lock, lock_path, save_lock
from cascade.policyfile import load_policy
from cascade.types import ModelOutcome, Outcome
from tests.misbehaving import Server

POLICY = """
[target]
max_regret = 0.05
[signals]
sets = [["logprobs", "text", "top"]]
[cache]
enabled = false
[[tiers]]
name = "cheap"
model = "{cheap}"
base_url = "{url}"
retries = 0
top_logprobs = 2
price = {{ input = 1.0, output = 4.0 }}
[[tiers]]
name = "last"
model = "{last}"
base_url = "{url}"
retries = 0
price = {{ input = 10.0, output = 40.0 }}
{more}
"""
RUN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from cascade.cli import main; main()"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and no variable of the developer's own that the commands read."""
    monkeypatch.chdir(tmp_path)
    for name in ("CASCADE_POLICY", "CASCADE_STORE", "CASCADE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture
def written(here: Path, server: Server) -> Callable[..., Path]:
    """Writes a policy over the misbehaving server."""

    def write(last: str = "ok", cheap: str = "echo", more: str = "", name: str = "mine.toml") -> Path:
        file = here / name
        file.write_text(POLICY.format(url=server.url, cheap=cheap, last=last, more=more))
        return file

    return write


def run(*arguments: str) -> Result:
    """A command in this process."""
    return CliRunner().invoke(app, list(arguments))


def real(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})}
    )


def one_object(text: str) -> dict[str, Any]:
    """The one JSON object that stdout has to be."""
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def recording(count: int = 360) -> list[Outcome]:
    """Labelled rows on which a sure cheap answer is right and the frontier always is; half of them sure."""
    drawn = random.Random(7)

    def model(text: str, right: bool, sure: bool, scale: float) -> ModelOutcome:
        words = [drawn.uniform(-0.05, -0.01) if sure else drawn.uniform(-3.0, -1.5) for _ in range(4)]
        return ModelOutcome(
            answer=text, correct=int(right), finish_reason="stop", prompt_tokens=40, completion_tokens=4,
            logprobs=words, top_logprobs=[[word, word - 6.0] for word in words],
            cost=scale * 5.6e-5, latency_ms=200.0 * scale**0.5, cpu_ms=150.0 * scale**0.5,
        )  # fmt: skip

    rows = []
    for i in range(count):
        sure = i % 2 == 0
        question = f"please repeat number {i}"
        rows.append(
            Outcome(
                id=f"q{i:04}",
                slice="echoes" if i % 3 else "others",
                split=("fit", "certify", "certify", "test")[i // 2 % 4],
                query=question,
                reference=question,
                models={
                    "cheap": model(question, sure or i % 5 == 0, sure, 1.0),
                    "last": model(question, True, True, 10.0),
                },
            )
        )
    return rows


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package folder with a demo of its own: policy, lock, and a recording like the shipped one."""
    folder = tmp_path_factory.mktemp("package") / "shipped"
    folder.mkdir()
    (folder / "demo.toml").write_text(POLICY.format(url="http://127.0.0.1:1/v1", cheap="echo", last="wrong", more=""))
    rows = recording()
    write_outcomes(folder / "demo.jsonl.gz", rows)
    policy = load_policy(folder / "demo.toml")
    save_lock(lock_path(folder / "demo.toml"), calibrate(rows, policy, judge="gold", now="2026-01-01T00:00:00+00:00"))
    return folder.parent


@pytest.fixture
def package(installed: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, as what this process finds shipped."""
    monkeypatch.setattr("cascade.shipped._PACKAGE", installed)
    return installed / "shipped"


# What holds for every command


def test_help_answers_without_anything_heavy() -> None:
    """No numpy, scipy, scikit-learn, litellm, and not even pydantic."""
    code = (
        "import sys; from cascade.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert {"numpy", "scipy", "sklearn", "litellm", "pydantic", "aiohttp"}.isdisjoint(done.stderr.split())
    for command in ("demo", "ask", "init", "explain", "export", "doctor", "calibrate"):
        assert command in done.stdout


@pytest.mark.parametrize("command", ["demo", "ask", "init", "explain", "export", "doctor", "calibrate"])
def test_help_names_the_fields_of_the_json_object(command: str, here: Path) -> None:
    """And the option that asks for it."""
    done = run(command, "--help")
    assert done.exit_code == 0
    assert "--json" in done.stdout
    assert "JSON" in done.stdout.replace("--json", "")
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


def test_the_version_is_the_distributions() -> None:
    """As ``importlib.metadata`` knows it."""
    from importlib.metadata import version

    assert run("--version").stdout == f"cascade-gate {version('cascade-gate')}\n"


@pytest.mark.parametrize("arguments", [["demo", "--jsn"], ["--versoin"], ["dmo"], ["ask"], ["init", "--template", "x"]])
def test_a_mistake_on_the_command_line_is_one_line(arguments: list[str]) -> None:
    """On stderr, with exit status 2 and the help to look at; nothing on stdout."""
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.rstrip().endswith("--help")


def test_a_misspelt_key_names_the_nearest_right_one(written: Callable[..., Path]) -> None:
    """Exit status 2, one line on stderr, no traceback."""
    file = written()
    file.write_text(file.read_text().replace("max_regret", "max_regrett"))
    done = real("ask", "hello", "--policy", str(file), "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'max_regret'?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_debugging_shows_the_traceback(here: Path) -> None:
    """Above the same line, with the same exit status."""
    done = real("ask", "hello", "--policy", "none.toml", env={"CASCADE_DEBUG": "1"})
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("cascade: none.toml")


def test_a_provider_that_fails_is_three(written: Callable[..., Path]) -> None:
    """Whose fault it was and what it cost is said."""
    done = run("ask", "hello", "--policy", str(written(last="500")))
    assert (done.exit_code, done.stdout) == (3, "")
    assert "billed for this request" in done.stderr


def test_a_ceiling_that_is_reached_is_four(written: Callable[..., Path]) -> None:
    """The user's own limit is neither a mistake nor the provider's fault."""
    done = run("ask", "hello", "--policy", str(written(more="[budget]\nmax_cost_usd = 1e-9")))
    assert (done.exit_code, done.stdout) == (4, "")
    assert "ceiling" in done.stderr


def test_an_interrupt_is_130_at_once(written: Callable[..., Path], server: Server) -> None:
    """Whatever the provider is doing meanwhile."""
    command = [sys.executable, "-c", RUN, "ask", "hello", "--policy", str(written(last="timeout"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asking:
        assert server.wait_for_call("timeout", 20.0)
        asking.send_signal(signal.SIGINT)
        began = time.monotonic()
        out, said = asking.communicate(timeout=20)
    assert (asking.returncode, out) == (130, "")
    assert "Traceback" not in said
    assert time.monotonic() - began < 8


def test_the_policy_meant_is_the_only_one_here(written: Callable[..., Path], here: Path) -> None:
    """A second one makes it a question; none at all makes it an error; other TOML files do not count."""
    assert run("ask", "hello").exit_code == 2
    (here / "pyproject.toml").write_text("[project]\n")
    written()
    assert run("ask", "hello").exit_code == 0
    written(name="other.toml")
    done = run("ask", "hello")
    assert done.exit_code == 2
    assert "mine.toml, other.toml" in done.stderr


# ask, explain, export


def test_the_answer_is_all_that_stdout_gets(written: Callable[..., Path]) -> None:
    """So that it can be piped; who answered goes to stderr, in one line."""
    done = run("ask", "hello", "--policy", str(written()))
    assert (done.exit_code, done.stdout) == (0, "four\n")
    assert len(done.stderr.splitlines()) == 1
    assert re.match(r"escalated by last: no open gate; no confidence; 0\.\d+ USD; [0-9a-f]{26}\n", done.stderr)


def test_a_streamed_answer_is_the_same_text(written: Callable[..., Path]) -> None:
    """Only sooner."""
    file = str(written(last="ok-logprobs", more='[[stakes]]\nwhen = { pattern = "hello" }\ntier = "last"'))
    assert run("ask", "hello", "--policy", file, "--stream").stdout == run("ask", "hello", "--policy", file).stdout
    assert run("ask", "hello", "--policy", file, "--stream", "--json").exit_code == 2


def test_the_question_can_come_from_stdin(written: Callable[..., Path]) -> None:
    """As everywhere, - means stdin."""
    done = CliRunner().invoke(app, ["ask", "-", "--policy", str(written(last="echo"))], input="from a pipe")
    assert done.stdout.strip() == "from a pipe"


def test_the_system_message_and_the_slice_reach_the_request(written: Callable[..., Path], server: Server) -> None:
    """As the caller's code would have sent them."""
    file = written()
    asked = one_object(
        run("ask", "hello", "--policy", str(file), "--system", "be brief", "--slice", "x", "--json").stdout
    )
    assert server.last("ok").body["messages"][0] == {"role": "system", "content": "be brief"}
    assert asked["decision"]["slice"] == "x"


def test_a_decision_can_be_explained_by_the_beginning_of_its_id(written: Callable[..., Path]) -> None:
    """With the policy that made it, or with the folder of its ledger alone."""
    file = written()
    asked = one_object(run("ask", "hello", "--policy", str(file), "--json").stdout)
    short = asked["id"][:20]
    for place in (["--policy", str(file)], ["--store", str(file.parent / ".cascade")]):
        told = one_object(run("explain", short, *place, "--json").stdout)
        assert told["id"] == asked["id"]
        assert told["cost"] == asked["cost"] > 0
    page = run("explain", short, "--policy", str(file))
    assert page.exit_code == 0
    for said in (asked["id"], "no open gate", "audit", "call", "last"):
        assert said in page.stdout


def test_explaining_what_is_not_there_says_so(written: Callable[..., Path], here: Path) -> None:
    """No ledger, no such id, and several ids are three different mistakes; none of them makes a ledger."""
    file = str(written())
    done = run("explain", "0", "--policy", file)
    assert done.exit_code == 2
    assert "holds no ledger" in done.stderr
    assert not (here / ".cascade").exists()
    for _ in range(2):
        run("ask", "hello", "--policy", file)
    assert "begins several ids" in run("explain", "0", "--policy", file).stderr
    assert "no decision's id begins with 'zzz'" in run("explain", "zzz", "--policy", file).stderr


def test_what_is_exported_can_be_read_again(written: Callable[..., Path], here: Path) -> None:
    """To stdout, to a file, compressed by its name; of one slice, or since a moment."""
    file = str(written())
    for name in ("a", "b"):
        run("ask", f"about {name}", "--policy", file, "--slice", name)
    lines = run("export", "--policy", file).stdout.splitlines()
    assert [json.loads(line)["slice"] for line in lines] == ["a", "b"]
    told = one_object(run("export", "--policy", file, "-o", "out.jsonl.gz", "--slice", "b", "--json").stdout)
    assert told == {"file": "out.jsonl.gz", "outcomes": 1}
    assert [row.slice for row in read_outcomes(here / "out.jsonl.gz")] == ["b"]
    assert run("export", "--policy", file, "--since", "1h").stdout.count("\n") == 2
    assert run("export", "--policy", file, "--since", "2100-01-01").stdout == ""
    assert run("export", "--policy", file, "--since", "yesterday").exit_code == 2
    assert run("export", "--policy", file, "--json").exit_code == 2


def test_a_reader_that_goes_away_is_no_error(here: Path) -> None:
    """As with ``cascade export | head``: quiet, and 128 + SIGPIPE."""
    with Ledger(here / ".cascade") as ledger:
        for row in recording(100) * 20:
            ledger.append(row)
    command = [sys.executable, "-c", RUN, "export", "--store", str(here / ".cascade")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as export:
        assert export.stdout is not None
        assert export.stderr is not None
        export.stdout.readline()
        export.stdout.close()
        assert export.stderr.read() == ""
        assert export.wait(20) == 141


def test_a_moment_is_utc_unless_it_says_otherwise() -> None:
    """An age counts back from now."""
    assert moment("2026-03-01") == moment("2026-03-01T00:00") == moment("2026-03-01T01:00+01:00") == 1772323200
    assert moment("2h") == pytest.approx(time.time() - 7200, abs=5)


# init, doctor, calibrate


@pytest.mark.parametrize("template", ["support", "triage", "compliance", "coding"])
def test_a_policy_from_a_template_is_a_policy(template: str, here: Path) -> None:
    """Under the name that was given, which is then its own."""
    done = run("init", "ours", "--template", template)
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == 2
    assert load_policy(here / "ours.toml").name == "ours"


def test_nothing_is_overwritten_unasked(here: Path) -> None:
    """The file stays as it was."""
    (here / "support.toml").write_text("mine")
    done = run("init")
    assert (done.exit_code, (here / "support.toml").read_text()) == (2, "mine")
    assert one_object(run("init", "--force", "--json").stdout)["policy"] == "support.toml"
    assert load_policy(here / "support.toml").name == "support"


def test_a_name_that_no_policy_may_have_is_refused_before_anything_is_written(here: Path) -> None:
    """Exit status 2."""
    assert run("init", "no good").exit_code == 2
    assert list(here.iterdir()) == []


def findings(*arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The doctor's exit status, and its findings by subject."""
    done = run("doctor", "--json", *arguments)
    told = one_object(done.stdout)
    assert told["ok"] == (done.exit_code == 0)
    return done.exit_code, {one["subject"]: (one["level"], one["said"]) for one in told["findings"]}


def test_a_missing_key_makes_the_doctor_say_no(written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variable's name; a value is never shown."""
    file = written()
    file.write_text(file.read_text().replace('name = "last"', 'name = "last"\napi_key_env = "OUR_KEY"'))
    monkeypatch.delenv("OUR_KEY", raising=False)
    code, found = findings("--policy", str(file))
    assert (code, found["key last"][0]) == (1, "fail")
    assert "OUR_KEY" in found["key last"][1]
    monkeypatch.setenv("OUR_KEY", "sk-very-secret")
    done = run("doctor", "--policy", str(file))
    assert done.exit_code == 0
    assert "sk-very-secret" not in done.output


def test_the_doctor_finds_what_is_wrong_with_a_policy(written: Callable[..., Path]) -> None:
    """An unknown price fails; a missing lock and a command that is not there only warn."""
    more = '[[checks]]\nname = "tests"\ncommand = ["no-such-program"]'
    file = written(more=more)
    file.write_text(file.read_text().replace("price = { input = 10.0, output = 40.0 }", ""))
    code, found = findings("--policy", str(file))
    assert code == 1
    assert found["price last"][0] == "fail"
    assert found["lock"][0] == found["check tests"][0] == "warn"
    assert found["price cheap"][0] == found["embedder"][0] == found["litellm"][0] == found["store"][0] == "ok"


def test_the_doctor_warns_of_a_store_that_cannot_be_written(written: Callable[..., Path], here: Path) -> None:
    """Requests still succeed, so it is no failure."""
    (here / "file").touch()
    code, found = findings("--policy", str(written(more='[ledger]\nstore = "file/store"')))
    assert (code, found["store"][0]) == (0, "warn")


def test_the_doctor_says_why_a_gate_is_closed(package: Path, here: Path) -> None:
    """A certificate is bound to what it was made for."""
    file = here / "demo.toml"
    file.write_text((package / "demo.toml").read_text())
    lock_path(file).write_bytes(lock_path(package / "demo.toml").read_bytes())
    assert findings("--policy", str(file))[1]["gate"][0] == "ok"
    file.write_text(file.read_text().replace('"echo"', '"another"'))
    _, found = findings("--policy", str(file))
    assert found["certificate"][0] == found["gate"][0] == "warn"
    assert "is not what it was certified with" in found["certificate"][1]


def test_another_distribution_of_the_same_import_name_is_named() -> None:
    """It overwrites our files; ours alone is fine however its name is written."""
    (alone,) = foreign({"cascade": ["cascade_gate", "Cascade-Gate"]})
    assert alone.level == "ok"
    (other,) = foreign({"cascade": ["cascade-gate", "cascade-ml"], "else": ["cascade-inference"]})
    assert other.level == "fail"
    assert "pip uninstall cascade-ml" in other.said


def test_calibration_writes_the_lock_beside_the_policy(package: Path, here: Path) -> None:
    """And says the promise, with its evidence."""
    file = here / "support.toml"
    file.write_text((package / "demo.toml").read_text())
    done = run("calibrate", str(package / "demo.jsonl.gz"), "--policy", str(file), "--judge", "gold", "--json")
    told = one_object(done.stdout)
    lock = load_lock(here / "support.lock.json")
    assert lock is not None
    assert (done.exit_code, told["certified"], lock.certificates[0].judge) == (0, True, "gold")
    assert told["gates"] == {gate.id: gate.threshold for gate in lock.gates}
    assert "at most 5 points of quality are lost" in told["statement"]


def test_what_cannot_be_certified_is_refused_with_status_one(package: Path, here: Path) -> None:
    """The lock is written all the same: it keeps every gate closed and says how much is missing."""
    file = here / "support.toml"
    file.write_text((package / "demo.toml").read_text().replace("max_regret = 0.05", "max_regret = 0.001"))
    done = run("calibrate", str(package / "demo.jsonl.gz"), "--policy", str(file))
    assert done.exit_code == 1
    assert "every gate stays closed" in done.stdout
    lock = load_lock(here / "support.lock.json")
    assert lock is not None
    assert all(gate.threshold is None for gate in lock.gates)


def test_calibration_without_labels_is_the_users_mistake(written: Callable[..., Path], here: Path) -> None:
    """Exit status 2, and no lock."""
    write_outcomes(here / "none.jsonl", [])
    file = written()
    assert run("calibrate", str(here / "none.jsonl"), "--policy", str(file)).exit_code == 2
    assert not lock_path(file).exists()


# demo


def test_the_demo_shows_the_promise_and_what_it_saves(package: Path) -> None:
    """Every strategy and every slice, with intervals, within a hundred columns."""
    page = run("demo").stdout
    for said in ("at most 5 points of quality are lost", "95 % confidence", "always-frontier", "lots at equal",
                 "echoes", "others", "95 % interval", "held-out questions", "priced as one", "1.00/4.00"):  # fmt: skip
        assert said in " ".join(page.split()), said
    assert max(map(len, page.splitlines())) <= 100


def test_the_demos_object_holds_what_its_page_shows(package: Path) -> None:
    """One object, nothing else; the cascade serves cheap and saves on this recording."""
    told = one_object(run("demo", "--json").stdout)
    assert told["kind"] == "replayed"
    assert told["questions"] == sum(row.split == "test" for row in recording())
    ours = next(one for one in told["overall"]["strategies"] if one["name"] == "cascade")
    assert ours["accept_rate"]["estimate"] > 0.3
    assert ours["saving"]["low"] > 0
    assert set(told["slices"]) == {"echoes", "others"}


def test_a_demo_that_is_not_shipped_says_what_is_missing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 2, and a way on."""
    monkeypatch.setattr("cascade.shipped._PACKAGE", here / "cascade")
    done = run("demo")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "not in this installation" in done.stderr


def shipped_demo() -> bool:
    """Whether the real recording and its lock are here."""
    root = Path(__file__).parent.parent
    return (root / "benchmarks/recordings/demo.jsonl.gz").exists() and (root / "policies/demo.lock.json").exists()


@pytest.mark.skipif(not shipped_demo(), reason="the demo's recording or lock is not here")
def test_the_shipped_demo_saves_money_and_keeps_its_promise(here: Path) -> None:
    """On held-out questions, by its own intervals, on a page of a hundred columns."""
    told = one_object(run("demo", "--json").stdout)
    ours = next(one for one in told["overall"]["strategies"] if one["name"] == "cascade")
    assert ours["saving"]["low"] > 0
    assert ours["quality_delta"]["estimate"] >= -told["certificates"][0]["level"]
    assert max(map(len, run("demo").stdout.splitlines())) <= 100


def test_a_live_demo_needs_its_extra(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before 1.6 GB are fetched, with the command that installs it."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    done = run("demo", "--live")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "cascade-gate[local]" in done.stderr


def test_where_no_weights_can_be_had_the_recorded_answers_are_replayed(
    package: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And stderr says so."""
    present = ModuleType("xllamacpp")
    present.__spec__ = ModuleSpec("xllamacpp", None)
    monkeypatch.setitem(sys.modules, "xllamacpp", present)
    monkeypatch.setattr(local, "CHEAP", local.CHEAP._replace(url="http://127.0.0.1:9/none"))
    done = run("demo", "--live", "--weights", str(here), "--json")
    assert one_object(done.stdout)["kind"] == "replayed"
    assert "Replaying the recorded answers instead" in done.stderr


class Running:
    """The misbehaving server as one of the live demo's models."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self._spent = 0.0

    def cpu_seconds(self) -> float:
        """A hundredth of a second between any two looks."""
        self._spent += 0.01
        return self._spent


def test_the_live_demo_asks_the_same_ladder_now(package: Path, server: Server) -> None:
    """Cheap answers come from the cheap model alone, all calls are metered, baselines are the recorded ones."""
    both = Running(server)
    heard: list[int] = []

    def same(kind: str, answer: str, reference: str) -> bool:
        assert kind == "exact"
        return answer == reference

    shown = live_demo({"echo-q4.gguf": both, "wrong-q4.gguf": both}, same, lambda asked, left: heard.append(asked))
    by_name = {one.name: one for one in shown.overall.strategies}
    ours = by_name["cascade"]
    assert shown.kind == "live"
    assert heard == list(range(1, shown.overall.rows + 1))
    assert ours.accept_rate.estimate == ours.quality.estimate > 0.5
    assert by_name["always-frontier"].quality.estimate == 1.0
    assert ours.cpu is not None
    assert ours.cpu.estimate >= 0.009
    assert server.count("echo") == shown.overall.rows


def test_a_live_demo_that_is_out_of_time_has_asked_something_of_every_slice(package: Path, server: Server) -> None:
    """It says how many it asked, and that is what it compares."""
    both = Running(server)
    shown = live_demo({"echo": both, "wrong": both}, lambda *_: True, seconds=0.0)
    assert 1 <= shown.overall.rows <= 5
    first = list(in_blocks(recording()))[:10]
    assert {row.slice for row in first} == {"echoes", "others"}


def test_blocks_leave_nothing_out() -> None:
    """Every question once, whatever the sizes of the slices."""
    rows = recording(37)
    assert sorted(row.id for row in in_blocks(rows)) == sorted(row.id for row in rows)
