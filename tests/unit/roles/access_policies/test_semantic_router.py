# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the programs of the proxies do with requests for the semantic router, and with the model that it chose."""

from __future__ import annotations

import json
import typing as t

import pytest
import yaml
from proxies import REFUSED_BY, Handle, Program, costs, programs, with_router
from rendering import documents, rendered

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
#: The bytes of a body about which it is asked.
BODY_LIMIT = 1048576
#: What the router is asked by.
ASKED = ("x-ai-gateway-ask-router", "x-authz-user-id", "x-authz-user-groups")


def asked(text: str, body: t.Any, tier: str = "free", path: str = "/v1/chat/completions", **more: str) -> Handle:
    headers = {
        ":method": "POST",
        ":path": path,
        "x-maas-tier": tier,
        "x-maas-user": "alice",
        "authorization": "Bearer token",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return Program(programs(text)["body_filter"]).request(headers, json.dumps(body).encode(), {"begun": True})


def routed(text: str, model: t.Any, tier: str = "free", kept: t.Any = None, **more: t.Any) -> Handle:
    """What the program behind the router makes of its choice."""
    before = asked(text, {**CHAT, **more}, tier)
    assert before.sent is None
    sent = {**before.values, "x-selected-model": "any", "x-vsr-selected-decision": "math"}
    body = {**json.loads(before.content), "model": model}
    state = {**before.kept["egress.ai-gateway"], **(kept or {})}
    return Program(programs(text)["routed_filter"]).request(sent, json.dumps(body).encode(), state)


def test_the_router_learns_who_calls_and_no_token(single: str) -> None:
    handle = asked(single, CHAT, x_authz_user_groups="forged", x_vsr_skip_processing="true", x_selected_model="opt")
    assert handle.sent is None
    headers = handle.values
    assert headers["x-ai-gateway-ask-router"] == "1"
    assert headers["x-authz-user-groups"] == "free"
    assert headers["x-authz-user-id"] == headers["x-ai-gateway-user"] != "alice"
    assert {"authorization", "x-maas-user", "x-selected-model", "x-vsr-skip-processing"}.isdisjoint(headers)
    assert handle.kept["egress.ai-gateway"]["deciding"] is True
    assert handle.kept["egress.ai-gateway"]["requested"] == "auto"


def test_a_request_that_names_its_model_does_not_ask(single: str) -> None:
    handle = asked(single, {**CHAT, "model": "gpt-4"}, x_ai_gateway_ask_router="1", x_authz_user_groups="forged")
    assert handle.sent is None
    assert set(ASKED).isdisjoint(handle.values)
    assert "deciding" not in handle.kept["egress.ai-gateway"]
    # The program behind the router leaves it alone, and its body unread.
    state = handle.kept["egress.ai-gateway"]
    after = Program(programs(single)["routed_filter"]).request(handle.values, b"not read", state)
    assert (after.sent, after.content, after.values) == (None, b"not read", handle.values)


@pytest.mark.parametrize(
    ("body", "tier", "path", "status", "code"),
    [
        (CHAT, "closed", "/v1/chat/completions", 403, "model_not_allowed"),
        ({**CHAT, "input": "x"}, "free", "/v1/embeddings", 400, "unsupported_request"),
        (CHAT, "free", "/external/openai/v1/chat/completions", 404, "model_not_found"),
        ({**CHAT, "user": "x" * BODY_LIMIT}, "free", "/v1/chat/completions", 413, "body_too_large"),
        # Who may not ask learns nothing of what a question needs.
        ({"model": "auto"}, "closed", "/v1/chat/completions", 403, "model_not_allowed"),
    ],
)
def test_who_may_ask_and_where(single: str, body: t.Any, tier: str, path: str, status: int, code: str) -> None:
    found, error = asked(single, body, tier, path).answer()
    assert (found, error["error"]["code"]) == (status, code)


@pytest.mark.parametrize("messages", [None, [], {}, "Hello", 1])
def test_a_choice_needs_messages(single: str, dual: str, messages: t.Any) -> None:
    for text in (single, dual):
        for body in ({"model": "auto", "messages": messages}, {"model": "auto"}):
            handle = asked(text, body)
            status, error = handle.answer()
            assert (status, error["error"]["param"]) == (400, "messages")
            assert set(ASKED).isdisjoint(handle.values)
    # A model that is named is the one to judge them.
    assert asked(single, {"model": "gpt-4", "messages": messages}).sent is None


def test_the_option_that_a_stream_gets_is_part_of_a_body_about_which_the_router_is_asked(single: str) -> None:
    body = {**CHAT, "stream": True, "user": ""}
    body["user"] = "x" * (BODY_LIMIT - len(json.dumps(body)))
    assert asked(single, body).answer()[0] == 413


def test_the_router_is_among_the_models(single: str) -> None:
    for tier, expected in (
        ("free", ["gpt-4", "Qwen/Qwen3-0.6B", "claude-3-sonnet", "pooled", "opt", "auto"]),
        ("narrow", ["gpt-4", "auto"]),
        ("closed", ["gpt-4"]),
    ):
        headers = {":method": "GET", ":path": "/v1/models", "x-maas-tier": tier, "x-maas-user": "alice"}
        handle = Program(programs(single)["body_filter"]).request(headers, b"", {"begun": True})
        assert [model["id"] for model in handle.answer()[1]["data"]] == expected


def test_the_chosen_model_is_what_counts(single: str) -> None:
    handle = routed(single, "Qwen/Qwen3-0.6B")
    assert handle.sent is None
    assert not [name for name in handle.values if name.startswith(("x-vsr-", "x-authz-")) or name in ASKED]
    assert "x-selected-model" not in handle.values
    state = handle.kept["egress.ai-gateway"]
    assert (state["deciding"], state["model"]) == (False, "Qwen/Qwen3-0.6B")
    assert costs(handle)[0] > 0


def test_the_objective_is_that_of_the_chosen_pool(single: str) -> None:
    assert routed(single, "pooled").values["x-gateway-inference-objective"] == "pool.batch"


def test_a_tier_never_gets_a_model_that_it_may_not_use(single: str) -> None:
    assert routed(single, "gpt-4", "narrow").sent is None
    status, error = routed(single, "Qwen/Qwen3-0.6B", "narrow").answer()
    assert (status, error["error"]["code"]) == (403, "model_not_allowed")


@pytest.mark.parametrize("model", ["auto", "opt", "no-such-model", "", 3])
def test_the_router_chooses_one_of_its_models(single: str, model: t.Any) -> None:
    handle = Program(programs(single)["routed_filter"])
    before = asked(single, CHAT)
    answer = Handle(
        handle.lua,
        dict(before.values),
        [json.dumps({**CHAT, "model": model}).encode()],
        {"egress.ai-gateway": dict(before.kept["egress.ai-gateway"])},
    )
    handle.lua.globals().envoy_on_request(answer.as_table())
    status, error = answer.answer()
    assert (status, error["error"]["code"]) == (503, "router_fault")
    assert answer.errors


def test_a_stream_stays_one(single: str) -> None:
    handle = routed(single, "gpt-4", stream=True)
    assert handle.sent is None
    body = json.loads(handle.content)
    assert body["stream_options"] == {"include_usage": True}
    assert handle.kept["egress.ai-gateway"]["hides_usage"] is True


def finished(text: str, state: dict[str, t.Any], headers: dict[str, str], body: bytes = b"{}") -> Handle:
    found = {":status": "200", "content-type": "application/json", **headers}
    return Program(programs(text)["request_filter"]).response(found, [body], {"egress.ai-gateway": state})


def test_without_a_router_no_provider_names_a_model(texts: dict[str, str]) -> None:
    for state in ({"begun": True, "model": "gpt-4"}, {"begun": True}, {}):
        headers = {":status": "200", "content-type": "application/json", "x-maas-model-executed": "forged"}
        handle = Program(texts["request_filter"]).response(headers, [b"{}"], {"egress.ai-gateway": state})
        assert "x-maas-model-executed" not in handle.values


@pytest.mark.parametrize("told", [{}, {"x-maas-model-executed": "forged"}])
def test_each_answer_names_its_model(single: str, told: dict[str, str]) -> None:
    handle = finished(single, {"begun": True, "model": "gpt-4"}, told)
    assert handle.values["x-maas-model-executed"] == "gpt-4"
    ours = {**told, "x-ai-gateway-refusal": f"{REFUSED_BY} lua_response"}
    assert "x-maas-model-executed" not in finished(single, {"begun": True, "model": "gpt-4"}, ours).values


def test_behind_the_gateway_the_routers_own_names_it(dual: str) -> None:
    state = {"begun": True, "model": "auto"}
    handle = finished(dual, state, {"x-maas-model-executed": "opt"})
    assert handle.values["x-maas-model-executed"] == "opt"
    for other in ({}, {"x-maas-model-executed": "none"}, {"x-maas-model-executed": "a b"}):
        assert "x-maas-model-executed" not in finished(dual, state, other).values


@pytest.mark.parametrize("details", ["ext_proc_error_gRPC_error_14", "route_not_found", "ext_proc_error"])
def test_a_router_that_does_not_answer(single: str, details: str) -> None:
    state = {"begun": True, "deciding": True, "tier": "free", "model": "auto"}
    refusal = {":status": "404" if details == "route_not_found" else "503"}
    handle = finished(single, state, {**refusal, "x-ai-gateway-refusal": f"{REFUSED_BY} {details}"}, b"")
    assert handle.values[":status"] == "503"
    assert json.loads(handle.content)["error"]["code"] == "router_unavailable"


def test_where_the_router_is_asked(single: str, dual: str) -> None:
    alone, asking = (found for found in documents(single) if found["kind"] == "EnvoyPatchPolicy")
    # Before there are routes there is no buffer, and the Gateway's own patches do not wait for one.
    assert "envoy.filters.http.buffer" not in json.dumps(alone["spec"]["jsonPatches"])
    patches = asking["spec"]["jsonPatches"]
    added = [
        (patch["operation"]["value"]["name"], patch["operation"].get("jsonPath"))
        for patch in patches
        if patch["type"].endswith("Listener") and "name" in patch["operation"]["value"]
    ]
    before_the_buffer = "$..http_filters[?(@.name=='envoy.filters.http.buffer')]"
    assert [name for name, path in added if path == before_the_buffer] == [
        "egress.ai_gateway.router_limit",
        "egress.ai_gateway.semantic_router",
        "egress.ai_gateway.routed_filter",
    ]
    (asks,) = [
        patch["operation"]["value"]["typed_config"]["extension_config"]["typed_config"]
        for patch in patches
        if patch["operation"]["value"].get("name") == "egress.ai_gateway.semantic_router"
        and patch["type"].endswith("Listener")
    ]
    assert asks["failure_mode_allow"] is False
    (cluster,) = [patch["operation"]["value"] for patch in patches if patch["type"].endswith("Cluster")]
    # What a client sends may make the router fail, and is no reason to take the router from all clients.
    assert cluster["outlier_detection"]["enforcing_consecutive_5xx"] == 0
    assert asks["processing_mode"]["response_body_mode"] == "NONE"
    assert asks["mutation_rules"]["disallow_all"] is True
    # A gateway of its own is a route, and no filter.
    assert "egress.ai_gateway.semantic_router" not in dual
    assert "routed_filter" not in programs(dual)
    assert asked(dual, CHAT).values["x-authz-user-groups"] == "free"


@pytest.mark.parametrize(
    ("deciding", "status", "code", "words"),
    [
        # The router chose a model, which this tier may not use, and may not know either.
        (False, "403", "model_not_allowed", "Tier free may not use the model that was chosen for the request."),
        # Nobody chose one.
        (True, "503", "router_unavailable", "does not answer"),
        (None, "403", "model_not_allowed", "The model does not exist, or tier free may not use it."),
    ],
)
def test_why_a_tier_may_not_use_a_model(single: str, deciding: t.Any, status: str, code: str, words: str) -> None:
    state = {"begun": True, "tier": "free", "model": "Qwen/Qwen3-0.6B"}
    if deciding is not None:
        state |= {"deciding": deciding, "requested": "auto"}
    refusal = {":status": "403", "x-ai-gateway-refusal": f"{REFUSED_BY} rbac_access_denied_matched_policy[none]"}
    handle = finished(single, state, refusal, b"RBAC: access denied")
    error = json.loads(handle.content)["error"]
    assert (handle.values[":status"], error["code"]) == (status, code)
    assert words in error["message"]
    assert "Qwen" not in error["message"]


def test_in_anthropics_api_too(single: str) -> None:
    """A path on which nobody asks the router today."""
    state = {"begun": True, "anthropic": True, "tier": "free", "model": "auto", "deciding": True}
    for details, status, kind in (
        ("local_rate_limited", "429", "rate_limit_error"),
        ("ext_proc_error{upstream_reset_before_response_started{overflow}}", "503", "overloaded_error"),
    ):
        refusal = {":status": status, "x-ai-gateway-refusal": f"{REFUSED_BY} {details}"}
        handle = finished(single, state, refusal, b"")
        assert (handle.values[":status"], handle.values["retry-after"]) == (status, "1")
        assert json.loads(handle.content)["error"]["type"] == kind


def test_larger_bodies_are_fewer_at_once(tmp_path: t.Any) -> None:
    """All of them are in half of the router's memory."""
    variables = with_router("single_gateway")
    variables["ai_gateway_semantic_router"] |= {"body_limit": "40Mi"}
    patches = yaml.load(rendered(tmp_path, "access_policies", "router_patches.yaml.j2", variables), yaml.CSafeLoader)
    (cluster,) = [patch["operation"]["value"] for patch in patches if patch["type"].endswith("Cluster")]
    (limits,) = cluster["circuit_breakers"]["thresholds"]
    assert (limits["max_requests"], limits["max_pending_requests"]) == (12, 12)
