# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role's template renders from a catalogue that uses all of it."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import jsonschema
import pytest
from definitions import schema_of
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
        "endpoint": {"hostname": "first.example.com", "port": 8443, "tls": {"sni": "vllm.example.com", "ca_bundle": "first-ca"}},
        "credential": {"secret": "first-key"},
        "models": [{"name": "shared", "priority": 0, "upstream_name": "a"}],
    },
    {
        "name": "fixed",
        "schema": "openai",
        "endpoint": {"hostname": "34.202.9.189", "port": 8444, "tls": {"sni": "fixed.example.com"}},
        "credential": {"secret": "fixed-key"},
        "models": [{"name": "fixed"}],
    },
    {
        "name": "second",
        "schema": "openai",
        "endpoint": {"hostname": "second.example.com", "tls": {"mode": "none"}},
        "credential": {"secret": "second-key"},
        "models": [{"name": "shared", "priority": 1}, *({"name": f"m{index}"} for index in range(20))],
    },
]
SPEC = {
    "model": {"uri": "hf://facebook/opt-125m", "name": "facebook/opt-125m"},
    "replicas": 1,
    "template": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "1", "memory": "10Gi"}}}]},
}
MODELS = [
    {"name": "opt", "backend_ref": {"name": "opt", "namespace": "llm", "port": 8000}},
    {"name": "opt-again", "upstream_name": "opt", "backend_ref": {"name": "opt", "namespace": "llm", "port": 8000}},
    {"name": "simulated", "simulated": True},
    {"name": "made", "backend_ref": {"kind": "LLMInferenceService", "name": "made", "namespace": "llm", "tls": {"ca_bundle": CERTIFICATE}, "spec": SPEC}},
    {"name": "there", "backend_ref": {"kind": "LLMInferenceService", "name": "there", "namespace": "llm", "tls": {"ca_bundle": "kserve-ca"}}},
    {
        "name": "later",
        "simulated": True,
        "backend_ref": {"kind": "LLMInferenceService", "name": "later", "namespace": "llm", "tls": {"mode": "none"}, "spec": SPEC},
    },
]
ON_PREMISES = {
    "service.llm.opt.8000",
    "service.external-models.simulated-simulator.8000",
    *(f"llminferenceservice.llm.{name}.8000" for name in ("made", "there", "later")),
}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, t.Any]]:
    variables = {"ai_gateway_providers": PROVIDERS, "ai_gateway_models": MODELS}
    return manifests(tmp_path_factory.mktemp("providers"), "providers", "envoy_ai_gateway.yaml.j2", variables)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, t.Any]]:
    return manifests(tmp_path_factory.mktemp("services"), "providers", "inference_services.yaml.j2", {"ai_gateway_models": MODELS})


def names(objects: dict[tuple[str, str], dict[str, t.Any]], kind: str) -> set[str]:
    return {name for found, name in objects if found == kind}


