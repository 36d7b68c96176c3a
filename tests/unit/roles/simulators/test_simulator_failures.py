# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Failures, breaks and slow streams over sockets, in both dialects."""

from __future__ import annotations

import http.client
import json
import time
import typing as t
from collections.abc import Callable

import pytest
from simulator_process import ANTHROPIC, BEARER, CHAT, KEY, MESSAGES, Simulator, events_of, named_events_of

STREAM = {**CHAT, "stream": True}
MESSAGE_STREAM = {**MESSAGES, "stream": True}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_a_status_on_request_in_anthropics_shape(anthropic_simulator: Simulator, status: int, kind: str) -> None:
    found, headers, document = anthropic_simulator.message(**{"x-simulator-status": str(status)})
    assert (found, document["type"], document["error"]["type"]) == (status, "error", kind)
    assert headers["request-id"] == document["request_id"]
    assert headers.get("retry-after") == ("1" if status == 429 else None)


def test_retry_after_on_request(simulator: Simulator) -> None:
    asked = {"x-simulator-retry-after": "30"}
    assert simulator.chat(**asked, **{"x-simulator-status": "503"})[1]["retry-after"] == "30"
    assert simulator.chat(**asked, **{"x-simulator-status": "429"})[1]["retry-after"] == "30"
    assert "retry-after" not in simulator.chat(**asked)[1]
    assert "retry-after" not in simulator.chat(**{"x-simulator-status": "503"})[1]


def test_failures_of_the_process(start: Callable[..., Simulator]) -> None:
    simulator = start("--failure-rate=0.5", "--failure-status=429", "--retry-after=7")
    answers = [simulator.chat()[:2] for _number in range(4)]
    assert [(status, headers.get("retry-after")) for status, headers in answers] == [(200, None), (429, "7")] * 2
    # A failure that a request asks for does not take the place of one of these.
    assert simulator.chat(**{"x-simulator-status": "500"})[0] == 500
    assert [simulator.chat()[0] for _number in range(2)] == [200, 429]


def test_breaks_of_the_process(start: Callable[..., Simulator]) -> None:
    simulator = start("--failure-rate=0.5", "--failure-break=headers")
    assert simulator.chat()[0] == 200
    with pytest.raises(http.client.RemoteDisconnected):
        simulator.chat()
    assert simulator.chat()[0] == 200


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("status", "200", "400 to 599"),
        ("break", "all", "headers or body"),
        ("break-after", "-1", "from 0"),
        ("retry-after", "1.5", "from 0"),
        ("event-delay", "x", "to 600"),
    ],
)
def test_malformed_controls_of_failures(anthropic_simulator: Simulator, name: str, value: str, words: str) -> None:
    status, _headers, document = anthropic_simulator.message(**{f"x-simulator-{name}": value})
    assert (status, document["error"]["type"]) == (400, "invalid_request_error")
    assert f"x-simulator-{name} " in document["error"]["message"]
    assert words in document["error"]["message"]


def test_a_break_before_the_headers(simulator: Simulator) -> None:
    assert simulator.raw_post("/v1/chat/completions", CHAT, **BEARER, **{"x-simulator-break": "headers"}) == b""
    assert "POST /v1/chat/completions 0 " in simulator.logged("break=headers")


@pytest.mark.parametrize("control", ["body", "stream"])
@pytest.mark.parametrize("status", [200, 503])
def test_a_break_in_a_body(simulator: Simulator, control: str, status: int) -> None:
    headers = {"x-simulator-break": control, **({} if status == 200 else {"x-simulator-status": str(status)})}
    head, _blank, body = simulator.raw_post("/v1/chat/completions", CHAT, **BEARER, **headers).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert 0 < len(body) < int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
    with pytest.raises(http.client.IncompleteRead):
        simulator.chat(**headers)


