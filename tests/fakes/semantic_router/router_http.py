# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The router with an Envoy of its own, as one HTTP server; the API with its health; and the metrics."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import ssl
import sys
import typing as t
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from router_config import Backend, Model
from router_requests import CHAT, RESERVED, SELECTED, MalformedError, RefusedError, Router, log, produced

LARGEST_BODY = 2**26
#: A gateway keeps connections open; one that is closed under its request would look like another fault.
IDLE_SECONDS = 600
CONNECT_SECONDS = 5
#: What belongs to one connection alone.
HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip
_PIECE = 65_536


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[Handler], router: Router) -> None:
        self.router = router
        super().__init__(address, handler)

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # The client went away.
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "semantic-router-fake"
    sys_version = ""
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *arguments: t.Any) -> None:  # noqa: A002 (the name is the base class's)
        pass

    def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class ApiHandler(Handler):
    """Health, and the models to ask for."""

    def do_GET(self) -> None:
        headers = {"content-type": "application/json", **produced("upstream")}
        # It listens once it is ready.
        ready = json.dumps({"status": "ready", "service": "classification-api", "ready": True}).encode()
        healthy = json.dumps({"status": "healthy", "service": "classification-api"}).encode()
        answers = {"/health": healthy, "/ready": ready, "/v1/models": self.server.router.models()}
        body = answers.get(urlsplit(self.path).path)
        self.send(404 if body is None else 200, body or b"{}", headers)


class MetricsHandler(Handler):
    def do_GET(self) -> None:
        if urlsplit(self.path).path != "/metrics":
            self.send(404, b"", {})
            return
        headers = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
        self.send(200, self.server.router.metrics.exposition(), headers)


class ProxyHandler(Handler):
    """Chooses a model and passes its answer on."""

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/v1/models":
            headers = {"content-type": "application/json", **produced("upstream")}
            self.send(200, self.server.router.models(), headers)
        else:
            self._refuse(RefusedError(404, "the fake knows no such path"))

    def do_POST(self) -> None:
        try:
            body = self._body()
            if body is None:
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            headers = {name: value for name, value in headers.items() if name not in RESERVED}
            if urlsplit(self.path).path != CHAT:
                raise RefusedError(404, "the fake knows no such path")
            routed = self.server.router.route(body, headers)
        except MalformedError as error:
            # What Envoy answers where the stream to the router ends with an error.
            log(str(error))
            self.send(500, b"", produced("error"))
        except RefusedError as error:
            self._refuse(error)
        else:
            model = routed.model or next(iter(self.server.router.config.models.values()))
            if routed.model:
                headers[SELECTED] = routed.model.name
            self._forward(model, routed.body, headers, routed.answer)

    def _refuse(self, error: RefusedError) -> None:
        self.send(error.status, error.body, {"content-type": "application/json", **produced("error")})

    def _body(self) -> bytes | None:
        """The body; None if it was refused, or cut off."""
        chunked = "chunked" in (self.headers.get("transfer-encoding") or "").lower()
        try:
            body = self._chunks() if chunked else self._read(int(self.headers.get("content-length") or 0))
        except ValueError:
            self.close_connection = True
            self._refuse(RefusedError(400, "the size of the body is none"))
            return None
        except OverflowError:
            self.close_connection = True
            self._refuse(RefusedError(413, "the body is too large"))
            return None
        if body is None:
            self.close_connection = True
        return body

    def _read(self, size: int) -> bytes | None:
        if size < 0:
            raise ValueError(size)
        if size > LARGEST_BODY:
            raise OverflowError(size)
        body = self.rfile.read(size)
        return body if len(body) == size else None

    def _chunks(self) -> bytes | None:
        found = bytearray()
        while size := int(self.rfile.readline(1000).split(b";")[0], 16):
            piece = self._read(size)
            if piece is None:
                return None
            found += piece
            if len(found) > LARGEST_BODY:
                raise OverflowError(len(found))
            self.rfile.readline(1000)
        while self.rfile.readline(_PIECE).strip():
            pass
        return bytes(found)

    def _forward(self, model: Model, body: bytes, headers: Mapping[str, str], answer: Mapping[str, str]) -> None:
        weights = [backend.weight or 1e-9 for backend in model.backends]
        backend = random.choices(model.backends, weights)[0]  # noqa: S311 (nothing is secret here)
        sent = {
            name: value
            for name, value in headers.items()
            if name not in HOP_BY_HOP and name not in ("host", "content-length", "expect")
        }
        connection = _connection(backend)
        with contextlib.closing(connection):
            try:
                connection.connect()
                # The connection waits for an answer as long as its client does.
                t.cast("t.Any", connection.sock).settimeout(IDLE_SECONDS)
                connection.request("POST", self.path, body, sent)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                log(f"{model.name} does not answer: {error!r}")
                self.send(503, b"upstream connect error", {"content-type": "text/plain", **produced("upstream")})
                return
            with response:
                self._pass_on(response, {**produced("upstream"), **(answer if 200 <= response.status < 300 else {})})

    def _pass_on(self, response: http.client.HTTPResponse, headers: Mapping[str, str]) -> None:
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in HOP_BY_HOP and name.lower() not in headers:
                self.send_header(name, value)
        for name, value in headers.items():
            self.send_header(name, value)
        chunked = response.getheader("content-length") is None
        if chunked:
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            while piece := response.read1(_PIECE):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        except (http.client.HTTPException, ConnectionError) as error:
            # What was sent is not whole, and its client must see so.
            log(f"an answer broke off: {error!r}")
            self.close_connection = True
            return
        if chunked:
            self.wfile.write(b"0\r\n\r\n")


def _connection(backend: Backend) -> http.client.HTTPConnection:
    if backend.protocol == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(backend.host, backend.port, timeout=CONNECT_SECONDS, context=context)
    return http.client.HTTPConnection(backend.host, backend.port, timeout=CONNECT_SECONDS)
