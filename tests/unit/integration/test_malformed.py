# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections
import json
import socket
import threading
import typing as t
from collections.abc import Iterator
from pathlib import Path

import hpack
import http2_frames as h2
import malformed
import malformed_requests
import pytest
from malformed_requests import KINDS, RARE, ROUND, Case, case

TOKEN = "a-token-of-the-test"
COMMON = [name for name in KINDS if name not in RARE]


def of(kind: str, seed: int = 1, **arguments: t.Any) -> Case:
    return case(seed, 0, token=TOKEN, kind=kind, **arguments)


def body(found: Case) -> bytes:
    return found.data.partition(b"\r\n\r\n")[2]


def test_a_case_is_made_again_from_its_seed_and_number() -> None:
    numbers = [0, 5, 700, len(ROUND) + 3, 10 * len(ROUND)]
    first = [case(7, number, token=TOKEN) for number in numbers]
    assert [case(7, number, token=TOKEN) for number in reversed(numbers)] == first[::-1]
    assert [case(8, number, token=TOKEN) for number in numbers] != first


def test_a_round_has_every_kind() -> None:
    counts = collections.Counter(case(3, number).kind for number in range(len(ROUND)))
    assert set(counts) == set(KINDS)
    later = collections.Counter(malformed_requests.order(3, 1))
    assert not set(later) & set(RARE)
    assert set(later) == set(COMMON)


def test_every_kind_makes_cases_with_the_token_and_without() -> None:
    for kind in COMMON:
        made = {of(kind, seed) for seed in range(12)}
        assert {found.kind for found in made} == {kind}
        # Only where a request is in it.
        if not kind.startswith(("line/", "http2/", "mutation/")):
            assert {found.authorized for found in made} == {True, False}, kind
        assert not any(TOKEN.encode() in found.data for found in made if not found.authorized), kind


def test_without_a_token_none_is_sent() -> None:
    assert not any(TOKEN.encode() in case(1, number).data for number in range(300))


def test_a_valid_request_is_one() -> None:
    for seed in range(20):
        found = of("valid/any", seed, host="gateway.example:80", model="a-model")
        head, _end, content = found.data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        assert lines[0].endswith(" HTTP/1.1")
        assert headers["host"] == "gateway.example:80"
        if lines[0].startswith("POST"):
            assert int(headers["content-length"]) == len(content)
            assert json.loads(content)["model"] == "a-model"
        assert found.authorized == (TOKEN in head.decode())


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("line/lower-case-method", b"get /v1/models HTTP/1.1\r\n"),
        ("line/connect", b"CONNECT localhost HTTP/1.1\r\n"),
        ("line/no-version", b"GET /v1/models\r\n"),
        ("path/percent-f", b" /v1/models/%f HTTP/1.1\r\n"),
        ("path/bytes", b" /v1/models/\xff\xfe\xfd HTTP/1.1\r\n"),
        ("header/two-hosts", b"\r\nhost: elsewhere.example\r\n"),
        ("header/folded", b"x-a: a\r\n b\r\n\tc\r\n"),
        ("header/two-lengths-differ", b"content-length: 3\r\ncontent-length: "),
        ("authorization/tab", b"\r\nauthorization: Bearer\t"),
        ("authorization/two-disagree", b"\r\nauthorization: Bearer x\r\n"),
        ("transfer/chunk-of-letters", b"transfer-encoding: chunked\r\n\r\nzz\r\nabc"),
        ("transfer/length-and-chunked", b"\r\ncontent-length: 5\r\n"),
        ("transfer/unknown-coding", b"\r\ntransfer-encoding: odd\r\n"),
        ("encoding/gzip", b"\r\n\r\n\x1f\x8b"),
        ("type/utf-16", b"\r\n\r\n\xff\xfe{\x00"),
        ("body/invalid-utf8", b'"user": "\xff\xfe"}'),
        ("body/twice-stream-escaped", b'"stre\\u0061m": true}'),
        ("body/number-1e999", b'"temperature": 1e999}'),
        ("body/lone-surrogate", b'"user": "\\ud800"}'),
        ("body/nested-lists", b"[" * 10_000 + b"1" + b"]" * 10_000),
    ],
)
def test_what_a_kind_is(kind: str, part: bytes) -> None:
    assert part in of(kind).data


