# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
import re
import time
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import backend_refs as catalog_backend_refs
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import build as catalog_build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import network_policy as catalog_network_policy
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import CatalogError, Fault
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import named_after

KEY = "sk-a-key-that-must-not-show"
#: The names of the backends of the two providers below.
OPENAI = named_after("openai", "openai-simulator.external-models.svc.cluster.local", 8000)
ANTHROPIC = named_after("anthropic", "api.anthropic.com", 443)

INVENTORY: dict[str, t.Any] = {
    "platform": "embedded",
    "providers": [
        {
            "name": "openai",
            "schema": "openai",
            "simulated": True,
            "credential": {"header": "Authorization", "scheme": "Bearer", "value": KEY},
            "models": [{"name": "gpt-4", "provider_model": "gpt-4-0613"}],
        },
        {
            "name": "anthropic",
            "schema": "anthropic",
            "endpoint": {"hostname": "api.anthropic.com"},
            "credential": {"secret": "anthropic-key"},
            "models": [{"name": "claude-3-sonnet"}],
        },
    ],
    "tiers": [
        {
            "name": "free",
            "level": 0,
            "groups": ["system:authenticated"],
            "token_limit": {"tokens": 100, "window": "1m"},
            "models": ["*"],
        },
        {
            "name": "paid",
            "level": 1,
            "groups": ["payers"],
            "token_limit": {"tokens": 5, "window": "24h"},
            "models": ["claude-3-sonnet"],
        },
    ],
}


def changed(path: str, value: t.Any) -> dict[str, t.Any]:
    """The inventory with the value at a path such as ``providers.0.name`` replaced; ``...`` removes it."""
    inventory = copy.deepcopy(INVENTORY)
    *parents, last = path.split(".")
    node: t.Any = inventory
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    if value is ...:
        del node[int(last) if isinstance(node, list) else last]
    elif isinstance(node, list):
        index = int(last)
        node[index : index + 1] = [value]
    else:
        node[last] = value
    return inventory


def faults(inventory: t.Any, **arguments: t.Any) -> list[Fault]:
    with pytest.raises(CatalogError) as caught:
        build(inventory, **arguments)
    for fault in caught.value.faults:
        assert fault.problem
        assert fault.remedy
        assert str(fault) in str(caught.value)
    return list(caught.value.faults)


def paths(inventory: t.Any) -> list[str]:
    return [fault.path for fault in faults(inventory)]


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
            "namespace": "envoy-gateway-system",
            "secret": "ai-gateway.ai-gateway.identity-key",
            "key": "key",
            "file": "/run/ai-gateway/key",
        },
        "gateway_namespace": "ai-gateway",
        "egress_gateway": None,
        "maas_api": {"enabled": False, "namespace": "opendatahub"},
        "simulators_namespace": "external-models",
        "controller_namespaces": {
            "envoy_gateway": "envoy-gateway-system",
            "envoy_ai_gateway": "envoy-ai-gateway-system",
            "authorino": "authorino",
            "kuadrant": "kuadrant-system",
            "wg_ai_gateway": "ai-gateway-system",
        },
        "uncounted_tokens": 0,
        "providers": [
            {
                "name": "openai",
                "schema": "openai",
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
                },
                "headers": {},
                "models": [{"name": "gpt-4", "provider_model": "gpt-4-0613"}],
                "backend": OPENAI,
            },
            {
                "name": "anthropic",
                "schema": "anthropic",
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
                },
                "headers": {},
                "models": [{"name": "claude-3-sonnet", "provider_model": "claude-3-sonnet"}],
                "backend": ANTHROPIC,
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
                "limits": [{"measure": "total_tokens", "amount": 100, "window": "1m", "unit": "Minute", "model": ""}],
                "models": ["gpt-4", "claude-3-sonnet"],
                "restricted": False,
            },
            {
                "name": "paid",
                "level": 1,
                "groups": ["payers"],
                "namespace": "ai-gateway-tier-paid",
                "limits": [{"measure": "total_tokens", "amount": 5, "window": "24h", "unit": "Day", "model": ""}],
                "models": ["claude-3-sonnet"],
                "restricted": True,
            },
        ],
        "secrets": [
            {"name": "anthropic-key", "namespace": "ai-gateway", "keys": ["apiKey"], "users": ["provider anthropic"]}
        ],
        "egress": [
            {"name": destination.name, "port": destination.port, "peers": list(destination.peers)}
            for destination in EGRESS
        ],
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


def test_a_simulator_stands_in_for_the_endpoint() -> None:
    inventory = changed("providers.0.endpoint", {"hostname": "api.openai.com", "port": 443})
    assert build(inventory).providers[0].endpoint.hostname == "openai-simulator.external-models.svc.cluster.local"


