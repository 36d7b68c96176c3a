# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.client
import http.server
import pathlib
import ssl
import threading
import typing as t

import catalogs
import gateway_requests
import gateway_tls
import malformed
import pytest
from load import Load, Request
from malformed_requests import Case

HOST = "localhost"


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers everything and keeps the connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_arguments: t.Any) -> None:
        pass


@pytest.fixture
def url(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[str]:
    """A server whose certificate the authority in the file of site has issued."""
    authority = catalogs.Authority("Gateway")
    issued = authority.issue(HOST)
    for name, content in (("ca", authority.certificate), ("crt", issued["certificate"]), ("key", issued["key"])):
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.setattr(gateway_tls, "CA_FILE", tmp_path / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    context.set_alpn_protocols(["http/1.1"])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://{HOST}:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_certificate_is_verified(url: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = gateway_requests.Ask("/v1/models", method="GET")
    assert gateway_requests.send(url, "", ask).status == 200
    assert gateway_requests.send(url.replace(HOST, "127.0.0.1"), "", ask).status == 0
    (tmp_path / "other").write_text(catalogs.Authority("Other").certificate, encoding="utf-8")
    monkeypatch.setattr(gateway_tls, "CA_FILE", tmp_path / "other")
    assert b"CERTIFICATE_VERIFY_FAILED" in gateway_requests.send(url, "", ask).body


def test_load_runs_in_tls(url: str) -> None:
    with Load(url, "token", [Request("/v1/chat/completions", "gpt-4")]) as load:
        load.wait(20)
    assert set(load.outcomes) == {"200"}, load.refusals


def test_malformed_requests_run_in_tls(url: str) -> None:
    assert malformed.send(url, Case("a", 0, (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",))).name == "200"
    assert malformed.well_formed(url, "token", "gpt-4") == "200"


def test_plain_http_stays_plain() -> None:
    connection = gateway_tls.connection("http://10.245.0.2:30080", 1)
    assert not isinstance(connection, http.client.HTTPSConnection)
    assert (connection.host, connection.port) == ("10.245.0.2", 30080)
    assert gateway_tls.curl_options("http://10.245.0.2:30080") == []


def test_curl_gets_the_authority(url: str) -> None:
    assert gateway_tls.curl_options(url) == ["--cacert", str(gateway_tls.CA_FILE)]
