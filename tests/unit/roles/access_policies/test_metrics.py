# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the programs keep of a request for the metrics, and what Envoy makes of it."""

from __future__ import annotations

import json
import socket
import time
import typing as t
import urllib.request
from pathlib import Path

import pytest
from envoys import Envoy, Upstream, envoy_program
from proxies import DONE, LAST, REFUSED_BY, STREAM, VARIABLES, Program, events, identity_key, programs
from rendering import documents, rendered

#: Two users have a label of their own, and gpt-4 two providers.
METERED: dict[str, t.Any] = {
    **VARIABLES,
    "ai_gateway_providers": [
        {
            **VARIABLES["ai_gateway_providers"][0],
            "models": [{"name": "gpt-4", "weight": 1}, {"name": "Qwen/Qwen3-0.6B"}],
        },
        VARIABLES["ai_gateway_providers"][1],
        {
            "name": "second",
            "schema": "openai",
            "simulated": True,
            "credential": {"value": "k"},
            "models": [{"name": "gpt-4", "weight": 1}],
        },
    ],
    "ai_gateway_observability": {"enabled": True, "users": 2},
}
CALLER = {":method": "POST", ":path": "/v1/chat/completions", "content-type": "application/json", "x-maas-tier": "free"}
AI = "egress.ai-gateway"


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("metered")
    text = rendered(directory, "access_policies", "authorino.yaml.j2", METERED)
    return text.replace("/run/ai-gateway/key", str(identity_key(directory)))


@pytest.fixture(scope="module")
def metered(policies: str) -> dict[str, str]:
    return programs(policies)


def asked(program: Program, model: str, user: str = "ada", **headers: str) -> dict[str, t.Any]:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]}).encode()
    return program.request({**CALLER, "x-maas-user": user, **headers}, body, {"begun": True}).kept[AI]


def test_labels_are_of_the_catalogue_alone(metered: dict[str, str]) -> None:
    program = Program(metered["body_filter"])
    kept = asked(program, "Qwen/Qwen3-0.6B")
    assert {key: kept[key] for key in ("tier", "metered_user", "model", "provider", "operation")} == {
        "tier": "free",
        "metered_user": "ada",
        "model": "Qwen/Qwen3-0.6B",
        "provider": "openai",
        "operation": "chat",
    }
    # Which of several answers is known when it does, unless the path says so.
    assert asked(program, "gpt-4")["provider"] == ""
    assert asked(program, "gpt-4", **{":path": "/external/second/v1/chat/completions"})["provider"] == "second"
    assert asked(program, "facebook/opt-125m")["provider"] == "service.llm.opt.8000"
    for unknown in ("gpt-5", "gpt-4\n", "", "x" * 200, 'a"b{}'):
        kept = asked(program, unknown)
        assert "model" not in kept
        assert "provider" not in kept


def test_the_number_of_users_with_a_label_is_bounded(metered: dict[str, str]) -> None:
    program = Program(metered["body_filter"])
    labels = [asked(program, "gpt-4", user)["metered_user"] for user in ("ada", "bob", "eve", "ada", "mallory", "bob")]
    assert labels == ["ada", "bob", "other", "ada", "other", "bob"]


def test_a_label_of_users_can_be_left_out(tmp_path: Path) -> None:
    variables = {**METERED, "ai_gateway_observability": {"enabled": True, "user_label": False}}
    text = rendered(tmp_path, "access_policies", "authorino.yaml.j2", variables)
    assert "metered_user" not in json.dumps(loggers(text))
    program = Program(programs(text)["body_filter"].replace("/run/ai-gateway/key", str(identity_key(tmp_path))))
    assert "metered_user" not in asked(program, "gpt-4")


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100}, (60, 40)),
        # Some report their reasoning in the total alone.
        ({"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 150}, (60, 90)),
        ({"total_tokens": 30}, (0, 30)),
        ({"prompt_tokens": 7, "total_tokens": 7}, (7, 0)),
    ],
)
def test_the_parts_of_the_tokens_are_the_total(
    metered: dict[str, str], usage: dict[str, int], counted: tuple[int, int]
) -> None:
    program = Program(metered["response_filter"])
    body = json.dumps({"id": "1", "choices": [], "usage": usage}).encode()
    kept = answered(program, [body], {"content-type": "application/json"})
    assert (kept["metered_input"], kept["metered_output"]) == counted
    assert sum(counted) == kept["total_tokens"]


def test_a_fixed_cost_counts_once(tmp_path: Path) -> None:
    text = rendered(tmp_path, "access_policies", "authorino.yaml.j2", {**METERED, "ai_gateway_uncounted_tokens": 500})
    kept = answered(Program(programs(text)["response_filter"]), [b"{}"], {"content-type": "application/json"})
    assert (kept["metered_input"], kept["metered_output"], kept["total_tokens"]) == (500, 0, 500)


