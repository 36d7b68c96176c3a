# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the policies are for each engine, from one body of rules."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import cel
import pytest
import yaml
from rendering import manifests, rendered
from third_party_crds import validator_of

KEY = "sk-a-key-that-must-not-show"
#: Two gateways in a row, as Kuadrant can have them; tier `narrow` may use one provider of two, and nothing on the
#: premises.
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_stack": "wg_ai_gateway",
    "ai_gateway_policy_engine": "kuadrant",
    "ai_gateway_providers": [
        {
            "name": "openai",
            "schema": "openai",
            "simulated": True,
            "credential": {"value": KEY},
            "models": [{"name": "gpt-4"}, {"name": "gpt-4o"}],
        },
        {
            "name": "vllm",
            "schema": "openai",
            "simulated": True,
            "credential": {"value": KEY},
            "models": [{"name": "Qwen/Qwen3-0.6B"}],
        },
    ],
    "ai_gateway_models": [
        {"name": "facebook/opt-125m", "backend_ref": {"kind": "LLMInferenceService", "name": "opt", "namespace": "llm"}}
    ],
    "ai_gateway_tiers": [
        {
            "name": "free",
            "level": 0,
            "groups": ["all"],
            "token_limit": {"tokens": 100, "window": "1m"},
            "request_limit": {"requests": 20, "window": "1h"},
            "model_limits": [{"models": ["gpt-4"], "token_limit": {"tokens": 7, "window": "24h"}}],
        },
        {
            "name": "narrow",
            "level": 1,
            "groups": ["few"],
            "token_limit": {"tokens": 5, "window": "1s"},
            "models": ["gpt-4", "gpt-4o"],
        },
    ],
}
#: The same for the engine without Kuadrant.
AUTHORINO = {**VARIABLES, "ai_gateway_policy_engine": "authorino", "ai_gateway_models": []}
#: Tiers that may use everything.
OPEN = {**VARIABLES, "ai_gateway_tiers": VARIABLES["ai_gateway_tiers"][:1]}

Objects = dict[tuple[str, str], dict[str, t.Any]]


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return manifests(tmp_path_factory.mktemp("kuadrant"), "access_policies", "kuadrant.yaml.j2", VARIABLES)


@pytest.fixture(scope="module")
def open_objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return manifests(tmp_path_factory.mktemp("open"), "access_policies", "kuadrant.yaml.j2", OPEN)


@pytest.fixture(scope="module")
def bridges(tmp_path_factory: pytest.TempPathFactory) -> dict[str, t.Any]:
    text = rendered(tmp_path_factory.mktemp("bridges"), "access_policies", "bridge_rules.yaml.j2", VARIABLES)
    return t.cast("dict[str, t.Any]", yaml.safe_load(text))


@pytest.fixture(scope="module")
def authorino(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    variables = {**AUTHORINO, "ai_gateway_tiers": OPEN["ai_gateway_tiers"]}
    return manifests(tmp_path_factory.mktemp("authorino"), "access_policies", "authorino.yaml.j2", variables)


def gateway_rules(objects: Objects) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", objects["AuthPolicy", "gateway-auth-policy"]["spec"]["rules"])


def test_only_what_no_provider_received_is_sent_again(authorino: Objects) -> None:
    """A provider that received a request may have begun to work for it, and to count it."""
    retry = authorino["BackendTrafficPolicy", "maas-default-gateway"]["spec"]["retry"]
    assert retry["numRetries"] == 3
    assert set(retry["retryOn"]) == {"triggers"}
    assert set(retry["retryOn"]["triggers"]) == {"connect-failure", "refused-stream", "reset-before-request"}


def test_the_engines_have_the_same_rules(authorino: Objects, open_objects: Objects) -> None:
    """All but the form in which the caller's name goes on:

    AuthConfigs give headers, AuthPolicies what Kuadrant's limits read.
    """
    config = authorino["AuthConfig", "maas-default-gateway"]["spec"]
    assert config.pop("hosts") == ["maas-default-gateway.ai-gateway"]
    rules = gateway_rules(open_objects)
    headers = config["response"].pop("success")["headers"]
    identity = rules["response"].pop("success")["filters"]["identity"]["json"]["properties"]
    # The gateway of the other engine has no routes but those that the catalogue describes.
    prefixes = [
        item["predicate"].split("startsWith(")[1]
        for item in rules["authorization"]["described"]["patternMatching"]["patterns"][0]["any"]
    ]
    assert prefixes[:3] == ['"/external/")', '"/maas-api/")', '"/v1/")']
    authorization = {name: rule for name, rule in rules["authorization"].items() if name != "described"}
    assert config == {**rules, "authorization": authorization}
    assert {"userid": headers["x-maas-user"]["plain"], "tier": headers["x-maas-tier"]["plain"]} == identity


def test_who_may_come_in(objects: Objects) -> None:
    rules = gateway_rules(objects)
    assert set(rules["authentication"]) == {"service-accounts-by-authorization", "service-accounts-by-x-api-key"}
    for name, method in rules["authentication"].items():
        assert method["kubernetesTokenReview"] == {"audiences": ["maas-default-gateway-sa"]}
        # As it was sent: tokens that differ in the case of a letter are not the same.
        assert method["cache"] == {
            "key": {"selector": f"context.request.http.headers.{name.removeprefix('service-accounts-by-')}"},
            "ttl": 60,
        }
    assert allowed(rules["authorization"]["tier"]) == {"free", "narrow"}


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),
        ({"authorization": "Bearer a"}, True),
        ({"x-api-key": "a"}, True),
        ({"authorization": "Bearer a", "x-api-key": "a"}, True),
        ({"authorization": "Bearer a", "x-api-key": "b"}, False),
        ({"authorization": "Bearer b", "x-api-key": "a"}, False),
        ({"authorization": "Basic a", "x-api-key": "a"}, False),
    ],
)
def test_two_tokens_that_differ_do_not_come_in(objects: Objects, headers: dict[str, str], passes: bool) -> None:
    (pattern,) = gateway_rules(objects)["authorization"]["one-token"]["patternMatching"]["patterns"]
    assert cel.evaluate(pattern["predicate"], {"request": {"headers": headers}}) is passes


