# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials, redirects, TLS and answers of Prometheus's API."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.http_source import PrometheusApi, Settings
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.model import SourceError
from envoys import certificates
from prometheus import PrometheusServer, basic

QUERY = {"query": 'last_over_time(up{job="a"}[1000ms])', "time": "1.000"}


@pytest.fixture
def server() -> t.Iterator[PrometheusServer]:
    server = PrometheusServer()
    server.fake.add("up", [(1000, 1.0)], job="a")
    yield server
    server.close()


def settings(server: PrometheusServer, **options: t.Any) -> Settings:
    return Settings(**{"url": server.url, "timeout": 5, **options})


def error_of(settings: Settings) -> str:
    with pytest.raises(SourceError) as caught:
        PrometheusApi(settings).query("query", QUERY)
    return str(caught.value)


def test_an_answer_is_read(server: PrometheusServer) -> None:
    for url in (server.url, f"{server.url}/", f"{server.url}/prometheus"):
        (item,) = PrometheusApi(settings(server, url=url)).query("query", QUERY)
        assert item["value"] == [1.0, "1.0"]
    assert server.authorizations == ["", "", ""]


def test_a_token_of_a_file_is_sent(server: PrometheusServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret-token\n", encoding="utf-8")
    assert PrometheusApi(settings(server, token_file=str(tmp_path / "token"))).query("query", QUERY)
    assert server.authorizations == ["Bearer secret-token"]


def test_a_user_and_a_password_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = PrometheusServer(authorization=basic("jane", "pa:ss"))
    try:
        # What else this machine has for the host is not sent in their place.
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password other\n", encoding="utf-8")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert PrometheusApi(settings(server, username="jane", password="pa:ss")).query("query", QUERY) == []
        message = error_of(settings(server, username="jane", password="wrong"))
        assert "answered with status 401: Unauthorized; check prometheus_token_file" in message
        assert "wrong" not in message
    finally:
        server.close()


def test_a_redirect_on_the_host_keeps_the_credentials(server: PrometheusServer) -> None:
    server.redirects["/old"] = "/new"
    url = f"{server.url}/old"
    assert PrometheusApi(settings(server, url=url, username="jane", password="x")).query("query", QUERY)
    assert server.authorizations == [basic("jane", "x")] * 2


def test_a_redirect_to_another_host_is_an_error_and_nothing_is_sent_there(server: PrometheusServer) -> None:
    other = PrometheusServer()
    try:
        server.redirects["/api"] = f"{other.url}/api"
        message = error_of(settings(server, username="jane", password="x"))
        assert f"redirects to {other.url}, where credentials are not sent; write that URL if it is yours" in message
        assert other.authorizations == []
    finally:
        other.close()


@pytest.mark.parametrize("target", ["http://x:99999/", "http://[::1/", "http://127.0.0.1:port/", "\x7fftp://x/"])
def test_a_redirect_to_no_url_is_an_error(server: PrometheusServer, target: str) -> None:
    server.redirects["/api"] = target
    message = error_of(settings(server))
    assert message.startswith("prometheus_url: ")
    assert message.isprintable()


def test_a_redirect_to_a_path_that_no_request_has_is_an_error(server: PrometheusServer) -> None:
    server.redirects["/api"] = "/\u00e9"
    assert "prometheus_url: cannot reach" in error_of(settings(server))


def test_a_redirect_that_leads_round_ends(server: PrometheusServer) -> None:
    server.redirects["/api"] = "/api"
    assert "redirects more than 5 times" in error_of(settings(server))
    assert len(server.authorizations) == 5


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"<html>", "does not answer as Prometheus"),
        (200, b"[]", "does not answer as Prometheus"),
        (200, b"[" * 200_000, "does not answer as Prometheus"),
        (500, b"[" * 200_000, "500: [[["),
        (200, b'{"status":"success","data":{"result":3}}', "answered"),
        (200, b'{"status":"error","error":"too many"}', "answered too many"),
        (404, b"404 page not found", "status 404: 404 page not found; write the URL that /api/v1/query comes behind"),
        (422, b'{"status":"error","error":"too many samples"}', "422: too many samples; write a shorter period"),
        (403, b"\x1b[31mno\n", "403: [31mno; check prometheus_token_file"),
        (503, b"", "503: without a word; try again"),
        (502, b"x" * 5000, "x; try again"),
    ],
)
def test_other_answers(server: PrometheusServer, status: int, body: bytes, message: str) -> None:
    server.answer = (status, body)
    said = error_of(settings(server))
    assert message in said
    assert said.isprintable()
    assert len(said) < 500


