"""A real server on loopback that speaks Anthropic's dialect and behaves as the model's name says.

As in ``tests/misbehaving.py``, what follows an ``@`` only tells models apart.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TEXTS = {"ok": "four", "long": "two and two make four, as everybody knows who has ever counted to four"}
TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 2}}


@dataclass
class AnthropicServer:
    """``url`` is what a client takes as ``base_url``; ``asked`` are the bodies that came, in order."""

    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def models(self) -> list[str]:
        """What was asked, by model."""
        return [body["model"] for body in self.asked]


def message(model: str) -> dict[str, Any]:
    """A whole answer."""
    tool = model.startswith("tools")
    name = model.partition("@")[0].removeprefix("claude-")
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [TOOL_USE] if tool else [{"type": "text", "text": TEXTS.get(name, "four")}],
        "stop_reason": "tool_use" if tool else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 3, "cache_read_input_tokens": 4},
    }


def events(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same answer in pieces."""
    usage = whole["usage"] | {"output_tokens": 1}
    yield {"type": "message_start", "message": whole | {"content": [], "stop_reason": None, "usage": usage}}
    yield {"type": "ping"}
    for index, block in enumerate(whole["content"]):
        tool = block["type"] == "tool_use"
        empty = block | ({"input": {}} if tool else {"text": ""})
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        said = json.dumps(block["input"]) if tool else block["text"]
        for piece in (said[:4], said[4:]):
            delta = {"type": "input_json_delta", "partial_json": piece}
            delta = delta if tool else {"type": "text_delta", "text": piece}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": whole["usage"]["output_tokens"]}}
    yield {"type": "message_stop"}


@contextmanager
def anthropic() -> Iterator[AnthropicServer]:
    """A server in threads of its own until the block ends."""
    server: AnthropicServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append(body)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            status = body["model"].partition("@")[0].removeprefix("claude-")
            if status == "timeout":
                time.sleep(1.0)
                self.close_connection = True
            elif status.isdigit():
                error = {"type": "error", "error": {"type": "api_error", "message": "not today"}}
                self._answer(json.dumps(error).encode(), int(status))
            elif body.get("stream"):
                pieces = [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events(message(body["model"]))]
                self._answer("".join(pieces).encode(), 200, "text/event-stream")
            else:
                self._answer(json.dumps(message(body["model"])).encode())

        def _answer(self, data: bytes, status: int = 200, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = AnthropicServer(url=f"http://127.0.0.1:{http.server_address[1]}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
