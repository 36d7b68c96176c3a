# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import time
import typing as t
from dataclasses import asdict

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import network_policy as catalog_network_policy
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import CatalogError
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import plain
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.paths import REFUSED, SERVED_PATHS
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.request_headers import HEADERS
from catalog_inventory import ANTHROPIC, INVENTORY, KEY, OPENAI, changed, paths

EGRESS = [
    *catalog_network_policy.to_outside([("api.anthropic.com", 443)], [], []),
    catalog_network_policy.to_simulators("external-models", 8000),
]


def test_whole_catalogue() -> None:
    assert build(INVENTORY).as_dict() == {
        "platform": "embedded",
        "stack": "envoy_ai_gateway",
        "policy_engine": "authorino",
        "namespace": "ai-gateway",
        "name": "ai-gateway",
        "audience": "ai-gateway-sa",
        "identity_key": {
            "namespace": "ai-gateway-envoy-gateway",
            "secret": "ai-gateway.ai-gateway.identity-key",
            "key": "key",
            "file": "/run/ai-gateway/key",
        },
        "gateway_namespace": "ai-gateway",
        "egress_gateway": None,
        "maas_api": {"enabled": False, "namespace": "opendatahub"},
        "simulators_namespace": "external-models",
        "controller_namespaces": {
            "envoy_gateway": "ai-gateway-envoy-gateway",
            "envoy_ai_gateway": "ai-gateway-envoy-ai-gateway",
            "authorino": "ai-gateway-authorino",
            "kuadrant": "kuadrant-system",
            "wg_ai_gateway": "ai-gateway-system",
        },
        "currency": "",
        "uncounted_tokens": 0,
        "request_body_limit": 52428800,
        "providers": [
            {
                "name": "openai",
                "schema": "openai",
                "schema_name": "OpenAI",
                "simulated": True,
                "endpoint": {
                    "hostname": "openai-simulator.external-models.svc.cluster.local",
                    "port": 8000,
                    "tls": {"mode": "none"},
                    "address": False,
                    "prefix": "/v1",
                },
                "credential": {
                    "header": "Authorization",
                    "scheme": "Bearer",
                    "secret": OPENAI.replace(".", "-credential."),
                    "key": "apiKey",
                    "managed": True,
                    "form": "api_key",
                },
                "headers": {},
                "models": [{"name": "gpt-4", "provider_model": "gpt-4-0613"}],
                "backend": OPENAI,
                "cloud": "",
                "has_prefix": True,
                "answers": {"anthropic": False, "foreign": False, "own_errors": False},
            },
            {
                "name": "anthropic",
                "schema": "anthropic",
                "schema_name": "Anthropic",
                "simulated": False,
                "endpoint": {
                    "hostname": "api.anthropic.com",
                    "port": 443,
                    "tls": {
                        "mode": "simple",
                        "sni": "api.anthropic.com",
                        "ca_bundle": "",
                        "ca_certificates": "",
                        "client_certificate": "",
                    },
                    "address": False,
                    "prefix": "/v1",
                },
                "credential": {
                    "header": "x-api-key",
                    "scheme": "",
                    "secret": "anthropic-key",
                    "key": "apiKey",
                    "managed": False,
                    "form": "api_key",
                },
                "headers": {},
                "models": [{"name": "claude-3-sonnet", "provider_model": "claude-3-sonnet"}],
                "backend": ANTHROPIC,
                "cloud": "",
                "has_prefix": True,
                "answers": {"anthropic": True, "foreign": False, "own_errors": False},
            },
        ],
        "models": [
            {
                "name": "gpt-4",
                "backends": [
                    {"name": "openai", "provider": "openai", "provider_model": "gpt-4-0613", "weight": 1, "priority": 0}
                ],
                "routes": [
                    {
                        "name": "gpt-4-e731ba19",
                        "providers": ["*", "openai"],
                        "backends": [{"name": OPENAI, "provider_model": "gpt-4-0613", "weight": 1, "priority": 0}],
                    }
                ],
            },
            {
                "name": "claude-3-sonnet",
                "backends": [
                    {
                        "name": "anthropic",
                        "provider": "anthropic",
                        "provider_model": "claude-3-sonnet",
                        "weight": 1,
                        "priority": 0,
                    }
                ],
                "routes": [
                    {
                        "name": "claude-3-sonnet-efc31ef3",
                        "providers": ["*", "anthropic"],
                        "backends": [
                            {"name": ANTHROPIC, "provider_model": "claude-3-sonnet", "weight": 1, "priority": 0}
                        ],
                    }
                ],
            },
        ],
        "tiers": [
            {
                "name": "free",
                "level": 0,
                "groups": ["system:authenticated"],
                "namespace": "ai-gateway-tier-free",
                "limits": [
                    {
                        "measure": "total_tokens",
                        "amount": 100,
                        "window": "1m",
                        "unit": "Minute",
                        "seconds": 60,
                        "model": "",
                    }
                ],
                "models": ["gpt-4", "claude-3-sonnet"],
                "restricted": False,
                "mcp_tools": [],
            },
            {
                "name": "paid",
                "level": 1,
                "groups": ["payers"],
                "namespace": "ai-gateway-tier-paid",
                "limits": [
                    {
                        "measure": "total_tokens",
                        "amount": 5,
                        "window": "24h",
                        "unit": "Day",
                        "seconds": 86400,
                        "model": "",
                    }
                ],
                "models": ["claude-3-sonnet"],
                "restricted": True,
                "mcp_tools": [],
            },
        ],
        "secrets": [
            {"name": "anthropic-key", "namespace": "ai-gateway", "keys": ["apiKey"], "users": ["provider anthropic"]}
        ],
        "egress": [
            {"name": destination.name, "port": destination.port, "peers": list(destination.peers)}
            for destination in EGRESS
        ],
        "mcp_servers": [],
        "mcp_authorization": [],
        "inference_pools": [],
        "semantic_router": None,
        "observability": {"enabled": False, "users": 0, "scrapers": [], "traces": None},
        "callers": {
            "service_accounts": {
                "check": "review",
                "issuer": "",
                "maximum_lifetime": 0,
                "signing_keys": {"uri": "", "ca_certificates": ""},
                "of_cluster": False,
                "ca_file": "",
            },
            "oidc": [],
            "checks": [],
            "api_keys": None,
        },
        "headers": plain(asdict(HEADERS)),
        "paths": plain([asdict(path) for path in SERVED_PATHS]),
        "refused_paths": dict(REFUSED),
    }