def test_a_query_that_is_refused_says_so(server: PrometheusServer) -> None:
    with pytest.raises(SourceError, match="status 400: parse error: nonsense"):
        PrometheusApi(settings(server)).query("query", {"query": "nonsense", "time": "1"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "prometheus:9090"}, "prometheus_url: 'prometheus:9090' is no URL; write one such as https://"),
        ({"url": "ftp://prometheus"}, "is no URL"),
        ({"url": "http://prometheus:99999"}, "is no URL"),
        ({"url": "http://[::1"}, "is no URL"),
        ({"url": "http://jane:pw@prometheus"}, "it has a user name or a password in it"),
        ({"url": "http://prometheus?x=1"}, "it has a query or a fragment"),
        ({"token_file": "/a", "username": "b", "password": "c"}, "are both set"),
        ({"username": "b"}, "prometheus_username and prometheus_password: one of them is missing"),
        ({"password": "b"}, "one of them is missing"),
        ({"client_key": "/k"}, "prometheus_client_key: prometheus_client_cert is missing"),
        ({"ca_path": "/nonexistent"}, "certificates have no use with http"),
        ({"token_file": "/nonexistent"}, "prometheus_token_file: cannot read /nonexistent"),
        ({"url": "https://prometheus", "client_certificate": "/nonexistent"}, "prometheus_client_cert: cannot read"),
    ],
)
def test_what_is_wrong_with_the_options(options: dict[str, str], message: str) -> None:
    said = error_of(Settings(**{"url": "http://127.0.0.1:1", **options}))
    assert message in said
    assert ":pw" not in said


@pytest.mark.parametrize("content", ["", "two words", "\u00e9", "a\nb"])
def test_a_file_without_a_token(content: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(content, encoding="utf-8")
    assert "has no token in it" in error_of(Settings(url="http://127.0.0.1:1", token_file=str(tmp_path / "token")))


def test_who_does_not_answer_is_named(server: PrometheusServer) -> None:
    url = server.url
    server.close()
    assert f"cannot reach {url}: [Errno 111] Connection refused; is it running" in error_of(Settings(url=url))


@pytest.fixture
def client_files(tmp_path: Path) -> t.Iterator[tuple[PrometheusServer, dict[str, str]]]:
    """A server for localhost that asks for a client certificate, and the options with its files."""
    context, authority, certificate, key = certificates(tmp_path, "localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    files = {"ca_path": authority, "client_certificate": certificate, "client_key": key}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    server = PrometheusServer(tls=context)
    server.url = server.url.replace("127.0.0.1", "localhost")
    yield server, {name: str(tmp_path / name) for name in files}
    server.close()


def test_a_client_certificate_is_shown(client_files: tuple[PrometheusServer, dict[str, str]]) -> None:
    server, files = client_files
    assert PrometheusApi(settings(server, **files)).query("query", QUERY) == []
    message = error_of(settings(server, ca_path=files["ca_path"]))
    assert server.url in message


def test_a_certificate_must_be_valid(client_files: tuple[PrometheusServer, dict[str, str]]) -> None:
    server, files = client_files
    without = {**files, "ca_path": ""}
    message = error_of(settings(server, **without))
    assert f"TLS with {server.url} failed" in message
    assert "check prometheus_ca_path" in message
    # Another name than that of the certificate.
    other = {"url": server.url.replace("localhost", "127.0.0.1")}
    assert "failed" in error_of(settings(server, **files, **other))
    assert PrometheusApi(settings(server, **without, validate_certs=False)).query("query", QUERY) == []


@contextlib.contextmanager
def answering(*pieces: bytes, every: float = 0) -> t.Iterator[str]:
    """The URL of a server that sends these bytes, one after another."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _address = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(every)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


def test_the_timeout_is_that_of_the_whole_answer() -> None:
    began = time.monotonic()
    with answering(HEAD, *[b" "] * 1000, every=0.1) as url:
        assert f"no answer of {url} within 1 s; raise prometheus_timeout" in error_of(Settings(url=url, timeout=1))
    assert time.monotonic() - began < 5


def test_an_answer_that_ends_early_is_an_error() -> None:
    with answering(HEAD, b'{"status": "success", "data": {"result": []}}') as url:
        assert f"cannot reach {url}: IncompleteRead" in error_of(Settings(url=url, timeout=5))


def test_a_refusal_without_its_body_is_named() -> None:
    with answering(HEAD.replace(b"200 OK", b"500 Fault"), b"{") as url:
        assert "answered with status 500: " in error_of(Settings(url=url, timeout=5))
