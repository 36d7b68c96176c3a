# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The APIs that providers speak, as Envoy AI Gateway knows them: what an entry of a provider needs and may have."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import CREDENTIAL_KEY

#: What a provider's credential is.
API_KEY = "api_key"
CLIENT_SECRET = "client_secret"  # noqa: S105 (the name of a form)
ACCESS_KEY = "access_key"
SERVICE_ACCOUNT_KEY = "service_account_key"
#: That of the proxies' own ServiceAccount, as the cloud that they run in knows it.
WORKLOAD_IDENTITY = "workload_identity"
#: The token of an identity provider, for which the cloud gives a short-lived one.
FEDERATION = "federation"

#: By the form of a credential, the key of the Secret that holds it. Envoy AI Gateway gives these names.
SECRET_KEYS = {
    API_KEY: CREDENTIAL_KEY,
    CLIENT_SECRET: "client-secret",
    ACCESS_KEY: "credentials",
    SERVICE_ACCOUNT_KEY: "service_account.json",
    FEDERATION: "client-secret",
}

AWS = "aws"
AZURE = "azure"
GCP = "gcp"


@dataclass(frozen=True)
class Schema:
    """An API that a provider speaks."""

    #: Its name in an AIServiceBackend.
    resource: str
    #: The forms of credential that it accepts, the default first.
    forms: tuple[str, ...]
    #: The cloud whose credentials it needs; empty for none.
    cloud: str = ""
    #: Further keys that an entry of the provider needs, and that no other entry may have.
    needs: tuple[str, ...] = ()
    #: Whether an entry says what comes before the API's paths. Envoy AI Gateway writes the other paths itself.
    has_prefix: bool = False
    #: Version of the API where the collection knows it; otherwise an entry may name it.
    version: str = ""


SCHEMAS: dict[str, Schema] = {
    "openai": Schema("OpenAI", (API_KEY,), has_prefix=True),
    "anthropic": Schema("Anthropic", (API_KEY,), has_prefix=True),
    "azure_openai": Schema("AzureOpenAI", (API_KEY, CLIENT_SECRET, FEDERATION), AZURE, ("api_version",)),
    "aws_bedrock": Schema("AWSBedrock", (ACCESS_KEY, WORKLOAD_IDENTITY, FEDERATION), AWS, ("region",)),
    # Without these versions, Envoy AI Gateway sends an empty one for a request of Anthropic's API, or refuses it.
    "aws_anthropic": Schema(
        "AWSAnthropic",
        (ACCESS_KEY, WORKLOAD_IDENTITY, FEDERATION),
        AWS,
        ("region",),
        version="bedrock-2023-05-31",
    ),
    "gcp_vertex_ai": Schema(
        "GCPVertexAI", (SERVICE_ACCOUNT_KEY, WORKLOAD_IDENTITY, FEDERATION), GCP, ("project", "region")
    ),
    "gcp_anthropic": Schema(
        "GCPAnthropic",
        (SERVICE_ACCOUNT_KEY, WORKLOAD_IDENTITY, FEDERATION),
        GCP,
        ("project", "region"),
        version="vertex-2023-10-16",
    ),
    "cohere": Schema("Cohere", (API_KEY,), version="v2"),
}
#: All keys that some schema needs.
PLACE_KEYS = tuple(dict.fromkeys(key for schema in SCHEMAS.values() for key in schema.needs))
#: The schemas that simulators speak.
SIMULATED = ("openai", "anthropic")
