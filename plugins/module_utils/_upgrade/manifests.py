# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands for the release before, and what tries the one after it. Pure.

The canary is Envoy Gateway of another release beside the present one, for the same Gateways, and one proxy that it
configures. It may read all that Envoy Gateway may read, and write nothing: so it never becomes the leader that changes
proxies and statuses, whatever happens to the present one, but translates everything as the leader does. Clients do not
reach its proxy, as no Service selects it.
"""

from __future__ import annotations

import copy
import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.diff import owned_fields, project
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import PART_OF_LABEL

Body = dict[str, t.Any]

#: As the chart calls the Deployment, the Service and the ServiceAccount of Envoy Gateway, whatever the release's name.
CONTROLLER = "envoy-gateway"
CANARY = "envoy-gateway-canary"
CANARY_PROXY = "envoy-canary"
CANARY_LABEL = "egress.ai-gateway/canary"
#: By it, NetworkPolicies know the pods of Envoy Gateway.
CONTROLLER_LABELS = {"control-plane": CONTROLLER}
#: Names the release in each object of the chart.
INSTANCE_LABEL = "app.kubernetes.io/instance"
#: Of the proxies' labels, the one that their Service selects and no NetworkPolicy.
SERVED_LABEL = "app.kubernetes.io/name"
_READING = ("get", "list", "watch")
#: Kinds of the chart that are made anew or kept by others.
NOT_RECORDED = ("Secret", "Job")


class ManifestsError(Exception):
    """Something that has to be on the cluster or in the chart is missing; the message says what."""


def recorded(objects: Iterable[Body]) -> list[Body]:
    """The manifests from which this collection applied these objects, by the fields that it owns.

    An object that it did not apply is left out.
    """
    manifests = []
    for body in objects:
        fields = owned_fields(body)
        if fields is None or body["kind"] in NOT_RECORDED:
            continue
        part = project({key: value for key, value in body.items() if key not in ("apiVersion", "kind")}, fields)
        metadata = part.pop("metadata", {})
        labels = {key: value for key, value in metadata.pop("labels", {}).items() if key != PART_OF_LABEL}
        name = {key: body["metadata"][key] for key in ("name", "namespace") if key in body["metadata"]}
        manifests.append(
            {
                "apiVersion": body["apiVersion"],
                "kind": body["kind"],
                "metadata": {**name, **({"labels": labels} if labels else {}), **metadata},
                **part,
            }
        )
    return sorted(manifests, key=lambda body: (body["kind"], str(body["metadata"].get("namespace")), _name(body)))


def canary(
    objects: Sequence[Body], proxies: Body, namespace: str, proxy_image: str, controller: str = CANARY
) -> list[Body]:
    """The manifests of the canary.

    :param objects: those of the charts of the release to try.
    :param proxies: the Deployment of the Gateway's proxies, as it is on the cluster.
    :param namespace: that of Envoy Gateway.
    :param proxy_image: the image of Envoy to try.
    :param controller: name of the Service that the proxy gets its configuration from.
    """
    deployment = _find(objects, "Deployment", CONTROLLER)
    return [
        *_rights(objects, namespace),
        *_controller(objects, deployment, namespace),
        _service(namespace, _find(objects, "Service", CONTROLLER)),
        _proxy(proxies, namespace, proxy_image, controller),
    ]


def _name(body: Body) -> str:
    return str(body["metadata"]["name"])


def _find(objects: Iterable[Body], kind: str, name: str) -> Body:
    for body in objects:
        if body["kind"] == kind and _name(body) == name:
            return body
    raise ManifestsError(f"the release has no {kind} {name}; this version of the collection cannot try it")


def _labels() -> dict[str, str]:
    return {**CONTROLLER_LABELS, CANARY_LABEL: "controller"}


def _controller(objects: Sequence[Body], deployment: Body, namespace: str) -> list[Body]:
    """The Deployment of the canary and its configuration."""
    spec = copy.deepcopy(deployment["spec"])
    pod = spec["template"]["spec"]
    manifests: list[Body] = []
    for volume in pod.get("volumes", []):
        name = volume.get("configMap", {}).get("name")
        if not name:
            continue
        source = _find(objects, "ConfigMap", name)
        volume["configMap"]["name"] = f"{name}-canary"
        manifests.append(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": f"{name}-canary", "namespace": namespace},
                "data": source["data"],
            }
        )
    pod["serviceAccountName"] = CANARY
    pod.pop("topologySpreadConstraints", None)
    template = spec["template"].setdefault("metadata", {})
    template["labels"] = _labels()
    manifests.append(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": CANARY, "namespace": namespace, "labels": _labels()},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": _labels()},
                "template": {"metadata": template, "spec": pod},
            },
        }
    )
    return manifests


def _service(namespace: str, service: Body) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": CANARY, "namespace": namespace, "labels": _labels()},
        "spec": {"selector": _labels(), "ports": copy.deepcopy(service["spec"]["ports"])},
    }


def _rights(objects: Sequence[Body], namespace: str) -> list[Body]:
    """An account that may read what that of the release may read."""
    everywhere: list[Body] = []
    inside: dict[str, list[Body]] = {}
    for binding in objects:
        if binding["kind"] not in ("ClusterRoleBinding", "RoleBinding") or not _binds(binding, namespace):
            continue
        reference = binding["roleRef"]
        of = binding["metadata"].get("namespace", "")
        for role in objects:
            same_place = reference["kind"] == "ClusterRole" or role["metadata"].get("namespace", "") == of
            if role["kind"] == reference["kind"] and _name(role) == reference["name"] and same_place:
                rules = [rule for rule in map(_reading, role.get("rules") or []) if rule]
                if binding["kind"] == "ClusterRoleBinding":
                    everywhere += rules
                else:
                    inside.setdefault(of, []).extend(rules)
    if not everywhere and not inside:
        raise ManifestsError(f"the release gives ServiceAccount {CONTROLLER} no rights; this version cannot try it")
    account = {"kind": "ServiceAccount", "name": CANARY, "namespace": namespace}
    group = "rbac.authorization.k8s.io"
    cluster_name = f"{namespace}.{CANARY}"
    manifests: list[Body] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": CANARY, "namespace": namespace}}
    ]
    if everywhere:
        manifests += [
            {
                "apiVersion": f"{group}/v1",
                "kind": "ClusterRole",
                "metadata": {"name": cluster_name},
                "rules": everywhere,
            },
            {
                "apiVersion": f"{group}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": cluster_name},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": cluster_name},
                "subjects": [account],
            },
        ]
    for place, rules in inside.items():
        name = {"name": CANARY, "namespace": place}
        manifests += [
            {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": dict(name), "rules": rules},
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": dict(name),
                "roleRef": {"apiGroup": group, "kind": "Role", "name": CANARY},
                "subjects": [account],
            },
        ]
    return manifests


def _binds(binding: Body, namespace: str) -> bool:
    return any(
        subject.get("kind") == "ServiceAccount"
        and subject.get("name") == CONTROLLER
        and subject.get("namespace", namespace) == namespace
        for subject in binding.get("subjects") or []
    )


def _reading(rule: Mapping[str, t.Any]) -> Body:
    """What of a rule is reading; empty where nothing is. Leases are for those that may lead."""
    verbs = list(_READING) if "*" in rule["verbs"] else [verb for verb in rule["verbs"] if verb in _READING]
    resources = [resource for resource in rule.get("resources", []) if resource.partition("/")[0] != "leases"]
    if not verbs or (rule.get("resources") and not resources):
        return {}
    return {**rule, "verbs": verbs, **({"resources": resources} if resources else {})}


def _proxy(proxies: Body, namespace: str, image: str, controller: str) -> Body:
    """One more proxy of the Gateway, configured by the canary."""
    template = copy.deepcopy(proxies["spec"]["template"])
    metadata = template.setdefault("metadata", {})
    labels = {key: value for key, value in metadata.get("labels", {}).items() if key != SERVED_LABEL}
    metadata.pop("creationTimestamp", None)
    metadata["labels"] = {**labels, CANARY_LABEL: "proxy"}
    pod = template["spec"]
    pod.pop("topologySpreadConstraints", None)
    address = re.compile(rf"(?<![A-Za-z0-9-]){CONTROLLER}(?=\.{re.escape(namespace)}\.svc)")
    found = False
    for container in pod["containers"]:
        if container["name"] != "envoy":
            continue
        container["image"] = image
        arguments = [address.sub(controller, argument) for argument in container.get("args", [])]
        found = arguments != container.get("args", [])
        container["args"] = arguments
    if not found:
        raise ManifestsError(
            f"Deployment {_name(proxies)} has no container envoy that names {CONTROLLER}.{namespace}.svc; this version "
            "of the collection cannot try other proxies"
        )
    selector = {CANARY_LABEL: "proxy"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": CANARY_PROXY, "namespace": namespace, "labels": dict(selector)},
        "spec": {"replicas": 1, "selector": {"matchLabels": selector}, "template": template},
    }
