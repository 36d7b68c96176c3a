# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about controllers: their versions, whether they run, and who else acts on a gateway. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.findings import Finding
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.snapshot import (
    Body,
    Component,
    Snapshot,
    container_statuses,
    is_parent,
    label_of,
    name_of,
    version_of,
)

#: Owner of the fields that this collection writes.
MANAGER = "egress.ai_gateway"
#: The label of what is in a set.
PART_OF = "applyset.kubernetes.io/part-of"
#: Restarts from which a container is reported, where the last is recent.
_RESTARTS = 3
#: Kinds that nobody but a set's owner has a reason to write.
_OWNED_KINDS = (
    "Gateway",
    "GatewayClass",
    "AIGatewayRoute",
    "AIServiceBackend",
    "BackendSecurityPolicy",
    "Backend",
    "SecurityPolicy",
    "BackendTrafficPolicy",
    "ClientTrafficPolicy",
    "EnvoyExtensionPolicy",
    "EnvoyPatchPolicy",
    "InferencePool",
    "AuthConfig",
)

Version = tuple[int, int, int]


class Pair(t.NamedTuple):
    """Versions of both controllers that do not work together: from a version on, and below another."""

    ai_from: Version
    ai_below: Version
    envoy_from: Version
    envoy_below: Version
    reason: str


_NO_END = (999, 0, 0)
#: From Envoy AI Gateway's table of compatibility, and from what was seen.
PAIRS = (
    Pair((1, 0, 0), _NO_END, (0, 0, 0), (1, 8, 1), "it needs Envoy Gateway v1.8.1 or newer"),
    Pair((0, 7, 0), (1, 0, 0), (0, 0, 0), (1, 8, 0), "it needs Envoy Gateway v1.8.0 or newer"),
    Pair((0, 6, 0), (0, 7, 0), (0, 0, 0), (1, 7, 0), "it needs Envoy Gateway v1.7.0 or newer"),
    Pair((0, 5, 0), (0, 6, 0), (0, 0, 0), (1, 6, 0), "it needs Envoy Gateway v1.6.0 or newer"),
    Pair((0, 0, 0), (1, 1, 0), (1, 9, 0), _NO_END, "Envoy Gateway v1.9 resolves its backends in another way"),
)


def resource_of(kind: str) -> str:
    """A kind as kubectl accepts it."""
    return kind.lower()


def versions(snapshot: Snapshot) -> t.Iterator[Finding]:
    for ai_gateway in snapshot.component("Envoy AI Gateway"):
        own = version_of(ai_gateway.version)
        for envoy_gateway in snapshot.component("Envoy Gateway"):
            other = version_of(envoy_gateway.version)
            if own is None or other is None or not _belong_together(snapshot, ai_gateway, envoy_gateway):
                continue
            for pair in PAIRS:
                if pair.ai_from <= own < pair.ai_below and pair.envoy_from <= other < pair.envoy_below:
                    yield Finding(
                        "AIG0002",
                        {
                            "ai_gateway": ai_gateway.version,
                            "envoy_gateway": envoy_gateway.version,
                            "reason": pair.reason,
                        },
                        evidence=(_deployment(ai_gateway), _deployment(envoy_gateway)),
                    )


def _belong_together(snapshot: Snapshot, ai_gateway: Component, envoy_gateway: Component) -> bool:
    """Whether an Envoy Gateway calls this Envoy AI Gateway, or could not be asked about it."""
    settings = [
        found
        for component, found in snapshot.envoy_gateway_settings
        if component.deployment == envoy_gateway.deployment and component.namespace == envoy_gateway.namespace
    ]
    return not settings or f".{ai_gateway.namespace}." in f"{settings[0].get('extension', '')}."


def two_listeners_on_one_port(snapshot: Snapshot) -> t.Iterator[Finding]:
    for component in snapshot.component("Envoy AI Gateway"):
        version = version_of(component.version)
        if version is None or version >= (0, 5, 0):
            continue
        for gateway in snapshot.gateways:
            by_port: dict[int, list[str]] = {}
            for listener in gateway["spec"].get("listeners") or ():
                if listener.get("protocol") == "HTTPS":
                    by_port.setdefault(listener["port"], []).append(listener["name"])
            for port, listeners in by_port.items():
                if len(listeners) > 1 and snapshot.has_models(gateway):
                    yield Finding(
                        "AIG0001",
                        {
                            "version": component.version,
                            "listeners": ", ".join(listeners),
                            "port": str(port),
                            "gateway": name_of(gateway),
                        },
                        frozenset({f"gateway {name_of(gateway)}"}),
                        (_deployment(component), f"HTTPS listeners on port {port}: {', '.join(listeners)}"),
                    )


