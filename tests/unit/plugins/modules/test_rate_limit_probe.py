# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Callable

import pytest
from loopback import Loopback, Reply, Request, completion, message, message_events, named

TOKEN = "a-token-that-must-not-show"
WINDOW = 4
RunModule = Callable[..., dict[str, t.Any]]


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which only sleeping takes time: no window ends while a busy machine sends requests."""
    now = [1_000_000_000.5]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    for clock in ("time", "monotonic"):
        monkeypatch.setattr(time, clock, lambda: now[0])


def limited(limit: int) -> Callable[[Request], Reply]:
    """Plays a gateway that limits tokens in windows of the clock, for a simulator that takes its usage from the
    headers.
    """
    counters: dict[int, int] = {}

    def answer(request: Request) -> Reply:
        window = int(time.time() // WINDOW)
        if counters.get(window, 0) >= limit:
            return Reply(429, b"", {"X-RateLimit-Reset": str(WINDOW - int(time.time() % WINDOW)), "X-Other": "1"})
        tokens = int(request.headers["x-simulator-prompt-tokens"]) + int(
            request.headers["x-simulator-completion-tokens"]
        )
        counters[window] = counters.get(window, 0) + tokens
        return Reply(200, completion(tokens=tokens))

    return answer


def arguments(loopback: Loopback, **more: t.Any) -> dict[str, t.Any]:
    common = {
        "url": loopback.url,
        "token": TOKEN,
        "model": "gpt-4",
        "limit": 100,
        "window": WINDOW,
        "simulated_tokens": 30,
        "pause": 0.02,
    }
    return {**common, **more}


def test_a_limit_and_its_recovery(loopback: Loopback, run_module: RunModule) -> None:
    loopback.answer = limited(100)
    result = run_module("rate_limit_probe", arguments(loopback, id="free", name="Limit of tier free"))
    assert result["statuses"] == [200, 200, 200, 200, 429, 429]
    assert (result["allowed_requests"], result["tokens_spent"], result["expected_requests"]) == (
        4,
        120,
        {"minimum": 4, "maximum": 4},
    )
    assert result["limit_headers"].keys() == {"x-ratelimit-reset"}
    assert 0 < result["recovered_after"] < WINDOW + 1.5
    assert [(check["id"], check["name"], check["status"]) for check in result["checks"]] == [
        ("free", "Limit of tier free", "passed"),
        ("free-recovery", "Limit of tier free: recovery", "passed"),
    ]
    assert TOKEN not in json.dumps(result)


@pytest.mark.parametrize(("counted_there", "status"), [(True, "passed"), (False, "failed")])
def test_the_limit_holds_elsewhere(loopback: Loopback, run_module: RunModule, counted_there: bool, status: str) -> None:
    here = limited(100)
    loopback.answer = lambda request: (
        here(request) if counted_there or request.path.startswith("/v1") else Reply(200, completion())
    )
    elsewhere = [{"model": "other"}, {"base_path": "/external/openai", "operation": "embeddings"}]
    options = {"elsewhere": elsewhere, "wait_for_recovery": False, "fail_on_mismatch": False, "id": "free"}
    result = run_module("rate_limit_probe", arguments(loopback, **options))
    check = {check["id"]: check for check in result["checks"]}["free-elsewhere"]
    assert check["status"] == status
    assert check["expected"] == "429 for chat_completions of other, embeddings of gpt-4 at /external/openai too"
    assert [request.path for request in loopback.requests[-2:]] == [
        "/v1/chat/completions",
        "/external/openai/v1/embeddings",
    ]
    assert [request.body["model"] for request in loopback.requests[-2:]] == ["other", "gpt-4"]


def test_elsewhere_is_not_asked_before_the_limit_is_reached(loopback: Loopback, run_module: RunModule) -> None:
    loopback.answer = limited(10**9)
    result = run_module(
        "rate_limit_probe", arguments(loopback, max_requests=6, elsewhere=[{"model": "other"}], fail_on_mismatch=False)
    )
    assert [check["status"] for check in result["checks"]] == ["failed", "skipped", "skipped"]
    assert len(loopback.requests) == 6


def test_no_limit_fails_within_the_requests_allowed(loopback: Loopback, run_module: RunModule) -> None:
    loopback.answer = limited(10**9)
    result = run_module("rate_limit_probe", arguments(loopback, max_requests=6))
    assert result["failed"]
    assert "6 calls with 180 tokens passed, none refused" in result["msg"]
    assert [check["status"] for check in result["checks"]] == ["failed", "skipped"]
    assert len(loopback.requests) == 6


def test_a_request_limit_of_messages(loopback: Loopback, run_module: RunModule) -> None:
    def answer(request: Request) -> Reply:
        if len(loopback.requests) > 3:
            error = {"type": "error", "error": {"type": "rate_limit_error", "message": "3 requests are allowed"}}
            return Reply(
                429,
                error,
                {
                    "X-RateLimit-Limit": "3, 3;w=60",
                    "X-RateLimit-Remaining": "0",
                    "X-RateLimit-Reset": "9",
                    "Retry-After": "9",
                },
            )
        return Reply(200, parts=named(message_events())) if request.body.get("stream") else Reply(200, message())

    loopback.answer = answer
    options = {
        "operation": "messages",
        "base_path": "/external/anthropic",
        "stream": True,
        "limit": 10**6,
        "request_limit": 3,
        "window": 60,
    }
    # Neither the clock nor a window's end matter here.
    options.update(window_alignment="first_request", wait_for_recovery=False, simulated_tokens=None)
    result = run_module("rate_limit_probe", arguments(loopback, **options))
    assert result["statuses"] == [200, 200, 200, 429, 429]
    assert result["usage"] == {"prompt_tokens": 60, "completion_tokens": 30, "total_tokens": 90}
    assert (result["refusal"]["exhausted"], result["refusal"]["retry_after"]) == ("requests", 9)
    assert result["refusal"]["api_error"]["dialects"] == ["anthropic"]
    assert (result["checks"][0]["name"], result["checks"][0]["status"]) == ("Rate limit", "passed")
    request = loopback.requests[0]
    assert (request.path, request.body["stream"], request.body["max_tokens"]) == (
        "/external/anthropic/v1/messages",
        True,
        20,
    )
    assert TOKEN not in json.dumps(result)


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({}, ("20", "10")),
        ({"counted_tokens": "input"}, ("30", "0")),
        ({"counted_tokens": "output"}, ("0", "30")),
        ({"operation": "embeddings"}, ("30", "0")),
    ],
)
def test_the_usage_that_a_simulator_is_asked_to_report(
    loopback: Loopback, run_module: RunModule, options: dict[str, t.Any], tokens: tuple[str, str]
) -> None:
    loopback.answer = lambda request: Reply(503, b"")
    run_module("rate_limit_probe", arguments(loopback, **options, window_alignment="first_request"))
    headers = loopback.requests[0].headers
    assert (headers["x-simulator-prompt-tokens"], headers["x-simulator-completion-tokens"]) == tokens


def test_without_recovery(loopback: Loopback, run_module: RunModule) -> None:
    loopback.answer = limited(50)
    result = run_module("rate_limit_probe", arguments(loopback, wait_for_recovery=False, fail_on_mismatch=False))
    assert [check["status"] for check in result["checks"]] == ["failed", "skipped"]
    assert result["checks"][1]["observed"] == "it is not waited for"
    assert result["checks"][0]["observed"] == "2 calls with 60 tokens passed, then 429"
    assert result["recovered_after"] is None


@pytest.mark.parametrize(
    ("check_mode", "skip", "reason"),
    [(True, "", "check mode sends no requests"), (False, "no simulator", "no simulator")],
)
def test_skipped(loopback: Loopback, run_module: RunModule, check_mode: bool, skip: str, reason: str) -> None:
    result = run_module("rate_limit_probe", arguments(loopback, skip=skip), check_mode=check_mode)
    assert [(check["status"], check["observed"]) for check in result["checks"]] == [("skipped", reason)] * 2
    assert loopback.requests == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit: 0 is too little; give at least 1"),
        (
            {"simulated_tokens": 1},
            "max_requests: 30 calls of 1 tokens cannot spend 100 tokens and be refused; give more of either",
        ),
        ({"limit": None}, "limit: give it or request_limit, or both"),
        ({"request_limit": 0}, "request_limit: 0 is too little; give at least 1"),
        (
            {"limit": None, "request_limit": 29},
            "max_requests: 30 calls cannot spend 29 requests and be refused; give more",
        ),
        ({"url": "x"}, "url: 'x' is not an absolute URL"),
        ({"model": ""}, "model: name the model"),
    ],
)
def test_wrong_options(loopback: Loopback, run_module: RunModule, options: dict[str, t.Any], message: str) -> None:
    result = run_module("rate_limit_probe", arguments(loopback, **options))
    assert result["failed"]
    assert message in result["msg"]
    assert loopback.requests == []
