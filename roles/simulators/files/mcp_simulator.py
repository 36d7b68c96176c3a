# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A simulator of a server of tools that speaks the Model Context Protocol over streamable HTTP.

It serves version 2025-06-18 at one path: initialize, ping, tools/list and tools/call, each session with an identifier
of its own. It has these tools:

echo               gives back its argument
add                the sum of its arguments "a" and "b"
fail               an error of a tool
received_requests  the last requests of all sessions as JSON, oldest first: [{"http_method", "method", "tool",
                   "headers"}, ...], where a header that carries a credential has its scheme and SHA-256

Key files that change are read again. A request without an accepted key gets 401, one of an unknown session 404. The
server asks nothing of its clients, so GET, which would open a stream for that, gets 405.

Needs Python 3.9 and, beside this file, simulator_state.py.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import signal
import sys
import threading
import typing as t
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from simulator_state import Keys, digest_of

VERSION = "2025-06-18"
BODY_LIMIT = 4 * 1024 * 1024
#: How many requests and sessions are remembered.
REQUESTS, SESSIONS = 200, 10_000
CREDENTIAL_HEADERS = ("authorization", "x-api-key", "api-key", "proxy-authorization", "cookie")
HEALTH_PATH = "/health"
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602

Document = dict[str, t.Any]


class RpcError(Exception):
    """An error of JSON-RPC, with its HTTP status."""

    def __init__(self, code: int, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def text_result(said: str, failed: bool = False) -> Document:
    """The result of a tool that says a string."""
    return {"content": [{"type": "text", "text": said}], "isError": failed}


def schema_of(**properties: str) -> Document:
    """The schema of a tool's arguments, all of which are required, from their names and types."""
    return {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
        "additionalProperties": False,
    }


class Tools:
    """The tools, and the requests that one of them shows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: collections.deque[Document] = collections.deque(maxlen=REQUESTS)
        self._tools: dict[str, tuple[str, Document, t.Callable[[Document], Document]]] = {
            "echo": ("Gives back a string.", schema_of(text="string"), lambda given: text_result(given["text"])),
            "add": (
                "Adds two numbers.",
                schema_of(a="number", b="number"),
                lambda given: text_result(json.dumps(given["a"] + given["b"])),
            ),
            "fail": ("Fails.", schema_of(), lambda _given: text_result("It fails, as it should.", failed=True)),
            "received_requests": (
                "Shows the last requests.",
                schema_of(),
                lambda _given: text_result(json.dumps(self.requests())),
            ),
        }

    def requests(self) -> list[Document]:
        with self._lock:
            return list(self._requests)

    def remember(self, request: Document) -> None:
        with self._lock:
            self._requests.append(request)

    def listed(self) -> Document:
        """The result of tools/list."""
        return {
            "tools": [
                {"name": name, "description": description, "inputSchema": schema}
                for name, (description, schema, _call) in self._tools.items()
            ]
        }

    def call(self, params: Document) -> Document:
        """The result of tools/call.

        :raises RpcError: for a tool that there is not, and arguments that do not fit.
        """
        name, given = params.get("name"), params.get("arguments", {})
        if not isinstance(name, str) or name not in self._tools:
            raise RpcError(INVALID_PARAMS, f"Unknown tool: {name}")
        _description, schema, call = self._tools[name]
        kinds: dict[str, t.Any] = {"string": str, "number": (int, float)}
        fits = (
            isinstance(given, dict)
            and set(given) == set(schema["required"])
            and all(
                isinstance(given[key], kinds[rule["type"]]) and not isinstance(given[key], bool)
                for key, rule in schema["properties"].items()
            )
        )
        if not fits:
            raise RpcError(INVALID_PARAMS, f"The arguments of {name} are {', '.join(schema['required']) or 'none'}.")
        return call(given)


class McpServer(ThreadingHTTPServer):
    """Listens on an address; port 0 takes a free one.

    :param keys: the accepted keys; None to ask for none.
    :param key_form: the name of the header that carries the key, in lower case, and the scheme before it.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self, place: tuple[str, int], name: str, path: str, keys: Keys | None, key_form: tuple[str, str]
    ) -> None:
        self.name = name
        self.path = path
        self.keys = keys
        self.key_form = key_form
        self.tools = Tools()
        self._lock = threading.Lock()
        self._sessions: dict[str, None] = {}
        super().__init__(place, _Handler)

    def begin(self) -> str:
        """A new session's identifier; with too many, the oldest ends."""
        session = uuid.uuid4().hex
        with self._lock:
            self._sessions[session] = None
            if len(self._sessions) > SESSIONS:
                del self._sessions[next(iter(self._sessions))]
        return session

    def knows(self, session: str) -> bool:
        with self._lock:
            return session in self._sessions

    def end(self, session: str) -> bool:
        """Whether there was such a session."""
        with self._lock:
            return self._sessions.pop(session, self) is None

    def result(self, message: Document) -> Document:
        """The result of a request other than initialize."""
        method, params = message["method"], message.get("params", {})
        if not isinstance(params, dict):
            raise RpcError(INVALID_PARAMS, "params must be an object.")
        if method == "ping":
            return {}
        if method == "tools/list":
            return self.tools.listed()
        if method == "tools/call":
            return self.tools.call(params)
        raise RpcError(METHOD_NOT_FOUND, f"Method not found: {method}")


