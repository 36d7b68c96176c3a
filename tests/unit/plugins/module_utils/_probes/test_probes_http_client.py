# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import ipaddress
import itertools
import re
import socket
import ssl
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.http_client import (
    Gateway,
    GatewayError,
    base_url,
    events_of,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from loopback import Loopback, Reply, stream

TOKEN = "a-token-that-must-not-show"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://10.0.0.1:30080", "http://10.0.0.1:30080"),
        ("https://maas.example.com/", "https://maas.example.com"),
        ("https://maas.example.com/v1", "https://maas.example.com"),
        ("https://maas.example.com/v1/", "https://maas.example.com"),
        ("https://example.com/maas/v1", "https://example.com/maas"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_base_url(url: str, expected: str) -> None:
    assert base_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gateway",
        "10.0.0.1:30080",
        "ftp://example.com",
        "http://",
        "http://user:secret@example.com",
        "http://example.com/?a=b",
    ],
)
def test_base_url_refuses(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url: ") as caught:
        base_url(url)
    assert "secret" not in str(caught.value)


def test_events() -> None:
    lines = [
        b": a comment\n",
        b"event: message\n",
        b"data: one\r\n",
        b"\r\n",
        b"data:two\n",
        b"data: lines\n",
        b"\n",
        b"\n",
        b"data: cut off\n",
    ]
    ticks = itertools.count(1)
    events = list(events_of(lines, lambda: next(ticks)))
    assert [(event.data, event.seconds, event.name) for event in events] == [
        ("one", 1, "message"),
        ("two\nlines", 2, ""),
    ]


def test_a_name_without_data_is_no_event() -> None:
    assert [event.name for event in events_of([b"event: a\n", b"\n", b"data: one\n", b"\n"], lambda: 0.0)] == [""]


def test_request_and_answer(loopback: Loopback) -> None:
    loopback.answer = lambda request: Reply(418, {"a": 1}, {"X-One": "1"})
    answer = Gateway(f"{loopback.url}/v1").send(
        "POST", "/v1/chat/completions", token=TOKEN, headers={"X-Two": "2"}, body={"model": "gpt-4"}
    )
    request = loopback.requests[0]
    assert (request.method, request.path, request.body) == ("POST", "/v1/chat/completions", {"model": "gpt-4"})
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-two"] == "2"
    assert (answer.status, answer.json(), answer.headers["x-one"], answer.is_event_stream) == (
        418,
        {"a": 1},
        "1",
        False,
    )
    assert 0 < answer.seconds < 5


def test_no_token_sends_no_header(loopback: Loopback) -> None:
    loopback.answer = lambda request: Reply(200, {})
    Gateway(loopback.url).send("GET", "/v1/models", token="")
    assert "authorization" not in loopback.requests[0].headers


def test_stream_is_read_as_it_comes(loopback: Loopback) -> None:
    def slowly() -> t.Iterator[bytes]:
        for part in stream():
            yield part
            time.sleep(0.1)

    loopback.answer = lambda request: Reply(200, parts=slowly())
    answer = Gateway(loopback.url).send("POST", "/v1/chat/completions", body={})
    assert answer.is_event_stream
    assert [event.data[:5] for event in answer.events] == ['{"mod', '{"mod', '{"mod', "[DONE"]
    assert answer.events[0].seconds < 0.1
    assert answer.events[-1].seconds > 0.25


def test_redirects_are_not_followed(loopback: Loopback) -> None:
    loopback.answer = lambda request: Reply(302, {}, {"Location": f"{loopback.url}/elsewhere"})
    assert Gateway(loopback.url).send("GET", "/v1/models", token=TOKEN).status == 302
    assert len(loopback.requests) == 1


def test_a_cut_stream_is_an_error(loopback: Loopback) -> None:
    loopback.answer = lambda request: Reply(200, parts=stream(done=False), cut=True)
    with pytest.raises(
        GatewayError, match="closed the connection before a whole answer came, only 3 events of a stream"
    ):
        Gateway(loopback.url).send("POST", "/v1/chat/completions", body={})


def test_a_cut_body_is_an_error(loopback: Loopback) -> None:
    loopback.answer = lambda request: Reply(200, b"half", {"Content-Length": "8"})
    with pytest.raises(GatewayError, match="closed the connection before a whole answer came"):
        Gateway(loopback.url).send("GET", "/v1/models")


@pytest.mark.parametrize("trickle", [False, True])
def test_timeout_bounds_the_whole_answer(loopback: Loopback, trickle: bool) -> None:
    def parts() -> t.Iterator[bytes]:
        for _ in range(30):
            time.sleep(0.2 if trickle else 3)
            yield b"data: more\n\n"

    loopback.answer = lambda request: Reply(200, parts=parts())
    started = time.monotonic()
    with pytest.raises(GatewayError, match=r"no whole answer from .* within 1 s"):
        Gateway(loopback.url, timeout=1).send("GET", "/v1/models")
    assert time.monotonic() - started < 2.5


def test_refused_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(GatewayError, match="refused; check that the gateway is programmed"):
        Gateway(f"http://127.0.0.1:{port}").send("GET", "/v1/models")


def test_unknown_host() -> None:
    with pytest.raises(GatewayError, match=r"^cannot reach http://gateway\.invalid: "):
        Gateway("http://gateway.invalid", use_proxy=False).send("GET", "/v1/models")


@pytest.mark.parametrize("headers", [{"X-A": "one\r\ntwo"}, {"bad name": "x"}, {"X-A": "\u20ac"}])
def test_headers_that_cannot_be_sent(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        Gateway("http://127.0.0.1:1").send("GET", "/", headers=headers)


def test_a_token_that_cannot_be_sent_is_not_shown() -> None:
    with pytest.raises(ValueError, match=r"^the token holds line breaks") as caught:
        Gateway("http://127.0.0.1:1").send("GET", "/", token=TOKEN + "\n")
    assert TOKEN not in str(caught.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1)
    )
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    directory = tmp_path_factory.mktemp("certificate")
    (directory / "tls.crt").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (directory / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return directory / "tls.crt", directory / "tls.key"


@pytest.fixture
def tls_url(loopback: Loopback, certificate: tuple[Path, Path]) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    loopback.server.socket = context.wrap_socket(loopback.server.socket, server_side=True)
    loopback.answer = lambda request: Reply(200, {})
    return loopback.url.replace("http:", "https:")


def test_tls_is_verified(tls_url: str, certificate: tuple[Path, Path]) -> None:
    with pytest.raises(GatewayError, match=r"certificate of .* cannot be trusted: .*ca_path"):
        Gateway(tls_url).send("GET", "/")
    assert Gateway(tls_url, ca_path=str(certificate[0])).send("GET", "/").status == 200
    assert Gateway(tls_url, validate_certs=False).send("GET", "/").status == 200
    with pytest.raises(GatewayError, match="cannot be trusted"):
        Gateway(tls_url.replace("127.0.0.1", "localhost"), ca_path=str(certificate[0])).send("GET", "/")


def test_tls_to_a_plain_port(loopback: Loopback) -> None:
    with pytest.raises(GatewayError, match="check that the port speaks TLS"):
        Gateway(loopback.url.replace("http:", "https:")).send("GET", "/")


@pytest.mark.parametrize("option", ["ca_path", "client_cert", "client_key"])
def test_missing_files(option: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{option}: there is no file /nowhere/file")):
        Gateway("https://127.0.0.1:1", **{option: "/nowhere/file"})


def test_a_file_that_is_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("nothing")
    with pytest.raises(ValueError, match="ca_path, client_cert or client_key holds no valid PEM"):
        Gateway("https://127.0.0.1:1", ca_path=str(tmp_path / "ca.crt"))
