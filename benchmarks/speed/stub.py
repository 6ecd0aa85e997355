"""A server that answers at once, so that only the client's cost is left: ``python -m benchmarks.speed.stub``.

A raw protocol on uvloop with prebuilt answers. The first part of the path chooses the answer:
``/plain/v1/chat/completions`` (434 bytes) or ``/logprobs/v1/chat/completions`` (40 tokens). Prints
its port and ends when stdin does.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import Any

import uvloop

from benchmarks.speed.setting import ANSWER, LOGPROBS

PLAIN_BYTES = 434
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def body(logprobs: bool) -> bytes:
    """A chat completion in OpenAI's shape."""
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": ANSWER},
        "finish_reason": "stop",
        "logprobs": None,
    }
    if logprobs:
        token = {"token": " word", "bytes": list(b" word"), "top_logprobs": []}
        choice["logprobs"] = {"content": [token | {"logprob": value} for value in LOGPROBS], "refusal": None}
    answer = {
        "id": "chatcmpl-stub",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "small",
        "choices": [choice],
        "usage": {"prompt_tokens": 14, "completion_tokens": len(LOGPROBS), "total_tokens": 14 + len(LOGPROBS)},
        "system_fingerprint": "",
    }
    short = PLAIN_BYTES - len(json.dumps(answer))
    return json.dumps(answer | {"system_fingerprint": "f" * max(short, 0)}).encode()


def response(content: bytes) -> bytes:
    """The whole answer on the wire, in one piece."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


RESPONSES = {b"plain": response(body(False)), b"logprobs": response(body(True))}


class Stub(asyncio.Protocol):
    """One connection: as many requests as come, each answered as soon as it is whole."""

    def connection_made(self, transport: Any) -> None:  # uvloop's is no asyncio.Transport
        self._transport, self._read = transport, b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._read, 0, end)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(self._read) < whole:
                return
            which = self._read.split(b"/", 2)[1]
            self._read = self._read[whole:]
            self._transport.write(RESPONSES[which])


async def main() -> None:
    """Serve on a free port until stdin ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Stub, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
