# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway that others made of Envoy AI Gateway's objects."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.objects import KINDS, from_objects

Body = dict[str, t.Any]
GATEWAY = """
kind: Gateway
metadata: {name: theirs, namespace: apps}
spec: {listeners: [{name: http, protocol: HTTP, port: 80}]}
"""
OBJECTS = """
kind: AIGatewayRoute
metadata: {name: chat, namespace: apps}
spec:
  parentRefs: [{name: theirs, kind: Gateway, group: gateway.networking.k8s.io}]
  llmRequestCosts: [{metadataKey: x, type: CEL, cel: "input_tokens * 2"}]
  rules:
    - matches:
        - {headers: [{type: Exact, name: x-ai-eg-model, value: gpt-4}]}
        - {headers: [{type: RegularExpression, name: x-ai-eg-model, value: "gpt-.*"}]}
      timeouts: {request: 60s}
      backendRefs:
        - {name: openai, priority: 0}
        - {name: azure, priority: 1, modelNameOverride: gpt4-eu, headerMutation: {set: []}}
    - matches: [{headers: [{name: x-ai-eg-model, value: claude}, {name: x-team, value: a}]}]
      backendRefs: [{name: claude}]
    - matches: [{headers: [{name: x-ai-eg-model, value: local}]}]
      backendRefs: [{name: vllm, modelNameOverride: facebook/opt-125m}]
    - matches: [{headers: [{name: x-ai-eg-model, value: pooled}]}]
      backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: gemma}]
    - matches: [{headers: [{name: x-ai-eg-model, value: nova}]}]
      backendRefs: [{name: bedrock}]
    - matches: [{headers: [{name: x-ai-eg-model, value: lost}]}]
      backendRefs: [{name: gone}]
    - backendRefs: [{name: openai}]
---
kind: AIGatewayRoute
metadata: {name: elsewhere, namespace: apps}
spec: {parentRefs: [{name: another}], rules: []}
---
kind: AIServiceBackend
metadata: {name: openai, namespace: apps}
spec:
  schema: {name: OpenAI, version: v1}
  backendRef: {name: openai, kind: Backend, group: gateway.envoyproxy.io}
  headerMutation:
    set: [{name: x-team, value: search}, {name: Helicone-Auth, value: sk-5}, {name: x-as, value: Basic sk-6}]
---
kind: AIServiceBackend
metadata: {name: azure, namespace: apps}
spec: {schema: {name: AzureOpenAI, version: "2024-10-21"}, backendRef: {name: azure}}
---
kind: AIServiceBackend
metadata: {name: claude, namespace: apps}
spec: {schema: {name: Anthropic}, backendRef: {name: claude}, bodyMutation: {set: []}}
---
kind: AIServiceBackend
metadata: {name: vllm, namespace: apps}
spec: {schema: {name: OpenAI}, backendRef: {name: vllm}}
---
kind: AIServiceBackend
metadata: {name: bedrock, namespace: apps}
spec: {schema: {name: AWSBedrock}, backendRef: {name: bedrock}}
---
kind: AIServiceBackend
metadata: {name: unused, namespace: apps}
spec: {schema: {name: OpenAI}, backendRef: {name: openai}}
---
kind: Backend
metadata: {name: openai, namespace: apps}
spec: {type: Endpoints, endpoints: [{fqdn: {hostname: api.openai.com, port: 443}}]}
---
kind: Backend
metadata: {name: azure, namespace: apps}
spec:
  endpoints: [{fqdn: {hostname: team.openai.azure.com, port: 443}}]
  tls: {wellKnownCACertificates: System, sni: team.openai.azure.com}
---
kind: Backend
metadata: {name: claude, namespace: apps}
spec:
  endpoints: [{fqdn: {hostname: proxy.example.com, port: 8443}}]
  tls:
    insecureSkipVerify: true
    sni: claude.example.com
    caCertificateRefs: [{kind: Secret, name: own-ca}, {kind: ConfigMap, name: other-ca}]
    clientCertificateRef: {name: client}
---
kind: Backend
metadata: {name: vllm, namespace: apps}
spec: {endpoints: [{fqdn: {hostname: vllm.models.svc.cluster.local, port: 8000}}]}
---
kind: Backend
metadata: {name: bedrock, namespace: apps}
spec:
  endpoints: [{fqdn: {hostname: bedrock-runtime.eu-central-1.amazonaws.com, port: 443}}]
  tls: {wellKnownCACertificates: System}
---
kind: BackendTLSPolicy
metadata: {name: openai, namespace: apps}
spec:
  targetRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: openai}]
  validation: {hostname: api.openai.com, wellKnownCACertificates: System}
---
kind: BackendSecurityPolicy
metadata: {name: openai, namespace: apps}
spec:
  targetRefs: [{kind: AIServiceBackend, name: openai}]
  type: APIKey
  apiKey: {secretRef: {name: openai-key, namespace: keys}}
---
kind: BackendSecurityPolicy
metadata: {name: azure, namespace: apps}
spec:
  targetRefs: [{kind: AIServiceBackend, name: azure}]
  type: AzureCredentials
  azureCredentials: {clientID: a, tenantID: b, clientSecretRef: {name: azure-secret}}
---
kind: BackendSecurityPolicy
metadata: {name: claude, namespace: apps}
spec:
  targetRefs: [{kind: AIServiceBackend, name: claude}]
  type: AnthropicAPIKey
  anthropicAPIKey: {secretRef: {name: claude-key}}
---
kind: BackendSecurityPolicy
metadata: {name: bedrock, namespace: apps}
spec:
  targetRefs: [{kind: AIServiceBackend, name: bedrock}]
  type: AWSCredentials
  awsCredentials:
    region: eu-central-1
    oidcExchangeToken:
      awsRoleArn: arn:aws:iam::123456789012:role/gateway
      oidc: {provider: {issuer: "https://login.example.com"}, clientID: gw, clientSecret: {name: oidc}}
---
kind: SecurityPolicy
metadata: {name: jwt, namespace: apps}
spec: {}
---
kind: HTTPRoute
metadata: {name: chat, namespace: apps, ownerReferences: [{kind: AIGatewayRoute, name: chat}]}
spec: {}
---
kind: MCPRoute
metadata: {name: tools, namespace: apps}
spec: {}
"""


