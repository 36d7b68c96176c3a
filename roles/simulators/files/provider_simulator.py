# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A simulator of a provider of models that speaks the OpenAI or the Anthropic API.

It checks its key, sends a fixed answer and counts tokens exactly, so that tests know what to expect. Request
headers steer one request:

x-simulator-prompt-tokens, x-simulator-completion-tokens   the usage to report x-simulator-delay
seconds before the answer x-simulator-event-delay                                    seconds between the events of a
stream x-simulator-status                                         fail with this status, 400 to 599
x-simulator-retry-after                                    seconds for the header retry-after of that failure, by
default 1 with status 429 x-simulator-break: headers                                 drop the connection instead of an
answer body                                    in the middle of the body, or of an event stream
between two events; another body than a stream breaks in its middle event                                   end the
stream with an event of the error x-simulator-status, by default 500; where there is no stream, the error is the answer
x-simulator-break-after                                    events of a stream before the break, by default 2
x-simulator-echo: headers                                  give back the received headers as JSON in
x-simulator-received-headers, those that carry a credential as its scheme and SHA-256

With --slots it serves so many requests at a time like a model server, lets others wait, and reports that at /metrics,
see simulator_engine.py.

Key and certificate files that change are read again. The admin endpoint is described in simulator_admin.py.

Needs Python 3.9 and, beside this file, simulator_admin.py, simulator_dialects.py, simulator_engine.py and
simulator_state.py.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import signal
import socket
import ssl
import sys
import threading
import time
import typing as t
import urllib.parse
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from simulator_admin import AdminServer
from simulator_dialects import DIALECTS, ApiError, Call, Dialect, KeyForm, Reply, encoded
from simulator_engine import Engine
from simulator_state import (
    BREAK_AFTER,
    BREAKS,
    BROKEN,
    DELAY_LIMIT,
    RETRY_AFTER_LIMIT,
    Counters,
    Failure,
    Failures,
    Fields,
    Keys,
    Reloading,
    Usage,
    digest_of,
)

BODY_LIMIT = 32 * 1024 * 1024
HANDSHAKE_TIMEOUT = 10.0
TOKENS_LIMIT = 2**31 - 1
# Never echoed in clear, although the last three open nothing here.
CREDENTIAL_HEADERS = ("authorization", "x-api-key", "x-provider-api-key", "api-key", "proxy-authorization", "cookie")
HEALTH_PATHS = ("/health", "/ready")
METRICS_PATH = "/metrics"


class PlannedBreakError(Exception):
    """The connection is to be dropped here, as a failure says."""


@dataclass(frozen=True)
class Settings:
    """What the process was started with; tokens of None are counted from the words, times are in seconds.

    Without key forms it asks for no key.
    """

    key_forms: tuple[KeyForm, ...]
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    delay: float = 0.0
    event_delay: float = 0.0
    retry_after: int | None = None
    #: The prefix of the API's paths beside /v1, without a slash at the end.
    prefix: str = "/v1"

    def api_path(self, path: str) -> str:
        """The path of the API, which begins with /v1, for one that begins with the prefix; any other as it is."""
        return (
            "/v1" + path[len(self.prefix) :]
            if path.startswith(self.prefix + "/") and not path.startswith("/v1/")
            else path
        )


@dataclass(frozen=True)
class Controls:
    """What the headers of one request ask for."""

    prompt_tokens: int | None
    completion_tokens: int | None
    failure: Failure
    echo: bool


@dataclass
class Exchange:
    """What becomes known of one request on its way, for the counters and the log."""

    path: str
    headers: dict[str, str]
    model: str = ""
    key: str = ""
    status: int = 200
    note: str = ""
    usage: Usage | None = None
    failure: Failure = field(default_factory=Failure)
    request_id: str = field(default_factory=lambda: f"req_{uuid.uuid4().hex}")
    #: The place in the engine, until the answer is sent.
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


