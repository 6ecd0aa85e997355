"""The demo's two models on this machine: their weight files, and llama.cpp's server over one of them.

`weights` finds the files or fetches them from the publisher's hub, and hands out nothing whose SHA-256 is not the
publisher's. `serve` runs llama.cpp's OpenAI-compatible server, which the `xllamacpp` package carries, in a process of
its own: a crash there cannot take the caller with it, and its CPU time can be told from the caller's.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from importlib import import_module
from pathlib import Path
from typing import IO, NamedTuple, cast

from .errors import CascadeError, ConfigError

CHUNK = 1 << 20
HUB = "https://huggingface.co/Qwen"
EXTRA = 'the local models need llama.cpp: pip install "cascade-gate[local]"'
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class WeightsUnavailable(CascadeError):
    """A weight file is not here and could not be fetched. What did arrive is kept and resumed from."""


class WeightsMismatch(CascadeError):
    """A weight file is not the one that its publisher signed for."""


class Weight(NamedTuple):
    """One weight file as its publisher has it."""

    name: str
    size: int
    sha256: str
    url: str


CHEAP = Weight(
    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    491_400_064,
    "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    f"{HUB}/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
)
FRONTIER = Weight(
    "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    1_117_320_768,
    "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    f"{HUB}/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
)


class Ladder(NamedTuple):
    """Where the verified weight files are."""

    cheap: Path
    frontier: Path


def home() -> Path:
    """Where weight files live unless the caller says otherwise."""
    return Path(os.environ.get("CASCADE_WEIGHTS") or Path.home() / ".cache" / "cascade" / "weights")


def weights(directory: Path | None = None) -> Ladder:
    """Both weight files, verified; those that are missing in `directory` are fetched into it first."""
    folder = directory or home()
    return Ladder(held(CHEAP, folder), held(FRONTIER, folder))


def held(weight: Weight, folder: Path) -> Path:
    """One verified weight file in `folder`."""
    path = folder / weight.name
    if not path.is_file():
        part = path.with_name(f"{weight.name}.part")
        fetch(weight, part)
        try:
            verify(weight, part)
        except WeightsMismatch:
            part.unlink()  # nothing to resume from: the next attempt starts anew
            raise
        part.replace(path)
    verify(weight, path)
    return path


def verify(weight: Weight, path: Path) -> None:
    """Refuse a file with another hash. A file is hashed again only when its size or time has changed since."""
    stamp = path.with_name(f".{weight.name}.verified")
    state = path.stat()
    seen = {"sha256": weight.sha256, "size": state.st_size, "mtime_ns": state.st_mtime_ns}
    if stamped(stamp) == seen:
        return
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != weight.sha256:
        raise WeightsMismatch(
            f"{path} is not the publisher's file: SHA-256 expected {weight.sha256}, found {found}. "
            "Delete it to have it fetched again."
        )
    with suppress(OSError):  # a folder that cannot be written to is hashed every time
        stamp.write_text(json.dumps(seen))


def stamped(stamp: Path) -> object:
    """What was last verified, or nothing."""
    try:
        return json.loads(stamp.read_text())
    except (OSError, ValueError):
        return None


def fetch(weight: Weight, part: Path) -> None:
    """Fetch a weight file into `part`, going on where an earlier attempt stopped."""
    done = part.stat().st_size if part.exists() else 0
    if done == weight.size:
        return
    if done > weight.size:
        part.unlink()
        done = 0
    rest = f", {done / 1e6:,.0f} MB of it are here" if done else ""
    print(f"Fetching {weight.name} ({weight.size / 1e6:,.0f} MB{rest}) from {weight.url}", file=sys.stderr)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with ask(weight.url, done) as response:
            resumed = response.status == 206
            with part.open("ab" if resumed else "wb") as out, progress(weight, done if resumed else 0) as advance:
                while chunk := response.read(CHUNK):
                    out.write(chunk)
                    advance(len(chunk))
    except (OSError, HTTPException) as error:
        raise WeightsUnavailable(
            f"{weight.name} could not be fetched from {weight.url} ({error}). What has arrived is kept: run it again "
            f"to go on, or put the file into {part.parent}."
        ) from error
    if (arrived := part.stat().st_size) < weight.size:
        raise WeightsUnavailable(f"{weight.name}: {arrived:,} of {weight.size:,} bytes arrived. Run it again to go on.")


def ask(url: str, start: int) -> HTTPResponse:
    """Open a file at the hub from a byte on."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    return cast(HTTPResponse, urllib.request.urlopen(request, timeout=30))