def test_an_empty_inventory_is_a_catalogue() -> None:
    catalog = build({}).as_dict()
    assert (catalog["platform"], catalog["providers"], catalog["models"], catalog["tiers"]) == (
        "kubernetes",
        [],
        [],
        [],
    )


def test_no_value_of_a_credential_in_the_catalogue() -> None:
    assert KEY not in json.dumps(build(INVENTORY).as_dict())
    assert KEY not in repr(build(INVENTORY))


@pytest.mark.parametrize(("empty", "path"), [("providers", "ai_gateway_providers"), ("tiers", "ai_gateway_tiers")])
def test_an_empty_catalogue_serves_nobody(empty: str, path: str) -> None:
    inputs = {**changed(empty, []), "allow_empty": True}
    for tier in inputs["tiers"]:
        tier["models"] = ["*"]
    assert build(inputs)
    with pytest.raises(CatalogError) as caught:
        build({**inputs, "allow_empty": False})
    assert [fault.path for fault in caught.value.faults] == [path]


ONE_FAULT = [
    ("platform", "openshft", "ai_gateway_platform"),
    ("stack", "istio", "ai_gateway_stack"),
    ("policy_engine", "kuadrant", "ai_gateway_policy_engine"),
    ("policy_engine", "opa", "ai_gateway_policy_engine"),
    ("namespace", "Ai", "ai_gateway_namespace"),
    ("namespace", "external-models", "ai_gateway_simulators_namespace"),
    ("namespace", "ai-gateway-envoy-gateway", "ai_gateway_namespace"),
    ("simulators_namespace", "ai-gateway-authorino", "ai_gateway_simulators_namespace"),
    ("name", "my.gateway", "ai_gateway_name"),
    ("simulators_namespace", "ai-gateway-tier-free", "ai_gateway_tiers[0]"),
    ("providers.2", "anthropic", "ai_gateway_providers[2]"),
    ("providers.2", None, "ai_gateway_providers[2]"),
    ("providers.0.name", ..., "ai_gateway_providers[0].name"),
    ("providers.0.name", 4, "ai_gateway_providers[0].name"),
    ("providers.0.name", "Open_AI", "ai_gateway_providers[0].name"),
    ("providers.0.name", "4o", "ai_gateway_providers[0].name"),
    ("providers.0.name", "o" * 53, "ai_gateway_providers[0].name"),
    ("providers.0.name", "anthropic", "ai_gateway_providers[1].name"),
    ("providers.0.schema", "open-ai", "ai_gateway_providers[0].schema"),
    ("providers.0.simulated", "yes", "ai_gateway_providers[0].simulated"),
    ("providers.0.endpont", {}, "ai_gateway_providers[0].endpont"),
    ("providers.1.endpoint", ..., "ai_gateway_providers[1].endpoint"),
    ("providers.1.endpoint", "api.anthropic.com", "ai_gateway_providers[1].endpoint"),
    ("providers.1.endpoint.hostname", ..., "ai_gateway_providers[1].endpoint.hostname"),
    ("providers.1.endpoint.hostname", "https://api.anthropic.com/v1", "ai_gateway_providers[1].endpoint.hostname"),
    ("providers.1.endpoint.hostname", "api.anthropic.com.", "ai_gateway_providers[1].endpoint.hostname"),
    ("providers.1.endpoint.hostname", "10.1.2.3", "ai_gateway_providers[1].endpoint.hostname"),
    ("providers.1.endpoint.hostname", "fe80::1", "ai_gateway_providers[1].endpoint.hostname"),
    ("providers.1.endpoint.hostname", "0x7f.1", "ai_gateway_providers[1].endpoint.hostname"),
    ("providers.1.endpoint.hostname", "localhost", "ai_gateway_providers[1].endpoint.hostname"),
    ("providers.1.endpoint.prefix", "v1", "ai_gateway_providers[1].endpoint.prefix"),
    ("providers.1.endpoint.prefix", "/v1/", "ai_gateway_providers[1].endpoint.prefix"),
    ("providers.1.endpoint.prefix", "//", "ai_gateway_providers[1].endpoint.prefix"),
    ("providers.1.endpoint.prefix", "/v1?x=1", "ai_gateway_providers[1].endpoint.prefix"),
    ("providers.1.headers", ["a"], "ai_gateway_providers[1].headers"),
    ("providers.1.headers", {"X-API-Key": "k"}, "ai_gateway_providers[1].headers.X-API-Key"),
    ("providers.1.headers", {"x-goog-api-key": "k"}, "ai_gateway_providers[1].headers.x-goog-api-key"),
    ("providers.1.headers", {"Helicone-Auth": "k"}, "ai_gateway_providers[1].headers.Helicone-Auth"),
    ("providers.1.headers", {"X-Auth-Request": "k"}, "ai_gateway_providers[1].headers.X-Auth-Request"),
    ("providers.1.headers", {"authentication": "k"}, "ai_gateway_providers[1].headers.authentication"),
    ("providers.1.headers", {"x-signature": "k"}, "ai_gateway_providers[1].headers.x-signature"),
    ("providers.1.headers", {"host": "a"}, "ai_gateway_providers[1].headers.host"),
    ("providers.1.headers", {"a b": "c"}, "ai_gateway_providers[1].headers.a b"),
    ("providers.1.headers", {"a": "b\nc"}, "ai_gateway_providers[1].headers.a"),
    ("providers.1.headers", {"a": " b"}, "ai_gateway_providers[1].headers.a"),
    ("providers.1.headers", {"a": "é"}, "ai_gateway_providers[1].headers.a"),
    (
        "providers.1.credential",
        {"external_secret": {"key": "k"}},
        "ai_gateway_providers[1].credential.external_secret.store",
    ),
    (
        "providers.1.credential",
        {"external_secret": {"store": "s", "key": "k "}},
        "ai_gateway_providers[1].credential.external_secret.key",
    ),
    ("providers.1.credential.external_secret", {"store": "s", "key": "k"}, "ai_gateway_providers[1].credential"),
    ("providers.1.models.1", {"name": "gpt-4", "weight": 1}, "ai_gateway_providers[0].models[0]"),
    ("providers.1.endpoint.port", 0, "ai_gateway_providers[1].endpoint.port"),
    ("providers.1.endpoint.port", 65536, "ai_gateway_providers[1].endpoint.port"),
    ("providers.1.endpoint.port", "https", "ai_gateway_providers[1].endpoint.port"),
    ("providers.1.endpoint.port", True, "ai_gateway_providers[1].endpoint.port"),
    ("providers.1.endpoint.tls.mode", "Simple", "ai_gateway_providers[1].endpoint.tls.mode"),
    ("providers.1.endpoint.tls.mode", "mutual", "ai_gateway_providers[1].endpoint.tls.client_certificate"),
    (
        "providers.1.endpoint.tls",
        {"client_certificate": "client"},
        "ai_gateway_providers[1].endpoint.tls.client_certificate",
    ),
    ("providers.1.endpoint.tls", {"mode": "none", "sni": "a.example"}, "ai_gateway_providers[1].endpoint.tls.sni"),
    ("providers.1.endpoint.tls", {"mode": "none", "ca_bundle": "ca"}, "ai_gateway_providers[1].endpoint.tls.ca_bundle"),
    (
        "providers.1.endpoint.tls.ca_bundle",
        "-----BEGIN CERTIFICATE-----",
        "ai_gateway_providers[1].endpoint.tls.ca_bundle",
    ),
    (
        "providers.1.endpoint.tls.ca_bundle",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
        "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
        "ai_gateway_providers[1].endpoint.tls.ca_bundle",
    ),
    ("providers.1.credential", ..., "ai_gateway_providers[1].credential"),
    ("providers.1.credential", {}, "ai_gateway_providers[1].credential"),
    ("providers.1.credential", {"secret": None, "value": None}, "ai_gateway_providers[1].credential"),
    ("providers.1.credential.value", KEY, "ai_gateway_providers[1].credential"),
    ("providers.1.credential.header", "x api key", "ai_gateway_providers[1].credential.header"),
    ("providers.1.credential.header", "x-provider-api-key", "ai_gateway_providers[1].credential.header"),
    ("providers.1.credential.header", "X-MaaS-User", "ai_gateway_providers[1].credential.header"),
    ("providers.1.credential.scheme", "Bearer", "ai_gateway_providers[1].credential.header"),
    ("providers.0.credential.scheme", "Bearer:", "ai_gateway_providers[0].credential.scheme"),
    ("providers.1.credential.secret", "Anthropic_Key", "ai_gateway_providers[1].credential.secret"),
    ("providers.0.credential", {"secret": "openai-key"}, "ai_gateway_providers[0].credential.value"),
    ("providers.0.credential.value", "", "ai_gateway_providers[0].credential.value"),
    ("providers.0.credential.value", KEY + "\n", "ai_gateway_providers[0].credential.value"),
    ("providers.0.credential.value", 12345, "ai_gateway_providers[0].credential.value"),
    ("providers.0.models.0.name", "GPT 4", "ai_gateway_providers[0].models[0].name"),
    ("providers.0.models.0.name", "", "ai_gateway_providers[0].models[0].name"),
    ("providers.0.models.0.name", "@cf/meta/llama-3.1-8b-instruct", "ai_gateway_providers[0].models[0].name"),
    ("providers.0.models.0.name", "gpt-4+", "ai_gateway_providers[0].models[0].name"),
    ("providers.0.models.0.provider_model", " gpt-4", "ai_gateway_providers[0].models[0].provider_model"),
    ("providers.0.models.0.provider_model", "gpt-4\n", "ai_gateway_providers[0].models[0].provider_model"),
    ("providers.0.models.0.provider_model", "modèle", "ai_gateway_providers[0].models[0].provider_model"),
    ("providers.0.models.0.wieght", 1, "ai_gateway_providers[0].models[0].wieght"),
    ("providers.0.models.0.weight", 0, "ai_gateway_providers[0].models[0].weight"),
    ("providers.0.models.0.priority", -1, "ai_gateway_providers[0].models[0].priority"),
    ("providers.0.models.1", {"name": "gpt-4"}, "ai_gateway_providers[0].models[1].name"),
    ("providers.0.models.1", {"name": "claude-3-sonnet"}, "ai_gateway_providers[0].models[1]"),
    ("tiers.0.name", "Free", "ai_gateway_tiers[0].name"),
    ("tiers.0.name", "f" * 48, "ai_gateway_tiers[0].name"),
    ("tiers.0.name", "paid", "ai_gateway_tiers[1].name"),
    ("tiers.0.level", 1, "ai_gateway_tiers[1].level"),
    ("tiers.0.level", ..., "ai_gateway_tiers[0].level"),
    ("tiers.0.level", "top", "ai_gateway_tiers[0].level"),
    ("tiers.0.groups", ..., "ai_gateway_tiers[0].groups"),
    ("tiers.0.groups", [], "ai_gateway_tiers[0].groups"),
    ("tiers.0.groups", "system:authenticated", "ai_gateway_tiers[0].groups"),
    ("tiers.0.groups", ["a", "a"], "ai_gateway_tiers[0].groups[1]"),
    ("tiers.0.groups", [" Domain Users"], "ai_gateway_tiers[0].groups[0]"),
    ("tiers.0.groups", ["Domain Users\n"], "ai_gateway_tiers[0].groups[0]"),
    ("tiers.0.groups", ["Domain\tUsers"], "ai_gateway_tiers[0].groups[0]"),
    ("tiers.0.groups", ["Domain\u2028Users"], "ai_gateway_tiers[0].groups[0]"),
    ("tiers.0.groups", ["Domain \u202eUsers"], "ai_gateway_tiers[0].groups[0]"),
    ("tiers.0.groups", ["Domain \ud800"], "ai_gateway_tiers[0].groups[0]"),
    ("tiers.0.groups", [{"name": "a"}], "ai_gateway_tiers[0].groups[0]"),
    ("tiers.0.token_limit", ..., "ai_gateway_tiers[0].token_limit"),
    ("tiers.0.token_limit", 100, "ai_gateway_tiers[0].token_limit"),
    ("tiers.0.token_limit.tokens", 0, "ai_gateway_tiers[0].token_limit.tokens"),
    ("tiers.0.token_limit.tokens", 2**32, "ai_gateway_tiers[0].token_limit.tokens"),
    ("tiers.0.token_limit.tokens", 1.5, "ai_gateway_tiers[0].token_limit.tokens"),
    ("tiers.0.token_limit.window", "5m", "ai_gateway_tiers[0].token_limit.window"),
    ("tiers.0.token_limit.window", 60, "ai_gateway_tiers[0].token_limit.window"),
    ("tiers.0.request_limit", {"requests": 0, "window": "1m"}, "ai_gateway_tiers[0].request_limit.requests"),
    ("tiers.0.model_limits", [{"models": ["gpt-4"]}], "ai_gateway_tiers[0].model_limits[0]"),
    (
        "tiers.0.model_limits",
        [{"request_limit": {"requests": 1, "window": "1m"}}],
        "ai_gateway_tiers[0].model_limits[0].models",
    ),
    ("tiers.0.models", [], "ai_gateway_tiers[0].models"),
    ("tiers.0.models", ["*", "gpt-4"], "ai_gateway_tiers[0].models"),
    ("tiers.0.models", ["gpt-5"], "ai_gateway_tiers[0].models[0]"),
    ("tiers.0.models", "*", "ai_gateway_tiers[0].models"),
    ("uncounted_tokens", 0, "ai_gateway_uncounted_tokens"),
    ("uncounted_tokens", -1, "ai_gateway_uncounted_tokens"),
    ("uncounted_tokens", 10_000_001, "ai_gateway_uncounted_tokens"),
    ("uncounted_tokens", 1.5, "ai_gateway_uncounted_tokens"),
    ("uncounted_tokens", True, "ai_gateway_uncounted_tokens"),
    ("uncounted_tokens", "guessed", "ai_gateway_uncounted_tokens"),
    ("request_body_limit", "50 MB", "ai_gateway_request_body_limit"),
    ("request_body_limit", 50, "ai_gateway_request_body_limit"),
    ("unknown", 1, "ai_gateway_unknown"),
]


