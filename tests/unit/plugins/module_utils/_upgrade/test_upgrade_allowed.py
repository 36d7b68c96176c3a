# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._upgrade.allowed import check

Body = dict[str, t.Any]
NAMESPACE = "eg"
RELEASE = "release"
LABELS = {"app.kubernetes.io/instance": RELEASE}
RBAC = "rbac.authorization.k8s.io/v1"
ACCOUNT = {"kind": "ServiceAccount", "name": "envoy-gateway", "namespace": NAMESPACE}


def named(version: str, kind: str, name: str, namespace: str = NAMESPACE, **fields: t.Any) -> Body:
    metadata = {"name": name, "labels": LABELS, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def release() -> dict[str, Body]:
    """The objects that the charts of 1.8.2, 1.8.3 and 1.9.1 make, but for the Job."""
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}]
    pod = {
        "serviceAccountName": "envoy-gateway",
        "containers": [{"name": "envoy-gateway", "image": "eg:v1"}],
        "volumes": [{"name": "config", "configMap": {"name": "envoy-gateway-config"}}],
    }
    made: dict[str, Body] = {
        "account": named("v1", "ServiceAccount", "envoy-gateway"),
        "account of certgen": named("v1", "ServiceAccount", "release-gateway-helm-certgen"),
        "configuration": named("v1", "ConfigMap", "envoy-gateway-config", data={}),
        "service": named("v1", "Service", "envoy-gateway", spec={}),
        "deployment": named("apps/v1", "Deployment", "envoy-gateway", spec={"template": {"spec": pod}}),
        "budget": named("policy/v1", "PodDisruptionBudget", "envoy-gateway", spec={}),
        "cluster role": named(RBAC, "ClusterRole", "release-gateway-helm-envoy-gateway-role", "", rules=rules),
        "cluster binding": named(
            RBAC,
            "ClusterRoleBinding",
            "release-gateway-helm-envoy-gateway-rolebinding",
            "",
            roleRef={"kind": "ClusterRole", "name": "release-gateway-helm-envoy-gateway-role"},
            subjects=[ACCOUNT],
        ),
    }
    for part, account in (("infra-manager", "envoy-gateway"), ("certgen", "release-gateway-helm-certgen")):
        name = f"release-gateway-helm-{part}"
        made[f"role of {part}"] = named(RBAC, "Role", name, rules=rules)
        made[f"binding of {part}"] = named(
            RBAC,
            "RoleBinding",
            name,
            roleRef={"kind": "Role", "name": name},
            subjects=[{**ACCOUNT, "name": account}],
        )
    return made


def test_what_the_chart_makes_is_allowed() -> None:
    check(list(release().values()), NAMESPACE, RELEASE)


@pytest.mark.parametrize(
    "added",
    [
        named("batch/v1", "CronJob", "release-job"),
        named("v1", "Secret", "release-secret"),
        named("apiextensions.k8s.io/v1", "CustomResourceDefinition", "release-crd", ""),
        named("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "release-webhook", ""),
        named("v1", "ConfigMap", "envoy-gateway-config", "kube-system"),
        named("v1", "ConfigMap", "others"),
        named("v1", "ConfigMap", "envoy-gateway-config", ""),
        named(RBAC, "ClusterRole", "cluster-admin", ""),
        {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": "release-without-label"}},
        {"apiVersion": "v1", "kind": "ConfigMap"},
        {},
    ],
)
def test_what_no_chart_makes_is_refused(added: Body) -> None:
    with pytest.raises(ValueError, match="is none that Envoy Gateway's chart makes"):
        check([*release().values(), added], NAMESPACE, RELEASE)


@pytest.mark.parametrize(
    ("which", "field", "value", "said"),
    [
        ("cluster binding", "roleRef", {"kind": "ClusterRole", "name": "cluster-admin"}, "ClusterRole cluster-admin"),
        ("binding of certgen", "roleRef", {"kind": "ClusterRole", "name": "admin"}, "ClusterRole admin"),
        ("cluster binding", "subjects", [ACCOUNT, {"kind": "User", "name": "release-eve"}], "User release-eve"),
        ("cluster binding", "subjects", [{**ACCOUNT, "namespace": "default"}], "ServiceAccount envoy-gateway"),
        ("cluster binding", "subjects", [{**ACCOUNT, "name": "default"}], "ServiceAccount default"),
        ("cluster role", "rules", [{"apiGroups": ["*"], "resources": ["pods"], "verbs": ["get"]}], "rights"),
        ("cluster role", "rules", [{"apiGroups": [""], "resources": ["*"], "verbs": ["get"]}], "rights"),
        ("cluster role", "rules", [{"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}], "rights"),
        ("role of certgen", "rules", [{"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}], "rights"),
    ],
)
def test_rights_of_others_are_refused(which: str, field: str, value: t.Any, said: str) -> None:
    objects = release()
    objects[which][field] = value
    with pytest.raises(ValueError, match=said):
        check(list(objects.values()), NAMESPACE, RELEASE)


@pytest.mark.parametrize(
    "fields",
    [
        {"hostNetwork": True},
        {"volumes": [{"name": "node", "hostPath": {"path": "/"}}]},
        {"initContainers": [{"name": "first", "securityContext": {"privileged": True}}]},
    ],
)
def test_access_to_the_node_is_refused(fields: Body) -> None:
    objects = release()
    deployment = copy.deepcopy(objects["deployment"])
    deployment["spec"]["template"]["spec"].update(fields)
    with pytest.raises(ValueError, match="access to their node"):
        check([*objects.values(), deployment], NAMESPACE, RELEASE)
