# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that the proxies run for each request and answer, on the interpreter that Envoy has."""

from __future__ import annotations

import json
import typing as t

import pytest
from lupa import luajit21
from rendering import rendered

VARIABLES = {
    "ai_gateway_providers": [
        {"name": "openai", "schema": "openai", "simulated": True, "credential": {"value": "k"}, "models": [{"name": "gpt-4"}, {"name": "Qwen/Qwen3-0.6B"}]},
        {"name": "claude", "schema": "anthropic", "simulated": True, "credential": {"value": "k"}, "models": [{"name": "claude-3-sonnet"}]},
    ],
    "ai_gateway_models": [{"name": "facebook/opt-125m", "backend_ref": {"name": "opt", "namespace": "llm", "port": 8000}}],
    "ai_gateway_tiers": [
        {
            "name": "free",
            "level": 0,
            "groups": ["all"],
            "token_limit": {"tokens": 100, "window": "1m"},
            "request_limit": {"requests": 20, "window": "1m"},
            "model_limits": [{"models": ["gpt-4"], "output_token_limit": {"tokens": 7, "window": "1h"}}],
        },
        {"name": "narrow", "level": 1, "groups": ["few"], "token_limit": {"tokens": 5, "window": "24h"}, "models": ["claude-3-sonnet"]},
    ],
}


class Handle:
    """What Envoy gives the program of one request or answer."""

    def __init__(self, lua: t.Any, headers: dict[str, str], body: bytes = b"", metadata: dict[str, t.Any] | None = None) -> None:
        self.sent: tuple[dict[str, str], str] | None = None
        self.values = headers
        self.content = body
        self.kept = metadata if metadata is not None else {}
        self.lua = lua
        self.resumed = 0

    # The names are Envoy's.
    def headers(self, _self: t.Any) -> t.Any:
        got = self.resumed

        def alive() -> dict[str, str]:
            assert got == self.resumed, "object used outside of proper scope"
            return self.values

        return self.lua.table_from(
            {
                "get": lambda _table, name: alive().get(name),
                "replace": lambda _table, name, value: alive().__setitem__(name, value),
                "remove": lambda _table, name: alive().pop(name, None),
            }
        )

    def body(self, _self: t.Any, _always: bool) -> t.Any:
        # The program sleeps until the body is there, and Envoy takes back what it had given.
        self.resumed += 1

        def replace(_table: t.Any, content: bytes | str) -> int:
            self.content = content.encode() if isinstance(content, str) else content
            return len(self.content)

        return self.lua.table_from(
            {
                "length": lambda _table: len(self.content),
                "getBytes": lambda _table, start, length: self.content[start : start + length].decode(),
                "setBytes": replace,
            }
        )

    def streamInfo(self, _self: t.Any) -> t.Any:  # noqa: N802
        metadata = self.lua.table_from(
            {
                "get": lambda _table, _name: self.lua.table_from(self.kept) if self.kept else None,
                "set": lambda _table, _name, key, value: self.kept.__setitem__(key, value),
            }
        )
        return self.lua.table_from({"dynamicMetadata": lambda _table: metadata})

    def respond(self, _self: t.Any, headers: t.Any, body: str) -> None:
        self.sent = (dict(headers.items()), body)

    def as_table(self) -> t.Any:
        return self.lua.table_from({name: getattr(self, name) for name in ("headers", "body", "streamInfo", "respond")})


class Proxy:
    def __init__(self, program: str) -> None:
        self.lua = luajit21.LuaRuntime(unpack_returned_tuples=True)
        self.lua.execute(program)

    def request(self, path: str, tier: str = "free", method: str = "GET", content: bytes = b"", **headers: str) -> Handle:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handle = Handle(self.lua, {":method": method, ":path": path, "x-maas-tier": tier, **named}, content)
        self.lua.globals().envoy_on_request(handle.as_table())
        return handle

    def answer(self, status: int, body: str = "", path: str = "/v1/chat/completions", tier: str = "free", **headers: str) -> Handle:
        asked = self.request(path, tier, "POST")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handle = Handle(self.lua, {":status": str(status), "content-length": str(len(body)), **named}, body.encode(), asked.kept)
        self.lua.globals().envoy_on_response(handle.as_table())
        return handle


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Proxy:
    return Proxy(rendered(tmp_path_factory.mktemp("lua"), "access_policies", "requests.lua.j2", VARIABLES))


def sent(handle: Handle) -> tuple[int, t.Any]:
    assert handle.sent
    headers, body = handle.sent
    assert headers["content-type"] == "application/json"
    return int(headers[":status"]), json.loads(body)