def answered(program: Program, chunks: list[bytes], headers: dict[str, str], **kept: t.Any) -> dict[str, t.Any]:
    metadata = {AI: {"asked": 100, "model": "gpt-4", "usage": "chat", "began": 999_600, **kept}}
    return program.response({":status": "200", **headers}, chunks, metadata).kept[AI]


def test_cached_input_is_known_of_both_apis(metered: dict[str, str]) -> None:
    program = Program(metered["response_filter"])
    openai = {"prompt_tokens": 60, "completion_tokens": 40, "prompt_tokens_details": {"cached_tokens": 48}}
    anthropic = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 30}
    for usage, cached, counted in ((openai, 48, 60), (anthropic, 30, 40)):
        body = json.dumps({"id": "1", "usage": usage}).encode()
        kept = answered(program, [body], {"content-type": "application/json"})
        assert (kept["cached_tokens"], kept["metered_input"]) == (cached, counted)
    kept = answered(
        program, [json.dumps({"usage": {"prompt_tokens": 6}}).encode()], {"content-type": "application/json"}
    )
    assert "cached_tokens" not in kept


def test_the_time_to_the_first_token_is_that_of_a_stream(metered: dict[str, str]) -> None:
    program = Program(metered["response_filter"])
    stream = {"content-type": STREAM["content_type"]}
    chunk = events({"id": "1", "choices": [{"index": 0, "delta": {"content": "a"}}]})
    assert answered(program, [b": wait\n\n", chunk, events(LAST), DONE], stream)["first_token"] == 400
    # Clocks may be set back, and a stream may have nothing.
    assert answered(program, [chunk], stream, began=2_000_000)["first_token"] == 0
    assert "first_token" not in answered(program, [b": wait\n\n", DONE], stream)
    body = json.dumps({"id": "1", "usage": {"prompt_tokens": 6}}).encode()
    assert "first_token" not in answered(program, [body], {"content-type": "application/json"})