@pytest.mark.parametrize(
    ("path", "value", "fault"), ONE_FAULT, ids=[f"{path}={value!r}"[:60] for path, value, _fault in ONE_FAULT]
)
def test_one_mistake_is_one_fault_at_its_path(path: str, value: t.Any, fault: str) -> None:
    assert paths(changed(path, value)) == [fault]


def test_all_faults_at_once_in_the_order_of_their_paths() -> None:
    inventory = changed("providers.1.credential", {})
    inventory["providers"] += [
        {"name": f"p{index}", "schema": "openai", "credential": {"secret": "s"}, "models": []} for index in range(2, 12)
    ]
    inventory["platform"] = "cloud"
    found = paths(inventory)
    assert found[:3] == [
        "ai_gateway_platform",
        "ai_gateway_providers[1].credential",
        "ai_gateway_providers[2].endpoint",
    ]
    assert found[-2:] == ["ai_gateway_providers[11].endpoint", "ai_gateway_providers[11].models"]
    assert len(found) == 2 + 10 * 2


def test_message() -> None:
    with pytest.raises(CatalogError) as caught:
        build(changed("providers.0.models.0.name", "GPT 4"))
    assert str(caught.value) == (
        "The catalogue of the AI gateway has 1 fault:\n"
        '  - ai_gateway_providers[0].models[0].name: "GPT 4" is not a model\'s name; '
        'write letters, digits and . _ : / @ + - with a letter or digit at both ends, for example "GPT-4"'
    )


def test_the_time_grows_with_the_providers_and_not_with_their_square() -> None:
    def seconds(count: int) -> float:
        providers = [
            {
                "name": f"provider-{index}",
                "schema": "openai",
                "endpoint": {"hostname": f"api-{index}.example.com"},
                "credential": {"secret": f"key-{index}"},
                "models": [{"name": f"model-{index}"}],
            }
            for index in range(count)
        ]
        start = time.process_time()
        catalog = build({"providers": providers, "tiers": INVENTORY["tiers"][:1]}).as_dict()
        took = time.process_time() - start
        assert len(catalog["tiers"][0]["models"]) == len(catalog["models"]) == count
        return took

    # Side by side, the least of three rounds each: ten times as many would take a hundred times as long.
    rounds = [(seconds(100), seconds(1000)) for _round in range(3)]
    assert min(many for _few, many in rounds) < 30 * min(few for few, _many in rounds)


@pytest.mark.parametrize(("size", "expected"), [("50Mi", 52428800), ("50M", 50_000_000), ("1.5Ki", 1536)])
def test_the_largest_body_is_that_of_kubernetes(size: str, expected: int) -> None:
    """Envoy Gateway reads the same variable as a quantity."""
    assert build({"request_body_limit": size}).request_body_limit == expected
