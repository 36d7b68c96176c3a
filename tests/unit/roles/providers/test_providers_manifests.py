# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role's template renders from a catalogue that uses all of it."""

from __future__ import annotations

import json
import typing as t

import pytest
from rendering import manifests

KEY = "sk-a-key-that-must-not-show"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
PROVIDERS = [
    {"name": "openai", "schema": "openai", "simulated": True, "credential": {"value": KEY}, "models": [{"name": "gpt-4", "upstream_name": "gpt-4-0613"}]},
    {
        "name": "claude",
        "schema": "anthropic",
        "endpoint": {"hostname": "api.anthropic.com", "prefix": "/api/v1", "tls": {"ca_bundle": CERTIFICATE, "mode": "mutual", "client_certificate": "client"}},
        "credential": {"external_secret": {"store": "vault", "kind": "ClusterSecretStore", "key": "claude", "property": "key"}},
        "headers": {"anthropic-beta": "a"},
        "models": [{"name": "claude-3-sonnet"}],
    },
    {
        "name": "first",
        "schema": "openai",
        "endpoint": {"hostname": "34.202.9.189", "port": 8443, "tls": {"sni": "vllm.example.com", "ca_bundle": "first-ca"}},
        "credential": {"secret": "first-key"},
        "models": [{"name": "shared", "priority": 0, "upstream_name": "a"}],
    },
    {
        "name": "second",
        "schema": "openai",
        "endpoint": {"hostname": "second.example.com", "tls": {"mode": "none"}},
        "credential": {"secret": "second-key"},
        "models": [{"name": "shared", "priority": 1}, *({"name": f"m{index}"} for index in range(20))],
    },
]
MODELS = [
    {"name": "opt", "backend_ref": {"name": "opt", "namespace": "llm", "port": 8000}},
    {"name": "opt-again", "upstream_name": "opt", "backend_ref": {"name": "opt", "namespace": "llm", "port": 8000}},
]


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, t.Any]]:
    variables = {"ai_gateway_providers": PROVIDERS, "ai_gateway_models": MODELS}
    return manifests(tmp_path_factory.mktemp("providers"), "providers", "envoy_ai_gateway.yaml.j2", variables)


def names(objects: dict[tuple[str, str], dict[str, t.Any]], kind: str) -> set[str]:
    return {name for found, name in objects if found == kind}


