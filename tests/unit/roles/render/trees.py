# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Trees that playbook render writes for some inventories: without charts, for which Helm would be needed, and without a
cluster.
"""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

from plays import Ended, run_playbook

#: What must not be in a tree.
CANARY = "canary-openai-6f0c1b"
PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----"
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_kubeconfig": "/nonexistent/kubeconfig",
    "__crds_charts": [],
    "__crds_paths": [],
    "__crds_downloads": [],
    "__controllers_charts": [],
}
OPENAI = {
    "name": "openai",
    "schema": "openai",
    "endpoint": {"hostname": "api.openai.com"},
    "credential": {"header": "Authorization", "scheme": "Bearer", "value": CANARY},
    "models": [{"name": "gpt-4", "upstream_name": "gpt-4-0613"}, {"name": "shared", "priority": 0}],
    "headers": {"x-org": "team"},
}
INVENTORIES: dict[str, dict[str, t.Any]] = {
    "simulators": {
        "ai_gateway_platform": "kind",
        "gateway_tls_own_ca_hosts": ["gateway.example.com"],
        "ai_gateway_providers": [
            {
                "name": name,
                "schema": "openai",
                "simulated": True,
                "credential": {"value": f"{CANARY}-{name}"},
                "models": [{"name": f"{name}-model"}],
            }
            for name in ("one", "two")
        ],
    },
    "pools": {
        "gateway_listeners": [
            {"name": "wildcard", "hostname": "*.ai.example.com"},
            {"name": "bare", "hostname": "ai.example.com"},
        ],
        "gateway_tls_own_ca": True,
        "ai_gateway_inference_pools": [
            {
                "name": "gemma2",
                "namespace": "vllm",
                "selector": {"model": "gemma2"},
                "endpoint_picker": {"failure_mode": "FailOpen"},
                "objectives": [{"name": "batch", "priority": -1}],
                "direct_route": {"hostname": "direct.ai.example.com"},
            }
        ],
        "ai_gateway_models": [
            {"name": name, "backend_ref": {"kind": "InferencePool", "name": "gemma2", "namespace": "vllm"}}
            for name in ("gemma2", "google/gemma-2-2b-it")
        ],
        "ai_gateway_mcp_servers": [
            {
                "name": "weather",
                "endpoint": {"hostname": "mcp.example.com"},
                "credential": {"value": f"{CANARY}-weather"},
                "tools": {"include": ["forecast"]},
            },
            {"name": "try", "simulated": True},
        ],
        "ai_gateway_tiers": [
            {
                "name": "free",
                "level": 0,
                "groups": ["system:authenticated"],
                "token_limit": {"tokens": 100, "window": "1m"},
                "request_limit": {"requests": 100, "window": "1m"},
                "models": ["gemma2"],
                "mcp_tools": ["weather__*"],
            }
        ],
    },
    "router": {
        "ai_gateway_platform": "kind",
        "gateway_tls_own_ca_hosts": ["gateway.example.com"],
        "semantic_router_validator": "",
        "ai_gateway_providers": [
            {
                "name": "one",
                "schema": "openai",
                "simulated": True,
                "credential": {"value": f"{CANARY}-one"},
                "models": [{"name": "one-model"}],
            }
        ],
        "ai_gateway_models": [{"name": name, "simulated": True} for name in ("model-a", "model-b")],
        "ai_gateway_semantic_router": {
            "default_model": "model-a",
            "signals": {"keywords": [{"name": "math", "keywords": ["integral"]}]},
            "decisions": [
                {
                    "name": "math",
                    "priority": 100,
                    "rules": {"operator": "AND", "conditions": [{"type": "keyword", "name": "math"}]},
                    "model": "model-b",
                }
            ],
        },
    },
    "providers": {
        "ai_gateway_namespace": "gw",
        "ai_gateway_controller_replicas": 2,
        "gateway_hostname": "ai.example.com",
        "gateway_tls_issuer": {"name": "letsencrypt"},
        "gateway_autoscaling": {"minReplicas": 2, "maxReplicas": 4},
        "gateway_addresses": ["203.0.113.7"],
        "gateway_route_namespaces": ["apps"],
        "ai_gateway_allowed_endpoints": ["203.0.113.9"],
        "ai_gateway_models": [{"name": "local", "backend_ref": {"name": "vllm", "namespace": "models", "port": 8000}}],
        "ai_gateway_providers": [
            OPENAI,
            {
                "name": "azure",
                "schema": "openai",
                "endpoint": {
                    "hostname": "azure.example.com",
                    "tls": {"mode": "mutual", "client_certificate": "azure-client", "ca_bundle": "azure-ca"},
                },
                "credential": {"header": "api-key", "secret": "azure-key"},
                "models": [{"name": "shared", "priority": 1}],
            },
            {
                "name": "claude",
                "schema": "anthropic",
                "endpoint": {"hostname": "203.0.113.9", "tls": {"sni": "api.anthropic.com"}},
                "credential": {"header": "x-api-key", "external_secret": {"store": "vault", "key": "anthropic"}},
                "models": [{"name": "claude-3"}],
            },
        ],
        "ai_gateway_tiers": [
            {
                "name": "free",
                "level": 0,
                "groups": ["system:authenticated"],
                "token_limit": {"tokens": 100, "window": "1m"},
                "models": ["gpt-4"],
            },
            {
                "name": "premium",
                "level": 1,
                "groups": ["premium"],
                "token_limit": {"tokens": 1000, "window": "1m"},
                "models": ["*"],
            },
        ],
    },
}


def render(directory: Path, variables: dict[str, t.Any], *arguments: str, name: str = "tree") -> Ended:
    """Run the playbook, whose tree is ``<directory>/<name>`` and whose Secrets are in ``<directory>/secrets.yaml``."""
    given = {
        **VARIABLES,
        "render_directory": f"{directory}/{name}",
        "render_secrets_file": f"{directory}/secrets.yaml",
        "ai_gateway_cache_directory": f"{directory}/cache",
        **variables,
    }
    return run_playbook(directory, "egress.ai_gateway.render", given, *arguments, host="cluster")


def files(tree: Path) -> dict[str, bytes]:
    """By path, what the files of a tree hold."""
    return {os.path.relpath(path, tree): path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file()}