def controls_of(headers: t.Mapping[str, str]) -> Controls:
    """The controls in a request's headers (lower-case names).

    :raises ApiError: 400 for a malformed one.
    """
    fields = Fields(headers, lambda name: "x-simulator-" + name.replace("_", "-"))
    try:
        return Controls(
            prompt_tokens=fields.integer("prompt_tokens", 0, TOKENS_LIMIT),
            completion_tokens=fields.integer("completion_tokens", 0, TOKENS_LIMIT),
            failure=Failure.read(fields),
            echo=fields.word("echo", ("headers",)) is not None,
        )
    except ValueError as error:
        raise ApiError(400, str(error), "invalid_control") from None


def received_headers(headers: t.Mapping[str, str], forms: t.Iterable[KeyForm], keys: t.Iterable[str]) -> str:
    """The headers as a JSON object.

    Credentials, and whatever else holds one of the keys, only as scheme and SHA-256.
    """
    schemes = {form.header: form.scheme for form in forms}

    def shown(name: str, value: str) -> t.Any:
        if name not in CREDENTIAL_HEADERS and name not in schemes and not any(key in value for key in keys):
            return value
        with_scheme = schemes.get(name) or name.endswith("authorization")
        scheme, _space, credential = value.strip().rpartition(" ") if with_scheme else ("", "", value.strip())
        return {"scheme": scheme, "sha256": digest_of(credential)}

    return json.dumps({name: shown(name, value) for name, value in headers.items()}, separators=(",", ":"))


