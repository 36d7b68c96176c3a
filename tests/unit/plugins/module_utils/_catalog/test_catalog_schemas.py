# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Providers of clouds: what each schema needs, and which forms of credential it accepts."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import CatalogError
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import Catalog
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.schemas import SCHEMAS
from cloud_providers import PROVIDERS

TIER = {
    "name": "all",
    "level": 0,
    "groups": ["system:authenticated"],
    "token_limit": {"tokens": 100, "window": "1m"},
    "request_limit": {"requests": 100, "window": "1m"},
}


def built(providers: list[dict[str, t.Any]], **variables: t.Any) -> Catalog:
    return build({"providers": providers, "tiers": [TIER], **variables})


def faults(name: str, changes: dict[str, t.Any], **variables: t.Any) -> list[tuple[str, str, str]]:
    """Path, problem and remedy of each fault of one provider with some keys changed; ``...`` removes one."""
    found = copy.deepcopy(next(provider for provider in PROVIDERS if provider["name"] == name))
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is ...:
            del place[last]
        else:
            place[last] = value
    with pytest.raises(CatalogError) as caught:
        built([found], **variables)
    assert "must-not-show" not in str(caught.value)
    return [
        (fault.path.removeprefix("ai_gateway_providers[0]."), fault.problem, fault.remedy)
        for fault in caught.value.faults
    ]


def test_every_cloud_is_a_provider() -> None:
    catalog = built(PROVIDERS)
    assert {provider.schema for provider in catalog.providers} == set(SCHEMAS) - {"openai", "anthropic"}
    described = {provider["name"]: provider for provider in catalog.as_dict()["providers"]}
    assert described["azure"]["credential"] == {
        "form": "api_key",
        "header": "api-key",
        "scheme": "",
        "secret": "azure-key",
        "key": "apiKey",
        "managed": False,
    }
    assert (described["azure"]["api_version"], described["cohere"]["api_version"]) == ("2024-10-21", "v2")
    assert "region" not in described["azure"]
    assert described["bedrock-claude"]["credential"]["secret"] == ""
    assert described["gemini-federated"]["credential"]["federation"]["pool_provider"] == "identity"
    assert "must-not-show" not in str(catalog.as_dict())


def test_the_secrets_of_clouds_have_their_own_keys() -> None:
    needed = {(secret.name, secret.keys) for secret in built(PROVIDERS).secrets}
    assert needed == {
        ("azure-key", ("apiKey",)),
        ("identity-client", ("client-secret",)),
        ("cohere-key", ("apiKey",)),
    }


def test_proxies_reach_what_says_who_they_are() -> None:
    names = {destination.name for destination in built(PROVIDERS).egress}
    assert {"aws-pod-identity", "gcp-metadata", "gke-metadata"} <= names
    others = [provider for provider in PROVIDERS if provider["credential"].get("form") != "workload_identity"]
    assert {destination.name for destination in built(others).egress} == {"port-443"}


@pytest.mark.parametrize(
    ("name", "changes", "path", "words"),
    [
        ("bedrock", {"region": ...}, "region", "is missing"),
        ("gemini", {"project": ...}, "project", "is missing"),
        ("azure", {"api_version": ...}, "api_version", "is missing"),
        ("azure", {"region": "us-east-1"}, "region", "no meaning with schema azure_openai"),
        ("cohere", {"api_version": "v2"}, "api_version", "no meaning with schema cohere"),
        ("bedrock", {"region": "US_EAST"}, "region", "is not a region"),
        ("bedrock", {"region": "us-east-1"}, "endpoint.hostname", "signs its requests for"),
        (
            "bedrock",
            {"endpoint.hostname": "vpce-1.bedrock-runtime.eu-central-1.vpce.amazonaws.com"},
            "endpoint.hostname",
            "signs its requests for",
        ),
        ("azure", {"endpoint.prefix": "/openai"}, "endpoint.prefix", "writes the whole path"),
        ("cohere", {"simulated": True}, "simulated", "no simulator speaks cohere"),
        ("azure", {"credential.form": "access_key"}, "credential.form", 'is "access_key"'),
        ("cohere", {"credential.form": "federation"}, "credential.form", 'is "federation"'),
        ("azure", {"credential.header": "x-api-key"}, "credential.header", "reads its key from"),
        ("bedrock", {"credential.header": "x-api-key"}, "credential.header", "no meaning with form access_key"),
        ("bedrock", {"credential.client_id": "a"}, "credential.client_id", "no meaning with form access_key"),
        ("bedrock", {"credential.value": "AKIA must-not-show"}, "credential.value", "not a credentials file of AWS"),
        ("gemini", {"credential.value": '{"private_key": "must-not-show"}'}, "credential.value", "service account"),
        ("bedrock-claude", {"credential.secret": "keys"}, "credential.secret", "form workload_identity"),
        ("azure-client", {"credential.tenant_id": ...}, "credential.tenant_id", "is missing"),
        ("azure-client", {"credential.federation": {}}, "credential.federation", "no meaning with form client_secret"),
        ("bedrock-federated", {"credential.federation": ...}, "credential.federation", "is missing"),
        ("bedrock-federated", {"credential.client_id": "a"}, "credential.client_id", "no meaning"),
        (
            "bedrock-federated",
            {"credential.federation.issuer": "http://identity.example.com"},
            "credential.federation.issuer",
            "is not an issuer",
        ),
        (
            "bedrock-federated",
            {"credential.federation.role_arn": "ai-gateway"},
            "credential.federation.role_arn",
            "is not an ARN of a role",
        ),
        ("bedrock-federated", {"credential.federation.pool": "a"}, "credential.federation.pool", "not a known key"),
        ("gemini-federated", {"credential.federation.pool": ...}, "credential.federation.pool", "is missing"),
        ("azure-federated", {"credential.secret": ...}, "credential", "does not say where the key comes from"),
    ],
)
def test_a_fault_of_a_cloud(name: str, changes: dict[str, t.Any], path: str, words: str) -> None:
    found = faults(name, changes)
    assert [fault[0] for fault in found] == [path]
    assert words in found[0][1]
    assert found[0][2]


@pytest.mark.parametrize("name", ["azure", "bedrock", "gemini", "cohere"])
@pytest.mark.parametrize("engine", ["authorino", "kuadrant"])
def test_the_egress_gateway_carries_no_cloud(name: str, engine: str) -> None:
    found = faults(name, {}, stack="wg_ai_gateway", policy_engine=engine)
    assert "chooses providers by path" in {path: problem for path, problem, _remedy in found}["schema"]


def test_a_proxy_before_aws_has_another_name() -> None:
    changed = copy.deepcopy(next(provider for provider in PROVIDERS if provider["name"] == "bedrock"))
    changed["endpoint"]["hostname"] = "bedrock.example.com"
    assert built([changed]).providers[0].endpoint.hostname == "bedrock.example.com"
