# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stand-in for a provider of models that speaks the OpenAI API.

It checks its key, answers with a fixed text and counts tokens exactly, so that tests know what to expect. Request headers steer one request:

x-simulator-prompt-tokens, x-simulator-completion-tokens   the usage to report
x-simulator-delay                                          seconds before the answer
x-simulator-status                                         fail with this status, 400 to 599
x-simulator-echo: headers                                  give back the received headers as JSON in x-simulator-received-headers,
                                                           those that carry a credential as its scheme and SHA-256

Needs Python 3.9 and nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import io
import itertools
import json
import signal
import socket
import sys
import threading
import time
import typing as t
import urllib.parse
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BODY_LIMIT = 32 * 1024 * 1024
DELAY_LIMIT = 600.0
TOKENS_LIMIT = 2**31 - 1
KEY_HEADERS = ("authorization", "x-api-key", "x-provider-api-key")
# Never echoed in clear, although the last three open nothing here.
CREDENTIAL_HEADERS = (*KEY_HEADERS, "api-key", "proxy-authorization", "cookie")
ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """A refusal: HTTP status, message, and the code and parameter that the dialect names with it."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param


@dataclass(frozen=True)
class Settings:
    """What the process was started with; tokens of None are counted from the words."""

    provider: str
    models: tuple[str, ...]
    key: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    delay: float = 0.0
    failure_status: int = 500
    failure_rate: float = 0.0


@dataclass(frozen=True)
class Controls:
    """How one request is to be answered: the settings, overridden by its headers."""

    prompt_tokens: int | None
    completion_tokens: int | None
    delay: float
    status: int | None
    echo: bool


@dataclass(frozen=True)
class Reply:
    """A document, or the events of a stream; ``note`` goes into the log line."""

    document: dict[str, t.Any] | None = None
    events: t.Iterable[dict[str, t.Any]] = ()
    note: str = ""


class OpenAI:
    """The OpenAI dialect: what the paths answer and what an error looks like. Another dialect is another class of this shape."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.created = int(time.time())
        self.numbers = itertools.count(1)
        self.posts: dict[str, t.Callable[[dict[str, t.Any], Controls], Reply]] = {
            "/v1/chat/completions": self.chat,
            "/v1/completions": self.complete,
        }
        self.gets: dict[str, t.Callable[[], Reply]] = {"/v1/models": self.models}
        for name in settings.models:
            self.gets[f"/v1/models/{name}"] = lambda name=name: Reply(self._model(name), note=f"model={name}")  # type: ignore[misc]

    def error(self, error: ApiError) -> dict[str, t.Any]:
        kind = ERROR_TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
        return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}

    def unknown_path(self, path: str) -> ApiError:
        if path.startswith("/v1/models/"):
            return self._unknown_model(path[len("/v1/models/") :])
        return ApiError(404, f"No such path: {path}", "unknown_url")

    def models(self) -> Reply:
        return Reply({"object": "list", "data": [self._model(name) for name in self.settings.models]})

    def chat(self, body: dict[str, t.Any], controls: Controls) -> Reply:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(item, dict) and "role" in item for item in messages):
            raise ApiError(400, "messages must be a list of at least one object with role and content", "invalid_messages", "messages")
        words = sum(_count_words(item.get("content")) for item in messages)
        return self._answer(body, controls, "chat.completion", "chatcmpl", words)

    def complete(self, body: dict[str, t.Any], controls: Controls) -> Reply:
        prompt = body.get("prompt")
        if not isinstance(prompt, (str, list)) or not prompt:
            raise ApiError(400, "prompt must be a text or a list of texts", "invalid_prompt", "prompt")
        return self._answer(body, controls, "text_completion", "cmpl", _count_words(prompt))

    def _answer(self, body: dict[str, t.Any], controls: Controls, kind: str, prefix: str, words: int) -> Reply:
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise ApiError(400, "model must be the name of a model", "missing_model", "model")
        if model not in self.settings.models:
            raise self._unknown_model(model)
        stream = body.get("stream") or False
        if not isinstance(stream, bool):
            raise ApiError(400, "stream must be true or false", "invalid_stream", "stream")
        options = body.get("stream_options") or {}
        if not isinstance(options, dict):
            raise ApiError(400, "stream_options must be an object", "invalid_stream_options", "stream_options")
        limit = self._limit(body)
        reply = f"This is a simulated answer of provider {self.settings.provider} to {words} words.".split()
        finish = "stop" if limit is None or limit >= len(reply) else "length"
        reply = reply[:limit]
        prompt_tokens = words if controls.prompt_tokens is None else controls.prompt_tokens
        completion_tokens = len(reply) if controls.completion_tokens is None else controls.completion_tokens
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": prompt_tokens + completion_tokens}
        chat = kind == "chat.completion"
        head = {
            "id": f"{prefix}-{self.settings.provider}-{next(self.numbers)}",
            "object": "chat.completion.chunk" if chat and stream else kind,
            "created": int(time.time()),
            "model": model,
        }
        note = f"model={model} stream={str(stream).lower()} prompt_tokens={prompt_tokens} completion_tokens={completion_tokens}"
        if stream:
            return Reply(events=self._events(head, reply, finish, usage, chat, options.get("include_usage") is True), note=note)
        text = " ".join(reply)
        choice: dict[str, t.Any] = {"index": 0, "logprobs": None, "finish_reason": finish}
        choice.update({"message": {"role": "assistant", "content": text}} if chat else {"text": text})
        return Reply({**head, "choices": [choice], "usage": usage}, note=note)

    @staticmethod
    def _events(head: dict[str, t.Any], words: list[str], finish: str, usage: dict[str, int], chat: bool, include_usage: bool) -> t.Iterator[dict[str, t.Any]]:
        """One chunk a word, and the usage in the last chunk.

        A client that asked for the usage gets a chunk of its own for it, as from OpenAI; others get it with the finish reason, since they
        would stumble over a chunk without choices.
        """
        empty = {"usage": None} if include_usage else {}

        def chunk(content: dict[str, t.Any], reason: str | None = None) -> dict[str, t.Any]:
            return {**head, "choices": [{"index": 0, **content, "logprobs": None, "finish_reason": reason}], **empty}

        if chat:
            yield chunk({"delta": {"role": "assistant", "content": ""}})
        for index, word in enumerate(words):
            text = f" {word}" if index else word
            yield chunk({"delta": {"content": text}} if chat else {"text": text})
        last = chunk({"delta": {}} if chat else {"text": ""}, finish)
        if include_usage:
            yield last
            yield {**head, "choices": [], "usage": usage}
        else:
            yield {**last, "usage": usage}

    @staticmethod
    def _limit(body: dict[str, t.Any]) -> int | None:
        for name in ("max_completion_tokens", "max_tokens"):
            limit = body.get(name)
            if limit is not None:
                if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
                    raise ApiError(400, f"{name} must be a whole number of at least 1", "invalid_" + name, name)
                return limit
        return None

    def _model(self, name: str) -> dict[str, t.Any]:
        return {"id": name, "object": "model", "created": self.created, "owned_by": self.settings.provider}

    def _unknown_model(self, name: str) -> ApiError:
        return ApiError(404, f"The model {name!r} does not exist at provider {self.settings.provider}", "model_not_found", "model")