def test_the_objects_of_each_provider(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    providers = {"openai", "claude", "first", "second"}
    assert names(objects, "BackendSecurityPolicy") == providers
    assert names(objects, "Backend") == names(objects, "AIServiceBackend") == providers | {"service.llm.opt.8000"}
    assert names(objects, "Secret") == {"openai-credential"}
    assert names(objects, "ExternalSecret") == {"claude-credential"}
    assert names(objects, "ConfigMap") == {"claude-ca-bundle"}
    assert {manifest["metadata"]["namespace"] for manifest in objects.values()} == {"ai-gateway"}
    assert KEY not in json.dumps(list(objects.values()))


def test_tls(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    assert "tls" not in objects["Backend", "openai"]["spec"]
    assert "tls" not in objects["Backend", "second"]["spec"]
    assert objects["Backend", "claude"]["spec"] == {
        "endpoints": [{"fqdn": {"hostname": "api.anthropic.com", "port": 443}}],
        "tls": {
            "sni": "api.anthropic.com",
            "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "claude-ca-bundle"}],
            "clientCertificateRef": {"group": "", "kind": "Secret", "name": "client"},
        },
    }
    assert objects["ConfigMap", "claude-ca-bundle"]["data"] == {"ca.crt": CERTIFICATE}
    assert objects["Backend", "first"]["spec"] == {
        "endpoints": [{"ip": {"address": "34.202.9.189", "port": 8443}}],
        "tls": {"sni": "vllm.example.com", "caCertificateRefs": [{"group": "", "kind": "Secret", "name": "first-ca"}]},
    }


def test_keys(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    policy = objects["BackendSecurityPolicy", "claude"]["spec"]
    assert (policy["type"], policy["anthropicAPIKey"]) == ("AnthropicAPIKey", {"secretRef": {"name": "claude-credential"}})
    external = objects["ExternalSecret", "claude-credential"]["spec"]
    assert external["secretStoreRef"] == {"kind": "ClusterSecretStore", "name": "vault"}
    assert external["data"] == [{"secretKey": "apiKey", "remoteRef": {"key": "claude", "property": "key"}}]


def test_what_a_provider_learns_of_the_caller(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    mutations = {name: objects["AIServiceBackend", name]["spec"]["headerMutation"] for name in names(objects, "AIServiceBackend")}
    assert mutations == {
        # The tests look at who called.
        "openai": {"remove": ["x-api-key", "api-key", "x-ai-gateway-provider", "x-ai-gateway-api"]},
        "claude": {
            "remove": ["authorization", "api-key", "x-ai-gateway-provider", "x-ai-gateway-api", "x-maas-user", "x-maas-tier"],
            "set": [{"name": "anthropic-beta", "value": "a"}],
        },
        "first": {"remove": ["x-api-key", "api-key", "x-ai-gateway-provider", "x-ai-gateway-api", "x-maas-user", "x-maas-tier"]},
        "second": {"remove": ["x-api-key", "api-key", "x-ai-gateway-provider", "x-ai-gateway-api", "x-maas-user", "x-maas-tier"]},
        "service.llm.opt.8000": {"remove": ["authorization", "x-api-key", "api-key", "x-ai-gateway-provider", "x-ai-gateway-api"]},
    }


def test_the_prefix_of_a_provider(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    assert objects["AIServiceBackend", "claude"]["spec"]["schema"] == {"name": "Anthropic", "prefix": "/api/v1"}


def rules(objects: dict[tuple[str, str], dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    return [rule for (kind, _name), route in sorted(objects.items()) if kind == "AIGatewayRoute" for rule in route["spec"]["rules"]]


def test_routes_hold_fifteen_rules_at_the_most(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    assert names(objects, "AIGatewayRoute") == {"models-0", "models-1", "shared-models-0"}
    assert max(len(route["spec"]["rules"]) for (kind, _name), route in objects.items() if kind == "AIGatewayRoute") == 15
    # One for each model, and those of the paths of both providers of the shared one.
    assert len(rules(objects)) == 1 + 1 + 20 + 2 + 1 + 2


def test_each_model_is_listed_once(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    exact = [
        header["value"]
        for rule in rules(objects)
        for match in rule["matches"]
        for header in match["headers"]
        if header["name"] == "x-ai-eg-model" and header["type"] == "Exact"
    ]
    assert sorted(exact) == sorted(["gpt-4", "claude-3-sonnet", "shared", *(f"m{index}" for index in range(20)), "opt", "opt-again"])


def test_both_paths_of_a_model(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    rule = objects["AIGatewayRoute", "models-0"]["spec"]["rules"][0]
    assert rule["matches"] == [
        {
            "headers": [
                {"type": "Exact", "name": "x-ai-eg-model", "value": "gpt-4"},
                {"type": "Exact", "name": "x-ai-gateway-provider", "value": "any"},
            ]
        },
        {
            "headers": [
                {"type": "RegularExpression", "name": "x-ai-eg-model", "value": "^gpt\\-4$"},
                {"type": "Exact", "name": "x-ai-gateway-provider", "value": "openai"},
            ]
        },
    ]
    assert rule["backendRefs"] == [{"name": "openai", "weight": 1, "priority": 0, "modelNameOverride": "gpt-4-0613"}]
    assert rule["modelsOwnedBy"] == "openai"


def test_an_anthropic_provider_is_asked_in_its_api_alone(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    (rule,) = [rule for rule in rules(objects) if rule["backendRefs"][0]["name"] == "claude"]
    for match in rule["matches"]:
        assert match["headers"][2] == {"type": "Exact", "name": "x-ai-gateway-api", "value": "anthropic"}


def test_fail_over(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    found = objects["AIGatewayRoute", "shared-models-0"]["spec"]["rules"]
    assert [[reference["name"] for reference in rule["backendRefs"]] for rule in found] == [["first", "second"], ["first"], ["second"]]
    assert [reference["priority"] for reference in found[0]["backendRefs"]] == [0, 1]
    policy = objects["BackendTrafficPolicy", "shared-models"]["spec"]
    assert [reference["name"] for reference in policy["targetRefs"]] == ["shared-models-0"]
    assert policy["retry"]["numRetries"] == 1
    assert all(status in (429, 529) or 500 <= status < 600 for status in policy["retry"]["retryOn"]["httpStatusCodes"])