@pytest.mark.parametrize("name", ["claude-sonnet-4@20250514", "c4ai/command-r+08", "ft:gpt-4o:org::id"])
def test_names_of_models(name: str) -> None:
    model = build(changed("providers.0.models.0", {"name": name})).models[0]
    assert (model.name, model.backends[0].provider_model) == (name, name)


@pytest.mark.parametrize(
    "name",
    [
        "@cf/meta/llama-3.1-8b-instruct",
        "claude-sonnet-4@20250514",
        "/mnt/models",
        "~vendor/latest",
        "gpt-4?api-version=1",
        "My Model",
        "x",
    ],
)
def test_names_of_models_at_their_providers(name: str) -> None:
    assert build(changed("providers.0.models.0.provider_model", name)).models[0].backends[0].provider_model == name


@pytest.mark.parametrize("prefix", ["/", "/v1", "/openai/v1", "/v1beta/projects/p:1/@me/a+b"])
def test_prefixes(prefix: str) -> None:
    assert build(changed("providers.1.endpoint.prefix", prefix)).providers[1].endpoint.prefix == prefix


def test_a_prefix_with_a_slash_too_many_gets_a_suggestion() -> None:
    (fault,) = faults(changed("providers.1.endpoint.prefix", "v1/"))
    assert fault.remedy.endswith('or / alone, without a slash at its end, for example "/v1"')


def test_a_name_of_a_provider_for_a_public_one_gets_a_suggestion() -> None:
    (fault,) = faults(changed("providers.0.models.0.name", "@cf/meta/llama"))
    assert fault.remedy.endswith('for example "cf/meta/llama"')


@pytest.mark.parametrize(
    "group", ["Domain Users", "Équipe IA", "cn=ai,ou=Gruppen, dc=example", "研究", "🚀 Team", "a\\b", "'\"", "- x: #y"]
)
def test_groups(group: str) -> None:
    assert build(changed("tiers.0.groups", [group])).tiers[0].groups == (group,)


def test_a_fault_shows_letters_as_they_are_and_what_cannot_be_seen_as_an_escape() -> None:
    (fault,) = faults(changed("tiers.0.groups", ["Équipe\tIA"]))
    assert str(fault) == (
        'ai_gateway_tiers[0].groups[0]: "Équipe\\tIA" is not a name of a group; '
        "write names of groups on one line and without a space at either end, for example system:authenticated or Domain Users"
    )


@pytest.mark.parametrize(
    ("value", "tokens"), [("estimated", 0), (None, 0), (1, 1), ("500", 500), (10_000_000, 10_000_000)]
)
def test_what_an_uncounted_answer_costs(value: t.Any, tokens: int) -> None:
    assert build({"uncounted_tokens": value}).as_dict()["uncounted_tokens"] == tokens


def test_a_fault_of_what_an_uncounted_answer_costs() -> None:
    assert [str(fault) for fault in faults({"uncounted_tokens": "many"})] == [
        'ai_gateway_uncounted_tokens: is "many"; write a whole number from 1 to 10000000, or estimated'
    ]


def test_numbers_may_come_as_texts() -> None:
    assert build(changed("providers.1.endpoint.port", "8443")).providers[1].endpoint.port == 8443


@pytest.mark.parametrize(("text", "enabled"), [("true", True), ("False", False), ("false", False)])
def test_truth_values_may_come_as_texts(text: str, enabled: bool) -> None:
    assert build({"maas_api": text}).maas_api.enabled is enabled


def test_plain_text_takes_port_80() -> None:
    endpoint = build(changed("providers.1.endpoint.tls", {"mode": "none"})).as_dict()["providers"][1]["endpoint"]
    assert endpoint == {
        "hostname": "api.anthropic.com",
        "port": 80,
        "tls": {"mode": "none"},
        "address": False,
        "prefix": "/v1",
    }


def test_mutual_tls() -> None:
    tls = {"mode": "mutual", "sni": "other.example.com", "ca_bundle": "ca", "client_certificate": "client"}
    assert build(changed("providers.1.endpoint.tls", tls)).as_dict()["providers"][1]["endpoint"]["tls"] == {
        **tls,
        "ca_certificates": "",
    }


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def test_certificates_may_be_written_where_the_name_of_a_secret_may() -> None:
    tls = build(changed("providers.1.endpoint.tls", {"ca_bundle": CERTIFICATE * 2})).providers[1].endpoint.tls
    assert (tls.ca_bundle, tls.ca_certificates) == (f"{ANTHROPIC}-ca-bundle", CERTIFICATE * 2)


