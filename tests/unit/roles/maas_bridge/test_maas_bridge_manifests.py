# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bridges that the role's template renders."""

from __future__ import annotations

import base64
import json
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.secrets import (
    SecretMask,
    secret_field_faults,
)
from rendering import manifests, rendered
from third_party_crds import validator_of


class Unsafe(str):
    """A string that Ansible must not render as a template."""


yaml.SafeDumper.add_representer(Unsafe, lambda dumper, value: dumper.represent_scalar("!unsafe", str(value)))

#: What would end a string of an expression, of YAML or of a template.
KEY = Unsafe("sk-'a\"key\\{{that}}#must:not-show")
STORED = "another-key-that-must-not-show"
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_stack": "wg_ai_gateway",
    "ai_gateway_policy_engine": "kuadrant",
    "ai_gateway_providers": [
        {
            "name": "openai",
            "schema": "openai",
            "simulated": True,
            "credential": {"value": KEY, "header": "X-Provider-Api-Key"},
            "models": [{"name": "gpt-4"}],
        },
        {
            "name": "vllm",
            "schema": "openai",
            "endpoint": {"hostname": "vllm.example.com"},
            "credential": {"secret": "vllm-key"},
            "headers": {"OpenAI-Project": "ours", "x-region": "eu"},
            "models": [{"name": "Qwen/Qwen3-0.6B"}],
        },
    ],
    "ai_gateway_tiers": [
        {"name": "free", "level": 0, "groups": ["all"], "token_limit": {"tokens": 100, "window": "1m"}}
    ],
}
FOUND = {
    "resources": [
        {"metadata": {"name": "vllm-key"}, "data": {"apiKey": base64.b64encode(STORED.encode()).decode()}},
    ]
}

Objects = dict[tuple[str, str], dict[str, t.Any]]


def bridges(directory: Path, variables: dict[str, t.Any]) -> Objects:
    """What the role renders, with the rules that its task gets from role access_policies."""
    (directory / "rules").mkdir()
    rules = yaml.safe_load(rendered(directory / "rules", "access_policies", "bridge_rules.yaml.j2", variables))
    given = {**variables, "access_policies_bridge_rules": rules, "__maas_bridge_found": FOUND}
    return manifests(directory, "maas_bridge", "maas_bridge.yaml.j2", given)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return bridges(tmp_path_factory.mktemp("bridges"), VARIABLES)


GRANT = ("ReferenceGrant", "ai-gateway.bridges")


def test_a_route_and_a_policy_for_each_provider(objects: Objects) -> None:
    assert set(objects) == {
        (kind, f"{provider}-{suffix}")
        for provider in ("openai", "vllm")
        for kind, suffix in (("HTTPRoute", "bridge"), ("AuthPolicy", "bridge-auth"))
    } | {GRANT}
    for (kind, name), item in objects.items():
        if (kind, name) == GRANT:
            continue
        assert item["metadata"]["namespace"] == "ai-gateway"
        if kind == "AuthPolicy":
            assert item["spec"]["targetRef"] == {
                "group": "gateway.networking.k8s.io",
                "kind": "HTTPRoute",
                "name": name.removesuffix("-auth"),
            }
        else:
            assert item["spec"]["parentRefs"] == [{"name": "maas-default-gateway", "namespace": "openshift-ingress"}]


def paths(rule: dict[str, t.Any]) -> tuple[str, str]:
    (match,) = rule["matches"]
    assert match["path"]["type"] == "PathPrefix"
    rewrite = rule["filters"][0]["urlRewrite"]["path"]
    assert rewrite["type"] == "ReplacePrefixMatch"
    return match["path"]["value"], rewrite["replacePrefixMatch"]


def test_the_way_to_the_egress_gateway(objects: Objects) -> None:
    (rule,) = objects["HTTPRoute", "vllm-bridge"]["spec"]["rules"]
    assert paths(rule) == ("/external/vllm/", "/vllm/")
    service = "envoy-ai-gateway-egress-egress-gateway"
    assert rule["backendRefs"] == [{"name": service, "namespace": "ai-gateway-egress", "port": 8080}]
    assert objects[GRANT]["metadata"]["namespace"] == "ai-gateway-egress"
    assert objects[GRANT]["spec"] == {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "ai-gateway"}],
        "to": [{"group": "", "kind": "Service", "name": service}],
    }


def test_one_provider_need_not_be_named(tmp_path: Path) -> None:
    objects = bridges(tmp_path, {**VARIABLES, "ai_gateway_providers": VARIABLES["ai_gateway_providers"][:1]})
    rules = objects["HTTPRoute", "openai-bridge"]["spec"]["rules"]
    assert [paths(rule) for rule in rules] == [("/external/openai/", "/openai/"), ("/external/v1", "/openai/v1")]
    assert rules[0]["filters"][1] == rules[1]["filters"][1]


CALLERS = [
    *(
        "x-maas-user",
        "x-maas-username",
        "x-maas-tier",
        "x-maas-group",
        "x-forwarded-for",
        "x-envoy-external-address",
        "cookie",
    ),
    *("proxy-authorization", "openai-organization", "openai-project"),
]


