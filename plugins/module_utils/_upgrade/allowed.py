# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which manifests the record of an upgrade may have. Pure.

A way back applies them with the rights of the run, and a user who may write ConfigMaps beside the Gateway may write the
record. So it may have what a chart of Envoy Gateway makes and nothing else: the charts of all releases give the same
names.
"""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from ansible_collections.egress.ai_gateway.plugins.module_utils._upgrade.manifests import CONTROLLER, INSTANCE_LABEL

Body = dict[str, t.Any]

_RBAC = "rbac.authorization.k8s.io/v1"
#: The kinds of the objects of Envoy Gateway's chart that have the label of its release.
KINDS = (
    ("v1", "ServiceAccount"),
    ("v1", "ConfigMap"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    (_RBAC, "Role"),
    (_RBAC, "RoleBinding"),
    (_RBAC, "ClusterRole"),
    (_RBAC, "ClusterRoleBinding"),
)
#: The chart gives this one no labels.
BUDGET = ("policy/v1", "PodDisruptionBudget")
_OF_THE_CLUSTER = ("ClusterRole", "ClusterRoleBinding")
#: Names that do not begin with that of the release.
_NAMES = (CONTROLLER, "envoy-gateway-config")
#: Verbs by which an account gets more rights than a role gives it.
_ESCALATION = {"*", "bind", "escalate", "impersonate"}


def check(manifests: Sequence[Body], namespace: str, instance: str) -> None:
    """Refuse manifests that no chart of Envoy Gateway makes.

    :param namespace: that of Envoy Gateway.
    :param instance: name of the release, as the label of its objects has it.
    :raises ValueError: names the object and what is wrong with it.
    """
    roles = {_place(body) for body in manifests if body.get("kind") in ("Role", "ClusterRole")}
    for body in manifests:
        reason = _fault(body, namespace, instance, roles)
        if reason:
            kind, _namespace, name = _place(body)
            raise ValueError(f"{kind} {name} is none that Envoy Gateway's chart makes: {reason}")


def _place(body: Body) -> tuple[str, str, str]:
    metadata = body.get("metadata") or {}
    return str(body.get("kind")), str(metadata.get("namespace", "")), str(metadata.get("name"))


def _fault(body: Body, namespace: str, instance: str, roles: set[tuple[str, str, str]]) -> str:
    """What is wrong with an object; empty where nothing is."""
    kind, found_in, name = _place(body)
    if (body.get("apiVersion"), kind) not in (*KINDS, BUDGET):
        return "the chart has no such kind"
    own_name = name.startswith(f"{instance}-")
    if kind in _OF_THE_CLUSTER:
        labels = body["metadata"].get("labels") or {}
        if found_in or not own_name or labels.get(INSTANCE_LABEL) != instance:
            return f"its name does not begin with {instance}-, or it has not the label {INSTANCE_LABEL}={instance}"
    elif found_in != namespace or not (own_name or name in _NAMES):
        return f"it is not in namespace {namespace}, or has another name"
    if kind in ("Role", "ClusterRole"):
        return _fault_of_rules(body.get("rules") or [])
    if kind in ("RoleBinding", "ClusterRoleBinding"):
        return _fault_of_binding(body, namespace, instance, roles)
    return _fault_of_pod(body["spec"]["template"]["spec"]) if kind == "Deployment" else ""


def _fault_of_rules(rules: Sequence[Body]) -> str:
    for rule in rules:
        wide = "*" in (rule.get("resources") or []) or "*" in (rule.get("apiGroups") or [])
        if wide or _ESCALATION & set(rule.get("verbs") or []):
            return "it gives rights to everything, or to get more rights"
    return ""


def _fault_of_binding(body: Body, namespace: str, instance: str, roles: set[tuple[str, str, str]]) -> str:
    reference = body["roleRef"]
    place = "" if reference["kind"] == "ClusterRole" else _place(body)[1]
    if (reference["kind"], place, reference["name"]) not in roles:
        return f"it gives the rights of {reference['kind']} {reference['name']}, which is not of the release"
    for subject in body.get("subjects") or []:
        own = subject["name"] == CONTROLLER or subject["name"].startswith(f"{instance}-")
        if subject["kind"] != "ServiceAccount" or subject.get("namespace", namespace) != namespace or not own:
            return f"it gives rights to {subject['kind']} {subject['name']}, which is not of the release"
    return ""


def _fault_of_pod(pod: Body) -> str:
    containers = [*pod["containers"], *(pod.get("initContainers") or [])]
    if (
        any(pod.get(field) for field in ("hostNetwork", "hostPID", "hostIPC"))
        or any("hostPath" in volume for volume in pod.get("volumes") or [])
        or any((container.get("securityContext") or {}).get("privileged") for container in containers)
    ):
        return "its pods have access to their node"
    return ""