def test_what_stands_between_certificates_is_left_out() -> None:
    text = f"# Issuer: CN=Example\n{CERTIFICATE}subject=/CN=Another - one\n\n  {CERTIFICATE}# the end"
    assert (
        build(changed("providers.1.endpoint.tls", {"ca_bundle": text})).providers[1].endpoint.tls.ca_certificates
        == CERTIFICATE * 2
    )


def test_the_end_of_a_simulator() -> None:
    tls = {"mode": "simple", "ca_bundle": CERTIFICATE}
    endpoint = build(changed("providers.0.endpoint", {"port": 8443, "tls": tls})).providers[0].endpoint
    assert (endpoint.hostname, endpoint.port) == ("openai-simulator.external-models.svc.cluster.local", 8443)
    bundle = f"{named_after('openai', endpoint.hostname, 8443)}-ca-bundle"
    assert (endpoint.tls.mode, endpoint.tls.sni, endpoint.tls.ca_bundle) == ("simple", endpoint.hostname, bundle)


def test_an_address_needs_a_name_to_verify() -> None:
    found = paths(changed("providers.1.endpoint", {"hostname": "1.2.3.4"}))
    assert found == ["ai_gateway_providers[1].endpoint.tls"]
    found = paths(changed("providers.1.endpoint", {"hostname": "1.2.3.4", "tls": {"mode": "simple"}}))
    assert found == ["ai_gateway_providers[1].endpoint.tls.sni"]
    for tls in ({"sni": "api.example.com"}, {"mode": "none"}):
        endpoint = build(changed("providers.1.endpoint", {"hostname": "1.2.3.4", "tls": tls})).providers[1].endpoint
        assert (endpoint.hostname, endpoint.address, endpoint.tls.sni) == ("1.2.3.4", True, tls.get("sni", ""))


def test_endpoints_that_lead_into_the_cluster_are_allowed_by_name() -> None:
    inventory = changed("providers.1.endpoint", {"hostname": "vllm.llm.svc.cluster.local", "tls": {"mode": "none"}})
    (fault,) = faults(inventory)
    assert fault.path == "ai_gateway_providers[1].endpoint.hostname"
    assert "ai_gateway_allowed_endpoints" in fault.remedy
    assert build({**inventory, "allowed_endpoints": ["vllm.llm.svc.cluster.local"]})
    inventory = changed("providers.1.endpoint", {"hostname": "34.118.224.1", "tls": {"mode": "none"}})
    assert build(inventory)
    assert paths({**inventory, "cluster_networks": ["34.118.224.0/20"]}) == [
        "ai_gateway_providers[1].endpoint.hostname"
    ]
    assert build({**inventory, "cluster_networks": ["34.118.224.0/20"], "allowed_endpoints": ["34.118.224.0/24"]})
    assert paths({**INVENTORY, "cluster_networks": ["10.0.0.1/8"], "allowed_endpoints": ["A b"]}) == [
        "ai_gateway_allowed_endpoints[0]",
        "ai_gateway_cluster_networks[0]",
    ]


def test_an_external_secret() -> None:
    inventory = changed("providers.1.credential", {"external_secret": {"store": "vault", "key": "team/anthropic"}})
    credential = build(inventory).as_dict()["providers"][1]["credential"]
    assert credential["external_secret"] == {
        "store": "vault",
        "kind": "SecretStore",
        "key": "team/anthropic",
        "property": "",
    }
    assert (credential["secret"], credential["managed"]) == (ANTHROPIC.replace(".", "-credential."), False)


def test_names_inside_of_a_secret_store_may_have_spaces() -> None:
    inventory = changed(
        "providers.1.credential", {"external_secret": {"store": "vault", "key": "Clé OpenAI", "property": "api key"}}
    )
    external = build(inventory).providers[1].credential.external_secret
    assert external is not None
    assert (external.key, external.property) == ("Clé OpenAI", "api key")


def test_headers() -> None:
    assert build(changed("providers.1.headers", {"OpenAI-Organization": "org-1"})).providers[1].headers == {
        "openai-organization": "org-1"
    }


def test_limits_of_every_measure_and_of_single_models() -> None:
    tier = {
        "request_limit": {"requests": 7, "window": "1s"},
        "input_token_limit": {"tokens": 8, "window": "1h"},
        "model_limits": [{"models": ["gpt-4", "claude-3-sonnet"], "output_token_limit": {"tokens": 9, "window": "1m"}}],
    }
    inventory = changed("tiers.0", {**INVENTORY["tiers"][0], **tier})
    limits = [(limit.measure, limit.amount, limit.unit, limit.model) for limit in build(inventory).tiers[0].limits]
    assert limits == [
        ("total_tokens", 100, "Minute", ""),
        ("input_tokens", 8, "Hour", ""),
        ("requests", 7, "Second", ""),
        ("output_tokens", 9, "Minute", "gpt-4"),
        ("output_tokens", 9, "Minute", "claude-3-sonnet"),
    ]