@pytest.mark.parametrize(
    ("path", "rest", "end"),
    [
        ("/v1/chat/completions", "/v1/chat/completions", "*"),
        ("/external/openai/v1/chat/completions?a=b", "/v1/chat/completions?a=b", "openai"),
        ("/external/claude/v1/messages", "/v1/messages", "claude"),
        ("/llm/opt/v1/chat/completions", "/v1/chat/completions", "service.llm.opt.8000"),
    ],
)
def test_paths(proxy: Proxy, path: str, rest: str, end: str) -> None:
    handle = proxy.request(path, method="POST", x_ai_gateway_provider="forged", x_ai_gateway_api="forged")
    assert handle.sent is None
    assert (handle.values[":path"], handle.values["x-ai-gateway-provider"]) == (rest, end)
    assert handle.values["x-ai-gateway-api"] == ("anthropic" if rest == "/v1/messages" else "openai")


def test_a_path_of_nobody_is_refused(proxy: Proxy) -> None:
    status, body = sent(proxy.request("/external/nobody/v1/chat/completions", method="POST"))
    assert (status, body["error"]["code"]) == (404, "unknown_url")
    status, body = sent(proxy.request("/external/nobody/v1/messages", method="POST"))
    assert (status, body["type"], body["error"]["type"]) == (404, "error", "not_found_error")


def identifiers(proxy: Proxy, path: str, tier: str, **headers: str) -> list[str]:
    status, body = sent(proxy.request(path, tier, **headers))
    assert status == 200
    return [model["id"] for model in body["data"]]


def test_each_tier_sees_its_models(proxy: Proxy) -> None:
    assert identifiers(proxy, "/v1/models", "free") == ["gpt-4", "Qwen/Qwen3-0.6B", "claude-3-sonnet", "facebook/opt-125m"]
    assert identifiers(proxy, "/v1/models?limit=9", "narrow") == ["claude-3-sonnet"]
    assert identifiers(proxy, "/v1/models", "none-of-them") == []
    assert identifiers(proxy, "/external/openai/v1/models", "free") == ["gpt-4", "Qwen/Qwen3-0.6B"]
    forbidden, unknown = (sent(proxy.request(f"/external/{name}/v1/models", "narrow")) for name in ("openai", "opened"))
    assert forbidden[0] == unknown[0] == 404
    assert json.dumps(forbidden).replace("openai", "opened") == json.dumps(unknown)
    assert identifiers(proxy, "/llm/opt/v1/models", "free") == ["facebook/opt-125m"]


def test_the_list_in_each_dialect(proxy: Proxy) -> None:
    _status, body = sent(proxy.request("/v1/models", "narrow"))
    assert body == {"object": "list", "data": [{"id": "claude-3-sonnet", "object": "model", "created": 0, "owned_by": "claude"}]}
    _status, body = sent(proxy.request("/v1/models", "narrow", anthropic_version="2023-06-01"))
    assert (body["has_more"], body["first_id"], body["last_id"]) == (False, "claude-3-sonnet", "claude-3-sonnet")
    assert body["data"][0] == {"type": "model", "id": "claude-3-sonnet", "display_name": "claude-3-sonnet", "created_at": "1970-01-01T00:00:00Z"}
    _status, body = sent(proxy.request("/v1/models", "none-of-them", anthropic_version="2023-06-01"))
    assert body == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_a_model_that_a_tier_may_not_use_is_one_that_does_not_exist(proxy: Proxy) -> None:
    assert sent(proxy.request("/v1/models/gpt-4", "free"))[1]["id"] == "gpt-4"
    assert sent(proxy.request("/v1/models/Qwen%2FQwen3-0.6B", "free"))[1]["id"] == "Qwen/Qwen3-0.6B"
    forbidden, unknown = (sent(proxy.request(f"/v1/models/{name}", "narrow")) for name in ("gpt-4", "gpt-5"))
    assert forbidden[0] == unknown[0] == 404
    assert json.dumps(forbidden).replace("gpt-4", "gpt-5") == json.dumps(unknown)


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/models", "POST"), ("/v1/models/gpt-4", "HEAD"), ("/external/openai/v1/models", "PUT"), ("/v1/messages", "GET")]
)
def test_other_methods_are_refused(proxy: Proxy, path: str, method: str) -> None:
    """Envoy AI Gateway would list all models to anybody, whatever the method."""
    assert sent(proxy.request(path, method=method))[0] == 405


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/v1/responses", "/v2/rerank", "/v1//chat/completions", "/V1/models", "/v1/modelsx", "/else/where", "/"])
def test_other_paths_are_refused(proxy: Proxy, path: str) -> None:
    status, body = sent(proxy.request(path, method="POST"))
    assert (status, body["error"]["code"]) == (404, "unknown_url")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"model": "gpt-4", "prompt": "a"}', None),
        ('{"model": "gpt-4", "prompt": "a", "stream": false}', None),
        ('{"model": "gpt-4", "prompt": "a", "stream" : true}', 400),
        ('{"model": "gpt-4", "prompt": "a", "stream": true, "stream_options": {"include_usage": true}}', None),
    ],
)
def test_streams_of_completions_tell_their_tokens(proxy: Proxy, body: str, status: int | None) -> None:
    handle = proxy.request("/v1/completions", method="POST", content=body.encode())
    assert (sent(handle)[0] if handle.sent else None) == status


