# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""An inventory with everything that one can have in the catalogue, by variables without their prefix."""

from __future__ import annotations

import typing as t

KEY = "sk-a-key-that-must-not-show"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
LIMIT = {"tokens": 100, "window": "1m"}

PROVIDERS: list[dict[str, t.Any]] = [
    {
        "name": "openai",
        "schema": "openai",
        "simulated": True,
        "endpoint": {"hostname": "api.openai.com", "port": 443, "prefix": "/v1", "tls": {"mode": "none"}},
        "credential": {"header": "Authorization", "scheme": "Bearer", "value": KEY},
        "headers": {"OpenAI-Organization": "org-1"},
        "models": [{"name": "gpt-4", "provider_model": "gpt-4-0613"}, {"name": "shared", "weight": 1, "priority": 0}],
    },
    {
        "name": "anthropic",
        "schema": "anthropic",
        "endpoint": {
            "hostname": "api.anthropic.com",
            "tls": {"mode": "simple", "sni": "api.anthropic.com", "ca_bundle": CERTIFICATE},
        },
        "credential": {"secret": "anthropic-key"},
        "models": [{"name": "claude-3-sonnet"}],
    },
    {
        "name": "more",
        "schema": "openai",
        "endpoint": {
            "hostname": "api.example.com",
            "port": 8443,
            "tls": {"mode": "mutual", "client_certificate": "more-tls"},
        },
        "credential": {
            "external_secret": {"store": "vault", "kind": "SecretStore", "key": "team/more", "property": "key"}
        },
        "models": [{"name": "shared", "weight": 1, "priority": 1}],
    },
    {
        "name": "bedrock",
        "schema": "aws_bedrock",
        "region": "us-east-1",
        "endpoint": {"hostname": "bedrock-runtime.us-east-1.amazonaws.com"},
        "credential": {"form": "access_key", "secret": "aws"},
        "models": [{"name": "nova"}],
    },
    {
        "name": "azure",
        "schema": "azure_openai",
        "api_version": "2024-10-21",
        "endpoint": {"hostname": "x.openai.azure.com"},
        "credential": {"form": "client_secret", "client_id": "a-b", "tenant_id": "c-d", "secret": "azure"},
        "models": [{"name": "gpt-5"}],
    },
    {
        "name": "vertex",
        "schema": "gcp_vertex_ai",
        "region": "us-central1",
        "project": "my-project",
        "endpoint": {"hostname": "us-central1-aiplatform.googleapis.com"},
        "credential": {
            "form": "federation",
            "federation": {
                "issuer": "https://login.example.com",
                "client_id": "me",
                "scopes": ["openid"],
                "pool": "pool",
                "pool_provider": "provider",
                "project_number": "123",
                "service_account": "account",
            },
            "secret": "gcp",
        },
        "models": [{"name": "gemini"}],
    },
]
POOL: dict[str, t.Any] = {
    "name": "gemma2",
    "namespace": "ai-gateway",
    "target_port": 8000,
    "selector": {"model": "gemma2"},
    "endpoint_picker": {
        "replicas": 1,
        "port": 9002,
        "failure_mode": "FailClose",
        "scorers": [
            {"type": "queue-scorer", "weight": 2},
            {"type": "prefix-cache-scorer", "weight": 1, "parameters": {"hashBlockSize": 64}},
        ],
        "saturation": {"queue_depth": 5, "kv_cache_percent": 80, "metrics_age_milliseconds": 1000},
        "metrics": {
            "queued_requests": "vllm:num_requests_waiting",
            "kv_cache_usage": "vllm:kv_cache_usage_perc",
            "lora_info": "vllm:lora_requests_info",
        },
    },
    "objectives": [{"name": "batch", "priority": -1}],
    "direct_route": {"hostname": "gemma.example.com"},
    "simulated": True,
    "simulator": {"replicas": 2, "slots": 4, "cache_blocks": 1024},
}
ROUTER: dict[str, t.Any] = {
    "mode": "single_gateway",
    "model": "auto",
    "namespace": "router",
    "models": ["gpt-4", "opt"],
    "default_model": "gpt-4",
    "fallback": "deny",
    "body_limit": "1Mi",
    "signals": {"keywords": [{"name": "math", "keywords": ["integral"]}]},
    "decisions": [
        {
            "name": "math",
            "description": "Sums and more.",
            "priority": 100,
            "rules": {"operator": "AND", "conditions": [{"type": "keyword", "name": "math"}]},
            "model": "opt",
            "use_reasoning": False,
        }
    ],
    "settings": {},
}
INVENTORY: dict[str, t.Any] = {
    "platform": "kubernetes",
    "stack": "envoy_ai_gateway",
    "policy_engine": "authorino",
    "namespace": "ai-gateway",
    "name": "ai-gateway",
    "uncounted_tokens": 100,
    "request_body_limit": "10Mi",
    "allow_empty": False,
    "simulators_namespace": "external-models",
    "providers": PROVIDERS,
    "models": [
        {
            "name": "opt",
            "provider_model": "facebook/opt",
            "backend_ref": {"kind": "Service", "name": "opt", "namespace": "llm", "port": 8000},
        },
        {"name": "simulated", "simulated": True},
        {
            "name": "kserve",
            "backend_ref": {
                "kind": "LLMInferenceService",
                "name": "kserve",
                "namespace": "llm",
                "tls": {"mode": "none"},
            },
        },
        {"name": "gemma2", "backend_ref": {"kind": "InferencePool", "name": "gemma2"}, "objective": "batch"},
    ],
    "inference_pools": [POOL],
    "mcp_servers": [
        {"name": "weather", "simulated": True, "credential": {"value": KEY}, "tools": {"include": ["get"]}},
        {
            "name": "jira",
            "endpoint": {
                "hostname": "mcp.example.com",
                "port": 443,
                "path": "/v1/mcp",
                "tls": {"mode": "simple", "sni": "mcp.example.com", "ca_bundle": CERTIFICATE},
            },
            "credential": {"header": "x-api-key", "secret": "jira-key"},
            "tools": {"exclude": ["delete"]},
        },
    ],
    "semantic_router": ROUTER,
    "prices": {"gpt-4": {"input": 30, "output": 60.5}},
    "tiers": [
        {
            "name": "free",
            "level": 0,
            "groups": ["system:authenticated"],
            "token_limit": LIMIT,
            "request_limit": {"requests": 60, "window": "1m"},
            "models": ["*"],
            "mcp_tools": ["weather__*", "jira__get"],
        },
        {
            "name": "paid",
            "level": 1,
            "groups": ["payers"],
            "token_limit": {"tokens": 5000, "window": "24h"},
            "models": ["gpt-4"],
            "model_limits": [{"models": ["gpt-4"], "token_limit": LIMIT}],
            "cost_limit": {"cost": 5, "window": "24h"},
        },
    ],
    "callers": [
        {"kind": "service_account", "check": "signature", "maximum_lifetime": 3600},
        {
            "kind": "oidc",
            "name": "company",
            "issuer": "https://login.example.com/a",
            "jwks_uri": "https://login.example.com/keys",
            "audiences": ["models"],
            "ca_bundle": CERTIFICATE,
            "claims": {"user": "email", "groups": "groups"},
        },
        {"kind": "api_key"},
    ],
    "allowed_endpoints": ["10.9.0.0/16", "10.10.0.1"],
    "cluster_networks": ["10.96.0.0/12"],
}