def test_a_tier_may_limit_requests_alone() -> None:
    inventory = changed("tiers.0.token_limit", ...)
    inventory["tiers"][0]["request_limit"] = {"requests": 7, "window": "1s"}
    assert [limit.measure for limit in build(inventory).tiers[0].limits] == ["requests"]


def test_one_policy_holds_256_limits() -> None:
    inventory = copy.deepcopy(INVENTORY)
    names = [f"m{index}" for index in range(256)]
    inventory["providers"][0]["models"] += [{"name": name} for name in names]
    inventory["tiers"][0]["model_limits"] = [{"models": names, "request_limit": {"requests": 1, "window": "1m"}}]
    assert paths(inventory) == ["ai_gateway_tiers"]


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
    ("namespace", "envoy-gateway-system", "ai_gateway_namespace"),
    ("simulators_namespace", "authorino", "ai_gateway_simulators_namespace"),
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
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
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
    ("unknown", 1, "ai_gateway_unknown"),
]


@pytest.mark.parametrize(
    ("path", "value", "fault"), ONE_FAULT, ids=[f"{path}={value!r}"[:60] for path, value, _fault in ONE_FAULT]
)
def test_one_mistake_is_one_fault_at_its_path(path: str, value: t.Any, fault: str) -> None:
    assert paths(changed(path, value)) == [fault]


@pytest.mark.parametrize("value", [{"openai": {}}, "openai", 1])
def test_providers_that_are_no_list(value: t.Any) -> None:
    assert paths({"providers": value}) == ["ai_gateway_providers"]


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


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("providers.0.shema", "did you mean `schema`?"),
        ("providers.0.credential.vlaue", "did you mean `value`?"),
        ("providers.1.endpoint.tls.cabundle", "did you mean `ca_bundle`?"),
        ("tiers.0.tokens_limit", "did you mean `token_limit`?"),
        (
            "tiers.0.zzz",
            "it takes name, level, groups, token_limit, input_token_limit, output_token_limit, request_limit, model_limits and models",
        ),
    ],
)
def test_an_unknown_key_names_the_nearest(path: str, remedy: str) -> None:
    assert [fault.remedy for fault in faults(changed(path, 1))] == [remedy]


def test_a_misspelt_key_is_not_missing_too() -> None:
    provider = {
        "nam": "x",
        "shema": "openai",
        "simulate": True,
        "credentials": {"value": KEY},
        "model": [{"name": "gpt-4"}],
    }
    assert paths({"providers": [provider]}) == [f"ai_gateway_providers[0].{key}" for key in sorted(provider)]


def test_a_misspelt_variable() -> None:
    found = faults(
        {},
        defined=[
            "ai_gateway_provider",
            "ai_gateway_tiers",
            "ai_gateway_catalog",
            "ai_gateway_mine",
            "inventory_hostname",
        ],
    )
    assert [(fault.path, fault.remedy) for fault in found] == [
        ("ai_gateway_provider", "did you mean `ai_gateway_providers`?")
    ]


@pytest.mark.parametrize(
    "credential",
    [
        KEY,
        [KEY],
        {"value": KEY + "\n"},
        {"value": KEY, "secret": "both"},
        {"value": {"key": KEY}},
        {"header": f"Bearer {KEY}", "value": KEY},
        {"scheme": f"Bearer {KEY}", "value": KEY},
        {"secret": KEY.upper()},
        {"valeu": KEY},
    ],
)
def test_a_fault_of_a_credential_shows_no_key(credential: t.Any) -> None:
    with pytest.raises(CatalogError) as caught:
        build(changed("providers.0.credential", credential))
    assert KEY.lower() not in str(caught.value).lower()


def shared(first: dict[str, int], second: dict[str, int]) -> dict[str, t.Any]:
    inventory = changed("providers.0.models.0", {"name": "gpt-4", **first})
    inventory["providers"][1]["schema"] = "openai"
    inventory["providers"][1]["models"] = [
        {"name": "claude-3-sonnet"},
        {"name": "gpt-4", "provider_model": "azure-gpt-4", **second},
    ]
    return inventory


