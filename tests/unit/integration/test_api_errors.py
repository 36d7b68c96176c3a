# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import json
import typing as t

import api_errors
import pytest

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
OPENAI = {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": "no"}}
ANTHROPIC = {"type": "error", "error": {"type": "invalid_request_error", "message": "No."}}
JSON = {"content-type": "application/json"}


def found(body: t.Any, headers: t.Any = JSON, path: str = CHAT, status: int = 400, **arguments: t.Any) -> list[str]:
    return api_errors.problems(
        status, headers, body if isinstance(body, bytes) else json.dumps(body).encode(), path, **arguments
    )


def openai(**changes: t.Any) -> dict[str, t.Any]:
    return {"error": {name: value for name, value in {**OPENAI["error"], **changes}.items() if value is not ...}}


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 599])
@pytest.mark.parametrize(
    "headers", [JSON, {"Content-Type": "application/json; charset=utf-8"}, [("content-type", "application/json")]]
)
def test_an_error_in_the_clients_api_has_no_problem(status: int, headers: object) -> None:
    assert found(OPENAI, headers, status=status) == []
    assert found(openai(code=429, param="model"), headers, status=status) == []
    assert found(OPENAI, headers, "/v1/messages-of-mine", status=status) == []
    assert found(ANTHROPIC, headers, MESSAGES, status=status) == []
    assert found(ANTHROPIC, headers, "/v1/messages/count_tokens?beta=true", status=status) == []
    assert found(ANTHROPIC, headers, "/v1/models", status=status, request_headers=["Anthropic-Version"]) == []


@pytest.mark.parametrize("status", [100, 200, 302, 399])
def test_below_400_nothing_is_looked_at(status: int) -> None:
    assert found(b"\xff", {}, status=status) == []


@pytest.mark.parametrize(
    ("body", "headers", "path", "word"),
    [
        (OPENAI, {}, CHAT, "content-type is missing"),
        (OPENAI, {"content-type": "text/plain"}, CHAT, "text/plain instead of"),
        (OPENAI, {"content-type": "application/json-seq"}, CHAT, "json-seq instead of"),
        (OPENAI, [("content-type", "application/json"), ("Content-Type", "text/html")], CHAT, "text/html"),
        (OPENAI, {"content-type": "application/json; charset=latin-1"}, CHAT, "JSON is UTF-8"),
        (OPENAI, {**JSON, "content-encoding": "gzip"}, CHAT, "content-encoding gzip is left"),
        (OPENAI, {**JSON, "content-length": "5"}, CHAT, "content-length is 5"),
        (openai(message=""), JSON, CHAT, "error.message is empty"),
        (openai(message=" "), JSON, CHAT, "error.message is empty"),
        (openai(message=None), JSON, CHAT, "error.message is no string"),
        (openai(type=...), JSON, CHAT, "error.type is no string"),
        (openai(param=...), JSON, CHAT, "error has no param"),
        (openai(code=...), JSON, CHAT, "error has no code"),
        (openai(code=True), JSON, CHAT, "error.code"),
        (openai(param=[]), JSON, CHAT, "error.param"),
        (ANTHROPIC, JSON, CHAT, "error has no param"),
        (OPENAI, JSON, MESSAGES, "type is not error"),
        ({"type": "error", "error": "No."}, JSON, MESSAGES, "no object error"),
        ({"type": "error", "error": {"type": "", "message": "No."}}, JSON, MESSAGES, "error.type is empty"),
        ([], JSON, CHAT, "no object error"),
        ("No.", JSON, MESSAGES, "type is not error"),
        (b"", JSON, CHAT, "no JSON"),
        (b"No.", JSON, CHAT, "no JSON"),
        (b'{"error": NaN}', JSON, CHAT, "NaN"),
        (b'{"error": {}, "error": {}}', JSON, CHAT, "twice"),
        (b"[" * 100_000, JSON, CHAT, "no JSON"),
        (json.dumps(OPENAI).encode() + b"{}", JSON, CHAT, "no JSON"),
        (json.dumps(OPENAI).replace("No.", "N\u00f6.").encode("latin-1"), JSON, CHAT, "no UTF-8"),
        # No test's name has the time in it: pytest-xdist refuses those that differ.
        (gzip.compress(json.dumps(OPENAI).encode(), mtime=0), JSON, CHAT, "no UTF-8"),
    ],
)
def test_each_problem_is_the_only_one(body: object, headers: object, path: str, word: str) -> None:
    (problem, *others) = found(body, headers, path)
    assert word in problem
    assert len(others) == (1 if (body, path) == (ANTHROPIC, CHAT) else 0)


def test_lengths_that_contradict_each_other() -> None:
    length = str(len(json.dumps(OPENAI)))
    assert found(OPENAI, {**JSON, "content-length": length}) == []
    assert len(found(OPENAI, [*JSON.items(), ("content-length", length), ("content-length", length)])) == 1
    assert len(found(OPENAI, {**JSON, "content-length": length, "transfer-encoding": "chunked"})) == 1


def test_an_answer_to_head_has_no_body() -> None:
    assert found(b"", {**JSON, "content-length": "50"}, method="HEAD") == []
    assert len(found(OPENAI, method="HEAD")) == 1


def test_what_the_client_accepts_is_told() -> None:
    assert "(the request accepts text/html)" in found(OPENAI, {"content-type": "text/html"}, accept="text/html")[0]