def allowed(rule: dict[str, t.Any]) -> set[str]:
    """The tiers that an authorization lets in."""
    (pattern,) = rule["patternMatching"]["patterns"]
    found = set()
    for item in pattern["any"]:
        start, name, end = (
            item["predicate"].partition("maas-default-gateway-tier-")[0],
            *item["predicate"].split("-tier-")[1].split(":", 1),
        )
        assert (start, end) == ('auth.identity.user.username.startsWith("system:serviceaccount:', '")')
        found.add(name)
    return found


def test_models_on_the_premises_are_kept_from_a_tier(objects: Objects, open_objects: Objects) -> None:
    rules = gateway_rules(objects)
    assert rules["authorization"]["path-0"]["when"] == [
        {"predicate": '(request.path.split("?")[0] + "/").startsWith("/llm/opt/")'}
    ]
    assert allowed(rules["authorization"]["path-0"]) == {"free"}
    assert "model_not_allowed" in rules["response"]["unauthorized"]["body"]["expression"]
    assert set(gateway_rules(open_objects)["authorization"]) == {"tier", "one-token", "described"}


def test_a_provider_is_kept_from_a_tier(objects: Objects, bridges: dict[str, t.Any]) -> None:
    assert {name: allowed(rules["authorization"]["tier"]) for name, rules in bridges.items()} == {
        "openai": {"free", "narrow"},
        "vllm": {"free"},
    }
    assert "no_tier" in bridges["openai"]["response"]["unauthorized"]["body"]["expression"]
    assert "model_not_allowed" in bridges["vllm"]["response"]["unauthorized"]["body"]["expression"]
    whole = gateway_rules(objects)
    for rules in bridges.values():
        # A route's policy stands in place of the Gateway's whole.
        assert rules["authentication"] == whole["authentication"]
        assert rules["response"]["unauthenticated"] == whole["response"]["unauthenticated"]
        assert rules["response"]["success"] == whole["response"]["success"]


def test_a_provider_of_no_tier_lets_nobody_in(tmp_path: Path) -> None:
    variables = {**VARIABLES, "ai_gateway_tiers": VARIABLES["ai_gateway_tiers"][1:]}
    rules = yaml.safe_load(rendered(tmp_path, "access_policies", "bridge_rules.yaml.j2", variables))
    assert rules["vllm"]["authorization"]["tier"]["patternMatching"]["patterns"] == [{"any": [{"predicate": "false"}]}]


