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
CANARY_LABEL = "egress.ai-gateway/canary"
CONFIGURED_BY = "egress.ai-gateway/configured-by"
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
    objects: Sequence[Body],
    proxies: Body,
    namespace: str,
    proxy_image: str,
    name: str = CANARY,
    release_configures: bool = False,
) -> list[Body]:
    """The manifests of the canary.

    :param objects: those of the charts of the release to try; of two alike the first counts.
    :param proxies: the Deployment of the Gateway's proxies, as it is on the cluster.
    :param namespace: that of Envoy Gateway.
    :param proxy_image: the image of Envoy to try.
    :param name: of the canary's objects.
    :param release_configures: whether Envoy Gateway itself configures the canary's proxy, in place of the canary.
    """
    deployment = _find(objects, "Deployment", CONTROLLER)
    service = _find(objects, "Service", CONTROLLER)
    own = labels_of(name, "controller")
    selector = deployment["spec"]["selector"]["matchLabels"] if release_configures else own
    return [
        *_rights(objects, namespace, name),
        *_controller(objects, deployment, namespace, name),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "labels": own},
            "spec": {"selector": dict(selector), "ports": copy.deepcopy(service["spec"]["ports"])},
        },
        _proxy(proxies, namespace, proxy_image, name, "release" if release_configures else "canary"),
    ]


def labels_of(name: str, part: str) -> dict[str, str]:
    """The labels by which a part of the canary is found: ``controller`` or ``proxy``."""
    label = {CANARY_LABEL: f"{name}.{part}"}
    return {**CONTROLLER_LABELS, **label} if part == "controller" else label


def _name(body: Body) -> str:
    return str(body["metadata"]["name"])


def _find(objects: Iterable[Body], kind: str, name: str) -> Body:
    for body in objects:
        if body["kind"] == kind and _name(body) == name:
            return body
    raise ManifestsError(f"the release has no {kind} {name}; this version of the collection cannot try it")


def _controller(objects: Sequence[Body], deployment: Body, namespace: str, name: str) -> list[Body]:
    """The Deployment of the canary and its configuration."""
    labels = labels_of(name, "controller")
    spec = copy.deepcopy(deployment["spec"])
    pod = spec["template"]["spec"]
    manifests: list[Body] = []
    for volume in pod.get("volumes", []):
        kept_in = volume.get("configMap", {}).get("name")
        if not kept_in:
            continue
        source = _find(objects, "ConfigMap", kept_in)
        volume["configMap"]["name"] = f"{name}-{kept_in}"
        manifests.append(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": f"{name}-{kept_in}", "namespace": namespace},
                "data": source["data"],
            }
        )
    pod["serviceAccountName"] = name
    pod.pop("topologySpreadConstraints", None)
    template = spec["template"].setdefault("metadata", {})
    template["labels"] = labels
    manifests.append(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": template, "spec": pod},
            },
        }
    )
    return manifests


def _rights(objects: Sequence[Body], namespace: str, name: str) -> list[Body]:
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
    account = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    group = "rbac.authorization.k8s.io"
    cluster_name = f"{namespace}.{name}"
    manifests: list[Body] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
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
        metadata = {"name": name, "namespace": place}
        manifests += [
            {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": dict(metadata), "rules": rules},
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": dict(metadata),
                "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
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


def _proxy(proxies: Body, namespace: str, image: str, name: str, configured_by: str) -> Body:
    """One more proxy of the Gateway, configured by what the Service of the canary leads to."""
    template = copy.deepcopy(proxies["spec"]["template"])
    metadata = template.setdefault("metadata", {})
    labels = {key: value for key, value in metadata.get("labels", {}).items() if key != SERVED_LABEL}
    metadata.pop("creationTimestamp", None)
    metadata["labels"] = {**labels, **labels_of(name, "proxy")}
    # A new pod for another one that configures it.
    metadata["annotations"] = {**metadata.get("annotations", {}), CONFIGURED_BY: configured_by}
    pod = template["spec"]
    pod.pop("topologySpreadConstraints", None)
    # It has no clients whose requests it would have to end.
    pod["terminationGracePeriodSeconds"] = 2
    address = re.compile(rf"(?<![A-Za-z0-9-]){CONTROLLER}(?=\.{re.escape(namespace)}\.svc)")
    found = False
    for container in pod["containers"]:
        if container["name"] != "envoy":
            continue
        container["image"] = image
        before = container.get("args", [])
        container["args"] = [address.sub(name, argument) for argument in before]
        found = container["args"] != before
    if not found:
        raise ManifestsError(
            f"Deployment {_name(proxies)} has no container envoy that names {CONTROLLER}.{namespace}.svc; this version "
            "of the collection cannot try other proxies"
        )
    selector = labels_of(name, "proxy")
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{name}-proxy", "namespace": namespace, "labels": selector},
        "spec": {"replicas": 1, "selector": {"matchLabels": selector}, "template": template},
    }
