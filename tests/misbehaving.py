"""A real server on loopback that speaks OpenAI's dialect and misbehaves as the model's name says.

What follows an ``@`` only tells models apart: ``ok@cheap`` and ``ok@frontier`` both behave, and are
counted each for itself. ``BEHAVIOURS`` lists what there is; a name not in it gets a 404, as
an unknown model does.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

SURE, UNSURE = -0.01, -2.5
ACCEPTS = 'Right in every part.\n{"acceptable": true, "score": 0.9, "misses": []}'
WORD = re.compile(r"\S+\s*|\s+")
REASONS = {200: "OK", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests", 500: "Oh no"}


@dataclass
class Asked:
    """One request as it came in, and the way to answer it."""

    headers: dict[str, str]
    body: dict[str, Any]
    server: Server
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def model(self) -> str:
        return str(self.body.get("model"))

    @property
    def question(self) -> str:
        return str(self.body["messages"][-1]["content"])

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, body: Any, status: int = 200, headers: str = "") -> None:
        """A whole response; ``body`` is bytes or anything that JSON can hold."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\nContent-Type: application/json\r\n"
        await self.send(f"{head}{headers}Content-Length: {len(data)}\r\n\r\n".encode() + data)

    async def refuse(self, status: int, message: str, headers: str = "") -> None:
        await self.reply({"error": {"message": message, "type": "error"}}, status, headers)

    async def begin_stream(self) -> None:
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        await self.send(head.encode())

    async def piece(self, data: bytes) -> None:
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def answer(self, **wanted: Any) -> None:
        """A good answer, streamed if that was asked for. See ``completion`` for what may be wanted."""
        await self.deliver(completion(self.model, logprobs=bool(self.body.get("logprobs")), **wanted))

    async def deliver(self, whole: dict[str, Any]) -> None:
        """A given answer, streamed if that was asked for."""
        if not self.body.get("stream"):
            return await self.reply(whole)
        await self.begin_stream()
        for event in events(whole):
            await self.piece(event)
        await self.piece(b"")

    async def hang(self) -> None:
        """Say nothing more until the client has gone."""
        await self.reader.read()
        self.server.dropped[self.model] += 1


def completion(
    model: str,
    text: str | None = "four",
    *,
    logprobs: bool = False,
    logprob: float | str | None = SURE,
    tokens: int | None = None,
    **message: Any,
) -> dict[str, Any]:
    """A chat completion in OpenAI's shape.

    A word is a token, unless ``tokens`` says what usage shall say. ``finish`` is the finish reason;
    what else is given goes into the message.
    """
    words = WORD.findall(text or "")
    choice: dict[str, Any] = {"index": 0, "finish_reason": message.pop("finish", "stop"), "logprobs": None}
    choice["message"] = {"role": "assistant", "content": text} | message
    if logprobs:
        others = [{"token": "?", "logprob": -4.0, "bytes": None}]
        choice["logprobs"] = {
            "content": [
                {"token": w, "logprob": logprob, "bytes": None}
                | {"top_logprobs": [{"token": w, "logprob": logprob, "bytes": None}, *others]}
                for w in words
            ]
        }
    spent = len(words) if tokens is None else tokens
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "system_fingerprint": "fp_1",
        "choices": [choice],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": spent,
            "total_tokens": 10 + spent,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    }


