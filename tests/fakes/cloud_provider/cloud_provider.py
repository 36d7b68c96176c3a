# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fake of the model APIs of Azure, Amazon Bedrock, Vertex AI and Cohere, and of Google's token endpoint.

It answers every request of a known path with the same words and tokens, in the API of the path, and remembers what it
received. No registry has these services.

It checks no key, no signature and no version, refuses no field, and knows no tools, images or limits. A model of the
name "refused" is refused with 403, in the words of its cloud.

GET /seen/<name> lists what arrived with the model <name> in its path or body: {"method", "path", "headers", "body"},
oldest first. A header that carries a credential is given as its scheme and SHA-256, but for a signature of AWS, which
is given without its last part.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import sys
import threading
import typing as t
import urllib.parse
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Document = dict[str, t.Any]

WORDS = "Hello from a cloud."
#: Tokens of every request and of every answer.
INPUT, OUTPUT = 20, 10
TOKEN = "a-token-of-google"
_CREDENTIALS = ("authorization", "x-api-key", "api-key")
_OPENAI_USAGE = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
_GOOGLE_USAGE = {"promptTokenCount": INPUT, "candidatesTokenCount": OUTPUT, "totalTokenCount": INPUT + OUTPUT}
_AWS_USAGE = {"inputTokens": INPUT, "outputTokens": OUTPUT, "totalTokens": INPUT + OUTPUT}
_ANTHROPIC_USAGE = {"input_tokens": INPUT, "output_tokens": OUTPUT}


def frame(kind: str, payload: Document) -> bytes:
    """An event of AWS's binary streams."""
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in (
            (":event-type", kind),
            (":content-type", "application/json"),
            (":message-type", "event"),
        )
    )
    content = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(content), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + content
    return message + struct.pack(">I", zlib.crc32(message))


def _events(*documents: Document, named: bool = False) -> bytes:
    lines = [
        (f"event: {document['type']}\n" if named else "") + f"data: {json.dumps(document)}\n\n"
        for document in documents
    ]
    return "".join(lines).encode()


def _chat(_body: Document) -> Document:
    choice = {"index": 0, "message": {"role": "assistant", "content": WORDS}, "finish_reason": "stop"}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]} | {
        "usage": _OPENAI_USAGE
    }


def _embeddings(_body: Document) -> Document:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.5]}]
    usage = {"prompt_tokens": INPUT, "total_tokens": INPUT}
    return {"object": "list", "data": data, "model": "m", "usage": usage}


def _response(_body: Document) -> Document:
    part = {"type": "output_text", "text": WORDS, "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {**_ANTHROPIC_USAGE, "total_tokens": INPUT + OUTPUT}
    return {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m"} | {
        "output": [item],
        "usage": usage,
    }


def _converse(_body: Document) -> Document:
    message = {"role": "assistant", "content": [{"text": WORDS}]}
    return {"output": {"message": message}, "stopReason": "end_turn", "usage": _AWS_USAGE}


def _converse_stream(_body: Document) -> bytes:
    return b"".join(
        frame(kind, payload)
        for kind, payload in (
            ("messageStart", {"role": "assistant"}),
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": WORDS}}),
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("messageStop", {"stopReason": "end_turn"}),
            ("metadata", {"usage": _AWS_USAGE, "metrics": {"latencyMs": 1}}),
        )
    )


def _message(body: Document) -> Document:
    # Amazon's own models have embeddings under the same path.
    if "inputText" in body:
        return {"embedding": [0.5, 0.5], "inputTextTokenCount": INPUT}
    content = [{"type": "text", "text": WORDS}]
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content} | {
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _ANTHROPIC_USAGE,
    }