def test_the_provider_that_answered_is_known_by_its_backend(metered: dict[str, str], policies: str) -> None:
    program = Program(metered["response_filter"])
    backend = next(
        line.split('"')[1]
        for line in metered["response_filter"].splitlines()
        if line.strip().startswith('["ai-gateway/second.')
    )
    header = "x-ai-gateway-served-by"
    for value, provider in (
        (f"{backend}/route/gpt-4-1/rule/0/ref/1", "second"),
        ("ai-gateway/nobody/route/x", ""),
        ("-", ""),
        ("openai", ""),
    ):
        metadata = {AI: {"asked": 1, "provider": ""}}
        handle = program.response({":status": "500", header: value}, [b"{}"], metadata)
        assert header not in handle.values
        assert handle.kept[AI]["provider"] == provider
    (patch,) = (found for found in patches(policies) if found["operation"].get("path") == "/response_headers_to_add")
    assert patch["operation"]["value"][0]["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"


@pytest.mark.parametrize(
    ("kept", "headers", "told"),
    [
        ({"reason": "model_not_allowed"}, {"refusal": "lua_response"}, ("gateway", "model_not_allowed")),
        ({}, {"refusal": "ext_authz_denied", ":status": "401"}, ("gateway", "invalid_api_key")),
        ({}, {"refusal": "ext_authz_denied", ":status": "403"}, ("gateway", "no_tier")),
        ({}, {"refusal": "request_rate_limited", ":status": "429"}, ("gateway", "rate_limit_exceeded")),
        ({}, {"refusal": "rate_limiter_error", ":status": "500"}, ("gateway", "limits_unavailable")),
        ({}, {"refusal": "ext_authz_error", ":status": "503"}, ("gateway", "authorization_unavailable")),
        ({}, {"refusal": "no_healthy_upstream", ":status": "503"}, ("gateway", "provider_unavailable")),
        ({}, {":status": "500"}, ("provider", "provider_error")),
    ],
)
def test_who_refused_and_why(
    metered: dict[str, str], kept: dict[str, t.Any], headers: dict[str, str], told: tuple[str, str]
) -> None:
    program = Program(metered["request_filter"])
    given = {":status": "503", "content-type": "application/json", **headers}
    if "refusal" in given:
        given["x-ai-gateway-refusal"] = f"{REFUSED_BY} {given.pop('refusal')}"
    body = b'{"error":{"message":"no","type":"x","param":null,"code":null}}'
    handle = program.response(given, [body], {AI: {"begun": True, "tier": "free", **kept}})
    assert (handle.kept[AI]["refused_by"], handle.kept[AI]["reason"]) == told


def test_an_answer_has_no_reason(metered: dict[str, str]) -> None:
    handle = Program(metered["request_filter"]).response({":status": "200"}, [b"{}"], {AI: {"begun": True}})
    assert "reason" not in handle.kept[AI]
    assert "refused_by" not in handle.kept[AI]


def test_nothing_is_kept_where_nothing_is_counted(body_filter: Program) -> None:
    kept = asked(body_filter, "gpt-4")
    assert [key for key in kept if key.startswith("metered") or key in ("provider", "operation")] == []


def patches(text: str) -> list[dict[str, t.Any]]:
    return [
        patch
        for manifest in documents(text)
        if manifest["kind"] == "EnvoyPatchPolicy"
        for patch in manifest["spec"]["jsonPatches"]
    ]


def loggers(text: str) -> list[dict[str, t.Any]]:
    return [patch["operation"]["value"] for patch in patches(text) if patch["operation"].get("path") == "/access_log/-"]


#: Keeps of a request what its header says, as the programs would.
KEEPS = """
function envoy_on_request(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  for pair in (handle:headers():get("keep") or ""):gmatch("[^;]+") do
    local key, value = pair:match("^(.-)=(.*)$")
    metadata:set("egress.ai-gateway", key, tonumber(value) or value)
  end
end
"""


def test_envoy_counts_what_was_kept(policies: str, tmp_path: Path) -> None:
    program = envoy_program(tmp_path)
    upstream = Upstream()
    upstream.start()
    listen, admin = free_port(), free_port()
    envoy = Envoy(program, tmp_path, bootstrap(loggers(policies), upstream.port, listen, admin), listen)
    try:
        while envoy.ask("/")[0] == 0:
            assert envoy.process.poll() is None, envoy.log[-2000:]
        known = 'tier=free;metered_user=a b"c;model=gpt-4;provider=openai;metered_input=60;metered_output=40'
        for _request in range(3):
            assert envoy.ask("/", keep=known + ";cost=17;first_token=30;cached_tokens=5")[0] == 200
        assert envoy.ask("/", keep="tier=free;metered_input=0;metered_output=0")[0] == 200
        lines = statistics(admin)
    finally:
        envoy.stop()
    user = r'user="a b\"c"'
    labels = f'gateway="ai-gateway",tier="free",model="gpt-4",provider="openai",{user}'
    of = "envoy_ai_gateway_"
    assert f'{of}requests_total{{{labels},code="200",refused_by="",reason=""}} 3' in lines
    assert f'{of}tokens_total{{{labels},type="input"}} 180' in lines
    assert f'{of}tokens_total{{{labels},type="output"}} 120' in lines
    assert f"{of}cost_millionths_total{{{labels}}} 51" in lines
    assert f"{of}cached_tokens_total{{{labels}}} 15" in lines
    times = 'gateway="ai-gateway",tier="free",model="gpt-4",provider="openai"'
    assert f"{of}time_to_first_token_milliseconds_count{{{times}}} 3" in lines
    assert f"{of}request_duration_milliseconds_count{{{times}}} 3" in lines
    # A request without a model is counted, and its tokens are nobody's.
    assert len([line for line in lines if line.startswith(f"{of}tokens_total")]) == 2
    assert f'{of}requests_total{{gateway="ai-gateway",tier="free",model="",provider="",user="",code="200"' in str(lines)
    # Envoy complains of a number that is none.
    assert "Stats access logger" not in envoy.log


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def statistics(admin: int) -> list[str]:
    """The metrics, once the histograms of the workers are merged, which Envoy does every five seconds."""
    for _attempt in range(40):
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/stats/prometheus", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        if any(
            line.startswith("envoy_ai_gateway_time_to_first_token_milliseconds_count") and line.endswith(" 3")
            for line in lines
        ):
            return lines
        time.sleep(0.25)
    return lines


def bootstrap(found: list[dict[str, t.Any]], upstream: int, listen: int, admin: int) -> dict[str, t.Any]:
    types = "type.googleapis.com/envoy.extensions.filters."
    manager = {
        "@type": types + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "access_log": found,
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}
            ]
        },
        "http_filters": [
            {
                "name": "keeps",
                "typed_config": {
                    "@type": types + "http.lua.v3.Lua",
                    "default_source_code": {"inline_string": KEEPS},
                },
            },
            {"name": "router", "typed_config": {"@type": types + "http.router.v3.Router"}},
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}

    def address(port: int) -> dict[str, t.Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    endpoint = {"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}
    return {
        "admin": {"address": address(admin)},
        "static_resources": {
            "listeners": [{"name": "clients", "address": address(listen), "filter_chains": [chain]}],
            "clusters": [{"name": "up", "load_assignment": {"cluster_name": "up", "endpoints": [endpoint]}}],
        },
    }