def _count_words(content: t.Any) -> int:
    """Words of a text, of a list of texts or of the text parts of a message."""
    if isinstance(content, str):
        return len(content.split())
    if isinstance(content, list):
        return sum(_count_words(item.get("text") if isinstance(item, dict) else item) for item in content)
    return 0


def controls_of(headers: t.Mapping[str, str], settings: Settings) -> Controls:
    """The controls in a request's headers (lower-case names); a malformed one is an error of status 400."""

    def number(name: str, kind: type, low: float, high: float, default: t.Any) -> t.Any:
        text = headers.get(f"x-simulator-{name}")
        if text is None:
            return default
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise ApiError(400, f"x-simulator-{name} must be a number from {low:g} to {high:g}", "invalid_control")
        return value

    echo = headers.get("x-simulator-echo")
    if echo not in (None, "headers"):
        raise ApiError(400, "x-simulator-echo takes the value headers", "invalid_control")
    return Controls(
        prompt_tokens=number("prompt-tokens", int, 0, TOKENS_LIMIT, settings.prompt_tokens),
        completion_tokens=number("completion-tokens", int, 0, TOKENS_LIMIT, settings.completion_tokens),
        delay=number("delay", float, 0, DELAY_LIMIT, settings.delay),
        status=number("status", int, 400, 599, None),
        echo=echo is not None,
    )


