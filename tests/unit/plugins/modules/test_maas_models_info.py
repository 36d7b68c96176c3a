# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from loopback import Loopback, Reply

RunModule = Callable[..., dict[str, t.Any]]
LISTED = {
    "object": "list",
    "data": [{"id": "gpt-4", "owned_by": "openai", "created": 1, "ready": True}, {"id": "llama"}],
}


@pytest.mark.parametrize("check_mode", [False, True])
def test_models(loopback: Loopback, run_module: RunModule, check_mode: bool) -> None:
    loopback.answer = lambda request: Reply(200, LISTED)
    result = run_module(
        "maas_models_info", {"gateway_url": f"{loopback.url}/v1", "token": "a-token"}, check_mode=check_mode
    )
    assert result["models"] == [
        {"id": "gpt-4", "owned_by": "openai", "created": 1, "ready": True},
        {"id": "llama", "owned_by": "", "created": None},
    ]
    assert not result["changed"]
    assert (loopback.requests[0].path, loopback.requests[0].headers["authorization"]) == (
        "/v1/models",
        "Bearer a-token",
    )


def test_models_of_maas_api(loopback: Loopback, run_module: RunModule) -> None:
    inside = {
        "id": "facebook/opt-125m",
        "created": 2,
        "owned_by": "llm",
        "url": "https://maas.example.com/llm/opt",
        "ready": False,
        "kind": "llmisvc",
    }
    outside = {"id": "gpt-4", "created": 1, "object": "model", "owned_by": "openai", "ready": True}
    loopback.answer = lambda request: Reply(200, {"object": "list", "data": [inside, outside]})
    result = run_module("maas_models_info", {"url": loopback.url, "token": "a-token"})
    assert result["models"] == [
        {
            "id": "facebook/opt-125m",
            "owned_by": "llm",
            "created": 2,
            "url": "https://maas.example.com/llm/opt",
            "ready": False,
        },
        {"id": "gpt-4", "owned_by": "openai", "created": 1, "ready": True},
    ]


def test_maas_api_without_models(loopback: Loopback, run_module: RunModule) -> None:
    loopback.answer = lambda request: Reply(200, {"data": None, "object": "list"})
    assert run_module("maas_models_info", {"url": loopback.url, "token": "a-token"})["models"] == []


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            Reply(401, {"error": {"message": "No token"}}),
            "status 401: the gateway does not accept the token; issue a new one",
        ),
        (Reply(403, {}), "status 403: the token belongs to no tier"),
        (
            Reply(404, b""),
            "status 404: nothing serves the list of models there; check the url, and that the gateway has a route. "
            "The answer: empty",
        ),
        (
            Reply(503, b"no healthy upstream"),
            "status 503: see the logs of the gateway's proxy, and of maas-api where that lists the models. The "
            "answer: no healthy upstream",
        ),
        (Reply(200, b"<html>"), "the answer is no list of models of the OpenAI API; check the url. The answer: <html>"),
        (Reply(200, {"data": ["gpt-4"]}), "the answer is no list of models"),
        (Reply(200, {"data": None}), "the answer is no list of models"),
    ],
)
def test_refusals(loopback: Loopback, run_module: RunModule, reply: Reply, message: str) -> None:
    loopback.answer = lambda request: reply
    result = run_module("maas_models_info", {"url": loopback.url, "token": "a-token"})
    assert result["failed"]
    assert result["status"] == reply.status
    assert message in result["msg"]


def test_no_gateway(loopback: Loopback, run_module: RunModule) -> None:
    loopback.close()
    result = run_module("maas_models_info", {"url": loopback.url})
    assert "refused; check that the gateway is programmed" in result["msg"]
    assert "status" not in result
