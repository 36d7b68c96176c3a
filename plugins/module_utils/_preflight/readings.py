# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of a cluster before anything is written to it."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import ResourceType

Body = dict[str, t.Any]

_DEPLOYMENTS = ResourceType("apps/v1", "Deployment", "deployments", True, frozenset())
_SERVICES = ResourceType("v1", "Service", "services", True, frozenset())
_NODES = ResourceType("v1", "Node", "nodes", False, frozenset())
_CONFIG_MAPS = ResourceType("v1", "ConfigMap", "configmaps", True, frozenset())
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
#: What providerIDs of nodes begin with where no cloud has load balancers.
_NO_CLOUDS = frozenset(("", "kind", "k3s", "rke2", "baremetalhost", "metal3", "vsphere", "nutanix"))
#: Where Envoy Gateway's chart keeps its configuration.
_ENVOY_GATEWAY_CONFIG = "envoy-gateway-config"

#: By product, what the repository of an image of its controller ends with.
PRODUCTS = {
    "Envoy Gateway": ("envoyproxy/gateway", "/envoy-gateway"),
    "Envoy AI Gateway": ("/ai-gateway-controller",),
    "Authorino": ("/authorino",),
    "Kuadrant": ("/kuadrant-operator",),
    "Istio": ("/pilot", "/pilot-distroless"),
}


@dataclass(frozen=True)
class Controller:
    """A controller of one of PRODUCTS, by its Deployment."""

    product: str
    namespace: str
    name: str
    #: As the image or a label says; empty where neither does.
    version: str
    #: Of its containers.
    args: tuple[str, ...] = ()
    #: Envoy Gateway's, by which it claims GatewayClasses; empty for others.
    controller_name: str = ""

    def __str__(self) -> str:
        return f"{self.product}{f' {self.version}' if self.version else ''} in namespace {self.namespace}"


@dataclass(frozen=True)
class Right:
    """A verb on a resource in all namespaces."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


@dataclass
class Readings:
    """What a cluster says of itself."""

    #: As in v1.34.4.
    version: str = ""
    controllers: list[Controller] = field(default_factory=list)
    #: Of those asked for, the ones that the user does not have.
    missing_rights: list[Right] = field(default_factory=list)
    #: Names of the sets in the gateway's namespace.
    sets: list[str] = field(default_factory=list)
    #: Whether something is seen that gives Services of type LoadBalancer their addresses; None where not asked.
    load_balancer: bool | None = None
    #: What could not be read, and why.
    unread: list[str] = field(default_factory=list)


def read(api: Api, namespace: str, rights: t.Sequence[Right], load_balancer: bool, id_label: str) -> Readings:
    """Read a cluster.

    :param namespace: that of the gateway, with the parent objects of its sets.
    :param load_balancer: whether one is needed.
    :param id_label: the label of parent objects.
    """
    found = Readings(version=_version(api))
    found.missing_rights = _missing_rights(api, rights)
    found.controllers = _controllers(api, found.unread)
    found.sets = [
        body["metadata"]["name"]
        for body in _listed(api, _CONFIG_MAPS, namespace, {"labelSelector": id_label}, found.unread, names_only=True)
    ]
    if load_balancer:
        found.load_balancer = _has_load_balancer(api, found.unread)
    return found


def read_versions(api: Api) -> dict[str, str]:
    """Versions by product, Kubernetes first, then the controllers in the order of PRODUCTS.

    Of a product that runs twice, all are named. A product without a version, and what may not be read, is left out.
    """
    controllers = _controllers(api, [])
    found = {"Kubernetes": _version(api)}
    for product in PRODUCTS:
        versions = sorted({one.version for one in controllers if one.product == product and one.version})
        found[product] = " and ".join(versions)
    return {product: version for product, version in found.items() if version}


def _version(api: Api) -> str:
    return str((api.get("/version") or {}).get("gitVersion", ""))


def _missing_rights(api: Api, rights: t.Sequence[Right]) -> list[Right]:
    def allowed(right: Right) -> bool:
        attributes = {"group": right.group, "resource": right.resource.partition("/")[0], "verb": right.verb}
        if "/" in right.resource:
            attributes["subresource"] = right.resource.partition("/")[2]
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        return bool(api.request("POST", _REVIEWS, body=review).body.get("status", {}).get("allowed"))

    if allowed(Right("*", "*", "*")):
        return []
    return [right for right, held in zip(rights, api.each(allowed, rights)) if not held]


def _controllers(api: Api, unread: list[str]) -> list[Controller]:
    found = []
    for body in _listed(api, _DEPLOYMENTS, "", {}, unread):
        if (body["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by") == "envoy-gateway":
            # Proxies, which have a container of Envoy Gateway's image beside them.
            continue
        containers = (body["spec"].get("template") or {}).get("spec", {}).get("containers") or ()
        for container in containers:
            repository, tag = _parts_of(str(container.get("image", "")))
            products = [name for name, ends in PRODUCTS.items() if f"/{repository}".endswith(ends)]
            if products:
                metadata = body["metadata"]
                labels = metadata.get("labels") or {}
                found.append(
                    Controller(
                        products[0],
                        metadata["namespace"],
                        metadata["name"],
                        tag or str(labels.get("app.kubernetes.io/version", "")),
                        tuple(map(str, container.get("args") or ())),
                        _controller_name(api, metadata["namespace"]) if products[0] == "Envoy Gateway" else "",
                    )
                )
                break
    return found


def _parts_of(image: str) -> tuple[str, str]:
    """The repository and the tag of an image."""
    name = image.partition("@")[0]
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, "")


def _controller_name(api: Api, namespace: str) -> str:
    try:
        body = api.get(_CONFIG_MAPS.path(namespace, _ENVOY_GATEWAY_CONFIG))
    except ApiError:
        return ""
    # One line of YAML; a parser would have to be brought along for it.
    match = re.search(
        r"^\s*controllerName:\s*[\"']?([^\s\"']+)", (body or {}).get("data", {}).get("envoy-gateway.yaml", ""), re.M
    )
    return match.group(1) if match else ""


def _has_load_balancer(api: Api, unread: list[str]) -> bool:
    """Whether a Service of that type has an address, or the nodes are of a cloud."""
    served = any(
        body["spec"].get("type") == "LoadBalancer" and (body.get("status", {}).get("loadBalancer") or {}).get("ingress")
        for body in _listed(api, _SERVICES, "", {}, unread)
    )
    schemes = {str(body["spec"].get("providerID", "")).partition("://")[0] for body in _listed(api, _NODES, "", {}, [])}
    return served or bool(schemes - _NO_CLOUDS)


def _listed(
    api: Api,
    kind: ResourceType,
    namespace: str,
    query: t.Mapping[str, str],
    unread: list[str],
    names_only: bool = False,
) -> list[Body]:
    try:
        return [body for _version, items in api.pages(kind, namespace, query, names_only=names_only) for body in items]
    except ApiError as error:
        if error.status != 403:
            raise
        unread.append(f"{kind.plural}{f' of namespace {namespace}' if namespace else ''}: {error.message}")
        return []