def events(whole: dict[str, Any]) -> Iterator[bytes]:
    """The same answer as server-sent events, word by word, usage last."""
    head = {k: whole[k] for k in ("id", "created", "model", "system_fingerprint")}
    head["object"] = "chat.completion.chunk"
    choice = whole["choices"][0]
    message, logprobs = choice["message"], (choice["logprobs"] or {}).get("content")
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in WORD.findall(message["content"] or "")]
    deltas += [{"refusal": message["refusal"]}] if message.get("refusal") else []
    deltas += [{"tool_calls": [call | {"index": i}]} for i, call in enumerate(message.get("tool_calls") or [])]
    for at, delta in enumerate(deltas):
        part: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": None}
        if logprobs and 0 < at <= len(logprobs):
            part["logprobs"] = {"content": [logprobs[at - 1]]}
        yield _event(head | {"choices": [part]})
    yield _event(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    yield _event(head | {"choices": [], "usage": whole["usage"]})
    yield b"data: [DONE]\n\n"


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _with_logprobs(change: Callable[[list[Any]], list[Any]]) -> Callable[[Asked], Awaitable[None]]:
    async def behave(asked: Asked) -> None:
        whole = completion(asked.model, "two and two make four", logprobs=True)
        logprobs = whole["choices"][0]["logprobs"]
        logprobs["content"] = change(logprobs["content"])
        await asked.deliver(whole)

    return behave


def _answers(**wanted: Any) -> Callable[[Asked], Awaitable[None]]:
    async def behave(asked: Asked) -> None:
        await asked.answer(**wanted)

    return behave


def _refuses(status: int, message: str, headers: str = "") -> Callable[[Asked], Awaitable[None]]:
    async def behave(asked: Asked) -> None:
        await asked.refuse(status, message, headers)

    return behave


def _then_ok(status: int) -> Callable[[Asked], Awaitable[None]]:
    async def behave(asked: Asked) -> None:
        if asked.server.count(asked.model) == 1:
            return await asked.refuse(status, "only this once", "Retry-After: 0\r\n")
        await asked.answer()

    return behave


def _says(body: Any) -> Callable[[Asked], Awaitable[None]]:
    async def behave(asked: Asked) -> None:
        await asked.reply(body)

    return behave


async def _unauthorized(asked: Asked) -> None:
    """Repeats the key, as some servers do."""
    await asked.refuse(401, f"Incorrect API key provided: {asked.headers.get('authorization')}")


async def _echo(asked: Asked) -> None:
    await asked.answer(text=asked.question)


async def _show(asked: Asked) -> None:
    await asked.answer(text=json.dumps(asked.body))


async def _cut(asked: Asked) -> None:
    await asked.send(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"choices": [{"mess')
    asked.writer.close()


async def _cut_stream(asked: Asked) -> None:
    await asked.begin_stream()
    first, second, *_ = events(completion(asked.model, "never to be finished"))
    await asked.piece(first)
    await asked.piece(second[: len(second) // 2])
    asked.writer.close()


async def _end_stream(asked: Asked) -> None:
    """Ends a stream in good order, in the middle of the answer."""
    await asked.begin_stream()
    for event in list(events(completion(asked.model, "never to be finished")))[:3]:
        await asked.piece(event)
    await asked.piece(b"")


async def _error_in_stream(asked: Asked) -> None:
    await asked.begin_stream()
    for event in list(events(completion(asked.model, "never to be finished")))[:2]:
        await asked.piece(event)
    await asked.piece(_event({"error": {"message": "the engine has died"}}))
    await asked.piece(b"")


async def _slow_drip(asked: Asked) -> None:
    """A good answer, a few bytes at a time, with comments and CRLF between streamed events."""
    whole = completion(asked.model)
    if not asked.body.get("stream"):
        data = json.dumps(whole).encode()
        await asked.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode())
        for at in range(0, len(data), 20):
            await asked.send(data[at : at + 20])
            await asyncio.sleep(0.01)
        return
    await asked.begin_stream()
    text = b"".join(b": still here\n" + event for event in events(whole)).replace(b"\n", b"\r\n")
    for at in range(0, len(text), 20):
        await asked.piece(text[at : at + 20])
        await asyncio.sleep(0.005)
    await asked.piece(b"")


async def _slow_accepts(asked: Asked) -> None:
    await asyncio.sleep(0.05)
    await asked.answer(text=ACCEPTS)


async def _hang_in_stream(asked: Asked) -> None:
    await asked.begin_stream()
    for event in list(events(completion(asked.model, "never to be finished")))[:3]:
        await asked.piece(event)
    await asked.hang()


def _embeds(change: Callable[[list[float]], list[Any]] = lambda found: found) -> Callable[[Asked], Awaitable[None]]:
    """The vectors of the texts, last text first; see ``vector_of``."""

    async def behave(asked: Asked) -> None:
        texts = asked.body["input"]
        rows = [
            {"object": "embedding", "index": i, "embedding": change(vector_of(text, asked.body.get("dimensions", 4)))}
            for i, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 10 * len(texts), "total_tokens": 10 * len(texts)}
        await asked.reply({"object": "list", "model": asked.model, "data": rows[::-1], "usage": usage})

    return behave


async def _embeds_after_429(asked: Asked) -> None:
    if asked.server.count(asked.model) == 1:
        return await asked.refuse(429, "only this once", "Retry-After: 0\r\n")
    await _embeds()(asked)


async def _embeds_one(asked: Asked) -> None:
    """One vector, however many texts there were."""
    asked.body["input"] = asked.body["input"][:1]
    await _embeds()(asked)


def vector_of(text: str, dimensions: int) -> list[float]:
    """A vector that tells short texts apart; its length is not one."""
    return [float(1 + sum(text.encode()) % (7 + i)) for i in range(dimensions)]


_CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}

BEHAVIOURS: dict[str, Callable[[Asked], Awaitable[None]]] = {
    "ok": _answers(),
    "ok-logprobs": _answers(text="two and two make four"),
    "unsure": _answers(text="five or so", logprob=UNSURE),
    "wrong": _answers(text="five"),
    "json": _answers(text='{"answer": 4}'),
    "tools": _answers(text=None, finish="tool_calls", tool_calls=[_CALL]),
    "accepts": _answers(text=ACCEPTS),
    "slow-accepts": _slow_accepts,
    "echo": _echo,
    "show": _show,
    "slow-drip": _slow_drip,
    "timeout": Asked.hang,
    "hang-stream": _hang_in_stream,
    "400": _refuses(400, "temperature must be at most 2"),
    "401": _unauthorized,
    "403": _refuses(403, "not for you"),
    "422": _refuses(422, "messages: field required"),
    "429": _refuses(429, "slow down"),
    "429-at-once": _refuses(429, "slow down", "Retry-After-Ms: 1\r\n"),
    "429-retry-after": _refuses(429, "slow down", "Retry-After: 7\r\n"),
    "429-retry-date": _refuses(429, "slow down", "Retry-After: Fri, 31 Dec 2100 23:59:59 GMT\r\n"),
    "500": _refuses(500, "out of memory"),
    "503": _refuses(503, "overloaded"),
    "500-then-ok": _then_ok(500),
    "429-then-ok": _then_ok(429),
    "redirect": _refuses(307, "elsewhere", "Location: http://127.0.0.1:9/\r\n"),
    "not-json": _says(b"<html>Bad gateway</html>"),
    "no-choices": _says({"id": "x", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}),
    "error-200": _says({"error": {"message": "quota exhausted"}}),
    "wrong-shape": _says({"choices": "none"}),
    "cut": _cut,
    "cut-stream": _cut_stream,
    "end-stream": _end_stream,
    "error-stream": _error_in_stream,
    "nan-logprobs": _with_logprobs(lambda found: [t | {"logprob": float("nan")} for t in found]),
    "inf-logprobs": _with_logprobs(lambda found: [*found[1:], found[0] | {"logprob": float("inf")}]),
    "short-logprobs": _with_logprobs(lambda found: found[:2]),
    "impossible-logprobs": _with_logprobs(lambda found: [*found[1:], found[0] | {"logprob": -9999.0}]),
    "empty": _answers(text=""),
    "empty-length": _answers(text=None, finish="length", tokens=1024),
    "length": _answers(text="four and", finish="length"),
    "refusal": _answers(text=None, refusal="I cannot help with that."),
    "filtered": _answers(text="", finish="content_filter"),
    "embed": _embeds(),
    "text-embedding-3-small": _embeds(),
    "embed-429-then-ok": _embeds_after_429,
    "embed-one": _embeds_one,
    "embed-short": _embeds(lambda found: found[1:]),
    "embed-nan": _embeds(lambda found: [float("nan"), *found[1:]]),
    "embed-zero": _embeds(lambda found: [0.0] * len(found)),
    "embed-words": _embeds(lambda found: ["one", *found[1:]]),
}


@dataclass
class Server:
    """Use ``serving()`` or the fixture ``server``. ``url`` is the base_url to give to an endpoint."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    """By model: requests whose client went away before it was answered."""
    busy: int = 0
    most: int = 0
    """How many requests were being answered at once at the most."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def count(self, model: str) -> int:
        """How often ``model`` was asked, by the full name."""
        return sum(asked.model == model for asked in self.asked)

    def last(self, model: str) -> Asked:
        """The last request for ``model``."""
        return next(asked for asked in reversed(self.asked) if asked.model == model)

    def wait_for_call(self, model: str, seconds: float = 3.0) -> bool:
        """Whether ``model`` is asked within ``seconds``."""
        return _comes(lambda: self.count(model) > 0, seconds)

    def wait_for_drop(self, model: str, seconds: float = 3.0) -> bool:
        """Whether a client of ``model`` goes away unanswered within ``seconds``."""
        return _comes(lambda: self.dropped[model] > 0, seconds)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while not writer.is_closing():
                await self._behave(await self._read(reader, writer))
        writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Asked:
        _, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        asked = Asked(headers, body, self, reader, writer)
        self.asked.append(asked)
        return asked

    async def _behave(self, asked: Asked) -> None:
        behave = BEHAVIOURS.get(asked.model.partition("@")[0])
        if behave is None:
            return await asked.refuse(404, f"The model `{asked.model}` does not exist")
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            await behave(asked)
        except ConnectionError:
            self.dropped[asked.model] += 1
            raise
        finally:
            self.busy -= 1

    async def _run(self, ready: threading.Event, stop: asyncio.Event) -> None:
        listening = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        self.port = listening.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        listening.close()
        busy = asyncio.all_tasks() - {asyncio.current_task()}
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        await asyncio.sleep(0)  # closed connections say so to the loop in its next turn


def _comes(true: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.01)
    return true()


@contextmanager
def serving() -> Iterator[Server]:
    """A server in a thread of its own, on a free port, until the block ends."""
    server, ready = Server(), threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(server._run(ready, stop))

    thread = threading.Thread(target=run, name="misbehaving server", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
