# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The odd provider, each behaviour as a client sees it on the wire."""

from __future__ import annotations

import http.client
import importlib
import json
import re
import socket
import ssl
import sys
import threading
import time
import typing as t
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[2]
# The program's modules import each other by their names, as in their pod.
sys.path[:0] = [str(TESTS / "fakes/odd_provider"), str(TESTS / "integration")]
odd_answers, odd_encodings, odd_provider, catalogs = map(
    importlib.import_module, ("odd_answers", "odd_encodings", "odd_provider", "catalogs")
)

CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages"
PATHS = (CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES)
STREAM = {"stream": True, "stream_options": {"include_usage": True}}


class Running:
    """The provider's servers in this process."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.record = odd_provider.Record()
        self.servers = [
            odd_provider.Server(("127.0.0.1", 0), self.record, context),
            odd_provider.AdminServer(("127.0.0.1", 0), self.record),
        ]
        self.port, self.admin_port = (server.server_address[1] for server in self.servers)
        for server in self.servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def ask(self, model: str, path: str = CHAT, **body: t.Any) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("POST", path, json.dumps({"model": model, **body}), {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def usage(self, model: str, path: str = CHAT) -> t.Any:
        return json.loads(self.ask(model, path)[2]).get("usage", "absent")

    def events(self, model: str, path: str = CHAT) -> list[t.Any]:
        text = self.ask(model, path, **STREAM)[2].decode()
        return [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:") and "[DONE]" not in line]

    def admin(self, method: str, path: str) -> t.Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        connection.request(method, path)
        body = connection.getresponse().read()
        connection.close()
        return json.loads(body) if body else None


@pytest.fixture(scope="module")
def odd() -> Iterator[Running]:
    running = Running()
    yield running
    running.close()


@pytest.mark.parametrize(
    ("path", "usage"),
    [
        (CHAT, {"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100}),
        (COMPLETIONS, {"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100}),
        (EMBEDDINGS, {"prompt_tokens": 100, "total_tokens": 100}),
        (MESSAGES, {"input_tokens": 60, "output_tokens": 40}),
    ],
)
@pytest.mark.parametrize("model", ["odd-good", "odd-unheard-of", "gpt-4"])
def test_a_good_answer(odd: Running, model: str, path: str, usage: object) -> None:
    status, headers, body = odd.ask(model, path)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)["usage"] == usage
    assert json.loads(body)["model"] == model


@pytest.mark.parametrize(
    ("model", "usage"),
    [
        ("odd-good-7", {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}),
        ("odd-no-total", {"prompt_tokens": 60, "completion_tokens": 40}),
        ("odd-negative", {"prompt_tokens": -2, "completion_tokens": -3, "total_tokens": -5}),
        (
            "odd-huge",
            {"prompt_tokens": 3_000_000_000, "completion_tokens": 2_000_000_000, "total_tokens": 5_000_000_000},
        ),
        ("odd-float", {"prompt_tokens": 6.25, "completion_tokens": 6.25, "total_tokens": 12.5}),
        ("odd-text", {"prompt_tokens": "60", "completion_tokens": "40", "total_tokens": "100"}),
        ("odd-zero", {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
        ("odd-none", "absent"),
        ("odd-null", None),
    ],
)
def test_an_odd_usage_in_an_answer_and_in_a_stream(odd: Running, model: str, usage: object) -> None:
    assert odd.usage(model) == usage
    assert odd.events(model)[-1].get("usage", "absent") == usage


@pytest.mark.parametrize("path", PATHS)
def test_every_model_answers_on_every_path_or_breaks_off(
    odd: Running, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(odd_answers, "SLOW_PAUSE", 0.001)
    streams = path != EMBEDDINGS
    for model in odd_answers.MODELS:
        for body in ({}, STREAM):
            if model in ("odd-reset", "odd-half") or (model == "odd-stream-reset" and body and streams):
                with pytest.raises((ConnectionError, http.client.HTTPException)):
                    odd.ask(model, path, **body)
                continue
            error = re.fullmatch(r"odd-error-([0-9]+)-.*", model)
            assert odd.ask(model, path, **body)[0] == (
                int(error[1]) if error else 302 if model == "odd-redirect" else 200
            ), model


def test_a_stream_tells_its_usage_if_asked(odd: Running) -> None:
    assert b"usage" not in odd.ask("odd-good", stream=True)[2]
    text = odd.ask("odd-good", **STREAM)[2]
    assert text.endswith(b"\n\ndata: [DONE]\n\n")
    assert text.count(b'"usage"') == 1


def test_a_stream_of_messages(odd: Running) -> None:
    events = odd.events("odd-good", MESSAGES)
    assert events[0]["message"]["usage"] == {"input_tokens": 60, "output_tokens": 1}
    assert events[-2]["usage"] == {"output_tokens": 40}
    assert [events[0]["type"], events[-1]["type"]] == ["message_start", "message_stop"]
    assert odd.ask("odd-good", MESSAGES, stream=True)[2].startswith(b"event: message_start\ndata: {")


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, MESSAGES])
def test_where_a_stream_has_its_usage(odd: Running, path: str) -> None:
    def places(events: list[t.Any]) -> list[int]:
        return [number for number, event in enumerate(events) if '"usage":' in json.dumps(event)]

    assert places(odd.events("odd-none", path)) == []
    assert places(odd.events("odd-usage-first", path)) == [0]
    every = odd.events("odd-usage-every-chunk", path)
    spent = [
        event["usage"].get("output_tokens") or event["usage"].get("completion_tokens")
        for event in every
        if event.get("usage")
    ]
    assert spent == sorted(spent)
    assert spent[-1] == 40
    assert len(spent) > 4


@pytest.mark.parametrize(
    ("model", "start", "end"),
    [
        ("odd-no-space", b'data:{"id"', b"}\n\ndata:[DONE]\n\n"),
        ("odd-crlf", b'data: {"id"', b"}\r\n\r\ndata: [DONE]\r\n\r\n"),
        ("odd-no-done", b'data: {"id"', b"}}\n"),
        ("odd-no-end", b'data: {"id"', b"}}"),
        ("odd-stream-error", b'data: {"id"', b'"code": "odd_500"}}\n\n'),
    ],
)
def test_the_form_of_a_stream(odd: Running, model: str, start: bytes, end: bytes) -> None:
    text = odd.ask(model, **STREAM)[2]
    assert text.startswith(start)
    assert text.endswith(end)


@pytest.mark.parametrize("model", ["odd-no-done", "odd-no-end"])
def test_what_has_no_end_has_no_done(odd: Running, model: str) -> None:
    assert b"[DONE]" not in odd.ask(model, **STREAM)[2]
    assert odd.events(model)[-1]["usage"]["total_tokens"] == 100


def wire(odd: Running, model: str, **body: t.Any) -> bytes:
    """Return the answer as it comes, up to the reset or the end of the chunks."""
    text = json.dumps({"model": model, **body})
    found = b""
    with socket.create_connection(("127.0.0.1", odd.port), timeout=10) as connection:
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())
        while not found.endswith(b"\r\n0\r\n\r\n"):
            try:
                piece = connection.recv(65_536)
            except ConnectionResetError:
                return found + b"RESET"
            if not piece:
                return found + b"END"
            found += piece
    return found


def test_a_split_event_comes_byte_by_byte(odd: Running) -> None:
    text = wire(odd, "odd-split", **STREAM)
    assert b"1\r\nu\r\n1\r\ns\r\n1\r\na\r\n1\r\ng\r\n1\r\ne\r\n" in text
    assert odd.events("odd-split")[-1]["usage"]["total_tokens"] == 100


def test_connections_that_break_off(odd: Running) -> None:
    assert wire(odd, "odd-reset") == b"RESET"
    text = wire(odd, "odd-stream-reset", stream=True)
    assert text.startswith(b"HTTP/1.1 200")
    assert text.endswith(b"RESET")
    assert text.count(b"data: ") == 2
    assert wire(odd, "odd-half").endswith(b"END")


def stored(encoding: str, body: bytes) -> bytes:
    """Undo an encoding that only stores: read its blocks by their lengths."""
    found, place = b"", 6 if encoding == "zstd" else 0
    shift = 0 if encoding == "zstd" else 1
    while True:
        header = int.from_bytes(body[place : place + 3], "little") >> shift
        if encoding == "zstd":
            size, last = header >> 3, header & 1
            assert header >> 1 & 3 == 0, "no raw block"
        else:
            size, last = (header >> 3 & 0xFFFF) + 1, header & 1
            if not last:
                assert header >> 19 == 1, "no uncompressed meta-block"
        if last:
            assert len(body) == place + (3 if encoding == "zstd" else 1)
            return found
        found += body[place + 3 : place + 3 + size]
        place, shift = place + 3 + size, 0


@pytest.mark.parametrize("encoding", ["deflate", "gzip", "zstd", "br"])
@pytest.mark.parametrize("asked", [{}, STREAM])
def test_a_compressed_body(odd: Running, encoding: str, asked: dict[str, t.Any]) -> None:
    _status, headers, body = odd.ask(f"odd-{encoding}", **asked)
    assert headers["content-encoding"] == encoding
    text = (
        stored(encoding, body)
        if encoding in ("zstd", "br")
        else zlib.decompress(body, 15 if encoding == "deflate" else 31)
    )
    assert text.startswith(b"data: {" if asked else b"{")
    assert b'"total_tokens": 100' in text


@pytest.mark.parametrize("encoding", ["zstd", "br"])
def test_a_large_body_is_stored_in_blocks(encoding: str) -> None:
    body = bytes(range(256)) * 2000
    assert stored(encoding, b"".join(odd_encodings.ENCODINGS[encoding]([body[:5], b"", body[5:]]))) == body


def test_a_big_answer(odd: Running) -> None:
    assert all(len(odd.ask("odd-big", path, **body)[2]) > 300_000 for path in PATHS for body in ({}, STREAM))


@pytest.mark.parametrize("status", odd_answers.STATUSES)
def test_errors(odd: Running, status: int) -> None:
    answers = {kind: odd.ask(f"odd-error-{status}-{kind}") for kind in odd_answers.KINDS}
    assert {answer[0] for answer in answers.values()} == {status}
    assert {answer[1].get("retry-after") for answer in answers.values()} == {"7" if status in (429, 503) else None}
    bodies = {kind: answer[2] for kind, answer in answers.items()}
    assert json.loads(bodies["json"])["error"]["code"] == f"odd_{status}"
    assert json.loads(zlib.decompress(bodies["gzip-json"], 31)) == json.loads(bodies["json"])
    assert json.loads(bodies["anthropic"])["type"] == "error"
    assert bodies["html"] == zlib.decompress(bodies["gzip-html"], 31)
    assert bodies["empty"] == b""
    assert len(bodies["utf8"]) == 3 * len(bodies["utf8"].decode()) > 5000
    with pytest.raises(UnicodeDecodeError):
        bodies["latin1"].decode()
    assert answers["broken-json"][1]["content-type"] == "application/json"
    with pytest.raises(ValueError, match=r".+"):
        json.loads(bodies["broken-json"])


def test_a_client_that_leaves_a_slow_stream_is_recorded(odd: Running) -> None:
    odd.admin("POST", "/reset")
    text = json.dumps({"model": "odd-slow", "stream": True})
    with socket.create_connection(("127.0.0.1", odd.port), timeout=10) as connection:
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())
        while b"word0" not in connection.recv(65_536):
            pass
    deadline = time.monotonic() + 5
    while (entry := odd.admin("GET", "/requests?model=odd-slow")["requests"][0])[
        "outcome"
    ] == "answering" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert entry["outcome"] == "left"
    assert 1 <= entry["pieces"] < 10


def test_what_was_received_is_told(odd: Running) -> None:
    odd.admin("POST", "/reset")
    text = b'{"model": "odd-good", "x": "\xff"}'
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text)
    with socket.create_connection(("127.0.0.1", odd.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: x\r\nX-Twice: 1\r\nx-twice: 2\r\n"
            b"Authorization: Bearer k\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        connection.sendall(chunks)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
    good = json.dumps({"model": "odd-good"})
    odd.ask("odd-good-3")
    found = odd.admin("GET", "/requests")
    assert found["total"] == 2
    assert found["keys"] == [{"tls": False, "key": "", "count": 1}, {"tls": False, "key": "Bearer k", "count": 1}]
    assert [entry["model"] for entry in odd.admin("GET", "/requests?model=odd-good-3")["requests"]] == ["odd-good-3"]
    first, second = found["requests"]
    assert first["headers"] == [
        ["host", "x"],
        ["x-twice", "1"],
        ["x-twice", "2"],
        ["authorization", "Bearer k"],
        ["transfer-encoding", "chunked"],
    ]
    assert (first["method"], first["path"], first["size"], first["model"]) == (
        "POST",
        "/v1/chat/completions?a=b",
        len(text),
        None,
    )
    assert first["body"] == '{"model": "odd-good", "x": "\\xff"}'
    assert (second["model"], second["size"], second["tls"]) == ("odd-good-3", len(good) + 2, False)


def test_tls(tmp_path: Path) -> None:
    authority = catalogs.Authority("One")
    issued = authority.issue("localhost")
    for name, text in issued.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    running = Running(odd_provider.tls_context(str(tmp_path / "certificate"), str(tmp_path / "key")))
    try:
        context = ssl.create_default_context(cadata=authority.certificate)
        connection = http.client.HTTPSConnection("localhost", running.port, timeout=10, context=context)
        connection.request("POST", MESSAGES, json.dumps({"model": "odd-good"}))
        assert json.loads(connection.getresponse().read())["usage"]["output_tokens"] == 40
        connection.close()
        connection = http.client.HTTPSConnection("localhost", running.port, timeout=10, context=context)
        connection.request("POST", MESSAGES, json.dumps({"model": "odd-reset"}))
        with pytest.raises(OSError, match=r".*"):
            connection.getresponse()
        connection.close()
        assert [entry["tls"] for entry in running.admin("GET", "/requests")["requests"]] == [True, True]
    finally:
        running.close()