PATHS = [
    {"predicate": '!request.url_path.matches("^/maas-api(/[A-Za-z0-9_~:@-][A-Za-z0-9._~:@-]*)+/?$")'},
    {"predicate": '!request.url_path.matches("^(/[a-z0-9][-a-z0-9.]*){0,2}/v1/models$")'},
]
#: What is free under every limit: maas-api and the list of models.
FREE_PATHS = [
    "/v1/models",
    "/v1/models?limit=5",
    "/external/openai/v1/models",
    "/external/v1/models",
    "/llm/opt.v2/v1/models",
    "/maas-api/v1/tokens",
    "/maas-api/v1/models?x=1",
    "/maas-api/v1/api-keys/0b9c_1~2:3@4/",
]
COUNTED_PATHS = [
    "/v1/chat/completions",
    "/v1/chat/completions?x=/v1/models",
    "/external/openai/v1/chat/completions?/v1/models",
    "/external/openai/v1/chat/completions/v1/models",
    "/v1//models",
    "//v1/models",
    "/v1/models/",
    "/v1/models//",
    "/v1/models/gpt-4",
    "/v1/models;x",
    "/v1%2Fmodels",
    "/v1/model%73",
    "/x/../v1/models",
    "/x/%2e%2e/v1/models",
    "/external/openai/../v1/models",
    "/external/openai/v1/chat/completions/../../v1/models",
    "/V1/models",
    "/maas-api",
    "/maas-api/../external/openai/v1/chat/completions",
    "/maas-api/%2e%2e/external/openai/v1/chat/completions",
    "/maas-api/%2E./external/openai/v1/chat/completions",
    "/maas-api//external/openai/v1/chat/completions",
    "/maas-api/..%2Fexternal/openai/v1/chat/completions",
    "/maas-api%2F../external/openai/v1/chat/completions",
    "/maas-api/v1/..\\..\\external",
    "/x?/maas-api/v1/tokens",
]


def evaluated(expression: str, path: str) -> t.Any:
    """What an expression makes of a request's path, in the CEL that Kuadrant's program of the proxies has, with
    Authorino's function for strings.
    """
    context = cel.Context()
    context.add_function("split", lambda text, separator: text.split(separator))
    # As the proxies have them; Authorino's url_path is another, so its rules must not ask for that.
    context.add_variable("request", {"path": path, "url_path": path.partition("?")[0]})
    return cel.evaluate(expression, context)


@pytest.mark.parametrize(
    ("path", "counted"), [*((path, False) for path in FREE_PATHS), *((path, True) for path in COUNTED_PATHS)]
)
def test_no_path_is_dressed_up_as_one_that_is_free(objects: Objects, path: str, counted: bool) -> None:
    limits = [*objects["TokenRateLimitPolicy", "gateway-token-rate-limits"]["spec"]["limits"].values()]
    limits += objects["RateLimitPolicy", "gateway-request-rate-limits"]["spec"]["limits"].values()
    for limit in limits:
        predicates = [item["predicate"] for item in limit["when"] if "request." in item["predicate"]]
        assert len(predicates) == 2
        assert all(evaluated(predicate, path) for predicate in predicates) is counted


@pytest.mark.parametrize(
    ("path", "kept", "described"),
    [
        ("/llm/opt/v1/chat/completions", True, True),
        ("/llm/opt", True, True),
        ("/llm/opt?x=1", True, True),
        ("/llm/optional/v1/chat/completions", False, False),
        ("/x?y=/llm/opt/", False, False),
        # Proxies that do not merge slashes or undo escapes lead these nowhere near the model, and those that do, do it
        # before they ask.
        ("//llm/opt/v1/chat/completions", False, False),
        ("/llm%2Fopt/v1/chat/completions", False, False),
        ("//elsewhere/external/openai/v1/chat/completions", False, False),
        ("/elsewhere?/external/", False, False),
        ("/external/openai/v1/chat/completions", False, True),
        ("/v1/models", False, True),
        ("/maas-api/v1/tokens", False, True),
    ],
)
def test_which_paths_are_kept_from_tiers_and_which_are_described(
    objects: Objects, path: str, kept: bool, described: bool
) -> None:
    authorization = gateway_rules(objects)["authorization"]
    (condition,) = authorization["path-0"]["when"]
    assert evaluated(condition["predicate"], path) is kept
    (pattern,) = authorization["described"]["patternMatching"]["patterns"]
    assert any(evaluated(item["predicate"], path) for item in pattern["any"]) is described


@pytest.mark.parametrize(
    ("path", "anthropic"),
    [
        ("/v1/messages", True),
        ("/v1/messages?beta=true", True),
        ("/external/claude/v1/messages/count_tokens", True),
        ("/v1/chat/completions", False),
        ("/v1/chat/completions?x=/v1/messages", False),
        ("/v1/messages-of-another-kind", False),
    ],
)
def test_the_dialect_of_a_refusal_is_that_of_the_path(objects: Objects, path: str, anthropic: bool) -> None:
    for name in ("unauthenticated", "unauthorized"):
        body = json.loads(evaluated(gateway_rules(objects)["response"][name]["body"]["expression"], path))
        assert ("type" in body) is anthropic


