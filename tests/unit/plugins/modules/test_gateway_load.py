# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback import Loopback, Reply, Request

RunModule = Callable[..., dict[str, t.Any]]
TOKEN = "good-token"


def guarded(request: Request) -> Reply:
    """A gateway that lets the one token in."""
    if request.headers.get("authorization") == f"Bearer {TOKEN}":
        return Reply(200, {"choices": []})
    return Reply(401, {"error": {"code": "invalid_token", "message": "no"}})


def options(loopback: Loopback, **more: t.Any) -> dict[str, t.Any]:
    return {"url": loopback.url, "token": TOKEN, "model": "gpt-4", "rate": 50, "seconds": 1, "interval": 1, **more}


def test_a_gateway_that_answers(loopback: Loopback, run_module: RunModule) -> None:
    loopback.answer = guarded
    result = run_module("gateway_load", options(loopback))
    assert result["faults"] == []
    assert not result["changed"]
    assert result["figures"]["outcomes"] == {"200": 45}
    assert result["figures"]["refused"] == result["figures"]["open"] == 0
    assert sum(check["requests"] for check in result["checks"]) == 45
    assert 0 < result["figures"]["p50"] <= result["figures"]["p99"]
    assert {request.path for request in loopback.requests} == {"/v1/chat/completions"}
    assert {(request.body["model"], request.body["max_tokens"]) for request in loopback.requests} == {("gpt-4", 1)}
    assert TOKEN not in str(result)


def test_refusals_are_counted_with_their_code(loopback: Loopback, run_module: RunModule) -> None:
    loopback.answer = lambda request: Reply(503, {"error": {"code": "authorization_unavailable"}})
    result = run_module("gateway_load", options(loopback, failed_checks=1))
    assert result["figures"]["refused"] == result["figures"]["requests"]
    assert set(result["figures"]["outcomes"]) == {"503 authorization_unavailable"}
    (fault,) = result["faults"]
    assert "an error rate of up to 100.0%, where 1.0% is the bound" in fault
    assert "times 503 authorization_unavailable" in fault


def test_an_open_gateway_is_a_fault(loopback: Loopback, run_module: RunModule) -> None:
    loopback.answer = lambda request: Reply(200, {"choices": []})
    result = run_module("gateway_load", options(loopback))
    assert result["figures"]["open"] == 5
    assert result["faults"] == ["5 requests without a good token came in"]


def test_a_load_ends_at_a_sign(loopback: Loopback, run_module: RunModule, tmp_path: Path) -> None:
    loopback.answer = guarded
    (tmp_path / "end").touch()
    started = time.monotonic()
    result = run_module("gateway_load", options(loopback, seconds=600, until=str(tmp_path / "end")))
    assert time.monotonic() - started < 30
    assert result["figures"]["requests"] < 100


def test_a_load_ends_when_it_has_failed(loopback: Loopback, run_module: RunModule) -> None:
    loopback.answer = lambda request: Reply(503)
    result = run_module("gateway_load", options(loopback, seconds=600, failed_checks=1))
    assert result["seconds"] < 30
    assert len(result["faults"]) == 1


def test_messages_are_asked_as_anthropics_clients_do(loopback: Loopback, run_module: RunModule) -> None:
    loopback.answer = guarded
    run_module("gateway_load", options(loopback, operation="messages", seconds=1, rate=2))
    assert {request.path for request in loopback.requests} == {"/v1/messages"}
    assert all("anthropic-version" in request.headers for request in loopback.requests)


def test_check_mode_sends_nothing(loopback: Loopback, run_module: RunModule) -> None:
    result = run_module("gateway_load", options(loopback), check_mode=True)
    assert loopback.requests == []
    assert result["faults"] == []


@pytest.mark.parametrize(
    ("option", "value"),
    [("rate", 0), ("rate", 1000), ("parallel", 0), ("seconds", 0), ("maximum_error_rate", 2), ("failed_checks", 0)],
)
def test_options_have_bounds(option: str, value: float, loopback: Loopback, run_module: RunModule) -> None:
    result = run_module("gateway_load", options(loopback, **{option: value}))
    assert result["failed"]
    assert result["msg"].startswith(f"{option}: ")
    assert loopback.requests == []