def test_the_objects_of_each_provider(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    providers = {"openai", "claude", "first", "fixed", "second"}
    assert names(objects, "BackendSecurityPolicy") == providers
    assert names(objects, "Backend") == names(objects, "AIServiceBackend") == providers | ON_PREMISES
    assert names(objects, "Secret") == {"openai-credential"}
    assert names(objects, "ExternalSecret") == {"claude-credential"}
    assert names(objects, "ConfigMap") == {"claude-ca-bundle", "llminferenceservice.llm.made.8000-ca-bundle"}
    elsewhere = {"NetworkPolicy": "envoy-gateway-system", "LLMInferenceService": "llm"}
    assert all(manifest["metadata"]["namespace"] == elsewhere.get(kind, "ai-gateway") for (kind, _name), manifest in objects.items())
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
    assert objects["Backend", "fixed"]["spec"]["endpoints"] == [{"ip": {"address": "34.202.9.189", "port": 8444}}]
    assert objects["Backend", "first"]["spec"] == {
        "endpoints": [{"fqdn": {"hostname": "first.example.com", "port": 8443}}],
        "tls": {"sni": "vllm.example.com", "caCertificateRefs": [{"group": "", "kind": "Secret", "name": "first-ca"}]},
    }


def test_keys(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    policy = objects["BackendSecurityPolicy", "claude"]["spec"]
    assert (policy["type"], policy["anthropicAPIKey"]) == ("AnthropicAPIKey", {"secretRef": {"name": "claude-credential"}})
    external = objects["ExternalSecret", "claude-credential"]["spec"]
    assert external["secretStoreRef"] == {"kind": "ClusterSecretStore", "name": "vault"}
    assert external["data"] == [{"secretKey": "apiKey", "remoteRef": {"key": "claude", "property": "key"}}]


OWN = ["authorization", "x-api-key", "api-key", "x-ai-gateway-provider", "x-ai-gateway-api"]
CALLERS = [
    *("x-maas-user", "x-maas-tier", "x-forwarded-for", "x-envoy-external-address", "cookie", "proxy-authorization"),
    *("openai-organization", "openai-project"),
]


def test_what_a_provider_learns_of_the_caller(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    mutations = {name: objects["AIServiceBackend", name]["spec"]["headerMutation"] for name in names(objects, "AIServiceBackend")}
    assert mutations == {
        # The tests look at who called.
        "openai": {"remove": OWN},
        "claude": {"remove": [*OWN, *CALLERS], "set": [{"name": "anthropic-beta", "value": "a"}]},
        "first": {"remove": [*OWN, *CALLERS]},
        "fixed": {"remove": [*OWN, *CALLERS]},
        "second": {"remove": [*OWN, *CALLERS]},
        **{name: {"remove": OWN} for name in ON_PREMISES},
    }


def test_the_prefix_of_a_provider(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    assert objects["AIServiceBackend", "claude"]["spec"]["schema"] == {"name": "Anthropic", "prefix": "/api/v1"}


def rules(objects: dict[tuple[str, str], dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    return [rule for (kind, _name), route in sorted(objects.items()) if kind == "AIGatewayRoute" for rule in route["spec"]["rules"]]


def test_routes_hold_fifteen_rules_at_the_most(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    assert names(objects, "AIGatewayRoute") == {"models-0", "models-1", "models-2", "models-of-2-0"}
    assert max(len(route["spec"]["rules"]) for (kind, _name), route in objects.items() if kind == "AIGatewayRoute") == 15
    # One for each model, and those of the paths of both providers of the shared one.
    assert len(rules(objects)) == 1 + 1 + 1 + 20 + len(MODELS) + 1 + 2


def test_each_model_is_listed_once(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    exact = [
        header["value"]
        for rule in rules(objects)
        for match in rule["matches"]
        for header in match["headers"]
        if header["name"] == "x-ai-eg-model" and header["type"] == "Exact"
    ]
    assert sorted(exact) == sorted(["gpt-4", "claude-3-sonnet", "fixed", "shared", *(f"m{index}" for index in range(20)), *(model["name"] for model in MODELS)])


def test_both_paths_of_a_model(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    rule = objects["AIGatewayRoute", "models-0"]["spec"]["rules"][0]
    assert rule["matches"] == [
        {
            "headers": [
                {"type": "Exact", "name": "x-ai-eg-model", "value": "gpt-4"},
                {"type": "Exact", "name": "x-ai-gateway-provider", "value": "*"},
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
    found = objects["AIGatewayRoute", "models-of-2-0"]["spec"]["rules"]
    assert [[reference["name"] for reference in rule["backendRefs"]] for rule in found] == [["first", "second"]]
    assert [reference["priority"] for reference in found[0]["backendRefs"]] == [0, 1]
    policy = objects["BackendTrafficPolicy", "models-of-2"]["spec"]
    assert [reference["name"] for reference in policy["targetRefs"]] == ["models-of-2-0"]
    assert policy["retry"]["numRetries"] == 1
    assert all(status in (429, 529) or 500 <= status < 600 for status in policy["retry"]["retryOn"]["httpStatusCodes"])


def test_the_backends_of_models_on_the_premises(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    specs = {name: objects["Backend", name]["spec"] for name in ON_PREMISES}
    ends = {name: spec["endpoints"][0]["fqdn"] for name, spec in specs.items()}
    assert ends == {
        "service.llm.opt.8000": {"hostname": "opt.llm.svc.cluster.local", "port": 8000},
        "service.external-models.simulated-simulator.8000": {"hostname": "simulated-simulator.external-models.svc.cluster.local", "port": 8000},
        "llminferenceservice.llm.made.8000": {"hostname": "made-kserve-workload-svc.llm.svc.cluster.local", "port": 8000},
        "llminferenceservice.llm.there.8000": {"hostname": "there-kserve-workload-svc.llm.svc.cluster.local", "port": 8000},
        "llminferenceservice.llm.later.8000": {"hostname": "later-simulator.external-models.svc.cluster.local", "port": 8000},
    }
    assert {name: spec["tls"] for name, spec in specs.items() if "tls" in spec} == {
        "llminferenceservice.llm.made.8000": {
            "sni": "made-kserve-workload-svc.llm.svc.cluster.local",
            "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "llminferenceservice.llm.made.8000-ca-bundle"}],
        },
        "llminferenceservice.llm.there.8000": {
            "sni": "there-kserve-workload-svc.llm.svc.cluster.local",
            "caCertificateRefs": [{"group": "", "kind": "Secret", "name": "kserve-ca"}],
        },
    }


def test_only_an_inference_service_with_a_spec_and_without_a_simulator_is_made(
    services: dict[tuple[str, str], dict[str, t.Any]], objects: dict[tuple[str, str], dict[str, t.Any]]
) -> None:
    assert set(services) == {("LLMInferenceService", "made"), ("Namespace", "llm")}
    assert services["LLMInferenceService", "made"] == {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LLMInferenceService",
        "metadata": {"name": "made", "namespace": "llm"},
        "spec": SPEC,
    }
    (reference,) = next(rule for rule in rules(objects) if rule["matches"][0]["headers"][0]["value"] == "made")["backendRefs"]
    assert reference["modelNameOverride"] == "facebook/opt-125m"


def test_the_inference_service_fits_its_definition(services: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    manifest = services["LLMInferenceService", "made"]
    schema = schema_of("serving.kserve.io_llminferenceservices.yaml", "v1alpha1")
    jsonschema.validate(manifest, schema)
    wrong = {**manifest, "spec": {**SPEC, "replicas": "one"}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**manifest, "spec": {**SPEC, "replica": 1}}, schema)


def test_where_the_proxies_may_call(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    policies = {name.removeprefix("ai-gateway.ai-gateway."): objects["NetworkPolicy", name]["spec"] for name in names(objects, "NetworkPolicy")}
    services = {f"llminferenceservice.llm.{name}" for name in ("made", "there")}
    assert set(policies) == {"port-80", "port-443", "port-8443", "port-8444", "namespace.llm", "simulators"} | services
    for spec in policies.values():
        assert spec["podSelector"]["matchLabels"] == {
            "gateway.envoyproxy.io/owning-gateway-name": "ai-gateway",
            "gateway.envoyproxy.io/owning-gateway-namespace": "ai-gateway",
        }
        assert spec["policyTypes"] == ["Egress"]
        assert len(spec["egress"]) == 1
    assert policies["port-8444"]["egress"] == [{"to": [{"ipBlock": {"cidr": "34.202.9.189/32"}}], "ports": [{"protocol": "TCP", "port": 8444}]}]
    assert "ports" not in policies["namespace.llm"]["egress"][0]


def test_kinds_of_others_are_rendered_where_they_are_used_alone(tmp_path: Path) -> None:
    found = manifests(tmp_path, "providers", "envoy_ai_gateway.yaml.j2", {"ai_gateway_providers": PROVIDERS[:1], "ai_gateway_models": MODELS[:1]})
    assert not {"ExternalSecret", "LLMInferenceService"} & {kind for kind, _name in found}