COUNTERS = [{"expression": "auth.identity.userid"}]


def test_limits(objects: Objects) -> None:
    free, narrow = ({"predicate": f'auth.identity.tier == "{tier}"'} for tier in ("free", "narrow"))
    model = {"predicate": 'requestBodyJSON("/model") == "gpt-4"'}
    assert objects["TokenRateLimitPolicy", "gateway-token-rate-limits"]["spec"]["limits"] == {
        "free-0": {"rates": [{"limit": 100, "window": "1m"}], "when": [*PATHS, free], "counters": COUNTERS},
        "free-1": {"rates": [{"limit": 7, "window": "24h"}], "when": [*PATHS, free, model], "counters": COUNTERS},
        "narrow-0": {"rates": [{"limit": 5, "window": "1s"}], "when": [*PATHS, narrow], "counters": COUNTERS},
    }
    assert objects["RateLimitPolicy", "gateway-request-rate-limits"]["spec"]["limits"] == {
        "free-0": {"rates": [{"limit": 20, "window": "1h"}], "when": [*PATHS, free], "counters": COUNTERS}
    }


def test_where_the_objects_are(objects: Objects) -> None:
    policies = {key: item for key, item in objects.items() if item["apiVersion"].startswith("kuadrant.io/")}
    assert len(policies) == 3
    for item in policies.values():
        assert item["metadata"]["namespace"] == "openshift-ingress"
        assert item["spec"]["targetRef"] == {
            "group": "gateway.networking.k8s.io",
            "kind": "Gateway",
            "name": "maas-default-gateway",
        }
    guard = objects["HTTPRoute", "external"]
    assert guard["metadata"]["namespace"] == "ai-gateway"
    assert guard["spec"]["parentRefs"] == [{"name": "maas-default-gateway", "namespace": "openshift-ingress"}]
    assert guard["spec"]["rules"] == [{"matches": [{"path": {"type": "PathPrefix", "value": "/external"}}]}]
    spaces = {name for kind, name in objects if kind == "Namespace"}
    assert spaces == {"maas-default-gateway-tier-free", "maas-default-gateway-tier-narrow"}
    assert KEY not in json.dumps(list(objects.values()))


def test_a_catalogue_without_limits_of_requests_has_no_policy_for_them(tmp_path: Path) -> None:
    variables = {**VARIABLES, "ai_gateway_tiers": VARIABLES["ai_gateway_tiers"][1:]}
    objects = manifests(tmp_path, "access_policies", "kuadrant.yaml.j2", variables)
    assert {kind for kind, _name in objects} == {"Namespace", "HTTPRoute", "AuthPolicy", "TokenRateLimitPolicy"}


def test_kinds_that_others_have_there_are_not_rendered(tmp_path: Path) -> None:
    variables = {**VARIABLES, "__access_policies_kept": ["AuthPolicy", "TokenRateLimitPolicy"]}
    objects = manifests(tmp_path, "access_policies", "kuadrant.yaml.j2", variables)
    assert {kind for kind, _name in objects} == {"Namespace", "HTTPRoute", "RateLimitPolicy"}


def test_audiences_and_the_time_that_reviews_are_kept(tmp_path: Path) -> None:
    variables = {**VARIABLES, "access_policies_audiences": ["one", "two"], "access_policies_token_cache_seconds": 5}
    rules = gateway_rules(manifests(tmp_path, "access_policies", "kuadrant.yaml.j2", variables))
    assert [method["kubernetesTokenReview"]["audiences"] for method in rules["authentication"].values()] == [
        ["one", "two"]
    ] * 2
    assert {method["cache"]["ttl"] for method in rules["authentication"].values()} == {5}
    assert "audience one or two as" in rules["response"]["unauthenticated"]["message"]["value"]


@pytest.mark.parametrize(
    ("kind", "file", "version"),
    [
        ("AuthPolicy", "kuadrant.io_authpolicies.yaml", "v1"),
        ("TokenRateLimitPolicy", "kuadrant.io_tokenratelimitpolicies.yaml", "v1alpha1"),
        ("RateLimitPolicy", "kuadrant.io_ratelimitpolicies.yaml", "v1"),
    ],
)
def test_kuadrants_schemas(objects: Objects, kind: str, file: str, version: str) -> None:
    validator = validator_of(file, version)
    (policy,) = [item for (found, _name), item in objects.items() if found == kind]
    assert policy["apiVersion"] == f"kuadrant.io/{version}"
    validator.validate(policy)
