# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Envoy's discovery services of listeners and clusters by REST: the newest configuration of each proxy, by the id of
its node.

Like the real one's gRPC it knows neither TLS nor callers, so that anyone who reaches the port and knows an id gets
what that proxy gets.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from wg_translation import CLUSTER_TYPE, LISTENER_TYPE, Object

TYPES = {"/v3/discovery:listeners": LISTENER_TYPE, "/v3/discovery:clusters": CLUSTER_TYPE}
BODY_LIMIT = 4 * 1024 * 1024


class Discovery(ThreadingHTTPServer):
    """Serves what it was last given; port 0 takes a free one."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, port: int) -> None:
        self._lock = threading.Lock()
        #: By node and type, the version and the body of the answer.
        self._answers: dict[tuple[str, str], tuple[str, bytes]] = {}
        super().__init__((host, port), _Handler)

    def put(self, node: str, listeners: list[Object], clusters: list[Object]) -> bool:
        """Give a node its configuration; returns whether that is another one.

        The version is a digest, so that a new process does not change it.
        """
        answers = {}
        for type_url, resources in ((LISTENER_TYPE, listeners), (CLUSTER_TYPE, clusters)):
            content = json.dumps(resources, sort_keys=True)
            version = hashlib.sha256(content.encode()).hexdigest()[:16]
            body = json.dumps({"version_info": version, "type_url": type_url, "resources": resources}).encode()
            answers[node, type_url] = version, body
        with self._lock:
            changed = any(self._answers.get(key) != answer for key, answer in answers.items())
            self._answers.update(answers)
        return changed

    def answer(self, path: str, request: t.Any) -> tuple[int, bytes]:
        """Status and body for a discovery request: 304 without a body where the proxy has the newest version."""
        if path not in TYPES:
            return 404, b"no such discovery service\n"
        node = request.get("node") if isinstance(request, dict) else None
        if not isinstance(node, dict) or not isinstance(node.get("id"), str):
            return 400, b"the request names no node\n"
        with self._lock:
            found = self._answers.get((node["id"], TYPES[path]))
        if found is None:
            return 404, b"the node is not known, or not yet\n"
        version, body = found
        return (304, b"") if request.get("version_info", request.get("versionInfo")) == version else (200, body)

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """Proxies that go away are no fault of the server."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 300
    # Head and body of an answer are two writes.
    disable_nagle_algorithm = True
    server: Discovery

    def do_POST(self) -> None:
        try:
            status, body = self.server.answer(self.path, json.loads(self._body()))
        except (ValueError, RecursionError) as error:
            status, body = 400, f"{error}\n".encode()
            self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self._read(self.headers.get("Content-Length", "0"))
        parts: list[bytes] = []
        while size := int(self.rfile.readline(100).split(b";")[0], 16):
            parts.append(self._read(str(size)))
            self.rfile.readline(10)
            if sum(map(len, parts)) > BODY_LIMIT:
                raise ValueError("the body is too long")
        while self.rfile.readline(1000).strip():
            pass
        return b"".join(parts)

    def _read(self, length: str) -> bytes:
        size = int(length)
        if not 0 <= size <= BODY_LIMIT:
            raise ValueError(f"the body may have up to {BODY_LIMIT} bytes")
        return self.rfile.read(size)

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002 (the name is the base class's)
        """Two lines a second and proxy help nobody."""