def objects(*documents: str) -> dict[str, list[Body]]:
    found: dict[str, list[Body]] = {kind: [] for kind in KINDS}
    for document in documents:
        for body in yaml.safe_load_all(document):
            found[body["kind"]].append(body)
    return found


def test_a_gateway_of_others_becomes_a_catalogue() -> None:
    variables, _notes = from_objects(objects(GATEWAY, OBJECTS), "apps", "theirs")
    assert variables == {
        "ai_gateway_providers": [
            {
                "name": "openai",
                "schema": "openai",
                "endpoint": {"hostname": "api.openai.com", "port": 443, "tls": {"mode": "simple"}, "prefix": "/v1"},
                "credential": {"secret": "openai-key"},
                "headers": {"x-team": "search"},
                "models": [{"name": "gpt-4", "weight": 1, "priority": 0}],
            },
            {
                "name": "azure",
                "schema": "azure_openai",
                "api_version": "2024-10-21",
                "endpoint": {"hostname": "team.openai.azure.com", "port": 443, "tls": {"mode": "simple"}},
                "credential": {"form": "client_secret", "client_id": "a", "tenant_id": "b", "secret": "azure-secret"},
                "models": [{"name": "gpt-4", "provider_model": "gpt4-eu", "weight": 1, "priority": 1}],
            },
            {
                "name": "claude",
                "schema": "anthropic",
                "endpoint": {
                    "hostname": "proxy.example.com",
                    "port": 8443,
                    "tls": {
                        "mode": "mutual",
                        "sni": "claude.example.com",
                        "ca_bundle": "own-ca",
                        "client_certificate": "client",
                    },
                },
                "credential": {"secret": "claude-key"},
                "models": [{"name": "claude"}],
            },
            {
                "name": "bedrock",
                "schema": "aws_bedrock",
                "endpoint": {
                    "hostname": "bedrock-runtime.eu-central-1.amazonaws.com",
                    "port": 443,
                    "tls": {"mode": "simple"},
                },
                "region": "eu-central-1",
                "credential": {
                    "form": "federation",
                    "secret": "oidc",
                    "federation": {
                        "issuer": "https://login.example.com",
                        "client_id": "gw",
                        "role_arn": "arn:aws:iam::123456789012:role/gateway",
                    },
                },
                "models": [{"name": "nova"}],
            },
        ],
        "ai_gateway_models": [
            {
                "name": "local",
                "provider_model": "facebook/opt-125m",
                "backend_ref": {"name": "vllm", "namespace": "models", "port": 8000},
            },
            {"name": "pooled", "backend_ref": {"kind": "InferencePool", "name": "gemma"}},
        ],
        "providers_request_timeout": "60s",
    }
    inputs = {name.removeprefix("ai_gateway_"): value for name, value in variables.items() if "gateway" in name}
    catalog = build({**inputs, "namespace": "apps", "name": "theirs"})
    assert [model.name for model in catalog.models] == ["gpt-4", "claude", "nova", "local", "pooled"]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("AIGatewayRoute apps/chat llmRequestCosts", "by no expression"),
        ("AIGatewayRoute apps/chat rules[0].matches", "a pattern of names"),
        ("AIGatewayRoute apps/chat rules[0].backendRefs.headerMutation", "has no counterpart"),
        ("AIGatewayRoute apps/chat rules[1].matches", 'header "x-team"'),
        ("AIGatewayRoute apps/chat rules[6]", "matches requests of any model"),
        ("AIGatewayRoute apps/chat", "AIServiceBackend gone, which does not exist"),
        ("AIGatewayRoute apps/elsewhere", "belongs to another Gateway"),
        ("AIServiceBackend apps/claude bodyMutation", "has no counterpart"),
        ("AIServiceBackend apps/openai headerMutation.set.Helicone-Auth", "was not copied: it carries a key"),
        ("AIServiceBackend apps/openai headerMutation.set.x-as", "was not copied: it carries a key"),
        ("AIServiceBackend apps/unused", "no route that is read leads to it"),
        ("Backend apps/claude tls", "does not verify its certificate"),
        ("Backend apps/claude tls.caCertificateRefs", "ConfigMap other-ca"),
        ("BackendSecurityPolicy apps/openai", "is in namespace keys; copy it into apps"),
        ("SecurityPolicy apps/jwt", "ai_gateway_callers"),
        ("MCPRoute apps/tools", "ai_gateway_mcp_servers"),
        ("Gateway apps/theirs", "HTTP *:80"),
        ("ai_gateway_tiers", "objects do not say"),
    ],
)
def test_what_has_no_counterpart_is_named(place: str, reason: str) -> None:
    _variables, notes = from_objects(objects(GATEWAY, OBJECTS), "apps", "theirs")
    assert [note for note in notes if note.path == place and reason in note.reason], [str(note) for note in notes]
    assert not [note for note in notes if note.path.startswith("HTTPRoute")]


