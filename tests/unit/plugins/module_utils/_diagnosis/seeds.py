# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots for the tests of rules: a site that works, as it was captured, and the installation that never did."""

from __future__ import annotations

import copy
import json
import typing as t
from pathlib import Path

Body = dict[str, t.Any]
PLACE = Path(__file__).parent / "snapshots"
GATEWAY = "ai-gateway/ai-gateway"
ENVOY_NAMESPACE, AI_NAMESPACE = "ai-gateway-envoy-gateway", "ai-gateway-envoy-ai-gateway"
AUTHORINO_NAMESPACE = "ai-gateway-authorino"
OPENAI = "httproute/ai-gateway/gpt-4-e731ba19/rule/0"
MARK = {"applyset.kubernetes.io/part-of": "applyset-99HdtaUW422s-kBdl1C4_3z6oxUB9sp0hDWP3-4IXBg-v1"}

_SITE = json.loads((PLACE / "site.json").read_text(encoding="utf-8"))


def made(kind: str, namespace: str, name: str, api_version: str = "v1", **fields: t.Any) -> Body:
    """An object as a snapshot has it."""
    metadata = {"name": name, "labels": fields.pop("labels", {}), **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": {**metadata, **fields.pop("metadata", {})}, **fields}


def certificate(*names: str, not_after: str = "2031-01-01T00:00:00Z", not_before: str = "2026-01-01T00:00:00Z") -> Body:
    return {
        "subject": f"CN={names[0]}",
        "issuer": "CN=test",
        "names": list(names),
        "not_before": not_before,
        "not_after": not_after,
        "fingerprint": "00",
        "signed_by": "",
    }


def secret(namespace: str, name: str, *keys: str, served: Body | None = None) -> Body:
    fields: Body = {"type": "Opaque", "keys": dict.fromkeys(keys, 100)}
    if served:
        fields |= {"certificates": {"tls.crt": [served]}, "fits": True}
    return made("Secret", namespace, name, **fields)


def pod(namespace: str, name: str, labels: Body, ready: bool = True, image: str = "vllm:1") -> Body:
    return made(
        "Pod",
        namespace,
        name,
        labels=labels,
        metadata={"creationTimestamp": "2026-11-28T18:00:00Z"},
        spec={"containers": [{"name": "main", "image": image}]},
        status={
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [{"name": "main", "ready": ready, "restartCount": 0, "state": {"running": {}}}],
        },
    )


def site() -> Body:
    """A site that works: the captured one, with HTTPS, a pool and what was not captured of it."""
    data = copy.deepcopy(_SITE)
    host = f"ai-gateway-controller.{AI_NAMESPACE}.svc"
    data["objects"] += [
        *(made("Namespace", "", name) for name in ("ai-gateway", ENVOY_NAMESPACE, AI_NAMESPACE, AUTHORINO_NAMESPACE)),
        secret(AI_NAMESPACE, "ai-gateway-webhook-certificate", "tls.crt", "tls.key", served=certificate(host)),
        secret(AUTHORINO_NAMESPACE, "ai-gateway-authorino-certificate", "tls.crt", "tls.key", served=certificate("a")),
        secret(ENVOY_NAMESPACE, "ai-gateway-ai-gateway", "filter-config.yaml"),
        secret("ai-gateway", "listener", "tls.crt", "tls.key", served=certificate("*.example.com")),
        *(
            secret(body["metadata"]["namespace"], body["spec"]["apiKey"]["secretRef"]["name"], "apiKey")
            for body in data["objects"]
            if body["kind"] == "BackendSecurityPolicy" and "apiKey" in body["spec"]
        ),
        made(
            "ConfigMap",
            ENVOY_NAMESPACE,
            "envoy-gateway-config",
            envoy_gateway={
                "controllerName": "gateway.envoyproxy.io/ai-gatewayclass-controller",
                "enableBackend": "true",
                "maxMessageSize": "128Mi",
                "sections": ["extensionApis", "extensionManager", "gateway", "rateLimit"],
                "hooks": True,
                "translation": True,
                "resources": ["InferencePool"],
                "extension": f"{host}.cluster.local",
            },
        ),
        made(
            "InferencePool",
            "ai-gateway",
            "gemma2",
            "inference.networking.k8s.io/v1",
            spec={"selector": {"matchLabels": {"model": "gemma2"}}, "endpointPickerRef": {"name": "gemma2-epp"}},
        ),
        made("Service", "ai-gateway", "gemma2-epp", spec={"selector": {"app": "gemma2-epp"}}),
        pod("ai-gateway", "gemma2-epp-0", {"app": "gemma2-epp"}),
        pod("ai-gateway", "gemma2-0", {"model": "gemma2"}),
        made(
            "AIGatewayRoute",
            "ai-gateway",
            "gemma2",
            "aigateway.envoyproxy.io/v1beta1",
            spec={
                "parentRefs": [{"name": "ai-gateway"}],
                "llmRequestCosts": [{"metadataKey": "llm_total_tokens"}],
                "rules": [{"backendRefs": [{"kind": "InferencePool", "name": "gemma2"}]}],
            },
            status={"conditions": [{"type": "Accepted", "status": "True"}]},
        ),
    ]
    data["objects"] += semantic_router()
    gateway = find(data, "Gateway", "ai-gateway", "ai-gateway")
    gateway["spec"]["listeners"].append(
        {
            "name": "https",
            "protocol": "HTTPS",
            "port": 443,
            "hostname": "*.example.com",
            "tls": {"certificateRefs": [{"name": "listener"}]},
        }
    )
    webhooks = next(body for body in data["objects"] if body["kind"] == "MutatingWebhookConfiguration")
    webhooks["trust"] = [{"ai-gateway-webhook-certificate": True}]
    return data


#: That of the semantic router.
ROUTER_NAMESPACE = "vllm-semantic-router-system"


def semantic_router() -> list[Body]:
    """A semantic router that works, with a model of each mode, and what serves these."""
    router = pod(ROUTER_NAMESPACE, "semantic-router-0", {"app.kubernetes.io/name": "semantic-router"})
    router["status"]["containerStatuses"][0]["name"] = "semantic-router"
    slices = made(
        "EndpointSlice",
        "llm",
        "model-b-1",
        "discovery.k8s.io/v1",
        endpoints=[{"conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": "model-b-0"}}],
    )
    slices["metadata"]["labels"] = {"kubernetes.io/service-name": "model-b"}
    match = {"headers": [{"type": "Exact", "name": "x-ai-eg-model", "value": "model-a"}]}
    return [
        made(
            "ConfigMap",
            ROUTER_NAMESPACE,
            "semantic-router",
            semantic_router={
                "models": {"model-a": "127.0.0.1:9", "model-b": "model-b.llm.svc.cluster.local:8000"},
                "decisions": [["math", "model-b"], ["default", "model-a"]],
                "default": "model-a",
            },
        ),
        made(
            "Deployment",
            ROUTER_NAMESPACE,
            "semantic-router",
            "apps/v1",
            spec={"replicas": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": "semantic-router"}}},
            status={"availableReplicas": 1, "readyReplicas": 1},
            containers=[{"name": "semantic-router", "image": "router:1", "arguments": []}],
            secrets=[],
        ),
        router,
        made("Service", "llm", "model-b", spec={"selector": {"model": "b"}}),
        slices,
        made(
            "AIGatewayRoute",
            "ai-gateway",
            "model-a",
            "aigateway.envoyproxy.io/v1beta1",
            spec={
                "parentRefs": [{"name": "ai-gateway"}],
                "llmRequestCosts": [{"metadataKey": "llm_total_tokens"}],
                "rules": [
                    {"matches": [match], "backendRefs": [{"kind": "InferencePool", "name": "gemma2"}]},
                ],
            },
            status={"conditions": [{"type": "Accepted", "status": "True"}]},
        ),
    ]


def find(data: Body, kind: str, namespace: str, name: str) -> Body:
    """An object of a snapshot, by the beginning of its name."""
    found = [
        body
        for body in data["objects"]
        if body["kind"] == kind
        and body["metadata"].get("namespace", "") == namespace
        and body["metadata"]["name"].startswith(name)
    ]
    assert found, f"no {kind} {namespace}/{name}"
    return t.cast(Body, found[0])


def seed_004() -> Body:
    """What the author of the installation wrote down: its objects, its versions and the proxy's counters."""
    return t.cast(Body, json.loads((PLACE / "seed_004.json").read_text(encoding="utf-8")))
