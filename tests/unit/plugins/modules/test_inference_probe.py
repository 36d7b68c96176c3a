# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import json
import threading
import time
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback import Loopback, Reply, Request, completion, message, message_events, named, stream

TOKEN = "a-token-that-must-not-show"
KEY = "sk-a-key-that-must-not-show"
RunModule = Callable[..., dict[str, t.Any]]


def gateway(request: Request) -> Reply:
    """Plays a gateway with one token and one model."""
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        return Reply(401, {"error": {"message": "No valid token"}})
    if request.path == "/v1/models":
        return Reply(200, {"data": [{"id": "gpt-4", "owned_by": "openai", "created": 1}]})
    if request.body["model"] != "gpt-4":
        return Reply(404, {"error": {"message": f"No model {request.body['model']}"}})
    if request.body.get("stream"):
        return Reply(200, parts=stream())
    return Reply(200, completion())


@pytest.fixture(autouse=True)
def _gateway(loopback: Loopback) -> None:
    loopback.answer = gateway


def test_one_request(loopback: Loopback, run_module: RunModule) -> None:
    result = run_module(
        "inference_probe",
        {"url": loopback.url, "token": TOKEN, "model": "gpt-4", "max_tokens": 5, "expect": {"model": ["gpt-4"]}},
    )
    assert not result["changed"]
    assert "failed" not in result
    assert (result["status"], result["text"], result["usage"]["total_tokens"], result["attempts"]) == (
        200,
        "Hello there",
        30,
        1,
    )
    assert [(check["id"], check["status"], check["expected"]) for check in result["checks"]] == [
        ("chat_completions", "passed", "status 200; model gpt-4")
    ]
    assert loopback.requests[0].body["max_tokens"] == 5
    assert TOKEN not in json.dumps(result)


def test_a_mismatch_fails(loopback: Loopback, run_module: RunModule) -> None:
    arguments = {"url": loopback.url, "token": "wrong", "model": "gpt-4", "expect": {"usage": True}}
    result = run_module("inference_probe", arguments)
    assert result["failed"]
    assert (
        result["msg"]
        == "chat_completions: expected status 200; usage, but observed status 401 (No valid token); no usage"
    )
    assert result["failures"] == [
        {"expected": "status 200", "observed": "status 401 (No valid token)"},
        {"expected": "usage", "observed": "no usage"},
    ]
    assert "failed" not in run_module("inference_probe", {**arguments, "fail_on_mismatch": False})


def test_many_probes(loopback: Loopback, run_module: RunModule) -> None:
    probes = [
        {
            "id": "stream",
            "name": "It streams",
            "hint": "Look there",
            "stream": True,
            "expect": {"usage": True, "minimum_chunks": 2},
        },
        {"id": "no-token", "token": "", "expect": {"status": [401]}},
        {"id": "skipped", "skip": "there is no such thing"},
        {"id": "unknown", "model": "gpt-5", "expect": {"status": [404], "contains": ["gpt-5"]}},
        {"id": "models", "operation": "models", "expect": {"models": ["gpt-4"]}},
        {"id": "wrong", "expect": {"status": [500]}},
    ]
    result = run_module(
        "inference_probe",
        {"url": loopback.url, "token": TOKEN, "model": "gpt-4", "probes": probes, "fail_on_mismatch": False},
    )
    statuses = {check["id"]: check["status"] for check in result["checks"]}
    assert statuses == {
        "stream": "passed",
        "no-token": "passed",
        "skipped": "skipped",
        "unknown": "passed",
        "models": "passed",
        "wrong": "failed",
    }
    assert list(statuses) == [probe["id"] for probe in probes]
    assert result["checks"][0]["name"] == "It streams"
    assert result["checks"][0]["hint"] == "Look there"
    assert result["checks"][2]["observed"] == "there is no such thing"
    assert [probe["id"] for probe in result["probes"]] == ["stream", "no-token", "unknown", "models", "wrong"]
    assert result["probes"][0]["text"] == "Hello"
    assert len(loopback.requests) == 5


