# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an AI gateway can be provisioned on a cluster, from what was read of it. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._preflight.readings import Controller, Readings, Right

_READ_AND_WRITE = ("get", "list", "create", "patch", "delete")
#: What every run reads and writes, by API group.
_RESOURCES = {
    "": "namespaces configmaps secrets services serviceaccounts",
    "apps": "deployments",
    "networking.k8s.io": "networkpolicies",
    "rbac.authorization.k8s.io": "clusterroles clusterrolebindings roles rolebindings",
    "apiextensions.k8s.io": "customresourcedefinitions",
    "gateway.networking.k8s.io": "gatewayclasses gateways httproutes",
}
#: Further ones, where this collection brings the clients' gateway.
_GATEWAY_RESOURCES = {
    "batch": "jobs",
    "policy": "poddisruptionbudgets",
    "admissionregistration.k8s.io": (
        "mutatingwebhookconfigurations validatingadmissionpolicies validatingadmissionpolicybindings"
    ),
    "gateway.networking.k8s.io": "backendtlspolicies referencegrants",
    "gateway.envoyproxy.io": (
        "envoyproxies backends securitypolicies backendtrafficpolicies clienttrafficpolicies envoyextensionpolicies "
        "envoypatchpolicies"
    ),
    "aigateway.envoyproxy.io": "aigatewayroutes aiservicebackends backendsecuritypolicies mcproutes",
    "authorino.kuadrant.io": "authconfigs",
}
#: For the question what a Namespace would take with it, for waiting, for tokens of the validation and for its requests
#: from within the cluster.
_OTHERS = (
    ("", "persistentvolumeclaims", "list"),
    ("apps", "statefulsets", "list"),
    ("apps", "daemonsets", "list"),
    ("batch", "jobs", "list"),
    ("batch", "cronjobs", "list"),
    ("", "pods", "list"),
    ("", "events", "list"),
    ("", "serviceaccounts/token", "create"),
)


@dataclass(frozen=True)
class Needs:
    """What a run needs of a cluster."""

    #: The oldest Kubernetes, as in 1.32.
    version: str
    #: By product, the namespace that this run installs its controller into.
    controllers: t.Mapping[str, str]
    #: By which its Envoy Gateway claims GatewayClasses.
    controller_name: str
    #: That of the clients' Gateway.
    namespace: str
    load_balancer: bool = False


def rights_of(needs: Needs) -> list[Right]:
    """The rights that the user of a run needs."""
    groups = [_RESOURCES, _GATEWAY_RESOURCES] if needs.controllers else [_RESOURCES]
    managed = [
        Right(group, resource, verb)
        for resources in groups
        for group, names in resources.items()
        for resource in names.split()
        for verb in _READ_AND_WRITE
    ]
    return list(dict.fromkeys([*managed, *(Right(*other) for other in _OTHERS)]))


def faults_of(found: Readings, needs: Needs) -> list[str]:
    """What stands in the way, one line each with its remedy."""
    faults = []
    if _older(found.version, needs.version):
        faults.append(
            f"The cluster runs Kubernetes {found.version}, and the gateway's controllers need v{needs.version} or "
            "newer. Upgrade the cluster."
        )
    if found.missing_rights:
        faults.append(_without_rights(found.missing_rights))
    faults += [line for controller in found.controllers for line in _in_the_way(controller, needs)]
    return faults


def warnings_of(found: Readings, needs: Needs) -> list[str]:
    """What may stand in the way, and what could not be seen."""
    warnings = [f"The preflight could not read {line}" for line in found.unread]
    if found.load_balancer is False:
        warnings.append(
            "Nothing on the cluster gives Services of type LoadBalancer an address, as far as can be seen: no such "
            "Service has one, and the nodes are of no cloud. If site waits for the Gateway's address in vain, install "
            "one such as MetalLB, or set gateway_service_type to NodePort."
        )
    return warnings


def _without_rights(missing: t.Sequence[Right]) -> str:
    resources: dict[str, list[str]] = {}
    for right in missing:
        name = f"{right.resource}.{right.group}" if right.group else right.resource
        resources.setdefault(name, []).append(right.verb)
    listed = "; ".join(f"{name}: {', '.join(verbs)}" for name, verbs in resources.items())
    return (
        f"The user of the kubeconfig may not do all that the run needs, in all namespaces: {listed}. Use a user with "
        "these rights, such as one bound to ClusterRole cluster-admin, and see them with: kubectl auth can-i --list"
    )


def _in_the_way(controller: Controller, needs: Needs) -> t.Iterator[str]:
    home = needs.controllers.get(controller.product)
    if home is None or controller.namespace == home:
        return
    if controller.product == "Envoy AI Gateway" and _watches(controller, needs.namespace):
        yield (
            f"{controller} takes the AIGatewayRoutes of every namespace for its own, and two controllers would write "
            "the same objects in turn. Limit it to its own namespaces with the value controller.watch.namespaces of "
            "its chart, or remove it."
        )
    if controller.product == "Envoy Gateway" and controller.controller_name == needs.controller_name:
        yield (
            f"{controller} claims GatewayClasses of controller {needs.controller_name} too. Set "
            "ai_gateway_controller_name to another name, such as gateway.envoyproxy.io/my-ai-gateway."
        )


def _watches(controller: Controller, namespace: str) -> bool:
    for argument in controller.args:
        match = re.match(r"--?watchNamespaces=(.*)", argument)
        if match:
            return not match.group(1) or namespace in match.group(1).split(",")
    return True


def _older(version: str, least: str) -> bool:
    """Whether a version is known to be older; both as in v1.34.4 or 1.32."""
    numbers = [re.match(r"v?(\d+)\.(\d+)", text) for text in (version, least)]
    if not all(numbers):
        return False
    have, want = ((int(match.group(1)), int(match.group(2))) for match in numbers if match)
    return have < want