def received_headers(headers: t.Mapping[str, str], key: str) -> str:
    """The headers as a JSON object. Credentials, and whatever else holds the key, only as scheme and SHA-256."""

    def shown(name: str, value: str) -> t.Any:
        if name not in CREDENTIAL_HEADERS and key not in value:
            return value
        scheme, _space, credential = value.strip().rpartition(" ") if name.endswith("authorization") else ("", "", value.strip())
        return {"scheme": scheme, "sha256": hashlib.sha256(credential.encode("latin-1")).hexdigest()}

    return json.dumps({name: shown(name, value) for name, value in headers.items()}, separators=(",", ":"))


def check_key(headers: t.Mapping[str, str], key: str) -> None:
    """Refuse a request unless one of the headers for it carries the key."""
    presented = []
    for name in KEY_HEADERS:
        value = headers.get(name)
        if value is not None:
            scheme, _space, rest = value.strip().partition(" ")
            # Another scheme than Bearer presents nothing that can match.
            presented.append(value.strip() if name != "authorization" else rest.strip() if scheme.lower() == "bearer" else "")
    if not presented:
        raise ApiError(401, "No API key was given", "missing_api_key")
    if not any(hmac.compare_digest(candidate.encode("latin-1"), key.encode()) for candidate in presented):
        raise ApiError(401, "The API key is not the one of this provider", "invalid_api_key")