def test_a_model_of_two_providers_without_a_rule_names_both() -> None:
    (fault,) = faults(shared({}, {}))
    assert fault.path == "ai_gateway_providers[0].models[0]"
    assert "ai_gateway_providers[1].models[1]" in fault.problem
    (fault,) = faults(shared({"weight": 3}, {}))
    assert fault.path == "ai_gateway_providers[1].models[1]"
    assert "ai_gateway_providers[0].models[0]" in fault.problem


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"weight": 3}, {"weight": 1}),
        ({"priority": 0}, {"priority": 1}),
        ({"weight": 1, "priority": 1}, {"priority": 0}),
    ],
)
def test_a_model_of_two_providers_with_a_rule(first: dict[str, int], second: dict[str, int]) -> None:
    (model,) = [model for model in build(shared(first, second)).as_dict()["models"] if model["name"] == "gpt-4"]
    assert model["backends"] == [
        {"name": "openai", "provider": "openai", "provider_model": "gpt-4", "weight": 1, "priority": 0, **first},
        {
            "name": "anthropic",
            "provider": "anthropic",
            "provider_model": "azure-gpt-4",
            "weight": 1,
            "priority": 0,
            **second,
        },
    ]


def test_a_model_of_several_providers_is_not_reached_by_addresses() -> None:
    """Envoy AI Gateway would give one of them the other's key, or the caller's token."""
    inventory = shared({"priority": 0}, {"priority": 1})
    inventory["providers"][1]["endpoint"] = {"hostname": "34.202.9.189", "tls": {"sni": "api.example.com"}}
    assert paths(inventory) == ["ai_gateway_providers[1].models[1]"]


def routes(inventory: t.Any) -> dict[str, str]:
    """By model, the name of the route for the paths that name no end."""
    return {model.name: model.routes[0].name for model in build(inventory).models}


def test_a_route_depends_on_no_other_model() -> None:
    before = routes(INVENTORY)
    for models in (
        [{"name": "a"}, *INVENTORY["providers"][0]["models"]],
        [*INVENTORY["providers"][0]["models"], {"name": "z"}],
    ):
        after = routes(changed("providers.0.models", models))
        assert {name: after[name] for name in before} == before
    assert routes({**INVENTORY, "providers": INVENTORY["providers"][::-1]}) == before
    alone = {**INVENTORY, "providers": INVENTORY["providers"][:1], "tiers": []}
    assert routes(alone) == {"gpt-4": before["gpt-4"]}


def test_the_ends_of_a_route_never_change() -> None:
    """Where they did, the key of one end went to another for a while, and Envoy AI Gateway's controller ended at one
    end more.
    """
    two, one = shared({"priority": 0}, {"priority": 1}), INVENTORY
    turned = {**two, "providers": two["providers"][::-1]}
    found = [
        model.routes for inventory in (one, two, turned) for model in build(inventory).models if model.name == "gpt-4"
    ]
    by_name: dict[str, set[tuple[str, ...]]] = {}
    for route in (route for routes_of_model in found for route in routes_of_model):
        by_name.setdefault(route.name, set()).add(tuple(backend.name for backend in route.backends))
    assert all(len(ends) == 1 for ends in by_name.values())
    # Of one end; of two in this order and in that; and one for the path of each, the same for both.
    assert len(by_name) == 1 + 2 + 2
    weights = routes(shared({"weight": 1}, {"weight": 1})), routes(shared({"weight": 9}, {"weight": 1}))
    assert weights[0] == weights[1] == routes(two)


def test_the_path_of_each_end_of_a_model_has_a_route() -> None:
    (model,) = [model for model in build(shared({"priority": 0}, {"priority": 1})).models if model.name == "gpt-4"]
    assert [
        (route.providers, [(backend.name, backend.priority) for backend in route.backends]) for route in model.routes
    ] == [
        (("*",), [(OPENAI, 0), (ANTHROPIC, 1)]),
        (("openai",), [(OPENAI, 0)]),
        (("anthropic",), [(ANTHROPIC, 0)]),
    ]


@pytest.mark.parametrize(
    ("field", "value", "another"),
    [("hostname", "api.example.com", True), ("port", 8443, True), ("prefix", "/api", False)],
)
def test_what_has_a_key_never_gets_another_place(field: str, value: t.Any, another: bool) -> None:
    """The key of the old place went to the new one, or the other way round, while all learnt of both."""
    managed = {"value": KEY}
    before, after = (
        build(
            {
                **inventory,
                "providers": [inventory["providers"][0], {**inventory["providers"][1], "credential": managed}],
            }
        )
        for inventory in (INVENTORY, changed("providers.1.endpoint", {"hostname": "api.anthropic.com", field: value}))
    )
    assert (before.providers[0], before.models[0]) == (after.providers[0], after.models[0])
    old, new = (
        (found.providers[1].backend, found.providers[1].credential.secret, found.models[1].routes[0].name)
        for found in (before, after)
    )
    assert [one != other for one, other in zip(old, new)] == [another] * 3
    # The path of the provider stays.
    assert before.models[1].routes[0].providers == after.models[1].routes[0].providers == ("*", "anthropic")