class Handler(BaseHTTPRequestHandler):
    """HTTP around a dialect: keys, bodies, controls, failures, streams and the log."""

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
        except OSError:
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
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self.unread = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        self.echo = ""
        path, _mark, query = self.path.partition("?")
        exchange = Exchange(self.server.settings.api_path(urllib.parse.unquote(path)), headers)
        if path in HEALTH_PATHS:
            stopping = path == "/ready" and self.server.stopping.is_set()
            self._send_document(503 if stopping else 200, {"status": "stopping" if stopping else "ok"})
            return
        if path == METRICS_PATH and self.server.engine is not None:
            self._send_metrics(self.server.engine)
            return
        try:
            self._answer(exchange, dict(urllib.parse.parse_qsl(query)))
        except PlannedBreakError:
            exchange.status, exchange.note = BROKEN, f"break={exchange.failure.break_at}"
            self.close_connection = True
        except OSError:
            exchange.status, exchange.note = 499, "the client went away"
            self.close_connection = True
        finally:
            exchange.held.close()
            known = exchange.path if exchange.path in self.server.dialect.routes else ""
            self.server.counters.add(known, exchange.model, exchange.status, exchange.key, exchange.usage)
            printable = "".join(
                character if character.isprintable() else "?" for character in f"{self.command} {exchange.path[:200]}"
            )
            sys.stderr.write(
                f"{printable} {exchange.status} {(time.monotonic() - start) * 1000:.1f}ms {exchange.note}\n"
            )

    def _answer(self, exchange: Exchange, query: t.Mapping[str, str]) -> None:
        """Answer a request, or refuse it in the words of the dialect."""
        try:
            reply = self._reply(exchange, query)
        except ApiError as error:
            exchange.status, exchange.note = error.status, f"code={error.code}"
            self._send_error(exchange, error)
            return
        if reply.document is None:
            self._send_events(reply, exchange)
        else:
            self._send_document(200, reply.document, exchange)
        if exchange.status != 200:
            return
        exchange.usage = usage = reply.usage
        exchange.note = f"model={reply.model}" if reply.model else ""
        if usage is not None:
            stream = str(reply.document is None).lower()
            exchange.note += (
                f" stream={stream} prompt_tokens={usage.input_tokens} completion_tokens={usage.output_tokens}"
            )

    def _reply(self, exchange: Exchange, query: t.Mapping[str, str]) -> Reply:
        """What answers a request, after all that may keep it from being answered.

        :raises ApiError: for a refusal.
        :raises PlannedBreakError: when the connection is to be dropped without an answer.
        """
        server, settings, headers = self.server, self.server.settings, exchange.headers
        body = self._read_body(headers)
        controls = controls_of(headers)
        if controls.echo:
            self.echo = received_headers(headers, settings.key_forms, server.keys.texts())
        self._check_key(exchange)
        document = _document_in(body)
        model = document.get("model") if document is not None else None
        exchange.model = model if model in server.dialect.models else ""
        failure = controls.failure
        if failure.status is None and failure.break_at is None:
            failure = failure.over(server.failures.next())
        exchange.failure = failure
        if server.engine is not None and document is not None and self.command == "POST":
            exchange.held.enter_context(server.engine.serving(document, controls.completion_tokens))
        time.sleep(settings.delay if failure.delay is None else failure.delay)
        if failure.break_at == "headers":
            raise PlannedBreakError
        if failure.status is not None and failure.break_at != "event":
            raise self._failed(failure)
        server.dialect.check_headers(headers)
        answer = server.dialect.route(self.command, exchange.path)
        if document is None and self.command == "POST":
            raise ApiError(400, "The body is not a JSON object", "invalid_json")
        prompt_tokens = settings.prompt_tokens if controls.prompt_tokens is None else controls.prompt_tokens
        completion_tokens = (
            settings.completion_tokens if controls.completion_tokens is None else controls.completion_tokens
        )
        try:
            reply = answer(Call(document or {}, query, prompt_tokens, completion_tokens))
        except RecursionError:
            raise ApiError(400, "The body is nested too deeply", "invalid_json") from None
        if failure.break_at == "event" and reply.document is not None:
            raise self._failed(failure)
        return reply

    def _failed(self, failure: Failure) -> ApiError:
        status = failure.status or 500
        retry_after = self.server.settings.retry_after if failure.retry_after is None else failure.retry_after
        return ApiError(
            status,
            "This failure is simulated",
            "simulated_failure",
            retry_after=1 if retry_after is None and status == 429 else retry_after,
        )

    def _check_key(self, exchange: Exchange) -> None:
        """Refuse a request unless one of the headers for it carries a key; note its fingerprint.

        Without such headers none is asked for.
        """
        if not self.server.settings.key_forms:
            return
        presented = [form.presented(exchange.headers) for form in self.server.settings.key_forms]
        candidates = [candidate for candidate in presented if candidate is not None]
        if not candidates:
            raise ApiError(401, "No API key was given", "missing_api_key")
        exchange.key, accepted = self.server.keys.check(candidates)
        if not accepted:
            raise ApiError(401, "The API key is not the one of this provider", "invalid_api_key")

    def _read_body(self, headers: t.Mapping[str, str]) -> bytes:
        """The body, which a proxy may send in chunks. One that cannot be read closes the connection."""
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

    def _send_error(self, exchange: Exchange, error: ApiError) -> None:
        extra = "" if error.retry_after is None else f"Retry-After: {error.retry_after}"
        self._send_document(error.status, self.server.dialect.error(error, exchange.request_id), exchange, extra)

    def _send_metrics(self, engine: Engine) -> None:
        body = engine.metrics(self.server.dialect.provider).encode()
        self.wfile.write(self._head(200, "text/plain; version=0.0.4", None, f"Content-Length: {len(body)}") + body)

    def _send_document(
        self, status: int, document: dict[str, t.Any], exchange: Exchange | None = None, extra: str = ""
    ) -> None:
        """Send a document, or half of it where its exchange is to break.

        :raises PlannedBreakError: after that half.
        """
        body = encoded(document)
        broken = exchange is not None and exchange.failure.break_at in ("body", "stream")
        head = self._head(status, "application/json", exchange, f"Content-Length: {len(body)}", extra)
        self.wfile.write(head + (body[: len(body) // 2] if broken else body))
        if broken:
            raise PlannedBreakError

    def _send_events(self, reply: Reply, exchange: Exchange) -> None:
        """Send a stream, each event as a chunk of its own, as far as its exchange goes.

        :raises PlannedBreakError: where it is to break.
        """
        dialect, failure = self.server.dialect, exchange.failure
        chunked = self.request_version != "HTTP/1.0"
        if not chunked:
            self.close_connection = True
        events = [dialect.event(event) for event in reply.events]
        if dialect.stream_end:
            events.append(dialect.stream_end)
        if failure.break_at is not None:
            # A break after the end would be none.
            after = min(BREAK_AFTER if failure.break_after is None else failure.break_after, len(events) - 1)
            following = events[after]
            del events[after:]
            if failure.break_at == "event":
                error = self._failed(failure)
                exchange.status, exchange.note = error.status, f"code={error.code} break=event"
                events.append(dialect.event(dialect.error(error, exchange.request_id)))
        delay = self.server.settings.event_delay if failure.event_delay is None else failure.event_delay
        self.wfile.write(
            self._head(
                200,
                "text/event-stream",
                exchange,
                "Cache-Control: no-cache",
                "Transfer-Encoding: chunked" if chunked else "",
            )
        )
        for index, event in enumerate(events):
            time.sleep(delay if index else 0)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event) if chunked else event)
        if failure.break_at == "body":
            self.wfile.write((b"%x\r\n" % len(following) if chunked else b"") + following[: len(following) // 2])
        if failure.break_at in ("body", "stream"):
            raise PlannedBreakError
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _head(self, status: int, content_type: str, exchange: Exchange | None, *lines: str) -> bytes:
        """The head of a response, with those of the lines that are not empty."""
        if self.unread or self.server.stopping.is_set():
            self.close_connection = True
        reason = self.responses.get(status, ("Simulated",))[0]
        head = [
            f"HTTP/1.1 {status} {reason}",
            f"Server: {self.server_version}",
            f"Date: {self.date_time_string()}",
            f"Content-Type: {content_type}",
        ]
        head += [line for line in lines if line]
        if exchange is not None:
            head.append(f"{self.server.dialect.request_id_header}: {exchange.request_id}")
        if self.echo:
            head.append(f"x-simulator-received-headers: {self.echo}")
        if self.close_connection:
            head.append("Connection: close")
        return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses, a malformed request or another method, as an error of the dialect and without
        quoting it.
        """
        self.close_connection = True
        reason = self.responses.get(code, ("Refused",))[0]
        self._send_error(Exchange("", {}), ApiError(int(code), reason, "invalid_request"))

    def log_message(self, *_arguments: t.Any) -> None:
        """Only _serve logs: the request line that the base class would write can hold a query."""


def _document_in(body: bytes) -> dict[str, t.Any] | None:
    """The JSON object that a body is, None for another body."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def tls_context(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """TLS from 1.2 with this certificate; with ``client_ca`` only for clients that present a certificate of that
    authority.

    :raises OSError: for files that cannot be read or do not fit together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class SimulatorServer(ThreadingHTTPServer):
    """Serves until ``stop``, then finishes what is under way."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024
    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        settings: Settings,
        dialect: Dialect,
        keys: Keys,
        failures: Failures,
        tls: Reloading[ssl.SSLContext] | None,
        engine: Engine | None = None,
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.dialect = dialect
        self.keys = keys
        self.failures = failures
        self.counters = Counters()
        self.tls = tls
        self.stopping = threading.Event()
        self._idle = threading.Condition()
        self._busy = 0
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        # HTTPServer would look up the name of the address, which takes long where there is no DNS.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.server_address = self.socket.getsockname()

    def finish_request(self, request: t.Any, client_address: t.Any) -> None:
        """Serve one connection; runs in a thread of its own, so that a slow handshake holds up nobody else."""
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(HANDSHAKE_TIMEOUT)
        try:
            connection = self.tls.value().wrap_socket(request, server_side=True)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError):
            # Somebody only looked whether the port is open, as a probe does.
            return
        except ssl.SSLError as error:
            sys.stderr.write(f"a TLS handshake failed: {error.reason or type(error).__name__}\n")
            return
        try:
            super().finish_request(connection, client_address)
        finally:
            self.shutdown_request(connection)

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        kind = sys.exc_info()[0]
        sys.stderr.write(f"a connection failed: {kind.__name__ if kind else 'unknown'}\n")

    def busy(self) -> _Busy:
        return _Busy(self)

    def count(self, change: int) -> None:
        with self._idle:
            self._busy += change
            if not self._busy:
                self._idle.notify_all()

    def stop(self, grace: float, timeout: float) -> None:
        """Serve ``grace`` seconds more while callers turn elsewhere, then wait up to ``timeout`` seconds for open
        requests.
        """
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
    parser = argparse.ArgumentParser(
        description="Simulates a provider of models that speaks the OpenAI or the Anthropic API."
    )

    def bounded(kind: type, low: float, high: float) -> t.Callable[[str], t.Any]:
        def parse(text: str) -> t.Any:
            value = kind(text)
            if not low <= value <= high:
                raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
            return value

        parse.__name__ = kind.__name__
        return parse

    def word(text: str) -> str:
        # A scheme may be empty, which means none.
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]*", text):
            raise argparse.ArgumentTypeError("it has characters that HTTP does not take there")
        return text

    def prefix(text: str) -> str:
        if not re.fullmatch(r"/|(/[^/?#\s]+)+", text):
            raise argparse.ArgumentTypeError("it is no path such as /v1 or /, without a slash at its end")
        return text.rstrip("/")

    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")  # noqa: S104 (a pod has one address)
    parser.add_argument(
        "--port",
        type=bounded(int, 0, 65535),
        default=8000,
        help="port to listen on; 0 takes a free one, which is printed",
    )
    parser.add_argument(
        "--admin-port",
        type=bounded(int, 0, 65535),
        help="port of the admin endpoint on 127.0.0.1; by default there is none",
    )
    parser.add_argument("--provider", required=True, help="name of the provider, shown as owned_by")
    parser.add_argument("--schema", choices=sorted(DIALECTS), default="openai", help="the API that it speaks")
    parser.add_argument(
        "--prefix", type=prefix, default="/v1", help="prefix of the API's paths beside /v1, for example /api/v1 or /"
    )
    parser.add_argument(
        "--model", action="append", required=True, dest="models", help="name of a model to serve; may be repeated"
    )
    key = parser.add_mutually_exclusive_group(required=True)
    key.add_argument(
        "--key-file",
        type=Path,
        action="append",
        default=[],
        dest="key_files",
        help="file with keys that are accepted, one a line; may be repeated",
    )
    key.add_argument("--no-key", action="store_true", help="ask for no key, as a model inside the cluster does")
    parser.add_argument(
        "--key-header",
        type=word,
        help="the one header that carries the key; by default those that are usual for the schema",
    )
    parser.add_argument(
        "--key-scheme",
        type=word,
        help="scheme before the key in that header, empty for none; by default Bearer in Authorization alone",
    )
    parser.add_argument(
        "--tls-certificate", type=Path, help="file with the certificate to serve TLS with, and its chain"
    )
    parser.add_argument("--tls-key", type=Path, help="file with the key of the certificate")
    parser.add_argument(
        "--client-ca", type=Path, help="file with the authority that the clients' certificates must come from"
    )
    parser.add_argument(
        "--prompt-tokens",
        type=bounded(int, 0, TOKENS_LIMIT),
        help="tokens to report for every prompt; by default its words",
    )
    parser.add_argument(
        "--completion-tokens",
        type=bounded(int, 0, TOKENS_LIMIT),
        help="tokens to report for every answer; by default its words",
    )
    parser.add_argument("--delay", type=bounded(float, 0, DELAY_LIMIT), default=0.0, help="seconds before every answer")
    parser.add_argument(
        "--event-delay", type=bounded(float, 0, DELAY_LIMIT), default=0.0, help="seconds between the events of a stream"
    )
    parser.add_argument(
        "--failure-rate", type=bounded(float, 0, 1), default=0.0, help="share of the requests that fail, 0 to 1"
    )
    parser.add_argument(
        "--failure-status", type=bounded(int, 400, 599), help="status of a failed request, 500 unless it breaks"
    )
    parser.add_argument("--failure-break", choices=BREAKS, help="where a failed request breaks; by default it does not")
    parser.add_argument(
        "--retry-after",
        type=bounded(int, 0, RETRY_AFTER_LIMIT),
        help="seconds that a simulated failure's retry-after names; by default 1 with 429 alone",
    )
    parser.add_argument("--slots", type=bounded(int, 1, 10_000), help="requests at a time; by default without a limit")
    parser.add_argument(
        "--cache-blocks", type=bounded(int, 1, 10_000_000), default=1024, help="blocks of the cache, with --slots"
    )
    parser.add_argument("--grace", type=bounded(float, 0, 60), default=5.0, help="seconds to serve on after SIGTERM")
    options = parser.parse_args(arguments)
    if options.no_key and options.key_header:
        parser.error("--no-key does not accept --key-header")
    if options.key_scheme is not None and not options.key_header:
        parser.error("--key-scheme needs --key-header")
    if (options.tls_certificate is None) != (options.tls_key is None):
        parser.error("--tls-certificate and --tls-key need each other")
    if options.client_ca is not None and options.tls_certificate is None:
        parser.error("--client-ca needs --tls-certificate and --tls-key")
    return options


def key_forms_of(options: argparse.Namespace, dialect: Dialect) -> tuple[KeyForm, ...]:
    if options.no_key:
        return ()
    if not options.key_header:
        return dialect.key_forms
    header = options.key_header.lower()
    usual = "Bearer" if header == "authorization" else ""
    return (KeyForm(header, usual if options.key_scheme is None else options.key_scheme),)


def main() -> int:
    options = parse_arguments()
    try:
        keys = Keys(options.key_files)
    except ValueError as error:
        print(f"--key-file {error}", file=sys.stderr)
        return 2
    tls = None
    if options.tls_certificate is not None:
        files = [file for file in (options.tls_certificate, options.tls_key, options.client_ca) if file is not None]
        try:
            tls = Reloading(
                "certificate", files, lambda: tls_context(options.tls_certificate, options.tls_key, options.client_ca)
            )
        except OSError as error:
            print(
                f"{', '.join(map(str, files))}: {type(error).__name__}: the certificate cannot be used", file=sys.stderr
            )
            return 2
    dialect = DIALECTS[options.schema](options.provider, tuple(dict.fromkeys(options.models)))
    settings = Settings(
        key_forms=key_forms_of(options, dialect),
        prompt_tokens=options.prompt_tokens,
        completion_tokens=options.completion_tokens,
        delay=options.delay,
        event_delay=options.event_delay,
        retry_after=options.retry_after,
        prefix=options.prefix,
    )
    status = options.failure_status or (None if options.failure_break else 500)
    failures = Failures(Failure(status=status, break_at=options.failure_break), options.failure_rate)
    engine = None if options.slots is None else Engine(options.slots, options.cache_blocks)
    server = SimulatorServer((options.host, options.port), settings, dialect, keys, failures, tls, engine)
    place = f"{options.host}:{server.server_port}"
    if options.admin_port is not None:
        admin = AdminServer(options.admin_port, options.provider, keys, server.counters, failures)
        threading.Thread(target=admin.serve_forever, daemon=True).start()
        place += f" and 127.0.0.1:{admin.server_address[1]} (admin)"
    stopper = threading.Thread(target=server.stop, args=(options.grace, 30.0))

    def on_signal(_number: int, _frame: t.Any) -> None:
        if not server.stopping.is_set():
            server.stopping.set()
            stopper.start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    print(f"{options.provider} listens on {place} and serves {', '.join(dialect.models)}", file=sys.stderr, flush=True)
    server.serve_forever(poll_interval=0.2)
    stopper.join()
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