def test_a_gateway_without_routes_is_only_notes() -> None:
    variables, notes = from_objects(objects(GATEWAY), "apps", "theirs")
    assert variables == {}
    assert {note.path for note in notes} == {"Gateway apps/theirs", "ai_gateway_tiers"}


def test_a_provider_without_a_key_and_a_private_endpoint() -> None:
    route = """
kind: AIGatewayRoute
metadata: {name: r, namespace: apps}
spec:
  parentRefs: [{name: theirs}]
  rules:
    - matches: [{headers: [{name: x-ai-eg-model, value: m}]}]
      backendRefs: [{name: a}, {name: a}, {name: b}]
---
kind: AIServiceBackend
metadata: {name: a, namespace: apps}
spec: {schema: {name: OpenAI, prefix: /api/v1}, backendRef: {name: a}}
---
kind: AIServiceBackend
metadata: {name: b, namespace: apps}
spec: {schema: {name: Made Up}, backendRef: {name: a}}
---
kind: Backend
metadata: {name: a, namespace: apps}
spec: {endpoints: [{fqdn: {hostname: llm.corp.internal, port: 80}}]}
"""
    variables, notes = from_objects(objects(GATEWAY, route), "apps", "theirs")
    (provider,) = variables["ai_gateway_providers"]
    assert provider["endpoint"]["prefix"] == "/api/v1"
    assert provider["credential"] == {"secret": "a-key"}
    assert variables["ai_gateway_allowed_endpoints"] == ["llm.corp.internal"]
    said = {str(note) for note in notes}
    assert any("has no BackendSecurityPolicy" in line for line in said)
    assert any("a second time" in line for line in said)
    assert any("no catalogue has its schema Made Up" in line for line in said)
