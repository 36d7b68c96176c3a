# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role's template renders from a catalogue that uses all of it."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import jsonschema
import pytest
from rendering import manifests
from third_party_crds import validator_of

KEY = "sk-a-key-that-must-not-show"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
PROVIDERS = [
    {
        "name": "openai",
        "schema": "openai",
        "simulated": True,
        "credential": {"value": KEY},
        "models": [{"name": "gpt-4", "provider_model": "gpt-4-0613"}],
    },
    {
        "name": "claude",
        "schema": "anthropic",
        "endpoint": {
            "hostname": "api.anthropic.com",
            "prefix": "/api/v1",
            "tls": {"ca_bundle": CERTIFICATE, "mode": "mutual", "client_certificate": "client"},
        },
        "credential": {
            "external_secret": {"store": "vault", "kind": "ClusterSecretStore", "key": "claude", "property": "key"}
        },
        "headers": {"anthropic-beta": "a"},
        "models": [{"name": "claude-3-sonnet"}],
    },
    {
        "name": "first",
        "schema": "openai",
        "endpoint": {
            "hostname": "first.example.com",
            "port": 8443,
            "tls": {"sni": "vllm.example.com", "ca_bundle": "first-ca"},
        },
        "credential": {"secret": "first-key"},
        "models": [{"name": "shared", "priority": 0, "provider_model": "a"}],
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
    {"name": "opt-again", "provider_model": "opt", "backend_ref": {"name": "opt", "namespace": "llm", "port": 8000}},
    {"name": "simulated", "simulated": True},
    {
        "name": "made",
        "backend_ref": {
            "kind": "LLMInferenceService",
            "name": "made",
            "namespace": "llm",
            "tls": {"ca_bundle": CERTIFICATE},
            "spec": SPEC,
        },
    },
    {
        "name": "there",
        "backend_ref": {
            "kind": "LLMInferenceService",
            "name": "there",
            "namespace": "llm",
            "tls": {"ca_bundle": "kserve-ca"},
        },
    },
    {
        "name": "later",
        "simulated": True,
        "backend_ref": {
            "kind": "LLMInferenceService",
            "name": "later",
            "namespace": "llm",
            "tls": {"mode": "none"},
            "spec": SPEC,
        },
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
    return without_places(
        manifests(tmp_path_factory.mktemp("providers"), "providers", "envoy_ai_gateway.yaml.j2", variables)
    )


def without_places(objects: dict[tuple[str, str], dict[str, t.Any]]) -> dict[tuple[str, str], dict[str, t.Any]]:
    """The objects with the digests of places taken out of all names."""

    def plain(text: str) -> str:
        return re.sub(r"\b((?:openai|claude|first|fixed|second)(?:-credential)?)\.[0-9a-f]{8}\b", r"\1", text)

    return {(kind, plain(name)): json.loads(plain(json.dumps(body))) for (kind, name), body in objects.items()}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, t.Any]]:
    return manifests(
        tmp_path_factory.mktemp("services"), "providers", "inference_services.yaml.j2", {"ai_gateway_models": MODELS}
    )


def names(objects: dict[tuple[str, str], dict[str, t.Any]], kind: str) -> set[str]:
    return {name for found, name in objects if found == kind}


def test_the_objects_of_each_provider(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    providers = {"openai", "claude", "first", "fixed", "second"}
    assert names(objects, "BackendSecurityPolicy") == providers
    assert names(objects, "Backend") == providers | ON_PREMISES
    assert names(objects, "AIServiceBackend") == providers | ON_PREMISES | {"claude.count"}
    assert names(objects, "Secret") == {"openai-credential"}
    assert names(objects, "ExternalSecret") == {"claude-credential"}
    assert names(objects, "ConfigMap") == {"claude-ca-bundle", "llminferenceservice.llm.made.8000-ca-bundle"}
    elsewhere = {"NetworkPolicy": "ai-gateway-envoy-gateway", "LLMInferenceService": "llm"}
    assert all(
        manifest["metadata"]["namespace"] == elsewhere.get(kind, "ai-gateway")
        for (kind, _name), manifest in objects.items()
    )
    assert KEY not in json.dumps(list(objects.values()))


def test_tls(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    assert "tls" not in objects["Backend", "openai"]["spec"]
    assert "tls" not in objects["Backend", "second"]["spec"]
    assert objects["Backend", "claude"]["spec"] == {
        "type": "Endpoints",
        "endpoints": [{"fqdn": {"hostname": "api.anthropic.com", "port": 443}}],
        "tls": {
            "insecureSkipVerify": False,
            "sni": "api.anthropic.com",
            "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "claude-ca-bundle"}],
            "clientCertificateRef": {"group": "", "kind": "Secret", "name": "client"},
        },
    }
    assert objects["ConfigMap", "claude-ca-bundle"]["data"] == {"ca.crt": CERTIFICATE}
    assert objects["Backend", "fixed"]["spec"]["endpoints"] == [{"ip": {"address": "34.202.9.189", "port": 8444}}]
    assert objects["Backend", "first"]["spec"] == {
        "type": "Endpoints",
        "endpoints": [{"fqdn": {"hostname": "first.example.com", "port": 8443}}],
        "tls": {
            "insecureSkipVerify": False,
            "sni": "vllm.example.com",
            "caCertificateRefs": [{"group": "", "kind": "Secret", "name": "first-ca"}],
        },
    }


def test_keys(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    policy = objects["BackendSecurityPolicy", "claude"]["spec"]
    assert (policy["type"], policy["anthropicAPIKey"]) == (
        "AnthropicAPIKey",
        {"secretRef": {"group": "", "kind": "Secret", "name": "claude-credential"}},
    )
    external = objects["ExternalSecret", "claude-credential"]["spec"]
    assert external["secretStoreRef"] == {"kind": "ClusterSecretStore", "name": "vault"}
    defaults = {"conversionStrategy": "Default", "decodingStrategy": "None", "metadataPolicy": "None"}
    assert external["data"] == [{"secretKey": "apiKey", "remoteRef": {"key": "claude", "property": "key", **defaults}}]


REMOVED = [
    *("authorization", "x-api-key", "api-key", "x-ai-gateway-provider", "x-ai-gateway-api"),
    *("x-maas-user", "x-maas-tier", "x-forwarded-for", "cookie", "proxy-authorization"),
    *("openai-organization", "openai-project"),
]


def test_no_provider_learns_who_calls(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    """A simulator and a model on the premises learn no more than an outside provider, or tests would see what holds for
    them alone.
    """
    mutations = {
        name: objects["AIServiceBackend", name]["spec"]["headerMutation"] for name in names(objects, "AIServiceBackend")
    }
    for name in ("claude", "claude.count"):
        assert mutations.pop(name) == {"remove": REMOVED, "set": [{"name": "anthropic-beta", "value": "a"}]}
    assert mutations == {name: {"remove": REMOVED} for name in {"openai", "first", "fixed", "second"} | ON_PREMISES}


def test_the_prefix_of_a_provider(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    assert objects["AIServiceBackend", "claude"]["spec"]["schema"] == {"name": "Anthropic", "prefix": "/api/v1"}


def rules(objects: dict[tuple[str, str], dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    return [
        rule
        for (kind, _name), route in sorted(objects.items())
        if kind == "AIGatewayRoute"
        for rule in route["spec"]["rules"]
    ]


def route_of(objects: dict[tuple[str, str], dict[str, t.Any]], name: str) -> str:
    """The name of the route on which a model is reached without the path of a provider."""
    (found,) = [
        route
        for (kind, route), body in objects.items()
        if kind == "AIGatewayRoute" and listed(body["spec"]["rules"][0]) == name
    ]
    return found


def listed(rule: dict[str, t.Any]) -> str:
    header = rule["matches"][0]["headers"][0]
    return str(header["value"]) if header["type"] == "Exact" else ""


def test_each_model_has_a_route_with_one_rule(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    """Envoy AI Gateway distinguishes backends by their rule's index, which changes when another rule is removed."""
    assert {len(route["spec"]["rules"]) for (kind, _name), route in objects.items() if kind == "AIGatewayRoute"} == {1}
    shared = route_of(objects, "shared")
    own = {name for name in names(objects, "AIGatewayRoute") if name.startswith("shared-") and name != shared}
    assert [name.partition(".")[2] for name in sorted(own, key=lambda name: name[-1])] == ["second", "first"]
    # One more counts tokens at the provider of Anthropic's API.
    assert len(rules(objects)) == 1 + 2 + 1 + 20 + len(MODELS) + 1 + 2


def test_a_change_touches_the_routes_of_its_model_alone(
    objects: dict[tuple[str, str], dict[str, t.Any]], tmp_path: Path
) -> None:
    fewer = [
        {**provider, "models": provider["models"][1:]} if provider["name"] == "second" else provider
        for provider in PROVIDERS[1:]
    ]
    changed = without_places(
        manifests(
            tmp_path,
            "providers",
            "envoy_ai_gateway.yaml.j2",
            {"ai_gateway_providers": fewer, "ai_gateway_models": MODELS[::-1]},
        )
    )
    routes, left = (
        {key: body for key, body in found.items() if key[0] == "AIGatewayRoute"} for found in (objects, changed)
    )
    models = [
        {key[1].partition("-")[0] for key in found.keys() - others.keys()}
        for found, others in ((routes, left), (left, routes))
    ]
    # A model has another route where it has another end, and none changes.
    assert models == [{"gpt", "shared"}, {"shared"}]
    assert [key for key, body in left.items() if routes.get(key, body) != body] == []


def test_each_model_is_listed_once(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    exact = [
        header["value"]
        for rule in rules(objects)
        for match in rule["matches"]
        for header in match["headers"]
        if header["name"] == "x-ai-eg-model" and header["type"] == "Exact"
    ]
    assert sorted(exact) == sorted(
        [
            "gpt-4",
            "claude-3-sonnet",
            "fixed",
            "shared",
            *(f"m{index}" for index in range(20)),
            *(model["name"] for model in MODELS),
        ]
    )


def test_both_paths_of_a_model(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    (rule,) = objects["AIGatewayRoute", route_of(objects, "gpt-4")]["spec"]["rules"]
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


def test_tokens_are_counted_by_a_second_backend(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    """With the same key, endpoint and headers; Envoy AI Gateway appends /messages to the prefix."""
    found, counting = (objects["AIServiceBackend", name]["spec"] for name in ("claude", "claude.count"))
    assert counting == {**found, "schema": {"name": "Anthropic", "prefix": "/api/v1/messages/count_tokens?via="}}
    assert found["backendRef"]["name"] == "claude"
    targets = objects["BackendSecurityPolicy", "claude"]["spec"]["targetRefs"]
    assert [target["name"] for target in targets] == ["claude", "claude.count"]
    (rule,) = [rule for rule in rules(objects) if rule["backendRefs"][0]["name"] == "claude.count"]
    for match in rule["matches"]:
        model, _provider, api = match["headers"]
        # An exact name would be listed twice.
        assert (model["type"], model["value"]) == ("RegularExpression", "^claude\\-3\\-sonnet$")
        assert api == {"type": "Exact", "name": "x-ai-gateway-api", "value": "anthropic-count"}


def test_fail_over(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    shared = route_of(objects, "shared")
    (rule,) = objects["AIGatewayRoute", shared]["spec"]["rules"]
    assert [(reference["name"], reference["priority"]) for reference in rule["backendRefs"]] == [
        ("first", 0),
        ("second", 1),
    ]
    # Under the path of a provider there is nobody to take over.
    assert names(objects, "BackendTrafficPolicy") == {shared}
    policy = objects["BackendTrafficPolicy", shared]["spec"]
    assert [reference["name"] for reference in policy["targetRefs"]] == [shared]
    assert policy["retry"]["numRetries"] == 1
    assert all(status in (429, 529) or 500 <= status < 600 for status in policy["retry"]["retryOn"]["httpStatusCodes"])


def test_the_backends_of_models_on_the_premises(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    specs = {name: objects["Backend", name]["spec"] for name in ON_PREMISES}
    ends = {name: spec["endpoints"][0]["fqdn"] for name, spec in specs.items()}
    assert ends == {
        "service.llm.opt.8000": {"hostname": "opt.llm.svc.cluster.local", "port": 8000},
        "service.external-models.simulated-simulator.8000": {
            "hostname": "simulated-simulator.external-models.svc.cluster.local",
            "port": 8000,
        },
        "llminferenceservice.llm.made.8000": {
            "hostname": "made-kserve-workload-svc.llm.svc.cluster.local",
            "port": 8000,
        },
        "llminferenceservice.llm.there.8000": {
            "hostname": "there-kserve-workload-svc.llm.svc.cluster.local",
            "port": 8000,
        },
        "llminferenceservice.llm.later.8000": {
            "hostname": "later-simulator.external-models.svc.cluster.local",
            "port": 8000,
        },
    }
    assert {name: spec["tls"] for name, spec in specs.items() if "tls" in spec} == {
        "llminferenceservice.llm.made.8000": {
            "insecureSkipVerify": False,
            "sni": "made-kserve-workload-svc.llm.svc.cluster.local",
            "caCertificateRefs": [
                {"group": "", "kind": "ConfigMap", "name": "llminferenceservice.llm.made.8000-ca-bundle"}
            ],
        },
        "llminferenceservice.llm.there.8000": {
            "insecureSkipVerify": False,
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
    (reference,) = next(rule for rule in rules(objects) if rule["matches"][0]["headers"][0]["value"] == "made")[
        "backendRefs"
    ]
    assert reference["modelNameOverride"] == "facebook/opt-125m"


def test_the_inference_service_fits_its_definition(services: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    manifest = services["LLMInferenceService", "made"]
    validator = validator_of("serving.kserve.io_llminferenceservices.yaml", "v1alpha1")
    validator.validate(manifest)
    wrong = {**manifest, "spec": {**SPEC, "replicas": "one"}}
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(wrong)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**manifest, "spec": {**SPEC, "replica": 1}})


def test_where_the_proxies_may_call(objects: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    policies = {
        name.removeprefix("ai-gateway.ai-gateway."): objects["NetworkPolicy", name]["spec"]
        for name in names(objects, "NetworkPolicy")
    }
    services = {f"llminferenceservice.llm.{name}" for name in ("made", "there")}
    assert set(policies) == {"port-80", "port-443", "port-8443", "port-8444", "namespace.llm", "simulators"} | services
    for spec in policies.values():
        assert spec["podSelector"]["matchLabels"] == {
            "gateway.envoyproxy.io/owning-gateway-name": "ai-gateway",
            "gateway.envoyproxy.io/owning-gateway-namespace": "ai-gateway",
        }
        assert spec["policyTypes"] == ["Egress"]
        assert len(spec["egress"]) == 1
    assert policies["port-8444"]["egress"] == [
        {"to": [{"ipBlock": {"cidr": "34.202.9.189/32"}}], "ports": [{"protocol": "TCP", "port": 8444}]}
    ]
    assert "ports" not in policies["namespace.llm"]["egress"][0]


def test_kinds_of_others_are_rendered_where_they_are_used_alone(tmp_path: Path) -> None:
    found = manifests(
        tmp_path,
        "providers",
        "envoy_ai_gateway.yaml.j2",
        {"ai_gateway_providers": PROVIDERS[:1], "ai_gateway_models": MODELS[:1]},
    )
    assert not {"ExternalSecret", "LLMInferenceService"} & {kind for kind, _name in found}