@contextmanager
def progress(weight: Weight, done: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error that is told of each chunk; nothing where there is no terminal."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(weight.name), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(weight.name, total=weight.size, completed=done)
        yield lambda count: bar.advance(task, count)


class Served:
    """A running model server: its base URL, and the CPU time that it has used."""

    def __init__(self, child: subprocess.Popen[str], url: str) -> None:
        self.url = url
        self._child = child
        self._turn = threading.Lock()

    def cpu_seconds(self) -> float:
        """CPU seconds of the server so far, of all its threads and loading included."""
        questions, answers = pipes(self._child)
        with self._turn:
            questions.write("cpu\n")
            questions.flush()
            return float(answers.readline())


@contextmanager
def serve(path: Path, *, threads: int = 1, context: int = 2048, patience: float = 120.0) -> Iterator[Served]:
    """Run llama.cpp's server over a weight file on a free port of 127.0.0.1, until the block ends.

    One thread is right on a busy machine: two that wait for each other are slower than one.
    """
    environment = {**os.environ, **dict.fromkeys(ONE_THREAD, str(threads))}
    command = [sys.executable, "-m", __name__, str(path), str(threads), str(context)]
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        child = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=said,
            env=environment,
            text=True,
            start_new_session=True,  # a scheduler that shares by session then gives each model a share of its own
        )
        try:
            yield Served(child, f"{listening(child, said, patience)}/v1")
        finally:
            stop(child)


def listening(child: subprocess.Popen[str], said: IO[str], patience: float) -> str:
    """The address of the child's server once it answers that it is well."""
    deadline = time.monotonic() + patience
    alarm = threading.Timer(patience, child.kill)
    alarm.start()
    try:
        address = pipes(child)[1].readline().strip()
    finally:
        alarm.cancel()
    if address == EXTRA:
        raise ConfigError(EXTRA)
    if not address:
        said.seek(0)
        raise CascadeError(f"the local model server did not start: {said.read()[-1000:].strip() or 'it took too long'}")
    while not healthy(address):
        if time.monotonic() > deadline:
            raise CascadeError(f"the local model server at {address} did not become healthy in {patience:g} s")
        time.sleep(0.05)
    return address


def healthy(address: str) -> bool:
    """Whether the server has loaded its model."""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def pipes(child: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    """The child's standard input and output, which `serve` has opened."""
    assert child.stdin is not None
    assert child.stdout is not None
    return child.stdin, child.stdout


def stop(child: subprocess.Popen[str]) -> None:
    """End the child, with force if it does not go by itself."""
    child.terminate()
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    for end in pipes(child):
        with suppress(BrokenPipeError):
            end.close()


def run(path: str, threads: int, context: int) -> None:
    """The child's life: serve, say where, tell the CPU time when asked, and go when the parent is gone."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever llama.cpp prints must not mix with what the parent reads
    try:
        xllamacpp = import_module("xllamacpp")  # not every type checker finds its compiled names
    except ImportError:
        print(EXTRA, file=out)
        return
    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_ctx = context
    parameters.n_parallel = 1
    parameters.n_gpu_layers = 0
    parameters.verbosity = 0
    parameters.ui = False
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(parameters)
    print(server.listening_address, file=out)
    for _ in sys.stdin:
        print(time.process_time(), file=out)
    os._exit(0)  # the server's own threads would otherwise keep the process


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