def test_bodies_that_only_a_member_makes_odd_are_json() -> None:
    for kind in ("body/model-number", "body/messages-null", "body/twice-model", "body/model-missing", "body/of-300-kb"):
        found = of(kind)
        assert isinstance(json.loads(body(found)), dict)
    assert json.loads(body(of("body/model-number")))["model"] == 4
    assert "model" not in json.loads(body(of("body/model-missing")))
    assert 290_000 < len(of("body/of-300-kb").data) < 310_000


def test_the_costly_ones_are_as_large_as_they_say() -> None:
    assert len(of("body/over-the-limit").data) > 50 * 2**20
    assert len(of("body/of-5-mb").data) > 4_900_000


def frames(found: Case) -> list[tuple[int, int, int, bytes]]:
    assert found.data.startswith(h2.PREFACE)
    return h2.frames(found.data[len(h2.PREFACE) :])[0]


def test_a_valid_request_of_http2_is_one() -> None:
    found = frames(of("http2/valid"))
    assert [kind for kind, _flags, _stream, _payload in found][:3] == [h2.SETTINGS, h2.WINDOW_UPDATE, h2.HEADERS]
    headers = [(bytes(name), bytes(value)) for name, value in hpack.Decoder().decode(found[2][3], raw=True)]
    assert [name for name, _value in headers[:4]] == [b":method", b":scheme", b":path", b":authority"]
    assert found[-1][1] & h2.END_STREAM


def test_long_headers_of_http2_are_continued() -> None:
    found = frames(of("http2/value-long"))
    parts = [payload for kind, _flags, _stream, payload in found if kind in (h2.HEADERS, h2.CONTINUATION)]
    assert len(parts) > 5
    decoded = hpack.Decoder(max_header_list_size=2**20).decode(b"".join(parts), raw=True)
    assert bytes(dict(decoded)[b"x-a"]) == b"a" * 100_000


def test_frames_are_told_apart() -> None:
    data = h2.frame(h2.PING, 0, 0, bytes(8)) + h2.frame(h2.DATA, h2.END_STREAM, 1, b"abc")
    assert h2.frames(data + b"\x00\x00") == (
        [(h2.PING, 0, 0, bytes(8)), (h2.DATA, h2.END_STREAM, 1, b"abc")],
        b"\x00\x00",
    )
    assert h2.frames(data[:20])[1] == data[17:20]


JSON_404 = b"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    ("data", "closed", "status", "content"),
    [
        (JSON_404, False, 404, b"{}"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + JSON_404, False, 404, b"{}"),
        (JSON_404[:-1], False, None, b""),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
            False,
            200,
            b"abc",
        ),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n", False, None, b""),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-a: b\r\n\r\n", False, 200, b""),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", False, None, b""),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", True, 200, b"abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, 204, b""),
    ],
)
def test_an_answer_is_read(data: bytes, closed: bool, status: int | None, content: bytes) -> None:
    for pieces in ([data], [data[place : place + 1] for place in range(len(data))]):
        reader = malformed.Http1Reader(head=False)
        for piece in pieces:
            reader.feed(piece)
        if closed:
            reader.close()
        assert (reader.answer.status if reader.answer else None) == status
        assert (reader.answer.body if reader.answer else b"") == content


def test_an_answer_to_head_has_no_body() -> None:
    reader = malformed.Http1Reader(head=True)
    reader.feed(b"HTTP/1.1 404 Not Found\r\ncontent-length: 50\r\n\r\n")
    assert reader.answer == malformed.Answer(404, [("content-length", "50")], b"")


def test_an_answer_of_http2_is_read() -> None:
    reader = malformed.Http2Reader()
    encoder = hpack.Encoder()
    interim, headers = (
        encoder.encode([(":status", "103")]),
        encoder.encode([(":status", "404"), ("content-type", "application/json")]),
    )
    assert reader.feed(h2.frame(h2.SETTINGS, 0, 0)) == h2.frame(h2.SETTINGS, h2.ACK, 0)
    assert reader.feed(h2.frame(h2.PING, 0, 0, b"12345678")) == h2.frame(h2.PING, h2.ACK, 0, b"12345678")
    data = (
        h2.header_frames(interim, 0)
        + h2.header_frames(headers, 0)
        + h2.frame(h2.DATA, 0, 1, b"{")
        + h2.frame(h2.DATA, h2.END_STREAM, 1, b"}")
    )
    for place in range(len(data)):
        reader.feed(data[place : place + 1])
    assert reader.answer == malformed.Answer(404, [("content-type", "application/json")], b"{}")