@pytest.mark.parametrize(("after", "count"), [(None, 2), (0, 0), (5, 5), (1000, 13)])
def test_a_break_between_events(simulator: Simulator, after: int | None, count: int) -> None:
    headers = {"x-simulator-break": "stream", **({} if after is None else {"x-simulator-break-after": str(after)})}
    answer = simulator.raw_post("/v1/chat/completions", STREAM, **BEARER, **headers)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    # Neither the mark at the end of the stream nor the last chunk of the body.
    assert answer.count(b"data: ") == count
    assert b"[DONE]" not in answer
    assert b"\r\n0\r\n" not in answer


def test_a_break_in_the_middle_of_an_event(anthropic_simulator: Simulator) -> None:
    answer = anthropic_simulator.raw_post("/v1/messages", MESSAGE_STREAM, **ANTHROPIC, **{"x-simulator-break": "body"})
    head, _blank, body = answer.partition(b"\r\n\r\n")
    *_chunks, size, event = body.split(b"\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert event.startswith(b"event: ping")
    assert 0 < len(event) < int(size, 16)


def test_an_error_within_a_stream_of_openai(simulator: Simulator) -> None:
    status, _headers, text = simulator.chat(STREAM, **{"x-simulator-break": "event"})
    *chunks, last = [json.loads(line[len("data: ") :]) for line in text.split("\n\n")[:-1]]
    assert status == 200
    assert [chunk["object"] for chunk in chunks] == ["chat.completion.chunk"] * 2
    assert (last["error"]["type"], last["error"]["code"]) == ("server_error", "simulated_failure")
    assert "POST /v1/chat/completions 500 " in simulator.logged("break=event")


def test_an_error_within_a_stream_of_anthropic(anthropic_simulator: Simulator) -> None:
    controls = {"x-simulator-break": "event", "x-simulator-status": "529", "x-simulator-break-after": "4"}
    status, _headers, text = anthropic_simulator.message(MESSAGE_STREAM, **controls)
    events = named_events_of(text)
    assert status == 200
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "error",
    ]
    assert events[-1]["error"]["type"] == "overloaded_error"
    # Without a stream the error is the answer.
    assert anthropic_simulator.message(**controls)[0] == 529


@pytest.mark.parametrize("asked", [True, False])
def test_a_slow_stream(start: Callable[..., Simulator], asked: bool) -> None:
    simulator = start("--event-delay=5" if asked else "--event-delay=0.15")
    headers = {"x-simulator-event-delay": "0.15"} if asked else {}
    connection = simulator.connect()
    begin = time.monotonic()
    connection.request("POST", "/v1/chat/completions", json.dumps({**STREAM, "max_tokens": 4}), {**BEARER, **headers})
    response = connection.getresponse()
    times, text = [], ""
    while line := response.readline():
        times.append(time.monotonic() - begin)
        text += line.decode()
    connection.close()
    count = len(events_of(text)) + 1
    assert count == 7
    assert 0.15 * (count - 1) <= times[-1] < 10
    # The events came one after the other and not all at the end.
    assert times[0] < times[-1] - 0.2


# --- the Anthropic dialect over HTTP ---


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({}, 401, "authentication_error"),
        ({"x-api-key": "sk-wrong"}, 401, "authentication_error"),
        ({"Authorization": "Bearer sk-wrong"}, 401, "authentication_error"),
        ({"Authorization": f"Bearer {KEY}"}, 200, None),
        ({"x-api-key": KEY}, 200, None),
    ],
)
def test_the_key_of_anthropic(
    anthropic_simulator: Simulator, headers: dict[str, str], status: int, kind: str | None
) -> None:
    version = {"anthropic-version": "2023-06-01"}
    for method, path, body in (
        ("GET", "/v1/models", None),
        ("POST", "/v1/messages", MESSAGES),
        ("POST", "/v1/messages/count_tokens", MESSAGES),
    ):
        found, _headers, document = anthropic_simulator.ask(method, path, body, **headers, **version)
        assert (found, document.get("error", {}).get("type")) == (status, kind)


