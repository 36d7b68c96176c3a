# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import json
import time
import typing as t
from collections.abc import Callable

import pytest
from loopback import Loopback, Reply, Request, completion, stream

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
    result = run_module("inference_probe", {"url": loopback.url, "token": TOKEN, "model": "gpt-4", "max_tokens": 5, "expect": {"model": ["gpt-4"]}})
    assert not result["changed"]
    assert "failed" not in result
    assert (result["status"], result["text"], result["usage"]["total_tokens"], result["attempts"]) == (200, "Hello there", 30, 1)
    assert [(check["id"], check["status"], check["expected"]) for check in result["checks"]] == [("chat_completions", "passed", "status 200; model gpt-4")]
    assert loopback.requests[0].body["max_tokens"] == 5
    assert TOKEN not in json.dumps(result)


def test_a_mismatch_fails(loopback: Loopback, run_module: RunModule) -> None:
    arguments = {"url": loopback.url, "token": "wrong", "model": "gpt-4", "expect": {"usage": True}}
    result = run_module("inference_probe", arguments)
    assert result["failed"]
    assert result["msg"] == "chat_completions: expected status 200; usage, but observed status 401 (No valid token); no usage"
    assert result["failures"] == [{"expected": "status 200", "observed": "status 401 (No valid token)"}, {"expected": "usage", "observed": "no usage"}]
    assert "failed" not in run_module("inference_probe", {**arguments, "fail_on_mismatch": False})


def test_many_probes(loopback: Loopback, run_module: RunModule) -> None:
    probes = [
        {"id": "stream", "name": "It streams", "hint": "Look there", "stream": True, "expect": {"usage": True, "minimum_chunks": 2}},
        {"id": "no-token", "token": "", "expect": {"status": [401]}},
        {"id": "skipped", "skip": "there is no such thing"},
        {"id": "unknown", "model": "gpt-5", "expect": {"status": [404], "contains": ["gpt-5"]}},
        {"id": "models", "operation": "models", "expect": {"models": ["gpt-4"]}},
        {"id": "wrong", "expect": {"status": [500]}},
    ]
    result = run_module("inference_probe", {"url": loopback.url, "token": TOKEN, "model": "gpt-4", "probes": probes, "fail_on_mismatch": False})
    statuses = {check["id"]: check["status"] for check in result["checks"]}
    assert statuses == {"stream": "passed", "no-token": "passed", "skipped": "skipped", "unknown": "passed", "models": "passed", "wrong": "failed"}
    assert list(statuses) == [probe["id"] for probe in probes]
    assert result["checks"][0]["name"] == "It streams"
    assert result["checks"][0]["hint"] == "Look there"
    assert result["checks"][2]["observed"] == "there is no such thing"
    assert [probe["id"] for probe in result["probes"]] == ["stream", "no-token", "unknown", "models", "wrong"]
    assert result["probes"][0]["text"] == "Hello"
    assert len(loopback.requests) == 5


def test_probes_are_sent_at_the_same_time(loopback: Loopback, run_module: RunModule) -> None:
    def slowly(request: Request) -> Reply:
        time.sleep(0.4)
        return gateway(request)

    loopback.answer = slowly
    probes = [{"id": str(number)} for number in range(8)]
    started = time.monotonic()
    run_module("inference_probe", {"url": loopback.url, "token": TOKEN, "model": "gpt-4", "probes": probes, "parallel": 8})
    assert time.monotonic() - started < 2


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
    arguments = {"url": loopback.url, "token": TOKEN, "model": "gpt-4", "probes": [{"id": "leak", "expect": {"excludes": [KEY]}}], "fail_on_mismatch": False}
    result = run_module("inference_probe", arguments)
    assert result["checks"][0]["observed"] == "excluded text in header x-leak, the body"
    assert KEY not in json.dumps(result)
    assert TOKEN not in json.dumps(result)


def test_no_gateway_is_a_mismatch(loopback: Loopback, run_module: RunModule) -> None:
    loopback.close()
    result = run_module("inference_probe", {"url": loopback.url, "model": "gpt-4", "fail_on_mismatch": False})
    assert result["status"] is None
    assert "refused" in result["error"]
    assert result["checks"][0]["status"] == "failed"


def test_check_mode_sends_nothing(loopback: Loopback, run_module: RunModule) -> None:
    arguments = {"url": loopback.url, "token": TOKEN, "model": "gpt-4", "probes": [{"id": "a", "expect": {"usage": True}}, {"id": "b"}]}
    result = run_module("inference_probe", arguments, check_mode=True)
    assert [check["status"] for check in result["checks"]] == ["skipped", "skipped"]
    assert result["checks"][0]["expected"] == "status 200; usage"
    assert loopback.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "gateway"}, "url: 'gateway' is not an absolute URL; write one such as"),
        ({"url": "http://127.0.0.1:1", "model": None}, "model: name the model to ask"),
        ({"probes": [{"id": "a"}, {"id": "b", "model": "m", "path": "x"}]}, "probes[1].path: 'x' does not begin with a slash"),
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