@pytest.mark.parametrize(("kind", "end"), [(h2.GOAWAY, "goaway"), (h2.RST_STREAM, "stream-reset")])
def test_an_end_of_http2_is_told(kind: int, end: str) -> None:
    reader = malformed.Http2Reader()
    reader.feed(h2.frame(kind, 0, 1, bytes(8)))
    assert (reader.answer, reader.end) == (None, end)


class Gateway:
    """Answers each connection by what its first bytes begin with."""

    def __init__(self) -> None:
        self.answers: dict[bytes, bytes | None] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                data = connection.recv(65_536)
                answer = next((answer for start, answer in self.answers.items() if data.startswith(start)), b"")
                if answer is None:
                    threading.Event().wait(1.5)
                elif answer:
                    connection.sendall(answer)
                    # Until the client goes: a close with unread bytes would be a reset.
                    while connection.recv(65_536):
                        pass
            except OSError:
                pass

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    found = Gateway()
    yield found
    found.close()


def sent(gateway: Gateway, data: bytes, **arguments: t.Any) -> str:
    return malformed.send(gateway.url, Case("a", 0, (data,), **arguments)).name


def test_outcomes(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(malformed, "PATIENCE", 0.3)
    monkeypatch.setattr(malformed, "SHORT_PATIENCE", 0.1)
    gateway.answers = {b"A": JSON_404, b"B": b"", b"C": None, b"PRI": h2.frame(h2.GOAWAY, 0, 0, bytes(8))}
    assert sent(gateway, b"A") == "404"
    assert sent(gateway, b"B") == "closed"
    assert sent(gateway, b"C") == "timeout"
    assert sent(gateway, b"C", complete=False) == "unanswered"
    assert sent(gateway, h2.opening(), http2=True) == "goaway"


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert malformed.send(url, Case("a", 0, (b"A",))).name == "not-connected"


def test_what_is_no_http_is_told() -> None:
    reader = malformed.Http1Reader(head=False)
    reader.feed(b"220 mail.example")
    reader.close()
    assert (reader.answer, reader.end) == (None, "no-http")


def test_a_large_request_that_is_answered_early(gateway: Gateway) -> None:
    gateway.answers = {b"A": JSON_404}
    assert sent(gateway, b"A" * 5_000_000) == "404"


def test_a_run_counts_and_keeps_what_may_not_be(gateway: Gateway) -> None:
    page = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/html\r\ncontent-length: 3\r\n\r\n<p>"
    gateway.answers = {b"POST": page, b"": JSON_404}
    result = malformed.run(gateway.url, TOKEN, 1, len(ROUND), kind="body/model-n")
    assert (result.before, result.after) == ("404", "404")
    assert result.counts == {(f"body/model-{name}", "503"): 1 for name in ("number", "null", "nul")}
    assert result.json == {("503", False): 3}
    assert {sample.case.kind for sample in result.errors} == {kind for kind, _outcome in result.counts}
    assert len(result.faults()) == 3
    assert result.faults(allowed={503}) == []
    assert result.not_json[0].problems[0].startswith("content-type is text/html")
    assert "503 3" in result.table()
    assert "body/model-null" in result.table(kinds=True)
    assert "no answer" not in str(result)


def test_of_many_alike_the_first_is_kept() -> None:
    result = malformed.Result(1)
    for number in range(5):
        result.add(Case("body/a", number, (b"A",)), malformed.Outcome("timeout", None, 5.0))
        result.add(Case("body/a", number, (b"A",)), malformed.Outcome("500", malformed.Answer(500, [], b""), 0.1))
    assert result.faults() == ["5 of body/a #0: 500 after 0.10 s b''", "5 of body/a #0: timeout after 5.00 s"]


def test_a_gateway_that_answers_no_more_is_a_fault(gateway: Gateway) -> None:
    result = malformed.Result(1)
    result.before, result.after = "200", "not-connected"
    assert result.faults() == ["a well-formed request got 200 before and not-connected afterwards"]


def test_one_case_is_shown_without_the_token(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers = {b"": JSON_404}
    (tmp_path / "token").write_text(TOKEN + "\n", encoding="utf-8")
    (number,) = (
        index for index, kind in enumerate(malformed_requests.order(2, 0)) if kind == "authorization/two-agree"
    )
    arguments = ["--url", gateway.url, "--token-file", str(tmp_path / "token"), "--seed", "2", "--only", str(number)]
    assert malformed.main(arguments) == 0
    told = capsys.readouterr().out
    assert f"authorization/two-agree #{number}" in told
    assert "404 after" in told
    assert TOKEN not in told
