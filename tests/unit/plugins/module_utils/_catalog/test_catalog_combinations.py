# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import CatalogError
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import PLATFORMS, POLICY_ENGINES, STACKS

KEY = {"secret": "key"}
SERVED = {"kind": "LLMInferenceService", "name": "served", "namespace": "llm"}
TIER = {"name": "free", "level": 0, "groups": ["system:authenticated"], "token_limit": {"tokens": 100, "window": "1m"}}


def provider(name: str, *models: str, **more: t.Any) -> dict[str, t.Any]:
    return {
        "name": name,
        "schema": "openai",
        "endpoint": {"hostname": f"{name}.example.com"},
        "credential": KEY,
        "models": [{"name": model} for model in models],
        **more,
    }


def two_gateways(engine: str = "authorino", **more: t.Any) -> dict[str, t.Any]:
    return {
        "stack": "wg_ai_gateway",
        "policy_engine": engine,
        "providers": [provider("openai", "gpt-4", "gpt-5")],
        "tiers": [TIER],
        **more,
    }


def paths(inventory: dict[str, t.Any]) -> list[str]:
    with pytest.raises(CatalogError) as caught:
        build(inventory)
    return [fault.path for fault in caught.value.faults]


def test_platform_and_stack_choose_the_engine() -> None:
    engines = {
        (platform, stack): build({"platform": platform, "stack": stack}).policy_engine
        for platform, stack in itertools.product(PLATFORMS, STACKS)
    }
    assert {combination for combination, engine in engines.items() if engine == "kuadrant"} == {
        ("openshift", "wg_ai_gateway")
    }


@pytest.mark.parametrize(("platform", "stack", "engine"), list(itertools.product(PLATFORMS, STACKS, POLICY_ENGINES)))
def test_combinations(platform: str, stack: str, engine: str) -> None:
    inventory = {"platform": platform, "stack": stack, "policy_engine": engine}
    if (stack, engine) == ("envoy_ai_gateway", "kuadrant"):
        assert paths(inventory) == ["ai_gateway_policy_engine"]
    else:
        assert build(inventory).policy_engine == engine


def test_one_gateway_has_no_second() -> None:
    catalog = build({**two_gateways(), "stack": "envoy_ai_gateway"}).as_dict()
    assert (catalog["egress_gateway"], catalog["gateway_namespace"], catalog["name"]) == (
        None,
        "ai-gateway",
        "ai-gateway",
    )
    assert catalog["maas_api"] == {"enabled": False, "namespace": "opendatahub"}
    assert "egress_endpoint" not in catalog["providers"][0]


def test_the_second_gateway_stands_between() -> None:
    catalog = build(two_gateways()).as_dict()
    assert (catalog["gateway_namespace"], catalog["name"], catalog["audience"]) == (
        "ai-gateway",
        "maas-default-gateway",
        "maas-default-gateway-sa",
    )
    assert catalog["maas_api"]["enabled"] is True
    egress = catalog["egress_gateway"]
    hostname = "envoy-ai-gateway-egress-egress-gateway.ai-gateway-egress.svc.cluster.local"
    assert (egress["name"], egress["class_name"], egress["hostname"]) == ("egress-gateway", "wg-ai-gateway", hostname)
    (openai,) = catalog["providers"]
    assert openai["endpoint"]["hostname"] == "openai.example.com"
    assert openai["egress_endpoint"] == {
        "hostname": hostname,
        "port": 8080,
        "tls": {"mode": "none"},
        "address": False,
        "prefix": "/openai/v1",
    }
    assert [destination["name"] for destination in catalog["egress"]] == ["egress-gateway", "maas-api"]
    assert catalog["egress"][0]["peers"][0]["podSelector"] == {
        "matchLabels": {"app": "envoy-ai-gateway-egress-egress-gateway"}
    }
    assert [destination["name"] for destination in egress["egress"]] == ["port-443"]


def test_models_on_the_premises_are_called_by_the_first_gateway() -> None:
    model = {"name": "local", "backend_ref": {"name": "local", "namespace": "llm", "port": 8000}}
    catalog = build(two_gateways(models=[model])).as_dict()
    assert [destination["name"] for destination in catalog["egress"]] == ["egress-gateway", "namespace.llm", "maas-api"]