def test_anthropic_over_http(anthropic_simulator: Simulator) -> None:
    status, headers, document = anthropic_simulator.message()
    assert (status, document["type"]) == (200, "message")
    assert headers["request-id"].startswith("req_")
    status, headers, text = anthropic_simulator.message(MESSAGE_STREAM)
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    assert [event["type"] for event in named_events_of(text)][-1] == "message_stop"
    assert anthropic_simulator.ask("GET", "/v1/models?limit=1", **ANTHROPIC)[2]["has_more"] is True
    assert anthropic_simulator.ask("GET", "/v1/models/Qwen%2FQwen3-0.6B", **ANTHROPIC)[2]["id"] == "Qwen/Qwen3-0.6B"
    assert anthropic_simulator.ask("POST", "/v1/messages/count_tokens", MESSAGES, **ANTHROPIC)[2] == {"input_tokens": 5}
    status, _headers, document = anthropic_simulator.ask("POST", "/v1/messages", MESSAGES, **{"x-api-key": KEY})
    assert (status, document["error"]["type"]) == (400, "invalid_request_error")
    assert "anthropic-version" in document["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"{", 400, "invalid_request_error"),
        ({**MESSAGES, "model": "x"}, 404, "not_found_error"),
        ({"model": "gpt-4"}, 400, "invalid_request_error"),
    ],
)
def test_bad_requests_to_anthropic(anthropic_simulator: Simulator, body: t.Any, status: int, kind: str) -> None:
    found, _headers, document = anthropic_simulator.message(body)
    assert (found, document["type"], document["error"]["type"]) == (status, "error", kind)


def test_a_body_that_is_too_large_for_anthropic(anthropic_simulator: Simulator) -> None:
    head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: {KEY}\r\nContent-Length: {2**26}\r\n\r\n"
    answer = anthropic_simulator.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"type":"request_too_large"' in answer


def test_a_body_that_is_nested_too_deeply(simulator: Simulator) -> None:
    for depth in (500, 900, 5000):
        content: t.Any = "[" * depth + "]" * depth
        body = f'{{"model": "gpt-4", "messages": [{{"role": "user", "content": {content}}}]}}'.encode()
        assert simulator.chat(body)[0] in (200, 400)
    assert "connection failed" not in simulator.log


# --- the header with the key ---


@pytest.mark.parametrize(
    ("arguments", "good", "bad"),
    [
        (("--key-header=Authorization",), {"Authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}),
        (("--schema=anthropic", "--key-header=Authorization"), {"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}),
        (("--key-header=api-key", "--key-scheme="), {"Api-Key": KEY}, {"api-key": f"Bearer {KEY}"}),
        (("--key-header=X-Auth", "--key-scheme=Token"), {"x-auth": f"token {KEY}"}, {"x-auth": KEY}),
        (("--key-header=Authorization", "--key-scheme="), {"Authorization": KEY}, {"Authorization": f"Bearer {KEY}"}),
    ],
)
def test_the_key_in_a_header_of_choice(
    start: Callable[..., Simulator], arguments: tuple[str, ...], good: dict[str, str], bad: dict[str, str]
) -> None:
    simulator = start(*arguments)
    version = {"anthropic-version": "2023-06-01", "x-simulator-echo": "headers"}
    assert simulator.ask("GET", "/v1/models", **bad, **version)[0] == 401
    status, headers, _document = simulator.ask("GET", "/v1/models", **good, **version)
    assert status == 200
    assert KEY not in str(headers)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--key-scheme=Bearer",), "--key-scheme needs --key-header"),
        (("--key-header=a b",), "--key-header"),
        (("--tls-key=/nowhere",), "need each other"),
        (("--client-ca=/nowhere",), "--client-ca needs"),
        (("--schema=cohere",), "--schema"),
        (
            ("--tls-certificate=/nowhere", "--tls-key=/nowhere"),
            "/nowhere: FileNotFoundError: the certificate cannot be used",
        ),
    ],
)
def test_arguments_that_do_not_fit(start: Callable[..., Simulator], arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        start(*arguments)
