# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role's template renders for providers of clouds."""

from __future__ import annotations

import base64
import re
import typing as t

import jsonschema
import pytest
from cloud_providers import ACCESS_KEY, PROVIDERS
from rendering import manifests
from third_party_crds import validator_of

Objects = dict[tuple[str, str], dict[str, t.Any]]
OIDC = {"provider": {"issuer": "https://identity.example.com/realm"}, "clientID": "gateway"}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    found = manifests(
        tmp_path_factory.mktemp("clouds"),
        "providers",
        "envoy_ai_gateway.yaml.j2",
        {
            "ai_gateway_providers": PROVIDERS,
            "ai_gateway_tiers": [
                {
                    "name": "all",
                    "level": 0,
                    "groups": ["all"],
                    "token_limit": {"tokens": 1, "window": "1m"},
                    "request_limit": {"requests": 1, "window": "1m"},
                }
            ],
        },
    )
    return {(kind, re.sub(r"[.][0-9a-f]{8}$", "", name)): body for (kind, name), body in found.items()}


def policies(objects: Objects) -> dict[str, dict[str, t.Any]]:
    return {
        name: {key: value for key, value in body["spec"].items() if key != "targetRefs"}
        for (kind, name), body in objects.items()
        if kind == "BackendSecurityPolicy"
    }


def secret(name: str) -> dict[str, str]:
    return {"group": "", "kind": "Secret", "name": name}


def made(objects: Objects, name: str) -> dict[str, str]:
    """The reference to the Secret that is made for a provider."""
    return secret(objects["Secret", f"{name}-credential"]["metadata"]["name"])


def test_each_schema_has_its_name_and_what_it_reads(objects: Objects) -> None:
    schemas = {name: body["spec"]["schema"] for (kind, name), body in objects.items() if kind == "AIServiceBackend"}
    azure = {"name": "AzureOpenAI", "version": "2024-10-21"}
    assert schemas == {
        "azure": azure,
        "azure-client": azure,
        "azure-federated": azure,
        "bedrock": {"name": "AWSBedrock"},
        "bedrock-claude": {"name": "AWSAnthropic", "version": "bedrock-2023-05-31"},
        "bedrock-federated": {"name": "AWSBedrock"},
        "gemini": {"name": "GCPVertexAI"},
        "vertex-claude": {"name": "GCPAnthropic", "version": "vertex-2023-10-16"},
        "gemini-federated": {"name": "GCPVertexAI"},
        "cohere": {"name": "Cohere", "version": "v2"},
    }


def test_keys(objects: Objects) -> None:
    found = policies(objects)
    assert found["azure"] == {"type": "AzureAPIKey", "azureAPIKey": {"secretRef": secret("azure-key")}}
    assert found["cohere"] == {"type": "APIKey", "apiKey": {"secretRef": secret("cohere-key")}}
    assert found["azure-client"] == {
        "type": "AzureCredentials",
        "azureCredentials": {
            "clientID": "11111111-2222",
            "tenantID": "33333333-4444",
            "clientSecretRef": made(objects, "azure-client"),
        },
    }
    assert found["bedrock"] == {
        "type": "AWSCredentials",
        "awsCredentials": {
            "region": "eu-central-1",
            "credentialsFile": {"secretRef": made(objects, "bedrock"), "profile": "default"},
        },
    }
    assert found["gemini"] == {
        "type": "GCPCredentials",
        "gcpCredentials": {
            "projectName": "team-search",
            "region": "europe-west4",
            "credentialsFile": {"secretRef": made(objects, "gemini")},
        },
    }
    assert base64.b64decode(objects["Secret", "bedrock-credential"]["data"]["credentials"]).decode() == ACCESS_KEY
    assert list(objects["Secret", "gemini-credential"]["data"]) == ["service_account.json"]
    assert list(objects["Secret", "azure-client-credential"]["data"]) == ["client-secret"]


def test_identities_of_the_proxies_have_no_secret(objects: Objects) -> None:
    found = policies(objects)
    assert found["bedrock-claude"] == {"type": "AWSCredentials", "awsCredentials": {"region": "eu-central-1"}}
    assert found["vertex-claude"] == {
        "type": "GCPCredentials",
        "gcpCredentials": {"projectName": "team-search", "region": "europe-west4"},
    }
    assert ("Secret", "bedrock-claude-credential") not in objects


def test_tokens_that_a_cloud_exchanges(objects: Objects) -> None:
    found = policies(objects)
    client = {**secret("identity-client"), "namespace": "ai-gateway"}
    assert found["bedrock-federated"]["awsCredentials"] == {
        "region": "eu-central-1",
        "oidcExchangeToken": {
            "awsRoleArn": "arn:aws:iam::123456789012:role/ai-gateway",
            "oidc": {**OIDC, "scopes": ["aws"], "clientSecret": client},
        },
    }
    assert found["azure-federated"]["azureCredentials"] == {
        "clientID": "11111111-2222",
        "tenantID": "33333333-4444",
        "oidcExchangeToken": {"oidc": {**OIDC, "clientSecret": client}},
    }
    external = objects["ExternalSecret", "gemini-federated-credential"]
    assert external["spec"]["data"][0]["secretKey"] == "client-secret"
    assert found["gemini-federated"]["gcpCredentials"]["workloadIdentityFederationConfig"] == {
        "projectID": "123456789",
        "workloadIdentityPoolName": "clusters",
        "workloadIdentityProviderName": "identity",
        "serviceAccountImpersonation": {"serviceAccountName": "ai-gateway"},
        "oidcExchangeToken": {
            "oidc": {**OIDC, "clientSecret": {**client, "name": external["metadata"]["name"]}},
        },
    }


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("BackendSecurityPolicy", "aigateway.envoyproxy.io_backendsecuritypolicies.yaml"),
        ("AIServiceBackend", "aigateway.envoyproxy.io_aiservicebackends.yaml"),
        ("AIGatewayRoute", "aigateway.envoyproxy.io_aigatewayroutes.yaml"),
    ],
)
def test_they_fit_their_definitions(objects: Objects, kind: str, file: str) -> None:
    validator = validator_of(file, "v1beta1")
    found = [body for (other, _name), body in objects.items() if other == kind]
    assert found
    for body in found:
        validator.validate(body)
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**body, "spec": {**body["spec"], "unknown": 1}})