def test_wg_ai_gateway_leaves_its_namespace_out_of_the_name_in_default() -> None:
    egress = build(two_gateways(egress_namespace="default", egress_gateway="poc-gateway")).egress_gateway
    assert egress is not None
    assert egress.hostname == "envoy-poc-gateway.default.svc.cluster.local"


def test_kuadrant_finds_the_clients_gateway() -> None:
    assert build(two_gateways("kuadrant")).gateway_namespace == "openshift-ingress"
    assert build(two_gateways("kuadrant", maas_gateway_namespace="istio-ingress")).gateway_namespace == "istio-ingress"


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"egress_namespace": "ai-gateway"}, "ai_gateway_egress_namespace"),
        ({"egress_namespace": "external-models"}, "ai_gateway_egress_namespace"),
        ({"egress_namespace": "ai-gateway-authorino"}, "ai_gateway_egress_namespace"),
        ({"egress_gateway": "e" * 60}, "ai_gateway_egress_gateway"),
        ({"maas_api": "no"}, "ai_gateway_maas_api"),
        ({"providers": [provider("a", "m"), provider("b", "m")]}, "ai_gateway_providers[1].models[0].name"),
        (
            {"providers": [provider("a", "m", endpoint={"hostname": "1.2.3.4", "tls": {"mode": "none"}})]},
            "ai_gateway_providers[0].endpoint.hostname",
        ),
        (
            {"providers": [provider("a", "m", credential={"header": "X-Provider-Api-Key", "secret": "key"})]},
            "ai_gateway_providers[0].credential.header",
        ),
    ],
)
def test_what_two_gateways_cannot_do(more: dict[str, t.Any], path: str) -> None:
    assert paths(two_gateways(**more)) == [path]


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"providers": [provider("a", "m", schema="anthropic")]}, "ai_gateway_providers[0].schema"),
        (
            {"providers": [provider("a", "m", credential={"external_secret": {"store": "vault", "key": "a"}})]},
            "ai_gateway_providers[0].credential.external_secret",
        ),
        (
            {"providers": [provider("a", models=[{"name": "m", "provider_model": "n"}])]},
            "ai_gateway_providers[0].models[0].provider_model",
        ),
        (
            {"tiers": [{**TIER, "input_token_limit": {"tokens": 1, "window": "1m"}}]},
            "ai_gateway_tiers[0].input_token_limit",
        ),
        ({"tiers": [{**TIER, "models": ["gpt-4"]}]}, "ai_gateway_tiers[0].models"),
        (
            {
                "models": [{"name": name, "backend_ref": SERVED} for name in ("a", "b")],
                "tiers": [{**TIER, "models": ["a"]}],
            },
            "ai_gateway_tiers[0].models",
        ),
        (
            {"models": [{"name": "local", "backend_ref": {"name": "local", "port": 80}}]},
            "ai_gateway_models[0].backend_ref.kind",
        ),
        (
            {
                "models": [
                    {
                        "name": "local",
                        "simulated": True,
                        "backend_ref": {"kind": "LLMInferenceService", "name": "local"},
                    }
                ]
            },
            "ai_gateway_models[0].simulated",
        ),
    ],
)
def test_what_kuadrant_cannot_do(more: dict[str, t.Any], path: str) -> None:
    assert paths(two_gateways("kuadrant", **more)) == [path]


def test_kuadrant_takes_any_header_and_the_models_of_kserve() -> None:
    keyed = provider("openai", "gpt-4", credential={"header": "X-Provider-Api-Key", "value": "sk"})
    local = {
        "name": "facebook/opt-125m",
        "backend_ref": {"kind": "LLMInferenceService", "name": "facebook-opt-125m-simulated", "namespace": "llm"},
    }
    tiers = [{**TIER, "models": ["gpt-4"]}]
    catalog = build(two_gateways("kuadrant", providers=[keyed], models=[local], tiers=tiers)).as_dict()
    assert catalog["providers"][0]["credential"]["header"] == "X-Provider-Api-Key"
    assert catalog["models"][1]["backends"][0]["backend_ref"]["tls"] == {"mode": "none"}
