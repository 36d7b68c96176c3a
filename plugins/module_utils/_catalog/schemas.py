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
class Answers:
    """What the proxies must know of the answers of an API."""

    #: Whether they are those of Anthropic's API.
    anthropic: bool = False
    #: Whether Envoy AI Gateway alone can read them.
    foreign: bool = False
    #: Whether errors have a form of the cloud's or the provider's own, which Envoy AI Gateway translates.
    own_errors: bool = False


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
    #: The schema whose API it is, where that is another one: a model may have providers of both.
    api: str = ""
    #: The header that it reads a key from and the key's scheme, and whether an entry may not write others.
    key_header: tuple[str, str] = ("Authorization", "Bearer")
    fixed_header: bool = False
    answers: Answers = Answers()


SCHEMAS: dict[str, Schema] = {
    "openai": Schema("OpenAI", (API_KEY,), has_prefix=True),
    "anthropic": Schema(
        "Anthropic", (API_KEY,), has_prefix=True, key_header=("x-api-key", ""), answers=Answers(anthropic=True)
    ),
    "azure_openai": Schema(
        "AzureOpenAI",
        (API_KEY, CLIENT_SECRET, FEDERATION),
        AZURE,
        ("api_version",),
        api="openai",
        key_header=("api-key", ""),
        fixed_header=True,
    ),
    "aws_bedrock": Schema(
        "AWSBedrock",
        (ACCESS_KEY, WORKLOAD_IDENTITY, FEDERATION),
        AWS,
        ("region",),
        answers=Answers(foreign=True, own_errors=True),
    ),
    # Without these versions, Envoy AI Gateway sends an empty one for a request of Anthropic's API, or refuses it.
    "aws_anthropic": Schema(
        "AWSAnthropic",
        (ACCESS_KEY, WORKLOAD_IDENTITY, FEDERATION),
        AWS,
        ("region",),
        version="bedrock-2023-05-31",
        answers=Answers(anthropic=True, foreign=True, own_errors=True),
    ),
    "gcp_vertex_ai": Schema(
        "GCPVertexAI",
        (SERVICE_ACCOUNT_KEY, WORKLOAD_IDENTITY, FEDERATION),
        GCP,
        ("project", "region"),
        answers=Answers(foreign=True, own_errors=True),
    ),
    "gcp_anthropic": Schema(
        "GCPAnthropic",
        (SERVICE_ACCOUNT_KEY, WORKLOAD_IDENTITY, FEDERATION),
        GCP,
        ("project", "region"),
        version="vertex-2023-10-16",
        answers=Answers(anthropic=True, own_errors=True),
    ),
    "cohere": Schema("Cohere", (API_KEY,), version="v2", fixed_header=True, answers=Answers(own_errors=True)),
}
#: All keys that some schema needs.
PLACE_KEYS = tuple(dict.fromkeys(key for schema in SCHEMAS.values() for key in schema.needs))
#: The schemas that simulators speak.
SIMULATED = ("openai", "anthropic")
