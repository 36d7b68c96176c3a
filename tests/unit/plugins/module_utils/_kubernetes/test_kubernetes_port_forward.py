# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import threading

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes import port_forward
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.port_forward import (
    ForwardError,
    PortForward,
    read_answer,
)


def answered(content: bytes) -> bytes:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(content)
        theirs.shutdown(socket.SHUT_WR)
        return read_answer(ours)


def test_an_answer_in_chunks_is_put_together() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert answered(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") == b"abcde"


def test_another_status_is_an_error() -> None:
    with pytest.raises(ForwardError, match="status 404: nothing here"):
        answered(b"HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\nnothing here")


def test_an_answer_that_is_too_large_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_forward, "LARGEST", 4)
    with pytest.raises(ForwardError, match="an answer of more than"):
        answered(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde")


def test_an_api_server_that_refuses_is_an_error() -> None:
    """It answers the request for a WebSocket with status 403."""
    server = socket.create_server(("127.0.0.1", 0))
    seen: list[bytes] = []

    def serve() -> None:
        connection, _address = server.accept()
        with connection:
            seen.append(connection.recv(65536))
            said = b'{"kind": "Status", "message": "pods a is forbidden"}'
            head = f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(said)}\r\nConnection: close\r\n\r\n"
            connection.sendall(head.encode() + said)

    thread = threading.Thread(target=serve)
    thread.start()
    params = {
        "host": f"http://127.0.0.1:{server.getsockname()[1]}",
        "api_key": "token-of-the-user",
        "impersonate_user": "jane",
        "validate_certs": False,
    }
    with pytest.raises(ForwardError) as raised:
        PortForward(params).get("a", "b", 19000, "/stats")
    thread.join()
    server.close()
    assert (raised.value.status, str(raised.value)) == (403, "pods a is forbidden")
    request = seen[0].decode()
    assert request.startswith("GET /api/v1/namespaces/a/pods/b/portforward?ports=19000 HTTP/1.1")
    assert "Bearer token-of-the-user" in request
    assert "impersonate-user: jane" in request.lower()