def test_names_that_read_alike_have_routes_of_their_own() -> None:
    names = ["A/B", "a/b", "a.b", "a-b", "a+b", "a@b", "x" * 39 + "-y", "x" * 39 + "-z", "x" * 39 + ":y"]
    found = routes(changed("providers.0.models", [{"name": name} for name in [*names, "gpt-4"]]))
    assert len(set(found.values())) == len(names) + 2
    assert all(
        re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", route) and "--" not in route for route in found.values()
    )
    assert {found[name].rpartition("-")[0] for name in names[:6]} == {"a-b"}
    assert {found[name].rpartition("-")[0] for name in names[6:]} == {"x" * 39}


@pytest.mark.parametrize(("first", "second"), [(0, 2), (1, 1), (1, 2)])
def test_priorities_count_from_zero(first: int, second: int) -> None:
    assert paths(shared({"priority": first}, {"priority": second})) == ["ai_gateway_providers[0].models[0].priority"]


ON_PREMISES = {"name": "facebook/opt-125m", "backend_ref": {"name": "opt", "namespace": "llm", "port": 8000}}


def test_on_premises_models_are_refused_until_they_are_rendered() -> None:
    assert paths({"models": [{"name": "gemma2", "backend_ref": {"kind": "InferencePool", "name": "gemma2"}}]}) == [
        "ai_gateway_models[0].backend_ref"
    ]


def test_an_on_premises_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_backend_refs, "RENDERED_BACKEND_KINDS", catalog_backend_refs.BACKEND_KINDS)
    pool = {
        "name": "gemma2",
        "provider_model": "google/gemma-2-2b-it",
        "backend_ref": {"kind": "InferencePool", "name": "gemma2"},
    }
    assert build({**INVENTORY, "models": [ON_PREMISES, pool]}).as_dict()["models"][2:] == [
        {
            "name": "facebook/opt-125m",
            "backends": [
                {
                    "name": "service.llm.opt.8000",
                    "backend_ref": {
                        "kind": "Service",
                        "name": "opt",
                        "namespace": "llm",
                        "hostname": "opt.llm.svc.cluster.local",
                        "port": 8000,
                        "tls": {"mode": "none"},
                        "simulator": "",
                    },
                    "provider_model": "facebook/opt-125m",
                    "weight": 1,
                    "priority": 0,
                }
            ],
            "routes": [
                {
                    "name": "facebook-opt-125m-31509eb9",
                    "providers": ["*", "service.llm.opt.8000"],
                    "backends": [
                        {
                            "name": "service.llm.opt.8000",
                            "provider_model": "facebook/opt-125m",
                            "weight": 1,
                            "priority": 0,
                        }
                    ],
                }
            ],
        },
        {
            "name": "gemma2",
            "backends": [
                {
                    "name": "inferencepool.ai-gateway.gemma2",
                    "backend_ref": {
                        "kind": "InferencePool",
                        "name": "gemma2",
                        "namespace": "ai-gateway",
                        "hostname": "",
                        "port": None,
                        "tls": {"mode": "none"},
                        "simulator": "",
                    },
                    "provider_model": "google/gemma-2-2b-it",
                    "weight": 1,
                    "priority": 0,
                }
            ],
            "routes": [
                {
                    "name": "gemma2-d1b29b06",
                    "providers": ["*", "inferencepool.ai-gateway.gemma2"],
                    "backends": [
                        {
                            "name": "inferencepool.ai-gateway.gemma2",
                            "provider_model": "google/gemma-2-2b-it",
                            "weight": 1,
                            "priority": 0,
                        }
                    ],
                }
            ],
        },
    ]


KSERVE = {"kind": "LLMInferenceService", "name": "opt", "namespace": "llm", "tls": {"mode": "none"}}


def reference_of(*models: dict[str, t.Any]) -> dict[str, t.Any]:
    """The backend of the last of the models, with its reference."""
    return t.cast("dict[str, t.Any]", build({"models": list(models)}).as_dict()["models"][-1]["backends"][0])


def test_a_simulated_model_needs_no_object() -> None:
    backend = reference_of({"name": "facebook/OPT-125m", "simulated": True})
    assert backend["name"] == "service.external-models.facebook-opt-125m-simulator.8000"
    assert backend["provider_model"] == "facebook/OPT-125m"
    assert backend["backend_ref"] == {
        "kind": "Service",
        "name": "facebook-opt-125m-simulator",
        "namespace": "external-models",
        "hostname": "facebook-opt-125m-simulator.external-models.svc.cluster.local",
        "port": 8000,
        "tls": {"mode": "none"},
        "simulator": "facebook-opt-125m-simulator",
    }