@pytest.mark.parametrize(
    ("limit", "measure", "kind", "reset"),
    [
        ("100, 100;w=60", "100 total tokens that tier free allows a user in 60 seconds", "tokens", "31"),
        ("20, 100;w=60, 20;w=60", "20 requests that tier free allows a user in 60 seconds", "requests", "5"),
        ("7, 100;w=60, 7;w=3600", "7 output tokens of model gpt-4 that tier free allows a user in 3600 seconds", "tokens", "3000"),
    ],
)
def test_a_used_up_limit_is_named(proxy: Proxy, limit: str, measure: str, kind: str, reset: str) -> None:
    handle = proxy.answer(429, x_ratelimit_limit=limit, x_ratelimit_remaining="0", x_ratelimit_reset=reset)
    error = json.loads(handle.content)["error"]
    assert error["message"] == f"The {measure} are used up. Try again in {reset} seconds."
    assert (error["type"], error["code"]) == (kind, "rate_limit_exceeded")
    assert handle.values["retry-after"] == reset
    assert handle.values["content-length"] == str(len(handle.content))
    handle = proxy.answer(429, path="/v1/messages", x_ratelimit_limit=limit, x_ratelimit_reset=reset)
    assert json.loads(handle.content)["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize("status", [200, 301])
def test_other_answers_stay(proxy: Proxy, status: int) -> None:
    handle = proxy.answer(status, "text", content_type="text/plain")
    assert (handle.content, handle.values["content-type"]) == (b"text", "text/plain")


def test_what_a_provider_said_stays(proxy: Proxy) -> None:
    body = '{"error": {"message": "slow down"}}'
    handle = proxy.answer(429, body, content_type="application/json; charset=utf-8", retry_after="7", x_ratelimit_limit="100, 100;w=60")
    assert (handle.content.decode(), handle.values["retry-after"]) == (body, "7")


@pytest.mark.parametrize(("status", "openai", "anthropic"), [(502, "server_error", "api_error"), (503, "server_error", "overloaded_error")])
def test_texts_of_the_proxy_become_errors_of_the_dialect(proxy: Proxy, status: int, openai: str, anthropic: str) -> None:
    text = 'upstream "connect" error\n\x01'
    error = json.loads(proxy.answer(status, text, content_type="text/plain").content)["error"]
    assert (error["type"], error["message"]) == (openai, 'upstream "connect" error\n')
    document = json.loads(proxy.answer(status, text, "/v1/messages", content_type="text/plain").content)
    assert (document["type"], document["error"]["type"]) == ("error", anthropic)


def test_what_is_not_found(proxy: Proxy) -> None:
    error = json.loads(proxy.answer(404, "No matching route found.", content_type="text/plain").content)["error"]
    assert (error["code"], error["type"]) == ("model_not_found", "invalid_request_error")
    assert json.loads(proxy.answer(404, "unsupported path: /v1/x", content_type="text/plain").content)["error"]["code"] == "unknown_url"


def test_a_refused_model_tells_nothing(proxy: Proxy) -> None:
    error = json.loads(proxy.answer(403, "RBAC: access denied", tier="narrow", content_type="text/plain").content)["error"]
    assert error["message"] == "The model does not exist, or tier narrow may not use it."


def test_an_answer_before_the_request_was_seen(proxy: Proxy) -> None:
    handle = Handle(proxy.lua, {":status": "400"}, b"bad")
    proxy.lua.globals().envoy_on_response(handle.as_table())
    assert json.loads(handle.content)["error"]["message"] == "bad"