class Handler(BaseHTTPRequestHandler):
    """HTTP around a dialect: keys, bodies, controls, streams and the log."""

    protocol_version = "HTTP/1.1"
    server_version = "provider-simulator"
    sys_version = ""
    disable_nagle_algorithm = True
    # Longer than a gateway keeps an idle connection, so that it is the gateway that closes.
    timeout = 7200
    server: SimulatorServer
    unread = False
    echo = ""

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def handle_one_request(self) -> None:
        # Waits for the next request here, so that a stop knows which connections are busy.
        if not t.cast(io.BufferedReader, self.rfile).peek(1):
            self.close_connection = True
            return
        with self.server.busy():
            super().handle_one_request()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        start = time.monotonic()
        path = urllib.parse.unquote(self.path.partition("?")[0])
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self.unread = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        self.echo = ""
        try:
            note = ""
            status = 200
            if path in ("/health", "/ready"):
                status = 503 if path == "/ready" and self.server.stopping.is_set() else 200
                self._send_document(status, {"status": "ok" if status == 200 else "stopping"})
                return
            try:
                reply = self._reply(path, headers)
                note = reply.note
                if reply.document is not None:
                    self._send_document(200, reply.document)
                else:
                    self._send_events(reply.events)
            except ApiError as error:
                status = error.status
                note = f"code={error.code}"
                self._send_document(status, self.server.dialect.error(error))
        except (ConnectionError, TimeoutError):
            status = 499
            note = "the client went away"
            self.close_connection = True
        finally:
            if path not in ("/health", "/ready"):
                printable = "".join(character if character.isprintable() else "?" for character in f"{self.command} {path[:200]}")
                sys.stderr.write(f"{printable} {status} {(time.monotonic() - start) * 1000:.1f}ms {note}\n")

    def _reply(self, path: str, headers: dict[str, str]) -> Reply:
        server = self.server
        body = self._read_body(headers)
        controls = controls_of(headers, server.settings)
        if controls.echo:
            self.echo = received_headers(headers, server.settings.key)
        check_key(headers, server.settings.key)
        if controls.delay:
            time.sleep(controls.delay)
        if controls.status is not None:
            raise ApiError(controls.status, "This failure was asked for", "simulated_failure")
        if server.fails():
            raise ApiError(server.settings.failure_status, "This failure is simulated", "simulated_failure")
        dialect = server.dialect
        post = dialect.posts.get(path)
        get = dialect.gets.get(path)
        if post is None and get is None:
            raise dialect.unknown_path(path)
        if self.command == "GET":
            if get is None:
                raise ApiError(405, f"{path} takes POST", "method_not_allowed")
            return get()
        if post is None:
            raise ApiError(405, f"{path} takes GET", "method_not_allowed")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise ApiError(400, "The body is not valid JSON", "invalid_json") from None
        if not isinstance(document, dict):
            raise ApiError(400, "The body must be a JSON object", "invalid_json")
        return post(document, controls)

    def _read_body(self, headers: t.Mapping[str, str]) -> bytes:
        """The body, which a proxy may send in chunks; an unreadable one ends the connection, as its end is unknown."""
        length = headers.get("content-length")
        encoding = headers.get("transfer-encoding")
        if encoding is not None:
            if encoding.lower() != "chunked" or length is not None:
                raise ApiError(400, "The body must be chunked or have a Content-Length, and not both", "invalid_body")
            body = self._read_chunks()
        elif length is not None:
            if not (length.isascii() and length.isdigit()):
                raise ApiError(400, "Content-Length is not a number", "invalid_body")
            body = self._read_exactly(int(length))
        else:
            body = b""
        self.unread = False
        return body

    def _read_chunks(self) -> bytes:
        parts = bytearray()
        while True:
            size = self.rfile.readline(1026).partition(b";")[0].strip()
            try:
                length = int(size, 16)
            except ValueError:
                raise ApiError(400, "A chunk has no valid size", "invalid_body") from None
            if length < 0:
                raise ApiError(400, "A chunk has no valid size", "invalid_body")
            if length == 0:
                break
            parts += self._read_exactly(length, len(parts))
            if self.rfile.readline(3) != b"\r\n":
                raise ApiError(400, "A chunk is longer than its size", "invalid_body")
        # Trailers, up to the empty line.
        while self.rfile.readline(65537) not in (b"\r\n", b"\n", b""):
            pass
        return bytes(parts)

    def _read_exactly(self, length: int, before: int = 0) -> bytes:
        if before + length > BODY_LIMIT:
            raise ApiError(413, f"The body has more than {BODY_LIMIT} bytes", "body_too_large")
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionError("the body ended early")
        return data

    def _send_document(self, status: int, document: dict[str, t.Any]) -> None:
        body = json.dumps(document, separators=(",", ":")).encode()
        self._send_head(status, "application/json", f"Content-Length: {len(body)}", body)

    def _send_events(self, events: t.Iterable[dict[str, t.Any]]) -> None:
        chunked = self.request_version != "HTTP/1.0"
        if not chunked:
            self.close_connection = True
        self._send_head(200, "text/event-stream", "Cache-Control: no-cache" + ("\r\nTransfer-Encoding: chunked" if chunked else ""))
        for text in itertools.chain((json.dumps(event, separators=(",", ":")) for event in events), ["[DONE]"]):
            data = f"data: {text}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _send_head(self, status: int, content_type: str, framing: str, body: bytes = b"") -> None:
        """The whole head, and the body if there is one, in a single write."""
        if self.unread or self.server.stopping.is_set():
            self.close_connection = True
        reason = self.responses.get(status, ("Simulated",))[0]
        lines = [f"HTTP/1.1 {status} {reason}", f"Server: {self.server_version}", f"Date: {self.date_time_string()}", f"Content-Type: {content_type}", framing]
        if self.echo:
            lines.append(f"x-simulator-received-headers: {self.echo}")
        if self.close_connection:
            lines.append("Connection: close")
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses, a malformed request or another method, as an error of the dialect and without quoting it."""
        self.close_connection = True
        reason = self.responses.get(code, ("Refused",))[0]
        self._send_document(int(code), self.server.dialect.error(ApiError(int(code), reason, "invalid_request")))

    def log_message(self, *_arguments: t.Any) -> None:
        """Only _serve logs: the request line that the base class would write can hold a query."""


class SimulatorServer(ThreadingHTTPServer):
    """Serves until ``stop``, then finishes what is under way."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], settings: Settings) -> None:
        self.settings = settings
        self.dialect = OpenAI(settings)
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._busy = 0
        self._requests = 0
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        # HTTPServer would look up the name of the address, which takes long where there is no DNS.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.server_address = self.socket.getsockname()

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        kind = sys.exc_info()[0]
        sys.stderr.write(f"a connection failed: {kind.__name__ if kind else 'unknown'}\n")

    def fails(self) -> bool:
        """Whether this request fails: of any N requests, N times the rate do, spread evenly, so that tests can count on it."""
        rate = self.settings.failure_rate
        if not rate:
            return False
        with self._lock:
            self._requests += 1
            return int(self._requests * rate) > int((self._requests - 1) * rate)

    def busy(self) -> _Busy:
        return _Busy(self)

    def count(self, change: int) -> None:
        with self._idle:
            self._busy += change
            if not self._busy:
                self._idle.notify_all()

    def stop(self, grace: float, timeout: float) -> None:
        """Serve ``grace`` seconds more while callers turn elsewhere, then wait up to ``timeout`` seconds for open requests."""
        self.stopping.set()
        time.sleep(grace)
        self.shutdown()
        with self._idle:
            self._idle.wait_for(lambda: not self._busy, timeout)