def test_a_simulator_in_the_place_of_an_object_keeps_its_name() -> None:
    model = {
        "name": "m",
        "simulated": True,
        "backend_ref": {**KSERVE, "tls": {"ca_bundle": "ca"}, "spec": {"model": {"uri": "hf://a/b", "name": "a/b"}}},
    }
    backend = reference_of(model)
    reference = backend["backend_ref"]
    assert (reference["kind"], reference["namespace"], reference["name"]) == ("LLMInferenceService", "llm", "opt")
    assert (reference["simulator"], reference["hostname"]) == (
        "opt-simulator",
        "opt-simulator.external-models.svc.cluster.local",
    )
    assert (reference["port"], reference["tls"]) == (8000, {"mode": "none"})
    assert backend["provider_model"] == "a/b"
    # Two models may share one server, and so its simulator; others need another.
    shared = [model, {**model, "name": "n", "provider_model": "c"}]
    assert len({model.backends[0].name for model in build({"models": shared}).models}) == 1
    assert paths({"models": [*shared, {"name": "opt", "simulated": True}]}) == ["ai_gateway_models[2]"]
    assert paths({"models": [{"name": "a/b", "simulated": True}, {"name": "a-b", "simulated": True}]}) == [
        "ai_gateway_models[1]"
    ]


def test_an_inference_service() -> None:
    reference = reference_of({"name": "m", "backend_ref": KSERVE})["backend_ref"]
    assert (reference["hostname"], reference["port"]) == ("opt-kserve-workload-svc.llm.svc.cluster.local", 8000)
    assert reference["tls"] == {"mode": "none"}
    assert "spec" not in reference
    secured = reference_of({"name": "m", "backend_ref": {**KSERVE, "tls": {"ca_bundle": "kserve-ca"}}})["backend_ref"][
        "tls"
    ]
    assert (secured["mode"], secured["sni"], secured["ca_bundle"]) == (
        "simple",
        "opt-kserve-workload-svc.llm.svc.cluster.local",
        "kserve-ca",
    )
    pem = reference_of({"name": "m", "backend_ref": {**KSERVE, "tls": {"ca_bundle": CERTIFICATE}}})["backend_ref"][
        "tls"
    ]
    assert (pem["ca_bundle"], pem["ca_certificates"]) == ("llminferenceservice.llm.opt.8000-ca-bundle", CERTIFICATE)


@pytest.mark.parametrize(
    ("spec", "given", "name"),
    [
        (None, None, "m"),
        ({"model": {"uri": "hf://a/b"}}, None, "opt"),
        ({"model": {"uri": "hf://a/b", "name": "a/b"}}, None, "a/b"),
        ({"model": {"uri": "hf://a/b", "name": "a/b"}}, "lora", "lora"),
    ],
)
def test_the_name_of_a_model_at_its_inference_service(spec: t.Any, given: str | None, name: str) -> None:
    backend = reference_of({"name": "m", "provider_model": given, "backend_ref": {**KSERVE, "spec": spec}})
    assert backend["provider_model"] == name
    assert backend["backend_ref"].get("spec") == spec


def test_one_object_is_described_once() -> None:
    first = {"name": "a", "backend_ref": KSERVE}
    assert {
        model.backends[0].name for model in build({"models": [first, {"name": "b", "backend_ref": KSERVE}]}).models
    } == {"llminferenceservice.llm.opt.8000"}
    for other in ({"spec": {}}, {"tls": {"ca_bundle": "ca"}}):
        assert paths({"models": [first, {"name": "b", "backend_ref": {**KSERVE, **other}}]}) == [
            "ai_gateway_models[1].backend_ref"
        ]
    assert paths({"models": [first, {"name": "b", "simulated": True, "backend_ref": KSERVE}]}) == [
        "ai_gateway_models[1].backend_ref"
    ]


