# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot of a gateway and what the rules ask of it. Pure.

A snapshot is JSON::

    {"format": 1, "taken": "2026-01-01T00:00:00Z", "window": 600, "version": "v1.2.3",
     "gateways": [{"namespace": "ai-gateway", "name": "ai-gateway"}],
     "objects": [...],      # as objects.kept() leaves them
     "proxies": [{"namespace": ..., "pod": ..., "gateway": "ai-gateway/ai-gateway", "error": "",
                  "configuration": {...}, "clusters": {...}, "statistics": {...}, "answers": {...}}],
     "logs": [{"namespace": ..., "pod": ..., "container": ..., "lines": [...]}],
     "unread": [{"what": ..., "reason": ...}]}
"""

from __future__ import annotations

import datetime
import re
import typing as t
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

Body = dict[str, t.Any]
FORMAT = 1

#: By name of a component, what the repository of its image ends with.
COMPONENTS = {
    "Envoy Gateway": ("envoyproxy/gateway", "/envoy-gateway"),
    "Envoy AI Gateway": ("/ai-gateway-controller",),
    "Authorino": ("/authorino",),
    "Rate limit service": ("/ratelimit",),
    "Redis": ("/redis", "/valkey"),
}
_OWNING_NAME = "gateway.envoyproxy.io/owning-gateway-name"
_OWNING_NAMESPACE = "gateway.envoyproxy.io/owning-gateway-namespace"
_CLUSTER = re.compile(r"^httproute/(?P<namespace>[^/]+)/(?P<name>[^/]+)/rule/(?P<rule>\d+)")


class SnapshotError(Exception):
    """A file is no snapshot that can be read."""


@dataclass(frozen=True)
class Component:
    """A controller or a service, by its Deployment."""

    name: str
    body: Body
    #: Of its image or label, as in v1.8.3; empty where neither says.
    version: str
    arguments: tuple[str, ...]

    @property
    def namespace(self) -> str:
        return str(self.body["metadata"].get("namespace", ""))

    @property
    def deployment(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def wanted(self) -> int:
        return int((self.body.get("spec") or {}).get("replicas", 1))

    @property
    def available(self) -> int:
        return int((self.body.get("status") or {}).get("availableReplicas") or 0)

    def argument(self, name: str) -> str | None:
        """The value of an argument, such as ``maxRecvMsgSize``; None where it is not given."""
        for argument in self.arguments:
            match = re.match(rf"^--?{re.escape(name)}=(.*)$", argument)
            if match:
                return match.group(1)
        return None


class Snapshot:
    """Answers the questions of rules about one snapshot."""

    def __init__(self, data: Body) -> None:
        """:raises SnapshotError: when it is none."""
        if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("objects"), list):
            raise SnapshotError(f"it is no snapshot of format {FORMAT}; write one with snapshot_to")
        self.data = data
        self.taken = moment(str(data.get("taken", ""))) or datetime.datetime.now(datetime.UTC)
        self.window = int(data.get("window", 600))
        self.proxies: list[Body] = list(data.get("proxies") or ())
        self.logs: list[Body] = list(data.get("logs") or ())
        self.unread: list[Body] = list(data.get("unread") or ())
        self._objects: dict[str, list[Body]] = defaultdict(list)
        self._by_name: dict[tuple[str, str, str], Body] = {}
        for body in data["objects"]:
            metadata = body["metadata"]
            self._objects[body["kind"]].append(body)
            self._by_name[body["kind"], metadata.get("namespace", ""), metadata["name"]] = body

    def objects(self, *kinds: str) -> list[Body]:
        """All objects of the kinds that are not being deleted."""
        return [body for kind in kinds for body in self._objects[kind] if not body["metadata"].get("deletionTimestamp")]

    def get(self, kind: str, namespace: str, name: str) -> Body | None:
        return self._by_name.get((kind, namespace, name))

    def could_read(self, kind: str) -> bool:
        """Whether the objects of a kind were read at all: of what was not, nothing is missing."""
        return not any(entry.get("kind") == kind for entry in self.unread)

    @cached_property
    def gateways(self) -> list[Body]:
        """The Gateways that are diagnosed and exist."""
        found = [self.get("Gateway", entry["namespace"], entry["name"]) for entry in self.data.get("gateways") or ()]
        return [body for body in found if body]

    @cached_property
    def missing_gateways(self) -> list[tuple[str, str]]:
        if not self.could_read("Gateway"):
            return []
        return [
            (entry["namespace"], entry["name"])
            for entry in self.data.get("gateways") or ()
            if not self.get("Gateway", entry["namespace"], entry["name"])
        ]

    @cached_property
    def components(self) -> list[Component]:
        found = []
        for body in self.objects("Deployment"):
            labels = body["metadata"].get("labels") or {}
            if labels.get("app.kubernetes.io/component") == "proxy":
                # It has a container of Envoy Gateway's image beside the proxy.
                continue
            for container in body.get("containers") or ():
                repository, tag = parts_of(container["image"])
                names = [name for name, ends in COMPONENTS.items() if f"/{repository}".endswith(ends)]
                if names:
                    version = tag if re.match(r"v?\d+\.\d+", tag) else str(labels.get("app.kubernetes.io/version", ""))
                    found.append(Component(names[0], body, version, tuple(container.get("arguments") or ())))
                    break
        return found

    def component(self, name: str) -> list[Component]:
        return [component for component in self.components if component.name == name]

    def controller_of(self, gateway: Body) -> str:
        """The controller name of a Gateway's class; empty where the class does not exist."""
        gateway_class = self.get("GatewayClass", "", gateway["spec"].get("gatewayClassName", ""))
        return str((gateway_class or {}).get("spec", {}).get("controllerName", ""))

    def envoy_gateways(self, gateway: Body) -> list[tuple[Component, Body]]:
        """The Envoy Gateways that act on a Gateway, each with its settings."""
        own = self.controller_of(gateway)
        return [
            (component, settings)
            for component, settings in self.envoy_gateway_settings
            if settings.get("controllerName", "gateway.envoyproxy.io/gatewayclass-controller") == own
        ]

    @cached_property
    def envoy_gateway_settings(self) -> list[tuple[Component, Body]]:
        """Each Envoy Gateway with the settings of its configuration, where that could be read."""
        found = []
        for component in self.component("Envoy Gateway"):
            body = self.get("ConfigMap", component.namespace, "envoy-gateway-config")
            if body and "envoy_gateway" in body:
                found.append((component, body["envoy_gateway"]))
        return found

    def routes_of(self, gateway: Body, *kinds: str) -> list[Body]:
        """The routes of the kinds that name a Gateway as their parent."""
        return [
            body for body in self.objects(*kinds) if any(is_parent(gateway, ref, body) for ref in parent_refs(body))
        ]

    def policies_of(self, gateway: Body, *kinds: str) -> list[Body]:
        """The policies that target a Gateway or one of its routes."""
        routes = {
            (body["kind"], body["metadata"]["namespace"], body["metadata"]["name"])
            for body in self.routes_of(gateway, "HTTPRoute", "AIGatewayRoute")
        }
        found = []
        for body in self.objects(*kinds):
            namespace = body["metadata"].get("namespace", "")
            targets = [
                (ref.get("kind", ""), ref.get("namespace", namespace), ref.get("name", "")) for ref in target_refs(body)
            ]
            if key_of(gateway) in targets or routes & set(targets):
                found.append(body)
        return found

    @cached_property
    def namespaces(self) -> set[str]:
        """Those of the diagnosed Gateways and their routes; what is elsewhere is of others."""
        routes = [
            body
            for gateway in self.gateways
            for body in self.routes_of(gateway, "HTTPRoute", "AIGatewayRoute", "MCPRoute")
        ]
        return {body["metadata"]["namespace"] for body in [*self.gateways, *routes]}

    def own(self, *kinds: str) -> list[Body]:
        """The objects of the kinds in these namespaces."""
        return [body for body in self.objects(*kinds) if body["metadata"].get("namespace") in self.namespaces]

    def proxies_of(self, gateway: Body) -> list[Body]:
        """The proxies of a Gateway whose configuration could be read."""
        own = name_of(gateway)
        return [proxy for proxy in self.proxies if proxy.get("gateway") == own and proxy.get("configuration")]

    def proxy_pods(self, gateway: Body) -> list[Body]:
        """The pods of a Gateway's proxies."""
        return [body for body in self.objects("Pod") if self._owner(body) == name_of(gateway)]

    def proxy_deployments(self, gateway: Body) -> list[Body]:
        return [
            body
            for body in self.objects("Deployment", "DaemonSet")
            if self._owner(body) == name_of(gateway) and body.get("spec", {}).get("selector")
        ]

    @staticmethod
    def _owner(body: Body) -> str:
        labels = body["metadata"].get("labels") or {}
        return f"{labels.get(_OWNING_NAMESPACE, '')}/{labels.get(_OWNING_NAME, '')}"

    def has_models(self, gateway: Body) -> bool:
        """Whether AIGatewayRoutes or MCPRoutes belong to a Gateway, so that its proxies need the processor."""
        return bool(self.routes_of(gateway, "AIGatewayRoute", "MCPRoute"))

    def pods_of(self, namespace: str, labels: t.Mapping[str, str]) -> list[Body]:
        """The pods with all of the labels; none where no label is given."""
        return [
            body
            for body in self.objects("Pod")
            if labels
            and body["metadata"].get("namespace") == namespace
            and labels.items() <= (body["metadata"].get("labels") or {}).items()
        ]

    def component_pods(self, component: Component) -> list[Body]:
        selector = (component.body.get("spec") or {}).get("selector") or {}
        return self.pods_of(component.namespace, selector.get("matchLabels") or {})

    def ready_endpoints(self, namespace: str, service: str) -> int:
        """How many endpoints of a Service are ready."""
        return sum(
            (endpoint.get("conditions") or {}).get("ready") is not False
            for body in self.objects("EndpointSlice")
            if body["metadata"].get("namespace") == namespace
            and (body["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == service
            for endpoint in body.get("endpoints") or ()
        )

    def lines(self, component: Component, *patterns: str) -> list[str]:
        """The lines of a component's logs that match one of the patterns."""
        pods = {(body["metadata"]["namespace"], body["metadata"]["name"]) for body in self.component_pods(component)}
        return [
            line
            for log in self.logs
            if (log["namespace"], log["pod"]) in pods
            for line in log["lines"]
            if any(re.search(pattern, line, re.IGNORECASE) for pattern in patterns)
        ]

    def pod_lines(self, namespace: str, pod: str, *patterns: str) -> list[str]:
        return [
            line
            for log in self.logs
            if (log["namespace"], log["pod"]) == (namespace, pod)
            for line in log["lines"]
            if any(re.search(pattern, line, re.IGNORECASE) for pattern in patterns)
        ]

    def rule_of(self, cluster: str) -> tuple[Body, list[Body]] | None:
        """The route and the references to backends that a cluster of a proxy stands for."""
        match = _CLUSTER.match(cluster)
        if not match:
            return None
        for kind in ("AIGatewayRoute", "HTTPRoute"):
            body = self.get(kind, match["namespace"], match["name"])
            rules = ((body or {}).get("spec") or {}).get("rules") or ()
            if body and int(match["rule"]) < len(rules):
                return body, list(rules[int(match["rule"])].get("backendRefs") or ())
        return None

    def mcp_server_of(self, cluster: str) -> Body | None:
        """The reference of an MCPRoute that a cluster of a proxy stands for.

        Envoy AI Gateway makes an HTTPRoute of each, and one that leads to the processor, which asks all of them.
        """
        body, refs = self.rule_of(cluster) or ({}, [])
        metadata = body.get("metadata") or {}
        for owner in metadata.get("owners") or ():
            route = self.get("MCPRoute", metadata["namespace"], owner["name"]) if owner["kind"] == "MCPRoute" else None
            for ref in ((route or {}).get("spec") or {}).get("backendRefs") or ():
                if ref["name"] in [one.get("name") for one in refs]:
                    return t.cast(Body, ref)
        return None

    def scope_of_cluster(self, cluster: str) -> frozenset[str]:
        found = self.rule_of(cluster)
        scope = {f"cluster {cluster}"}
        if found:
            body, refs = found
            namespace = body["metadata"]["namespace"]
            scope.add(f"route {name_of(body)}")
            scope |= {f"{thing_of(ref)} {ref.get('namespace', namespace)}/{ref.get('name', '')}" for ref in refs}
        return frozenset(scope)

    def is_recent(self, when: str) -> bool:
        """Whether a time is within the window before the snapshot."""
        found = moment(when)
        return found is not None and (self.taken - found).total_seconds() <= self.window


def thing_of(ref: Body) -> str:
    """What a reference to a backend is called in scopes."""
    return "pool" if ref.get("kind") == "InferencePool" else "backend"


def moment(text: str) -> datetime.datetime | None:
    """A time in RFC 3339; None where it is none."""
    try:
        found = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def parts_of(image: str) -> tuple[str, str]:
    """The repository and the tag of an image."""
    name = image.partition("@")[0]
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, "")


def version_of(text: str) -> tuple[int, int, int] | None:
    """A version such as v1.8.3 or 1.9 as numbers; None where it is none."""
    match = re.match(r"^v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def name_of(body: Body) -> str:
    """Namespace and name, or the name of a cluster-scoped object."""
    metadata = body["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else str(metadata["name"])


def label_of(body: Body) -> str:
    """Kind and name, as a sentence has them."""
    return f"{body['kind']} {name_of(body)}"


def key_of(body: Body) -> tuple[str, str, str]:
    return body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"]


def parent_refs(body: Body) -> list[Body]:
    return list((body.get("spec") or {}).get("parentRefs") or ())


def target_refs(body: Body) -> list[Body]:
    specification = body.get("spec") or {}
    return [*(specification.get("targetRefs") or ()), *filter(None, [specification.get("targetRef")])]


def is_parent(gateway: Body, ref: Body, body: Body) -> bool:
    """Whether a reference of an object means the Gateway."""
    namespace = ref.get("namespace") or body["metadata"].get("namespace", "")
    return (ref.get("kind") or "Gateway", namespace, ref.get("name")) == key_of(gateway)


def failed_conditions(conditions: t.Iterable[Body], generation: int, *types: str) -> list[Body]:
    """The conditions of the types that are False for the present generation of their object."""
    return [
        condition
        for condition in conditions
        if condition.get("type") in types
        and condition.get("status") == "False"
        and condition.get("observedGeneration", generation) >= generation
    ]


def is_ready(pod: Body) -> bool:
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in (pod.get("status") or {}).get("conditions") or ()
    )


def container_statuses(pod: Body) -> list[Body]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