class _Busy:
    def __init__(self, server: SimulatorServer) -> None:
        self.server = server

    def __enter__(self) -> None:
        self.server.count(1)

    def __exit__(self, *_exception: object) -> None:
        self.server.count(-1)


def parse_arguments(arguments: t.Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Simulates a provider of models that speaks the OpenAI API.")

    def bounded(kind: type, low: float, high: float) -> t.Callable[[str], t.Any]:
        def parse(text: str) -> t.Any:
            value = kind(text)
            if not low <= value <= high:
                raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
            return value

        parse.__name__ = kind.__name__
        return parse

    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")  # noqa: S104 (a pod has one address)
    parser.add_argument("--port", type=bounded(int, 0, 65535), default=8000, help="port to listen on; 0 takes a free one, which is printed")
    parser.add_argument("--provider", required=True, help="name of the provider, shown as owned_by")
    parser.add_argument("--model", action="append", required=True, dest="models", help="name of a model to serve; may be repeated")
    parser.add_argument("--key-file", type=Path, required=True, help="file with the key that is accepted")
    parser.add_argument("--prompt-tokens", type=bounded(int, 0, TOKENS_LIMIT), help="tokens to report for every prompt; by default its words")
    parser.add_argument("--completion-tokens", type=bounded(int, 0, TOKENS_LIMIT), help="tokens to report for every answer; by default its words")
    parser.add_argument("--delay", type=bounded(float, 0, DELAY_LIMIT), default=0.0, help="seconds before every answer")
    parser.add_argument("--failure-status", type=bounded(int, 400, 599), default=500, help="status of a failed request")
    parser.add_argument("--failure-rate", type=bounded(float, 0, 1), default=0.0, help="share of the requests that fail, 0 to 1")
    parser.add_argument("--grace", type=bounded(float, 0, 60), default=2.0, help="seconds to serve on after SIGTERM")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse_arguments()
    try:
        key = options.key_file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        print(f"--key-file {options.key_file}: {type(error).__name__}: the key cannot be read", file=sys.stderr)
        return 2
    if not key:
        print(f"--key-file {options.key_file} holds no key", file=sys.stderr)
        return 2
    settings = Settings(
        provider=options.provider,
        models=tuple(dict.fromkeys(options.models)),
        key=key,
        prompt_tokens=options.prompt_tokens,
        completion_tokens=options.completion_tokens,
        delay=options.delay,
        failure_status=options.failure_status,
        failure_rate=options.failure_rate,
    )
    server = SimulatorServer((options.host, options.port), settings)
    stopper = threading.Thread(target=server.stop, args=(options.grace, 30.0))

    def on_signal(_number: int, _frame: t.Any) -> None:
        if not server.stopping.is_set():
            server.stopping.set()
            stopper.start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    print(f"{options.provider} listens on {options.host}:{server.server_port} and serves {', '.join(settings.models)}", file=sys.stderr, flush=True)
    server.serve_forever(poll_interval=0.2)
    stopper.join()
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
