# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A provider that misbehaves as its models' names say, and reports what it received. README.md has the list."""

from __future__ import annotations

import argparse
import base64
import collections
import hashlib
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from odd_answers import MODELS, Answer, answer_of

#: Requests that are remembered, bytes of each body that are, and bytes of a body that are read at most.
MOST_REQUESTS = 500
MOST_BYTES = 65_536
LARGEST_BODY = 2**28
#: A gateway keeps connections open; one that is closed under its request would look like another fault.
IDLE_SECONDS = 600


class Record:
    """The last requests.

    An outcome is "answering", "whole", "cut" where the model is to break off, or "left" where the client went away.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: collections.deque[dict[str, t.Any]] = collections.deque(maxlen=MOST_REQUESTS)
        #: By whether it came in TLS and what it had for a key, how many requests there were.
        self._keys: collections.Counter[tuple[bool, str]] = collections.Counter()
        self._total = 0

    def add(self, request: dict[str, t.Any]) -> dict[str, t.Any]:
        headers = dict(request["headers"])
        with self._lock:
            self._total += 1
            self._keys[request["tls"], headers.get("authorization", headers.get("x-api-key", ""))] += 1
            self._requests.append(request)
        return request

    def update(self, request: dict[str, t.Any], **changes: t.Any) -> None:
        with self._lock:
            request.update(changes)

    def reset(self) -> None:
        with self._lock:
            self._requests.clear()
            self._keys.clear()
            self._total = 0

    def document(self, model: str | None = None) -> dict[str, t.Any]:
        """Return how many requests there were, with which keys, and the last ones, oldest first, those for ``model``
        alone if it is given.
        """
        with self._lock:
            found = [dict(request) for request in self._requests if model is None or request["model"] == model]
            keys = [{"tls": tls, "key": key, "count": count} for (tls, key), count in sorted(self._keys.items())]
            return {"total": self._total, "keys": keys, "requests": found}


class MalformedError(Exception):
    """A request whose body cannot be read."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "odd-provider"
    sys_version = ""
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *arguments: t.Any) -> None:  # noqa: A002
        pass  # The record has it.

    def _read_body(self) -> bytes:
        if "chunked" not in (self.headers.get("transfer-encoding") or "").lower():
            try:
                size = int(self.headers.get("content-length") or 0)
            except ValueError:
                raise MalformedError("content-length is no number") from None
            return self._read(size)
        body = bytearray()
        while True:
            try:
                size = int(self.rfile.readline(1000).split(b";")[0], 16)
            except ValueError:
                raise MalformedError("the size of a chunk is no number") from None
            if size == 0:
                while self.rfile.readline(65_536).strip():
                    pass
                return bytes(body)
            body += self._read(size)
            if len(body) > LARGEST_BODY:
                raise MalformedError("the body is too large")
            self.rfile.readline(1000)

    def _read(self, size: int) -> bytes:
        if not 0 <= size <= LARGEST_BODY:
            raise MalformedError("the body is too large")
        body = self.rfile.read(size)
        if len(body) < size:
            raise MalformedError("the body is cut off")
        return body

    def _answer_request(self) -> None:
        try:
            body = self._read_body()
        except MalformedError as error:
            self.close_connection = True
            self._send(Answer(400, [("content-type", "text/plain")], str(error).encode()))
            return
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        model = document.get("model") if isinstance(document, dict) else None
        entry = self.server.record.add(
            {
                "time": time.time(),
                "method": self.command,
                "path": self.path,
                "version": self.request_version,
                "tls": isinstance(self.connection, ssl.SSLSocket),
                "model": model,
                "headers": [[name.lower(), value] for name, value in self.headers.items()],
                "size": len(body),
                "sha256": hashlib.sha256(body).hexdigest(),
                "body": body[:MOST_BYTES].decode("utf-8", "backslashreplace"),
                "body_base64": base64.b64encode(body[:MOST_BYTES]).decode(),
                "outcome": "answering",
                "pieces": 0,
            }
        )
        if self.command == "GET" and self.path == "/health":
            answer = Answer(200, [("content-type", "text/plain")], b"ok")
        elif self.command == "GET" and self.path == "/v1/models":
            listed = {
                "object": "list",
                "data": [{"id": name, "object": "model", "created": 1, "owned_by": "odd"} for name in MODELS],
            }
            answer = Answer(200, [("content-type", "application/json")], json.dumps(listed).encode())
        else:
            answer = answer_of(self.path, document)
        try:
            self._send(answer, entry)
        except OSError:
            self.close_connection = True
            self.server.record.update(entry, outcome="left")
            return
        self.server.record.update(entry, outcome="cut" if answer.reset or answer.missing else "whole")

    # HEAD is answered like the others, and without a body.
    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_HEAD = _answer_request  # noqa: N815

    def _send(self, answer: Answer, entry: dict[str, t.Any] | None = None) -> None:
        if answer.status:
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            if answer.pieces is None:
                time.sleep(answer.pause)
                self.send_header("content-length", str(len(answer.body) + answer.missing))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)
            else:
                self._send_pieces(answer, entry)
        if answer.reset or answer.missing:
            self.close_connection = True
        if answer.reset:
            # What was sent arrives first; then the kernel resets the connection, as nothing waits to be sent.
            time.sleep(0.05 if answer.status else 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

    def _send_pieces(self, answer: Answer, entry: dict[str, t.Any] | None) -> None:
        chunked = self.request_version == "HTTP/1.1"
        self.send_header(*(("transfer-encoding", "chunked") if chunked else ("connection", "close")))
        self.end_headers()
        if self.command == "HEAD":
            return
        for number, piece in enumerate(answer.pieces or []):
            if not piece:
                continue  # An empty chunk would be the end.
            if number:
                time.sleep(answer.pause)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            if entry:
                self.server.record.update(entry, pieces=number + 1)
        if chunked and not answer.reset:
            self.wfile.write(b"0\r\n\r\n")


class Server(ThreadingHTTPServer):
    """Serves the API, in TLS if it has a context for that."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], record: Record, context: ssl.SSLContext | None = None) -> None:
        self.record = record
        self._context = context
        super().__init__(address, Handler)

    def get_request(self) -> tuple[t.Any, t.Any]:
        connection, address = super().get_request()
        if self._context:
            # The handshake waits for the first read, which is in the connection's own thread.
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class AdminHandler(BaseHTTPRequestHandler):
    server: AdminServer

    def log_message(self, format: str, *arguments: t.Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path != "/requests":
            self.send_error(404)
            return
        model = parse_qs(address.query).get("model", [None])[0]
        body = json.dumps(self.server.record.document(model)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        if self.path != "/reset":
            self.send_error(404)
            return
        self.server.record.reset()
        self.send_response(204)
        self.end_headers()


class AdminServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], record: Record) -> None:
        self.record = record
        super().__init__(address, AdminHandler)


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def main(arguments: t.Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A provider that misbehaves as its models' names say.")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--tls-port", type=int, default=8443, help="served if there is a certificate")
    parser.add_argument("--tls-certificate", metavar="FILE")
    parser.add_argument("--tls-key", metavar="FILE")
    parser.add_argument("--admin-host", default="127.0.0.1")
    parser.add_argument("--admin-port", type=int, default=8001)
    options = parser.parse_args(arguments)
    if bool(options.tls_certificate) != bool(options.tls_key):
        parser.error("--tls-certificate and --tls-key need each other")
    record = Record()
    servers: list[ThreadingHTTPServer] = [
        Server((options.host, options.port), record),
        AdminServer((options.admin_host, options.admin_port), record),
    ]
    if options.tls_certificate:
        servers.append(
            Server((options.host, options.tls_port), record, tls_context(options.tls_certificate, options.tls_key))
        )
    threads = [threading.Thread(target=server.serve_forever) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
