# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The simulator as its pod runs it:

a process of its own, asked over sockets. Here HTTP, keys and the OpenAI dialect.
"""

from __future__ import annotations

import ast
import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from simulator_process import BEARER, CHAT, FILES, KEY, PROGRAM, Simulator, events_of


@pytest.mark.parametrize("path", ["/health", "/ready", "/health?probe=1"])
def test_health_needs_no_key(simulator: Simulator, path: str) -> None:
    assert simulator.ask("GET", path)[::2] == (200, {"status": "ok"})


def test_models(simulator: Simulator) -> None:
    status, _headers, document = simulator.ask("GET", "/v1/models", **BEARER)
    assert status == 200
    assert document["object"] == "list"
    assert [(model["id"], model["object"], model["owned_by"]) for model in document["data"]] == [
        ("gpt-4", "model", "openai"),
        ("Qwen/Qwen3-0.6B", "model", "openai"),
    ]
    assert simulator.ask("GET", "/v1/models/Qwen%2FQwen3-0.6B", **BEARER)[2]["id"] == "Qwen/Qwen3-0.6B"
    status, _headers, document = simulator.ask("GET", "/v1/models/gpt-5", **BEARER)
    assert (status, document["error"]["code"]) == (404, "model_not_found")


def test_chat_counts_words(simulator: Simulator) -> None:
    status, headers, document = simulator.chat()
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert (document["object"], document["model"]) == ("chat.completion", "gpt-4")
    (choice,) = document["choices"]
    assert (choice["message"]["role"], choice["finish_reason"]) == ("assistant", "stop")
    words = len(choice["message"]["content"].split())
    assert document["usage"] == {"prompt_tokens": 5, "completion_tokens": words, "total_tokens": 5 + words}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_answer_is_cut_at_the_limit(simulator: Simulator, name: str) -> None:
    document = simulator.chat({**CHAT, name: 3})[2]
    assert len(document["choices"][0]["message"]["content"].split()) == document["usage"]["completion_tokens"] == 3
    assert document["choices"][0]["finish_reason"] == "length"


def test_parts_of_a_message_are_counted(simulator: Simulator) -> None:
    parts = [{"type": "text", "text": "one two"}, {"type": "image_url", "image_url": {"url": "x y z"}}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": None}]
    assert simulator.chat({"model": "gpt-4", "messages": messages})[2]["usage"]["prompt_tokens"] == 2


def test_completions(simulator: Simulator) -> None:
    status, _headers, document = simulator.ask(
        "POST", "/v1/completions", {"model": "gpt-4", "prompt": ["a b", "c"], "max_tokens": 2}, **BEARER
    )
    assert (status, document["object"], document["choices"][0]["text"]) == (200, "text_completion", "This is")
    assert document["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    prompt = {"model": "gpt-4", "prompt": [11, 12], "max_tokens": 2, "stream": True}
    _status, headers, text = simulator.ask("POST", "/v1/completions", prompt, **BEARER)
    events = events_of(text)
    assert headers["content-type"] == "text/event-stream"
    assert "".join(event["choices"][0]["text"] for event in events) == "This is"
    assert not any("usage" in event for event in events)
    text = simulator.ask("POST", "/v1/completions", {**prompt, "stream_options": {"include_usage": True}}, **BEARER)[2]
    assert events_of(text)[-1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}


def test_a_stream_tells_its_usage_only_when_asked(simulator: Simulator) -> None:
    status, headers, text = simulator.chat({**CHAT, "stream": True})
    assert (status, headers["content-type"], headers["transfer-encoding"]) == (200, "text/event-stream", "chunked")
    events = events_of(text)
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert len({event["id"] for event in events}) == 1
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert (
        "".join(event["choices"][0]["delta"].get("content", "") for event in events)
        == simulator.chat()[2]["choices"][0]["message"]["content"]
    )
    assert [event["choices"][0]["finish_reason"] for event in events] == [None] * (len(events) - 1) + ["stop"]
    assert not any("usage" in event for event in events)
    asked = events_of(simulator.chat({**CHAT, "stream": True, "stream_options": {"include_usage": True}})[2])
    assert asked[-1]["usage"] == simulator.chat()[2]["usage"]


def test_a_stream_that_was_asked_for_usage_ends_with_it_alone(simulator: Simulator) -> None:
    events = events_of(simulator.chat({**CHAT, "stream": True, "stream_options": {"include_usage": True}})[2])
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["prompt_tokens"] == 5
    assert all(event["usage"] is None and event["choices"] for event in events[:-1])


def test_each_event_is_a_chunk_of_its_own_and_the_connection_stays(simulator: Simulator) -> None:
    body = json.dumps({**CHAT, "stream": True, "max_tokens": 2}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Length: {len(body)}\r\n"
    )
    answer = simulator.raw(head.encode() + b"\r\n" + body + head.encode() + b"Connection: close\r\n\r\n" + body)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
    _head, _blank, rest = answer.partition(b"\r\n\r\n")
    chunks = []
    while True:
        size, _line, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        chunk, rest = rest[:length], rest[length + 2 :]
        if not length:
            break
        chunks.append(chunk)
    assert len(chunks) == 5
    assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in chunks)
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


def test_http_1_0_gets_a_stream_that_ends_with_the_connection(simulator: Simulator) -> None:
    body = json.dumps({**CHAT, "stream": True}).encode()
    answer = simulator.raw(
        f"POST /v1/chat/completions HTTP/1.0\r\nAuthorization: Bearer {KEY}\r\n".encode()
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    assert b"chunked" not in answer
    assert answer.endswith(b"data: [DONE]\n\n")


def test_a_chunked_body(simulator: Simulator) -> None:
    body = json.dumps(CHAT).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        "Transfer-Encoding: chunked\r\n"
    ).encode()
    chunked = b"7;name=value\r\n%b\r\n%X\r\n%b\r\n0\r\nTrailer: x\r\n\r\n" % (body[:7], len(body) - 7, body[7:])
    answer = simulator.raw(head + b"\r\n" + chunked + head + b"Connection: close\r\n\r\n" + chunked)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2


@pytest.mark.parametrize(
    "body", [b"zz\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n", b"1\r\n{}\r\n0\r\n\r\n", b"2000001\r\n"]
)
def test_a_broken_chunked_body_is_refused_and_ends_the_connection(simulator: Simulator, body: bytes) -> None:
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    ).encode()
    answer = simulator.raw(head + body)
    assert re.match(rb"HTTP/1\.1 (400|413) ", answer)
    assert b"Connection: close" in answer


@pytest.mark.parametrize(
    "lengths",
    [b"Content-Length: x\r\n", b"Content-Length: -1\r\n", b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"],
)
def test_a_body_without_a_clear_end_is_refused(simulator: Simulator, lengths: bytes) -> None:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n".encode()
    assert simulator.raw(head + lengths + b"\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("header", ["Authorization", "x-api-key", "X-Provider-Api-Key"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/v1/completions"])
def test_the_key_in_each_header_that_may_carry_it(simulator: Simulator, header: str, path: str) -> None:
    prefix = "Bearer " if header == "Authorization" else ""
    method, body = ("GET", None) if path == "/v1/models" else ("POST", {**CHAT, "prompt": "Hello"})
    assert simulator.ask(method, path, body, **{header: prefix + KEY})[0] == 200
    status, _headers, document = simulator.ask(method, path, body, **{header: prefix + KEY + "x"})
    assert (status, document["error"]["type"], document["error"]["code"]) == (
        401,
        "authentication_error",
        "invalid_api_key",
    )
    status, _headers, document = simulator.ask(method, path, body)
    assert (status, document["error"]["type"], document["error"]["code"]) == (
        401,
        "authentication_error",
        "missing_api_key",
    )


@pytest.mark.parametrize("value", [f"Basic {KEY}", KEY, "Bearer", "Bearer \xe9"])
def test_a_key_that_is_not_a_bearer_token(simulator: Simulator, value: str) -> None:
    status, _headers, document = simulator.chat(Authorization=value)
    assert (status, document["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"\xff", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        ({**CHAT, "model": "gpt-5"}, 404, "model_not_found"),
        ({**CHAT, "model": ""}, 400, "missing_model"),
        ({"model": "gpt-4"}, 400, "invalid_messages"),
        ({"model": "gpt-4", "messages": []}, 400, "invalid_messages"),
        ({"model": "gpt-4", "messages": ["hello"]}, 400, "invalid_messages"),
        ({**CHAT, "stream": "yes"}, 400, "invalid_stream"),
        ({**CHAT, "stream_options": 1}, 400, "invalid_stream_options"),
        ({**CHAT, "max_tokens": 0}, 400, "invalid_max_tokens"),
    ],
)
def test_bad_requests(simulator: Simulator, body: t.Any, status: int, code: str) -> None:
    found, _headers, document = simulator.chat(body)
    assert (found, document["error"]["code"]) == (status, code)
    assert document["error"]["message"]


def test_paths_and_methods(simulator: Simulator) -> None:
    assert simulator.ask("GET", "/v1/chat/completions", **BEARER)[0] == 405
    assert simulator.ask("POST", "/v1/models", {}, **BEARER)[0] == 405
    assert simulator.ask("GET", "/v2", **BEARER)[2]["error"]["code"] == "unknown_url"
    assert simulator.ask("DELETE", "/v1/models", **BEARER)[::2][0] == 501
    assert simulator.raw(b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 Bad Request")


@pytest.mark.parametrize(
    ("prefix", "path"),
    [
        ("/api/v1", "/api/v1/chat/completions"),
        ("/", "/chat/completions"),
        ("/v1beta/a:b", "/v1beta/a%3Ab/chat/completions"),
    ],
)
def test_the_paths_of_another_prefix(start: Callable[..., Simulator], prefix: str, path: str) -> None:
    simulator = start(f"--prefix={prefix}", "--admin-port=0")
    assert simulator.ask("POST", path, CHAT, **BEARER)[0] == 200
    # Checks ask the simulator itself without a prefix.
    assert simulator.chat()[0] == 200
    assert simulator.ask("POST", "/elsewhere" + path, CHAT, **BEARER)[0] == 404
    assert simulator.ask("GET", "/health")[0] == 200
    assert [count["path"] for count in simulator.admin("GET", "/counters")[1]["counts"] if count["status"] == 200] == [
        "/v1/chat/completions"
    ]


def test_usage_on_request(simulator: Simulator) -> None:
    controls = {"x-simulator-prompt-tokens": "20", "x-simulator-completion-tokens": "10"}
    usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    assert simulator.chat(**controls)[2]["usage"] == usage
    asked = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    assert events_of(simulator.chat(asked, **controls)[2])[-1]["usage"] == usage


def test_delay_on_request(simulator: Simulator) -> None:
    start = time.monotonic()
    assert simulator.chat(**{"x-simulator-delay": "0.3"})[0] == 200
    assert 0.3 <= time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("status", "kind"), [(429, "rate_limit_error"), (500, "server_error"), (503, "server_error"), (529, "server_error")]
)
def test_failure_on_request(simulator: Simulator, status: int, kind: str) -> None:
    found, _headers, document = simulator.chat(**{"x-simulator-status": str(status)})
    assert (found, document["error"]["type"], document["error"]["code"]) == (status, kind, "simulated_failure")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt-tokens", "many"),
        ("completion-tokens", "-1"),
        ("delay", "nan"),
        ("delay", "601"),
        ("status", "200"),
        ("status", "1e3"),
        ("echo", "body"),
    ],
)
def test_malformed_controls(simulator: Simulator, name: str, value: str) -> None:
    status, _headers, document = simulator.chat(**{f"x-simulator-{name}": value})
    assert (status, document["error"]["code"]) == (400, "invalid_control")
    assert name in document["error"]["message"]


def test_received_headers_without_keys(simulator: Simulator) -> None:
    token = "the-token-of-a-caller"
    sent = {
        "x-simulator-echo": "headers",
        "X-MaaS-User": "alice",
        "x-api-key": token,
        "Cookie": token,
        "x-copy": f"my {KEY}",
    }
    status, headers, _document = simulator.chat(**sent)
    received = json.loads(headers["x-simulator-received-headers"])
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    assert status == 200
    assert received["x-maas-user"] == "alice"
    assert received["authorization"] == {"scheme": "Bearer", "sha256": digest}
    assert received["x-api-key"] == {"scheme": "", "sha256": hashlib.sha256(token.encode()).hexdigest()}
    assert KEY not in str(headers)
    assert token not in str(headers)
    assert "x-simulator-received-headers" not in simulator.chat()[1]


def test_received_headers_of_refused_and_streamed_requests(simulator: Simulator) -> None:
    echo = {"x-simulator-echo": "headers"}
    status, headers, _document = simulator.ask("GET", "/v1/models", **echo)
    assert status == 401
    assert "authorization" not in json.loads(headers["x-simulator-received-headers"])
    assert "authorization" in json.loads(
        simulator.chat({**CHAT, "stream": True}, **echo)[1]["x-simulator-received-headers"]
    )


def test_the_log_has_a_line_a_request_without_keys_and_bodies(start: Callable[..., Simulator]) -> None:
    simulator = start()
    simulator.chat({**CHAT, "model": "gpt-4", "messages": [{"role": "user", "content": "a-private-word"}]})
    simulator.ask("GET", f"/v1/models?key={KEY}", **{"x-api-key": KEY})
    simulator.ask("GET", "/v1/models%0aforged", **BEARER)
    simulator.ask("GET", "/health")
    # Each is written after its answer, in any order.
    for path in ("completions", "models", "models.forged"):
        simulator.logged(rf"/v1/\S*{path} \d")
    models, forged, completions = sorted(re.findall(r"(?m)^(?:GET|POST) .*$", simulator.log))
    assert re.fullmatch(
        r"POST /v1/chat/completions 200 [0-9.]+ms model=gpt-4 stream=false prompt_tokens=1 completion_tokens=\d+",
        completions,
    )
    assert re.fullmatch(r"GET /v1/models 200 [0-9.]+ms ", models)
    assert forged.startswith("GET /v1/models?forged 404")
    assert KEY not in simulator.log
    assert "a-private-word" not in simulator.log


def test_defaults_of_the_command_line(start: Callable[..., Simulator]) -> None:
    simulator = start(
        "--prompt-tokens=7", "--completion-tokens=3", "--delay=0.2", "--failure-rate=0.5", "--failure-status=503"
    )
    begin = time.monotonic()
    answers = [simulator.chat() for _number in range(6)]
    assert time.monotonic() - begin >= 1.2
    assert [status for status, _headers, _document in answers] == [200, 503] * 3
    assert answers[0][2]["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert simulator.ask("GET", "/health")[0] == 200


@pytest.mark.parametrize(
    "argument",
    ["--delay=-1", "--failure-rate=2", "--failure-status=200", "--port=70000", "--key-file=/nowhere", "--prefix=v1/"],
)
def test_bad_arguments_end_the_process(argument: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY, encoding="ascii")
    command = [
        sys.executable,
        str(PROGRAM),
        "--host=127.0.0.1",
        "--port=0",
        "--provider=p",
        "--model=m",
        f"--key-file={tmp_path / 'key'}",
        argument,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert argument.partition("=")[0] in ended.stderr
    assert "Traceback" not in ended.stderr


def test_sigterm_lets_requests_finish(start: Callable[..., Simulator]) -> None:
    # The requests that follow are all in this time.
    simulator = start("--grace=2")
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=30)
    connection.request("POST", "/v1/chat/completions", json.dumps(CHAT), {**BEARER, "x-simulator-delay": "3"})
    time.sleep(0.3)
    os.kill(simulator.process.pid, signal.SIGTERM)
    time.sleep(0.1)
    assert simulator.ask("GET", "/ready")[0] == 503
    status, headers, _document = simulator.chat()
    assert (status, headers["connection"]) == (200, "close")
    assert connection.getresponse().status == 200
    assert simulator.process.wait(30) == 0


def test_the_openai_sdk(simulator: Simulator) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{simulator.port}/v1", api_key=KEY, max_retries=0)
    assert [model.id for model in client.models.list()] == ["gpt-4", "Qwen/Qwen3-0.6B"]
    assert client.models.retrieve("gpt-4").owned_by == "openai"
    answer = client.chat.completions.create(**CHAT)
    assert answer.choices[0].message.content
    assert answer.usage.prompt_tokens == 5
    for options, usage in (({}, None), ({"stream_options": {"include_usage": True}}, answer.usage)):
        chunks = list(client.chat.completions.create(**CHAT, stream=True, **options))
        assert (
            "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            == answer.choices[0].message.content
        )
        assert chunks[-1].usage == usage
    assert client.completions.create(model="gpt-4", prompt="Hello").choices[0].text
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**{**CHAT, "model": "gpt-5"})
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-wrong").models.list()
    with pytest.raises(openai.RateLimitError) as refusal:
        client.with_options(default_headers={"x-simulator-status": "429"}).chat.completions.create(**CHAT)
    assert refusal.value.response.headers["retry-after"] == "1"
    assert refusal.value.request_id.startswith("req_")
    # By default the SDK asks for base64 and turns it into numbers.
    embeddings = client.embeddings.create(model="gpt-4", input=["Hello", "there you"])
    assert [len(item.embedding) for item in embeddings.data] == [256, 256]
    numbers = client.embeddings.create(model="gpt-4", input=["Hello", "there you"], encoding_format="float")
    assert [item.embedding for item in numbers.data] == [pytest.approx(item.embedding) for item in embeddings.data]
    assert embeddings.usage.total_tokens == 3
    with pytest.raises(openai.APIError) as error:
        list(
            client.with_options(default_headers={"x-simulator-break": "event"}).chat.completions.create(
                **CHAT, stream=True
            )
        )
    assert error.value.code == "simulated_failure"
    with pytest.raises(openai.APIConnectionError):
        client.with_options(default_headers={"x-simulator-break": "headers"}).chat.completions.create(**CHAT)


@pytest.mark.parametrize("file", sorted(FILES.glob("*.py")), ids=lambda file: file.name)
def test_the_program_is_written_in_python_3_9(file: Path) -> None:
    ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_a_simulator_without_a_key_asks_for_none_and_shows_none(start: Callable[..., Simulator]) -> None:
    simulator = start("--no-key", "--admin-port=0")
    assert simulator.ask("POST", "/v1/chat/completions", CHAT)[0] == 200
    status, headers, _document = simulator.chat(**{"x-simulator-echo": "headers"})
    assert status == 200
    assert KEY not in headers["x-simulator-received-headers"]
    counters = simulator.admin("GET", "/counters")[1]
    assert counters["keys"] == []
    assert [count["key"] for count in counters["counts"]] == [""]


@pytest.mark.parametrize(
    "arguments", [[], ["--no-key", "--key-file=/dev/null"], ["--no-key", "--key-header=authorization"]]
)
def test_that_no_key_is_wanted_must_be_said(arguments: list[str]) -> None:
    command = [sys.executable, "-B", str(PROGRAM), "--provider=p", "--model=m", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "--no-key" in ended.stderr