def providers(request: Request) -> Reply:
    """Plays a gateway with a path for each provider, whose answers are of the API that the path is of."""
    api_key = request.headers.get("x-api-key", "")
    if TOKEN not in (api_key, request.headers.get("authorization", "").removeprefix("Bearer ")):
        error = {"type": "authentication_error", "message": "No valid token"}
        return Reply(
            401,
            {"type": "error", "error": error}
            if request.path.endswith("/messages")
            else {"error": {**error, "code": None}},
        )
    if request.path == "/external/anthropic/v1/messages":
        if request.headers.get("anthropic-version") != "2023-06-01" or "max_tokens" not in request.body:
            return Reply(
                400,
                {
                    "type": "error",
                    "error": {"type": "invalid_request_error", "message": "max_tokens or anthropic-version is missing"},
                },
            )
        return Reply(200, parts=named(message_events())) if request.body.get("stream") else Reply(200, message())
    if request.path == "/external/openai/v1/embeddings":
        return Reply(
            200,
            {
                "model": "m",
                "data": [{"embedding": [0.5] * len(request.body["input"])}],
                "usage": {"prompt_tokens": 1, "total_tokens": 1},
            },
        )
    return Reply(404, {"error": {"type": "not_found_error", "message": "No such path", "code": None}})


def test_operations_of_either_api(loopback: Loopback, run_module: RunModule) -> None:
    loopback.answer = providers
    anthropic = {"operation": "messages", "base_path": "/external/anthropic"}
    probes = [
        {**anthropic, "id": "message", "expect": {"usage": True, "model": ["claude-3-sonnet"]}},
        {**anthropic, "id": "api-key", "token_header": "x-api-key", "stream": True, "expect": {"usage": True}},
        {
            **anthropic,
            "id": "no-token",
            "token": "",
            "expect": {"status": [401], "api_error": True, "query": {"error.type": "authentication_error"}},
        },
        {
            "id": "embedding",
            "operation": "embeddings",
            "expect": {"query": {"length(data[0].embedding)": 5}, "usage": True},
        },
        {"id": "unknown", "operation": "completions", "expect": {"status": [404], "api_error": True}},
        {
            "id": "wrong-dialect",
            "operation": "embeddings",
            "path": "/v1/messages",
            "token": "",
            "expect": {"status": [401], "api_error": True},
        },
    ]
    arguments = {
        "url": loopback.url,
        "token": TOKEN,
        "model": "m",
        "base_path": "/external/openai",
        "probes": probes,
        "fail_on_mismatch": False,
    }
    result = run_module("inference_probe", arguments)
    assert {
        check["id"]: (check["status"], check["observed"]) for check in result["checks"] if check["status"] != "passed"
    } == {"wrong-dialect": ("failed", "an error of dialect anthropic (authentication_error: No valid token)")}
    answers = {probe["id"]: probe for probe in result["probes"]}
    usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    assert (answers["message"]["text"], answers["message"]["usage"]) == ("Hello there", usage)
    assert (answers["api-key"]["text"], answers["api-key"]["usage"], answers["api-key"]["api_error"]) == (
        "Hello",
        usage,
        None,
    )
    assert answers["no-token"]["api_error"] == {
        "dialects": ["anthropic"],
        "type": "authentication_error",
        "code": None,
        "message": "No valid token",
    }
    assert all(
        ("authorization" in request.headers) != ("x-api-key" in request.headers)
        for request in loopback.requests
        if TOKEN in str(request.headers)
    )
    assert TOKEN not in json.dumps(result)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (True, "closed the connection before a whole answer came, only 4 events of a stream"),
        (False, "a stream of 3 chunks without message_stop"),
    ],
)
def test_a_stream_that_breaks_off_fails(loopback: Loopback, run_module: RunModule, cut: bool, message: str) -> None:
    loopback.answer = lambda request: Reply(200, parts=named(message_events()[:4]), cut=cut)
    result = run_module("inference_probe", {"url": loopback.url, "operation": "messages", "model": "m", "stream": True})
    assert result["failed"]
    assert message in result["msg"]