def test_where_models_on_the_premises_are_called() -> None:
    models = [
        {"name": "a", "backend_ref": {"name": "a", "namespace": "llm", "port": 80}},
        {"name": "b", "backend_ref": {"name": "b", "namespace": "llm", "port": 81}},
        {"name": "c", "backend_ref": KSERVE},
    ]
    catalog = build({"models": models})
    assert [(destination.name, destination.port) for destination in catalog.egress] == [
        ("namespace.llm", None),
        ("llminferenceservice.llm.opt", 8000),
    ]
    catalog = build({"models": [{**model, "simulated": True} for model in models]})
    assert [(destination.name, destination.port) for destination in catalog.egress] == [("simulators", 8000)]


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ({"name": "m"}, "[0].backend_ref"),
        ({"name": "m", "backend_ref": {"name": "m"}}, "[0].backend_ref.port"),
        ({"name": "m", "backend_ref": {"port": 80}}, "[0].backend_ref.name"),
        ({"name": "m", "backend_ref": {"kind": "Deployment", "name": "m"}}, "[0].backend_ref.kind"),
        ({"name": "m", "backend_ref": {"kind": "InferencePool", "name": "m", "port": 80}}, "[0].backend_ref.port"),
        ({"name": "m", "backend_ref": {"name": "m", "namespace": "a.b", "port": 80}}, "[0].backend_ref.namespace"),
        ({"name": "gpt-4", "backend_ref": {"name": "m", "port": 80}}, "[0].name"),
        ({"name": "m", "simulated": "yes"}, "[0].simulated"),
        ({"name": "m", "simulatd": True}, "[0].simulatd"),
        # Names that no Service can have.
        ({"name": "7b-model", "simulated": True}, "[0].name"),
        ({"name": "m" * 53, "simulated": True}, "[0].name"),
        ({"name": "m", "simulated": True, "backend_ref": {"name": "7b", "port": 80}}, "[0].backend_ref.name"),
        # That of the provider openai.
        ({"name": "openai", "simulated": True}, "[0]"),
        ({"name": "m", "backend_ref": {"name": "m", "port": 80, "spec": {}}}, "[0].backend_ref.spec"),
        (
            {"name": "m", "backend_ref": {"name": "m", "port": 80, "tls": {"ca_bundle": "ca"}}},
            "[0].backend_ref.tls.ca_bundle",
        ),
        (
            {"name": "m", "backend_ref": {"kind": "InferencePool", "name": "m", "tls": {"mode": "none"}}},
            "[0].backend_ref.tls",
        ),
        ({"name": "m", "backend_ref": {"kind": "LLMInferenceService", "name": "m"}}, "[0].backend_ref.tls"),
        (
            {"name": "m", "backend_ref": {"kind": "LLMInferenceService", "name": "m", "tls": {}}},
            "[0].backend_ref.tls.ca_bundle",
        ),
        (
            {"name": "m", "backend_ref": {"kind": "LLMInferenceService", "name": "m", "tls": {"sni": "m.example.com"}}},
            "[0].backend_ref.tls.ca_bundle",
        ),
        (
            {"name": "m", "backend_ref": {**KSERVE, "tls": {"mode": "mutual", "ca_bundle": "ca"}}},
            "[0].backend_ref.tls.client_certificate",
        ),
        ({"name": "m", "backend_ref": {**KSERVE, "port": 8000}}, "[0].backend_ref.port"),
        ({"name": "m", "backend_ref": {**KSERVE, "spec": "uri"}}, "[0].backend_ref.spec"),
        # KServe would cut the name of the Service, and 7b-kserve-workload-svc is none.
        ({"name": "m", "backend_ref": {**KSERVE, "name": "m" * 44}}, "[0].backend_ref.name"),
        ({"name": "m", "backend_ref": {**KSERVE, "name": "7b"}}, "[0].backend_ref.name"),
    ],
)
def test_faults_of_on_premises_models(model: dict[str, t.Any], fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_backend_refs, "RENDERED_BACKEND_KINDS", catalog_backend_refs.BACKEND_KINDS)
    assert paths({**INVENTORY, "models": [model]}) == [f"ai_gateway_models{fault}"]


def test_a_thousand_providers_take_less_than_a_second() -> None:
    providers = [
        {
            "name": f"provider-{index}",
            "schema": "openai",
            "endpoint": {"hostname": f"api-{index}.example.com"},
            "credential": {"secret": f"key-{index}"},
            "models": [{"name": f"model-{index}"}],
        }
        for index in range(1000)
    ]
    start = time.perf_counter()
    catalog = build({"providers": providers, "tiers": INVENTORY["tiers"][:1]}).as_dict()
    assert time.perf_counter() - start < 1
    assert len(catalog["tiers"][0]["models"]) == len(catalog["models"]) == 1000


def test_the_former_name_of_a_provider_model() -> None:
    written = {"name": "claude", "upstream_name": "claude-3"}
    provider = {"name": "p", "schema": "openai", "simulated": True, "credential": {"value": "k"}, "models": [written]}
    local = {"name": "local", "upstream_name": "served", "simulated": True}
    built = catalog_build.build({"providers": [provider], "models": [local]})
    assert [model.backends[0].provider_model for model in built.models] == ["claude-3", "served"]
    with pytest.raises(CatalogError, match=r"models\[0\]\.upstream_name: is the former name"):
        catalog_build.build({"providers": [{**provider, "models": [{**written, "provider_model": "claude-3"}]}]})