def _deployment(component: Component) -> str:
    return f"Deployment {component.namespace}/{component.deployment} runs {component.name} {component.version}"


def away(snapshot: Snapshot) -> t.Iterator[Finding]:
    """Controllers, Authorino, the rate limit service and Redis without a pod that is available."""
    for component in snapshot.components:
        if component.available > 0:
            continue
        reasons = waiting_reasons(snapshot.component_pods(component))
        arguments = {
            "component": component.name,
            "deployment": f"{component.namespace}/{component.deployment}",
            "namespace": component.namespace,
            "name": component.deployment,
            "available": str(component.available),
            "wanted": str(component.wanted),
            "detail": f" ({'; '.join(reasons)})" if reasons else "",
        }
        evidence = (f"status.availableReplicas of Deployment {arguments['deployment']} is {component.available}",)
        code = {"Authorino": "AIG0401", "Rate limit service": "AIG0308", "Redis": "AIG0309"}.get(
            component.name, "AIG0003"
        )
        if code in ("AIG0308", "AIG0309"):
            if not _is_of_rate_limits(snapshot, component):
                continue
            arguments["detail"] = (
                f"Deployment {arguments['deployment']} has {component.available} of {component.wanted} pods available"
                f"{arguments['detail']}"
            )
        if code == "AIG0003" and not _acts_on_gateways(snapshot, component):
            continue
        if code == "AIG0401" and not snapshot.objects("AuthConfig"):
            continue
        yield Finding(code, arguments, evidence=evidence)


def _is_of_rate_limits(snapshot: Snapshot, found: Component) -> bool:
    """Whether a Redis or a rate limit service is beside an Envoy Gateway; others may serve anything."""
    return any(
        component.namespace == found.namespace and _acts_on_gateways(snapshot, component)
        for component in snapshot.component("Envoy Gateway")
    )


def _acts_on_gateways(snapshot: Snapshot, component: Component) -> bool:
    """Whether a controller acts on a diagnosed Gateway, or it cannot be known."""
    if component.name == "Envoy AI Gateway":
        return any(map(snapshot.has_models, snapshot.gateways))
    if component.name != "Envoy Gateway" or not snapshot.envoy_gateway_settings:
        return True
    own = {
        (found.namespace, found.deployment)
        for gateway in snapshot.gateways
        for found, _settings in snapshot.envoy_gateways(gateway)
    }
    return not own or (component.namespace, component.deployment) in own