def test_many_probes_keep_their_order_and_number(
    loopback: Loopback, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changed = threading.Condition()
    under_way: list[int] = [0]
    most: list[int] = [0]

    def counted(request: Request) -> Reply:
        with changed:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
            changed.notify_all()
            # However busy the machine is.
            changed.wait_for(lambda: most[0] >= 4, timeout=60)
        # Later ones are answered sooner.
        time.sleep(0.03 if int(request.body["model"]) % 2 else 0.06)
        with changed:
            under_way[0] -= 1
        return Reply(200, completion(model=request.body["model"]))

    loopback.answer = counted
    progress = tmp_path / "progress"
    monkeypatch.setenv("EGRESS_AI_GATEWAY_PROGRESS_FILE", str(progress))
    probes = [{"id": str(number), "model": str(number), "expect": {"model": [str(number)]}} for number in range(100)]
    result = run_module("inference_probe", {"url": loopback.url, "probes": probes, "parallel": 12})
    assert [check["id"] for check in result["checks"]] == [probe["id"] for probe in probes]
    assert [probe["model"] for probe in result["probes"]] == [probe["id"] for probe in probes]
    assert 4 <= most[0] <= 12
    lines = progress.read_text().splitlines()
    assert len(lines) == 100
    assert lines[-1].startswith("100 of 100 requests: passed ")


def test_probes_are_sent_at_the_same_time(loopback: Loopback, run_module: RunModule) -> None:
    everyone = threading.Barrier(8, timeout=60)

    def together(request: Request) -> Reply:
        everyone.wait()
        return gateway(request)

    loopback.answer = together
    probes = [{"id": str(number)} for number in range(8)]
    run_module(
        "inference_probe", {"url": loopback.url, "token": TOKEN, "model": "gpt-4", "probes": probes, "parallel": 8}
    )
    assert len(loopback.requests) == 8
    assert not everyone.broken


def test_waiting_repeats_until_it_is_as_expected(loopback: Loopback, run_module: RunModule) -> None:
    numbers = itertools.count(1)
    loopback.answer = lambda request: gateway(request) if next(numbers) > 2 else Reply(503, b"no healthy upstream")
    result = run_module("inference_probe", {"url": loopback.url, "token": TOKEN, "model": "gpt-4", "wait_timeout": 10})
    assert (result["status"], result["attempts"]) == (200, 3)
    assert result["checks"][0]["seconds"] > 1.9


def test_waiting_is_bounded(loopback: Loopback, run_module: RunModule) -> None:
    loopback.answer = lambda request: Reply(503, b"no healthy upstream")
    result = run_module("inference_probe", {"url": loopback.url, "model": "gpt-4", "wait_timeout": 2})
    assert result["failed"]
    assert result["attempts"] == 2


def test_secrets_in_the_answer_are_not_returned(loopback: Loopback, run_module: RunModule) -> None:
    loopback.answer = lambda request: Reply(200, {"leak": f"{KEY} {TOKEN}"}, {"X-Leak": KEY})
    arguments = {
        "url": loopback.url,
        "token": TOKEN,
        "model": "gpt-4",
        "probes": [{"id": "leak", "expect": {"excludes": [KEY]}}],
        "fail_on_mismatch": False,
    }
    result = run_module("inference_probe", arguments)
    assert result["checks"][0]["observed"] == "excluded string in header x-leak, the body"
    assert KEY not in json.dumps(result)
    assert TOKEN not in json.dumps(result)


def test_no_gateway_is_a_mismatch(loopback: Loopback, run_module: RunModule) -> None:
    loopback.close()
    result = run_module("inference_probe", {"url": loopback.url, "model": "gpt-4", "fail_on_mismatch": False})
    assert result["status"] is None
    assert "refused" in result["error"]
    assert result["checks"][0]["status"] == "failed"


def test_check_mode_sends_nothing(loopback: Loopback, run_module: RunModule) -> None:
    arguments = {
        "url": loopback.url,
        "token": TOKEN,
        "model": "gpt-4",
        "probes": [{"id": "a", "expect": {"usage": True}}, {"id": "b"}],
    }
    result = run_module("inference_probe", arguments, check_mode=True)
    assert [check["status"] for check in result["checks"]] == ["skipped", "skipped"]
    assert result["checks"][0]["expected"] == "status 200; usage"
    assert loopback.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "gateway"}, "url: 'gateway' is not an absolute URL; write one such as"),
        ({"url": "http://127.0.0.1:1", "model": None}, "model: name the model to ask"),
        (
            {"probes": [{"id": "a"}, {"id": "b", "model": "m", "path": "x"}]},
            "probes[1].path: 'x' does not begin with a slash",
        ),
        ({"probes": [{"id": "a"}, {"id": "a"}]}, "probes[1].id: 'a' is given twice"),
        ({"probes": [], "parallel": 0}, "parallel: give at least 1"),
        ({"timeout": 0}, "timeout: give at least 1 second"),
        ({"token": TOKEN + "\n"}, "the token holds line breaks"),
    ],
)
def test_wrong_options(run_module: RunModule, arguments: dict[str, t.Any], message: str) -> None:
    result = run_module("inference_probe", {"url": "http://127.0.0.1:1", "model": "gpt-4", **arguments})
    assert result["failed"]
    assert message in result["msg"]
    assert TOKEN not in json.dumps(result)