def shown(name: str, value: str) -> str:
    """The value of a header as it may be shown."""
    if name not in CREDENTIAL_HEADERS:
        return value
    scheme, _space, rest = value.partition(" ")
    return f"{scheme} sha256:{digest_of(rest)}" if rest else f"sha256:{digest_of(value)}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120
    server: McpServer

    def _send(self, status: int, document: Document | None = None, headers: t.Mapping[str, str] | None = None) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if document is not None:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _fail(self, status: int, code: int, message: str, number: t.Any = None) -> None:
        self._send(status, {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}})

    def _has_key(self) -> bool:
        if self.server.keys is None:
            return True
        header, scheme = self.server.key_form
        value = self.headers.get(header, "")
        if scheme:
            found, _space, value = value.partition(" ")
            if found.lower() != scheme.lower():
                return False
        return self.server.keys.check([value])[1]

    def _admitted(self, content: bytes) -> bool:
        """Whether the request is for this server and has its key; if not, it is answered. It is remembered in any
        case.
        """
        message: t.Any = None
        with contextlib.suppress(ValueError):
            message = json.loads(content) if content else None
        message = message if isinstance(message, dict) else {}
        params = message.get("params")
        self.server.tools.remember(
            {
                "http_method": self.command,
                "method": message.get("method"),
                "tool": params.get("name") if isinstance(params, dict) else None,
                "headers": [[name.lower(), shown(name.lower(), value)] for name, value in self.headers.items()],
            }
        )
        if self.path.partition("?")[0] != self.server.path:
            self._fail(404, INVALID_REQUEST, f"The server is at {self.server.path}.")
        elif not self._has_key():
            self._send(
                401,
                {"jsonrpc": "2.0", "id": None, "error": {"code": INVALID_REQUEST, "message": "The key is wrong."}},
                {"WWW-Authenticate": "Bearer"},
            )
        else:
            return True
        return False

    def _has_session(self) -> bool:
        session = self.headers.get("Mcp-Session-Id")
        if session is None:
            self._fail(400, INVALID_REQUEST, "The header Mcp-Session-Id is missing.")
        elif not self.server.knows(session):
            self._fail(404, INVALID_REQUEST, "Unknown session.")
        else:
            return True
        return False

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > BODY_LIMIT:
            self.close_connection = True
            self._fail(
                413 if length.isdigit() else 411, INVALID_REQUEST, f"Send up to {BODY_LIMIT} bytes, and say how many."
            )
            return
        content = self.rfile.read(int(length))
        if not self._admitted(content):
            return
        accepted = self.headers.get("Accept", "")
        if "application/json" not in accepted or "text/event-stream" not in accepted:
            self._fail(406, INVALID_REQUEST, "Accept application/json and text/event-stream.")
            return
        try:
            message = json.loads(content)
        except ValueError:
            self._fail(400, PARSE_ERROR, "The body is no JSON.")
            return
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            self._fail(400, INVALID_REQUEST, "The body is no message of JSON-RPC 2.0.")
            return
        method, number = message.get("method"), message.get("id")
        if method == "initialize":
            result = {
                "protocolVersion": VERSION,
                "capabilities": {"tools": {}},
                "serverInfo": {"name": self.server.name, "version": "1.0.0"},
            }
            document = {"jsonrpc": "2.0", "id": number, "result": result}
            self._send(200, document, {"Mcp-Session-Id": self.server.begin()})
            return
        if not self._has_session():
            return
        if not isinstance(method, str) or number is None:
            # A notification or an answer.
            self._send(202)
            return
        try:
            self._send(200, {"jsonrpc": "2.0", "id": number, "result": self.server.result(message)})
        except RpcError as error:
            self._fail(error.status, error.code, str(error), number)

    def do_GET(self) -> None:
        if self.path == HEALTH_PATH:
            self._send(200, {"status": "ok"})
        elif self._admitted(b"") and self._has_session():
            self._send(405, None, {"Allow": "POST, DELETE"})

    def do_DELETE(self) -> None:
        if self._admitted(b"") and self._has_session():
            self.server.end(self.headers["Mcp-Session-Id"])
            self._send(200)

    def log_message(self, format: str, *arguments: t.Any) -> None:  # noqa: A002 (the name is the base class's)
        if self.path != HEALTH_PATH:
            super().log_message(format, *arguments)


def parse_arguments(arguments: t.Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Simulates a server of tools of the Model Context Protocol.")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")  # noqa: S104 (a pod has one address)
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 takes a free one")
    parser.add_argument("--name", required=True, help="name of the server")
    parser.add_argument("--path", default="/mcp", help="path that it answers at")
    key = parser.add_mutually_exclusive_group(required=True)
    key.add_argument(
        "--key-file",
        type=Path,
        action="append",
        default=[],
        dest="key_files",
        help="file with accepted keys, one a line",
    )
    key.add_argument("--no-key", action="store_true", help="ask for no key")
    parser.add_argument("--key-header", default="Authorization", help="header that carries the key")
    parser.add_argument("--key-scheme", help="scheme before the key; by default Bearer in Authorization alone")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse_arguments()
    header = options.key_header.lower()
    scheme = options.key_scheme if options.key_scheme is not None else "Bearer" if header == "authorization" else ""
    try:
        keys = None if options.no_key else Keys(options.key_files)
    except ValueError as error:
        print(f"--key-file {error}", file=sys.stderr)
        return 2
    server = McpServer((options.host, options.port), options.name, options.path, keys, (header, scheme))

    def on_signal(_number: int, _frame: t.Any) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    print(f"{options.name} listens on {options.host}:{server.server_port}", file=sys.stderr, flush=True)
    server.serve_forever(poll_interval=0.2)
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
