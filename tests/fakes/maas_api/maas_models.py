# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The models that are listed:

those of LLMInferenceServices on the gateway, and those of the registry of external models.
"""

from __future__ import annotations

import datetime
import http.client
import sys
import time
import typing as t
import urllib.request
from dataclasses import dataclass

import yaml
from kubernetes_client import Api, ApiError
from kubernetes_client import Object as Body

SERVICES = "/apis/serving.kserve.io/v1alpha1/llminferenceservices"
ROUTES = "/apis/gateway.networking.k8s.io/v1"
REGISTRY = "external-model-registry"
#: Seconds for which a model is asked.
TIMEOUT = 5.0
#: The labels of the HTTPRoute that KServe makes itself.
MANAGED_ROUTE = {
    "app.kubernetes.io/component": "llminferenceservice-router",
    "app.kubernetes.io/part-of": "llminferenceservice",
}


@dataclass(frozen=True)
class Gateway:
    namespace: str
    name: str

    def is_referenced(self, references: t.Any, namespace: str) -> bool:
        """Whether references in an object of ``namespace`` name this Gateway."""
        return any(
            reference.get("name") == self.name and (reference.get("namespace") or namespace) == self.namespace
            for reference in references or []
        )


class Models:
    def __init__(self, api: Api, gateway: Gateway, namespace: str, external: bool) -> None:
        self.api = api
        self.gateway = gateway
        self.namespace = namespace
        self.external = external

    def missing_kinds(self) -> list[str]:
        """The kinds that cannot be listed yet."""
        missing = []
        for kind, path in (("LLMInferenceService", SERVICES), ("HTTPRoute", f"{ROUTES}/httproutes")):
            try:
                self.api.request("GET", f"{path}?limit=1")
            except ApiError as error:
                missing.append(f"{kind} ({error})")
        return missing

    def listed(self, authorization: str) -> list[Body]:
        """The models that a caller with this header may use."""
        services = [item for item in self.api.items(SERVICES) if self._is_on_gateway(item)]
        found = [model for model in map(model_of, services) if answers(model["url"], authorization)]
        return found + (self.registered() if self.external else [])

    def registered(self) -> list[Body]:
        """The models of the registry; whatever is wrong with it, it is an empty one."""
        try:
            found = self.api.find(f"/api/v1/namespaces/{self.namespace}/configmaps/{REGISTRY}") or {}
            return parse_registry((found.get("data") or {}).get("models") or "")
        except ApiError:
            return []

    def _is_on_gateway(self, service: Body) -> bool:
        namespace = service["metadata"]["namespace"]
        router = service.get("spec", {}).get("router") or {}
        if self.gateway.is_referenced((router.get("gateway") or {}).get("refs"), namespace):
            return True
        route = (router.get("route") or {}).get("http")
        if route is None:
            return False
        if self.gateway.is_referenced((route.get("spec") or {}).get("parentRefs"), namespace):
            return True
        routes = f"{ROUTES}/namespaces/{namespace}/httproutes"
        if route.get("refs"):
            found = [self.api.find(f"{routes}/{reference['name']}") for reference in route["refs"]]
        elif not route.get("spec"):
            labels = {**MANAGED_ROUTE, "app.kubernetes.io/name": service["metadata"]["name"]}
            selector = ",".join(f"{name}={value}" for name, value in labels.items())
            found = list[Body | None](self.api.items(routes, labelSelector=selector))
        else:
            found = []
        return any(self.gateway.is_referenced(item["spec"].get("parentRefs"), namespace) for item in found if item)


def model_of(service: Body) -> Body:
    metadata, status = service["metadata"], service.get("status") or {}
    addresses = [
        status.get("url"),
        (status.get("address") or {}).get("url"),
        *(item.get("url") for item in status.get("addresses") or []),
    ]
    created = datetime.datetime.fromisoformat(metadata["creationTimestamp"].replace("Z", "+00:00"))
    return {
        "id": (service["spec"].get("model") or {}).get("name") or metadata["name"],
        "created": int(created.timestamp()),
        "object": "model",
        "owned_by": "vllm",
        "url": next((address for address in addresses if address), ""),
        "ready": is_ready(service),
    }


def answers(url: str, authorization: str) -> bool:
    """Whether the model at ``url`` answers this caller; one that does not, or has no address, is hidden."""
    if not url:
        return False
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": authorization})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=TIMEOUT):
            return True
    except (OSError, ValueError, http.client.HTTPException) as error:
        sys.stderr.write(f"{url} is hidden: {error}\n")
        return False


def is_ready(service: Body) -> bool:
    metadata, status = service["metadata"], service.get("status") or {}
    conditions = status.get("conditions") or []
    return (
        "deletionTimestamp" not in metadata
        and status.get("observedGeneration", 0) == metadata.get("generation", 0)
        and bool(conditions)
        and all(condition.get("status") == "True" for condition in conditions)
    )


def parse_registry(text: str) -> list[Body]:
    """The listed models of a registry's YAML, in its order; anything else lists nothing."""
    now = int(time.time())
    try:
        entries = yaml.safe_load(text) or []
        return [
            {
                "id": str(entry["id"]),
                "created": now,
                "object": "model",
                "owned_by": str(entry.get("provider") or ""),
                "ready": True,
            }
            for entry in entries
            if entry.get("id")
        ]
    except (yaml.YAMLError, ValueError, TypeError, AttributeError):
        return []
