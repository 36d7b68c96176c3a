# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server on the loopback interface that plays a gateway, and the bodies of its answers."""

from __future__ import annotations

import json
import threading
import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Request:
    """What reached the loopback server; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: t.Any


@dataclass
class Reply:
    """What the loopback server answers.

    A ``body`` that is no bytes is sent as JSON; ``parts`` are sent in chunks, each after ``delay`` seconds.
    """

    status: int = 200
    body: t.Any = None
    headers: dict[str, str] = field(default_factory=dict)
    parts: t.Iterable[bytes] | None = None
    cut: bool = False


class Loopback:
    """A server on the loopback interface whose ``answer`` decides what each request gets."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Reply] = lambda request: Reply(404)
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, json.loads(content) if content else None)
                loopback.requests.append(request)
                reply = loopback.answer(request)
                self.send_response(reply.status)
                body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                content_type = "application/octet-stream" if isinstance(reply.body, bytes) else "application/json"
                sent = {
                    "Content-Type": "text/event-stream" if reply.parts is not None else content_type,
                    "Connection": "close",
                    **reply.headers,
                }
                if reply.parts is None:
                    sent.setdefault("Content-Length", str(len(body)))
                else:
                    sent["Transfer-Encoding"] = "chunked"
                for name, value in sent.items():
                    self.send_header(name, value)
                self.end_headers()
                if reply.parts is None:
                    self.wfile.write(body)
                    return
                for part in reply.parts:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                if not reply.cut:
                    self.wfile.write(b"0\r\n\r\n")

            do_GET = do_POST = do_DELETE = serve  # noqa: N815

            def log_message(self, *arguments: t.Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def completion(model: str = "gpt-4", text: str = "Hello there", tokens: int = 30) -> dict[str, t.Any]:
    """A chat completion of the OpenAI API."""
    return {
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": tokens - 10, "completion_tokens": 10, "total_tokens": tokens},
    }


def stream(
    model: str = "gpt-4", words: tuple[str, ...] = ("Hel", "lo"), usage: bool = True, done: bool = True
) -> list[bytes]:
    """The same as the parts of an event stream."""
    chunks: list[dict[str, t.Any]] = [
        {"model": model, "choices": [{"index": 0, "delta": {"content": word}}]} for word in words
    ]
    if usage:
        chunks.append({"model": model, "choices": [], "usage": {"total_tokens": 30}})
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks] + ([b"data: [DONE]\n\n"] if done else [])


def message(model: str = "claude-3-sonnet", texts: tuple[str, ...] = ("Hello", " there")) -> dict[str, t.Any]:
    """A message of Anthropic's API, in several content blocks."""
    return {
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text} for text in texts],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 20, "output_tokens": 10},
    }


def message_events(model: str = "claude-3-sonnet", words: tuple[str, ...] = ("Hel", "lo")) -> list[dict[str, t.Any]]:
    """The same as the documents of a stream's events."""
    return [
        {"type": "message_start", "message": {**message(model, ()), "usage": {"input_tokens": 20, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in words),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 10}},
        {"type": "message_stop"},
    ]


def named(documents: t.Iterable[dict[str, t.Any]]) -> list[bytes]:
    """The parts of an event stream whose events are named by the type of their data."""
    return [f"event: {document['type']}\ndata: {json.dumps(document)}\n\n".encode() for document in documents]