def waiting_reasons(pods: t.Iterable[Body]) -> list[str]:
    """Why containers of pods do not run, or pods are not placed, each once."""
    reasons = []
    for pod in pods:
        for status in container_statuses(pod):
            waiting = (status.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") and waiting["reason"] not in ("PodInitializing", "ContainerCreating"):
                reasons.append(f"{status['name']}: {waiting['reason']}")
        for condition in (pod.get("status") or {}).get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                reasons.append(f"{condition.get('reason', '')}: {condition.get('message', '')}")
    return list(dict.fromkeys(reasons))


def restarts(snapshot: Snapshot) -> t.Iterator[Finding]:
    for pod, component in _observed_pods(snapshot):
        for arguments in restarted(snapshot, pod, _RESTARTS):
            scope = frozenset({f"pod {name_of(pod)}"})
            yield Finding("AIG0402" if component == "Authorino" else "AIG0004", arguments, scope)


def restarted(snapshot: Snapshot, pod: Body, least: int) -> t.Iterator[dict[str, str]]:
    """The containers of a pod with that many restarts, the last a recent one, or that Kubernetes waits to restart."""
    for status in container_statuses(pod):
        last = (status.get("lastState") or {}).get("terminated") or {}
        waiting = ((status.get("state") or {}).get("waiting") or {}).get("reason", "")
        count = int(status.get("restartCount") or 0)
        often = count >= least and snapshot.is_recent(str(last.get("finishedAt", "")))
        if often or waiting == "CrashLoopBackOff":
            yield {
                "container": status["name"],
                "pod": name_of(pod),
                "namespace": pod["metadata"]["namespace"],
                "name": pod["metadata"]["name"],
                "restarts": str(count),
                "reason": f"{last.get('reason') or waiting} (exit status {last.get('exitCode', 'unknown')})",
            }


def _observed_pods(snapshot: Snapshot) -> t.Iterator[tuple[Body, str]]:
    """The pods of components and proxies, each with the component's name."""
    for component in snapshot.components:
        for pod in snapshot.component_pods(component):
            yield pod, component.name
    for gateway in snapshot.gateways:
        for pod in snapshot.proxy_pods(gateway):
            yield pod, "proxy"


def controllers_of_one_name(snapshot: Snapshot) -> t.Iterator[Finding]:
    by_name: dict[str, list[str]] = {}
    for component, settings in snapshot.envoy_gateway_settings:
        name = settings.get("controllerName", "gateway.envoyproxy.io/gatewayclass-controller")
        by_name.setdefault(name, []).append(f"{component.namespace}/{component.deployment}")
    ours = {snapshot.controller_of(gateway) for gateway in snapshot.gateways}
    for name, deployments in by_name.items():
        if len(deployments) > 1 and name in ours:
            yield Finding("AIG0005", {"controller_name": name, "deployments": ", ".join(sorted(deployments))})


def ai_gateways_of_one_namespace(snapshot: Snapshot) -> t.Iterator[Finding]:
    for namespace in sorted({gateway["metadata"]["namespace"] for gateway in snapshot.gateways}):
        watching = [
            f"{component.namespace}/{component.deployment}"
            for component in snapshot.component("Envoy AI Gateway")
            if not (component.argument("watchNamespaces") or "")
            or namespace in str(component.argument("watchNamespaces")).split(",")
        ]
        if len(watching) > 1:
            yield Finding("AIG0008", {"namespace": namespace, "deployments": ", ".join(sorted(watching))})


def other_controllers(snapshot: Snapshot) -> t.Iterator[Finding]:
    """Statuses that another controller has written for a Gateway."""
    kinds = ("HTTPRoute", "SecurityPolicy", "BackendTrafficPolicy", "ClientTrafficPolicy", "EnvoyExtensionPolicy")
    for gateway in snapshot.gateways:
        own = snapshot.controller_of(gateway)
        for body in snapshot.objects(*kinds):
            status = body.get("status") or {}
            entries = [(entry, entry.get("parentRef") or {}) for entry in status.get("parents") or ()]
            entries += [(entry, entry.get("ancestorRef") or {}) for entry in status.get("ancestors") or ()]
            for entry, ref in entries:
                other = entry.get("controllerName", "")
                if own and other and other != own and is_parent(gateway, ref, body):
                    yield Finding(
                        "AIG0006",
                        {
                            "object": label_of(body),
                            "resource": resource_of(body["kind"]),
                            "namespace": body["metadata"].get("namespace", ""),
                            "name": body["metadata"]["name"],
                            "controller": other,
                            "gateway": name_of(gateway),
                            "own": own,
                        },
                        frozenset({f"gateway {name_of(gateway)}"}),
                    )


def other_managers(snapshot: Snapshot) -> t.Iterator[Finding]:
    for body in snapshot.objects(*_OWNED_KINDS):
        metadata = body["metadata"]
        managers = metadata.get("managers") or []
        # What a controller derives from another object carries its labels.
        if PART_OF not in metadata["labels"] or metadata.get("owners") or MANAGER not in managers:
            continue
        for manager in managers:
            if manager != MANAGER:
                yield Finding(
                    "AIG0007",
                    {
                        "manager": manager,
                        "object": label_of(body),
                        "resource": resource_of(body["kind"]),
                        "namespace": metadata.get("namespace", "default"),
                        "name": metadata["name"],
                    },
                    frozenset({f"gateway {name_of(body)}"})
                    if body["kind"] == "Gateway"
                    else frozenset({label_of(body)}),
                )


def unread(snapshot: Snapshot) -> t.Iterator[Finding]:
    by_reason: dict[str, list[str]] = {}
    for entry in snapshot.unread:
        by_reason.setdefault(str(entry.get("reason", "")), []).append(str(entry.get("what", "")))
    for reason, things in by_reason.items():
        yield Finding("AIG0901", {"what": ", ".join(sorted(set(things))), "reason": reason})


RULES = (
    versions,
    two_listeners_on_one_port,
    away,
    restarts,
    controllers_of_one_name,
    ai_gateways_of_one_namespace,
    other_controllers,
    other_managers,
    unread,
)

__all__ = ["MANAGER", "PAIRS", "PART_OF", "RULES", "resource_of", "restarted", "waiting_reasons"]
