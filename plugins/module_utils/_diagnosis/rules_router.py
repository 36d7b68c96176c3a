# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about the semantic router. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.findings import Finding
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.objects import ROUTER
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.snapshot import (
    Body,
    Snapshot,
    container_statuses,
    name_of,
)

#: What the router writes before it ends because of its configuration.
_REFUSED = r"config.*(fail|invalid|error|unknown|unsupported|must|refus)|(fail|invalid|error|unknown).*config"
_SERVICE = re.compile(r"(?P<name>[^.]+)\.(?P<namespace>[^.]+)\.svc(\.cluster\.local)?:\d+")
#: Where the router calls nothing, as the gateway's routes lead to its models.
_NOWHERE = "127.0.0.1:"
_MODEL = "x-ai-eg-model"


def _routers(snapshot: Snapshot) -> list[Body]:
    """The configurations of routers, as ConfigMaps."""
    return [body for body in snapshot.objects("ConfigMap") if "semantic_router" in body]


def _scope(body: Body, *more: str) -> frozenset[str]:
    return frozenset({f"semantic router {name_of(body)}", *more})


def away(snapshot: Snapshot) -> t.Iterator[Finding]:
    if not snapshot.could_read("Deployment"):
        return
    for body in _routers(snapshot):
        namespace = body["metadata"]["namespace"]
        deployment = snapshot.get("Deployment", namespace, ROUTER) or {}
        wanted = int((deployment.get("spec") or {}).get("replicas", 1) or 0)
        available = int((deployment.get("status") or {}).get("availableReplicas") or 0)
        if deployment and available >= max(wanted, 1):
            continue
        detail = f"{available} of {wanted} pods available" if deployment else "there is no Deployment"
        yield Finding("AIG0701", {"router": name_of(body), "namespace": namespace, "detail": detail}, _scope(body))


def refused(snapshot: Snapshot) -> t.Iterator[Finding]:
    for body in _routers(snapshot):
        namespace = body["metadata"]["namespace"]
        for pod in snapshot.pods_of(namespace, {"app.kubernetes.io/name": ROUTER}):
            ready = any(status["name"] == ROUTER and status.get("ready") for status in container_statuses(pod))
            lines = [] if ready else snapshot.pod_lines(namespace, pod["metadata"]["name"], _REFUSED)
            if lines:
                arguments = {"router": name_of(body), "namespace": namespace, "detail": lines[-1]}
                yield Finding("AIG0702", arguments, _scope(body))
                break


def decisions(snapshot: Snapshot) -> t.Iterator[Finding]:
    for body in _routers(snapshot):
        found, namespace = body["semantic_router"], body["metadata"]["namespace"]
        named = [("the default", found["default"]), *((name, model) for name, model in found["decisions"])]
        for decision, model in named:
            if model not in found["models"]:
                arguments = {"router": name_of(body), "namespace": namespace, "decision": decision, "model": model}
                yield Finding("AIG0703", arguments, _scope(body, f"model {model}"))


def models(snapshot: Snapshot) -> t.Iterator[Finding]:
    for body in _routers(snapshot):
        routed = {
            header.get("value")
            for route in snapshot.objects("AIGatewayRoute")
            for rule in (route.get("spec") or {}).get("rules") or ()
            for match in rule.get("matches") or ()
            for header in match.get("headers") or ()
            if str(header.get("name", "")).lower() == _MODEL
        }
        for model, endpoint in body["semantic_router"]["models"].items():
            problem = _missing(snapshot, model, endpoint, routed)
            if problem:
                arguments = {
                    "router": name_of(body),
                    "namespace": body["metadata"]["namespace"],
                    "model": model,
                    "detail": problem,
                }
                yield Finding("AIG0704", arguments, _scope(body, f"model {model}"))


def _missing(snapshot: Snapshot, model: str, endpoint: str, routed: t.Collection[t.Any]) -> str:
    """Why a model that the router may choose cannot answer; empty where nothing speaks against it."""
    if endpoint.startswith(_NOWHERE):
        unrouted = snapshot.could_read("AIGatewayRoute") and model not in routed
        return f"no AIGatewayRoute matches {_MODEL}: {model}" if unrouted else ""
    place = _SERVICE.fullmatch(endpoint)
    if not place or not (snapshot.could_read("Service") and snapshot.could_read("EndpointSlice")):
        return ""
    namespace, name = place["namespace"], place["name"]
    if snapshot.get("Service", namespace, name) is None:
        return f"there is no Service {namespace}/{name}"
    return "" if snapshot.ready_endpoints(namespace, name) else f"Service {namespace}/{name} has no ready endpoint"


RULES = (away, refused, decisions, models)