def test_what_a_provider_learns_of_the_caller(objects: Objects) -> None:
    modifiers = {
        name: item["spec"]["rules"][0]["filters"][1]["requestHeaderModifier"]
        for (kind, name), item in objects.items()
        if kind == "HTTPRoute"
    }
    # The order of the names says nothing.
    modifiers = {name: {**modifier, "remove": sorted(modifier["remove"])} for name, modifier in modifiers.items()}
    assert modifiers["openai-bridge"] == {"remove": sorted(["authorization", "x-api-key", "api-key", *CALLERS])}
    # Its key is where the token was, which the policy has replaced.
    assert modifiers["vllm-bridge"] == {
        "remove": sorted(["x-api-key", "api-key", "x-provider-api-key", *CALLERS[:-1]]),
        "set": [{"name": "openai-project", "value": "ours"}, {"name": "x-region", "value": "eu"}],
    }
    # Gateway API accepts at most these.
    assert all(len(modifier["remove"]) <= 16 for modifier in modifiers.values())


def test_keys(objects: Objects) -> None:
    success = {
        name: item["spec"]["rules"]["response"]["success"]
        for (kind, name), item in objects.items()
        if kind == "AuthPolicy"
    }
    assert success["openai-bridge-auth"]["headers"] == {
        "X-Provider-Api-Key": {"plain": {"expression": json.dumps(KEY)}}
    }
    assert success["vllm-bridge-auth"]["headers"] == {
        "Authorization": {"plain": {"expression": json.dumps(f"Bearer {STORED}")}}
    }
    assert all(
        set(item["filters"]["identity"]["json"]["properties"]) == {"userid", "tier"} for item in success.values()
    )


def test_keys_are_marked_as_secret_and_nowhere_else(objects: Objects) -> None:
    for (kind, name), item in objects.items():
        key = KEY if name.startswith("openai") else f"Bearer {STORED}"
        assert (json.dumps(json.dumps(key))[1:-1] in json.dumps(item)) == (kind == "AuthPolicy")
        assert secret_field_faults(item) == []
        masked = SecretMask([item]).masked(f"the value {key} is wrong")
        assert (key not in masked) == (kind == "AuthPolicy")


def test_the_rules_are_those_of_the_gateway(objects: Objects, tmp_path: Path) -> None:
    gateway = manifests(
        tmp_path,
        "access_policies",
        "kuadrant.yaml.j2",
        VARIABLES | {"ai_gateway_providers": VARIABLES["ai_gateway_providers"][1:]},
    )
    whole = gateway["AuthPolicy", "gateway-auth-policy"]["spec"]["rules"]
    # A bridge has no path but its own.
    del whole["authorization"]["described"]
    for provider in ("openai", "vllm"):
        rules = json.loads(json.dumps(objects["AuthPolicy", f"{provider}-bridge-auth"]["spec"]["rules"]))
        del rules["response"]["success"]["headers"]
        assert rules == whole


def test_the_route_to_the_semantic_router(tmp_path: Path) -> None:
    """It is beside its Service; the tiers that may ask the router are who its model is for."""
    limit = {"token_limit": {"tokens": 100, "window": "1m"}}
    variables = {
        **VARIABLES,
        "ai_gateway_models": [
            {"name": "opt", "backend_ref": {"kind": "LLMInferenceService", "name": "opt", "namespace": "llm"}}
        ],
        "ai_gateway_tiers": [
            {"name": "free", "level": 0, "groups": ["all"], **limit, "models": ["auto", "opt"]},
            {"name": "closed", "level": 1, "groups": ["few"], **limit, "models": ["gpt-4"]},
        ],
        "ai_gateway_semantic_router": {"default_model": "opt"},
    }
    secret = {"resources": [{"data": {"key": base64.b64encode(STORED.encode()).decode()}}]}
    (tmp_path / "router").mkdir()
    text = rendered(tmp_path / "router", "access_policies", "router_rules.yaml.j2", variables)
    given = {"access_policies_router_rules": yaml.safe_load(text), "__maas_bridge_router_secret": secret}
    found = bridges(tmp_path, {**variables, **given})
    route = found["HTTPRoute", "semantic-router"]
    assert route["metadata"]["namespace"] == "vllm-semantic-router-system"
    (rule,) = route["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/v1/chat"}}]
    assert rule["backendRefs"] == [{"name": "semantic-router", "port": 8801}]
    removed = rule["filters"][0]["requestHeaderModifier"]["remove"]
    assert {"authorization", "x-api-key", "x-selected-model", "x-vsr-destination-endpoint"} <= set(removed)
    # They are set before this filter, and a filter holds 16.
    assert {"x-authz-user-id", "x-authz-user-groups"}.isdisjoint(removed)
    assert len(removed) <= 16
    policy = found["AuthPolicy", "semantic-router"]
    validator_of("kuadrant.io_authpolicies.yaml", "v1").validate(policy)
    rules = policy["spec"]["rules"]
    assert set(rules["response"]["success"]) == {"filters", "headers"}
    assert set(rules["response"]["success"]["headers"]) == {
        "x-authz-user-id",
        "x-authz-user-groups",
        "x-ai-gateway-router-key",
    }
    assert rules["response"]["success"]["headers"]["x-ai-gateway-router-key"]["plain"]["expression"] == f'"{STORED}"'
    assert secret_field_faults(policy) == []
    assert STORED not in SecretMask([policy]).masked(f"the value {STORED} is wrong")
    assert "tier-free:" in json.dumps(rules["authorization"])
    assert "tier-closed:" not in json.dumps(rules["authorization"])
    assert [name for kind, name in found if kind == "ReferenceGrant"] == ["ai-gateway.bridges"]


def test_kuadrants_schema(objects: Objects) -> None:
    validator = validator_of("kuadrant.io_authpolicies.yaml", "v1")
    for (kind, _name), item in objects.items():
        if kind == "AuthPolicy":
            validator.validate(item)
