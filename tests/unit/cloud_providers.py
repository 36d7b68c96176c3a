# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A provider of each schema and form of credential that a cloud has."""

from __future__ import annotations

import typing as t

ACCESS_KEY = "[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = a-key-that-must-not-show\n"
SERVICE_ACCOUNT = '{"type": "service_account", "private_key": "a-key-that-must-not-show", "client_email": "a@b"}'
OIDC = {"issuer": "https://identity.example.com/realm", "client_id": "gateway"}
AWS = {"region": "eu-central-1", "endpoint": {"hostname": "bedrock-runtime.eu-central-1.amazonaws.com"}}
GCP = {
    "region": "europe-west4",
    "project": "team-search",
    "endpoint": {"hostname": "europe-west4-aiplatform.googleapis.com"},
}
AZURE = {"api_version": "2024-10-21", "endpoint": {"hostname": "team.openai.azure.com"}}
APPLICATION = {"client_id": "11111111-2222", "tenant_id": "33333333-4444"}


def provider(name: str, schema: str, credential: dict[str, t.Any], **fields: t.Any) -> dict[str, t.Any]:
    return {"name": name, "schema": schema, "credential": credential, "models": [{"name": f"{name}-model"}], **fields}


#: By what they are called.
PROVIDERS = [
    provider("azure", "azure_openai", {"secret": "azure-key"}, **AZURE),
    provider(
        "azure-client", "azure_openai", {"form": "client_secret", "value": "azure-secret", **APPLICATION}, **AZURE
    ),
    provider(
        "azure-federated",
        "azure_openai",
        {"form": "federation", "secret": "identity-client", "federation": OIDC, **APPLICATION},
        **AZURE,
    ),
    provider("bedrock", "aws_bedrock", {"value": ACCESS_KEY}, **AWS),
    provider("bedrock-claude", "aws_anthropic", {"form": "workload_identity"}, **AWS),
    provider(
        "bedrock-federated",
        "aws_bedrock",
        {
            "form": "federation",
            "secret": "identity-client",
            "federation": {**OIDC, "scopes": ["aws"], "role_arn": "arn:aws:iam::123456789012:role/ai-gateway"},
        },
        **AWS,
    ),
    provider("gemini", "gcp_vertex_ai", {"value": SERVICE_ACCOUNT}, **GCP),
    provider("vertex-claude", "gcp_anthropic", {"form": "workload_identity"}, **GCP),
    provider(
        "gemini-federated",
        "gcp_vertex_ai",
        {
            "form": "federation",
            "external_secret": {"store": "vault", "key": "identity"},
            "federation": {
                **OIDC,
                "pool": "clusters",
                "pool_provider": "identity",
                "project_number": "123456789",
                "service_account": "ai-gateway",
            },
        },
        **GCP,
    ),
    provider("cohere", "cohere", {"secret": "cohere-key"}, endpoint={"hostname": "api.cohere.com"}),
]