def _message_events() -> list[Document]:
    begun = {**_message({}), "content": [], "stop_reason": None, "usage": {**_ANTHROPIC_USAGE, "output_tokens": 1}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": WORDS}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}}
    return [
        {"type": "message_start", "message": begun},
        block,
        delta,
        {"type": "content_block_stop", "index": 0},
        {**end, "usage": {"output_tokens": OUTPUT}},
        {"type": "message_stop"},
    ]


def _message_stream(_body: Document) -> bytes:
    return _events(*_message_events(), named=True)


def _invoke_stream(_body: Document) -> bytes:
    encoded = [base64.b64encode(json.dumps(event).encode()).decode() for event in _message_events()]
    return b"".join(frame("chunk", {"bytes": event}) for event in encoded)


def _gemini(_body: Document) -> Document:
    content = {"role": "model", "parts": [{"text": WORDS}]}
    candidate = {"index": 0, "content": content, "finishReason": "STOP"}
    return {"candidates": [candidate], "usageMetadata": _GOOGLE_USAGE, "modelVersion": "m", "responseId": "1"}


def _gemini_stream(body: Document) -> bytes:
    return _events(_gemini(body))


def _rerank(body: Document) -> Document:
    results = [{"index": index, "relevance_score": 0.5} for index in range(len(body.get("documents") or ()))]
    return {"id": "1", "results": results, "meta": {"tokens": {"input_tokens": INPUT, "output_tokens": OUTPUT}}}


def _token(_body: Document) -> Document:
    return {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}


_MODEL = r"(?P<model>[^/?]+)"
_GOOGLE = r"/v1/projects/[^/]+/locations/[^/]+/publishers"
#: What answers a path, in JSON, or in the bytes of a stream.
ANSWERS: tuple[tuple[str, t.Callable[[Document], Document | bytes]], ...] = (
    (rf"/openai/deployments/{_MODEL}/chat/completions", _chat),
    (rf"/openai/deployments/{_MODEL}/embeddings", _embeddings),
    (r"/openai/responses", _response),
    (rf"/model/{_MODEL}/converse", _converse),
    (rf"/model/{_MODEL}/converse-stream", _converse_stream),
    (rf"/model/{_MODEL}/invoke", _message),
    (rf"/model/{_MODEL}/invoke-with-response-stream", _invoke_stream),
    (rf"{_GOOGLE}/google/models/{_MODEL}:generateContent", _gemini),
    (rf"{_GOOGLE}/google/models/{_MODEL}:streamGenerateContent", _gemini_stream),
    (rf"{_GOOGLE}/anthropic/models/{_MODEL}:rawPredict", _message),
    (rf"{_GOOGLE}/anthropic/models/{_MODEL}:streamRawPredict", _message_stream),
    (r"/v2/rerank", _rerank),
    (r"/token", _token),
)


def shown(name: str, value: str) -> str:
    """A header's value without its credential."""
    if name not in _CREDENTIALS:
        return value
    if value.startswith("AWS4-"):
        return re.sub(r"Signature=.*", "Signature=", value)
    scheme, _space, credential = value.rpartition(" ")
    return f"{scheme} sha256:{hashlib.sha256(credential.encode()).hexdigest()}".strip()


def refusal(path: str) -> Document:
    """Why a model is refused, in the words of the cloud that a path is of."""
    if path.startswith("/model/"):
        return {"Message": "User is not authorized to perform this action."}
    if path.startswith("/v1/projects/"):
        return {"error": {"code": 403, "message": "Permission denied.", "status": "PERMISSION_DENIED"}}
    if path.startswith("/v2/"):
        return {"message": "The model is not available."}
    return {"error": {"code": "Forbidden", "message": "Access denied."}}


class Cloud(ThreadingHTTPServer):
    """The server, and what it has received."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("", port), _Handler)
        self.lock = threading.Lock()
        self.seen: list[tuple[str, Document]] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Cloud

    def do_GET(self) -> None:
        name = self.path.removeprefix("/seen/")
        with self.server.lock:
            found = [request for model, request in self.server.seen if model == urllib.parse.unquote(name)]
        self._send(200, found)

    def do_POST(self) -> None:
        text = self._read()
        path = self.path.partition("?")[0]
        body: t.Any = None
        if (self.headers["content-type"] or "").startswith("application/json"):
            body = json.loads(text)
        body = body if isinstance(body, dict) else {}
        for pattern, answer in ANSWERS:
            found = re.fullmatch(pattern, path)
            if not found:
                continue
            model = urllib.parse.unquote(found.groupdict().get("model") or body.get("model") or "")
            headers = {name.lower(): shown(name.lower(), value) for name, value in self.headers.items()}
            request = {"method": self.command, "path": self.path, "headers": headers, "body": body}
            with self.server.lock:
                self.server.seen.append((model, request))
            if model == "refused":
                self._send(403, refusal(path))
            else:
                self._send(200, answer(body))
            return
        self._send(404, {"message": f"There is nothing under {path}."})

    def _read(self) -> bytes:
        if (self.headers["transfer-encoding"] or "").lower() != "chunked":
            return self.rfile.read(int(self.headers["content-length"] or 0))
        parts = bytearray()
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return bytes(parts)

    def _send(self, status: int, answer: t.Any) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        kind = "application/json"
        if isinstance(answer, bytes):
            kind = (
                "text/event-stream" if answer.startswith((b"data", b"event")) else "application/vnd.amazon.eventstream"
            )
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: t.Any) -> None:  # noqa: A002
        """Says nothing: the requests are listed."""


if __name__ == "__main__":
    with Cloud(int(sys.argv[1])) as server:
        server.serve_forever()
