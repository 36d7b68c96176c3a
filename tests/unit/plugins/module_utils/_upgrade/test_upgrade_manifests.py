# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import PART_OF_LABEL
from ansible_collections.egress.ai_gateway.plugins.module_utils._upgrade.manifests import (
    ManifestsError,
    canary,
    recorded,
)

Body = dict[str, t.Any]
NAMESPACE = "eg"
ACCOUNT = {"kind": "ServiceAccount", "name": "envoy-gateway", "namespace": NAMESPACE}
LABELS = {"control-plane": "envoy-gateway", "app.kubernetes.io/instance": "release"}


def named(kind: str, name: str, namespace: str | None = NAMESPACE, **fields: t.Any) -> Body:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}


def release() -> list[Body]:
    pod = {
        "serviceAccountName": "envoy-gateway",
        "containers": [{"name": "envoy-gateway", "image": "eg:v2"}],
        "volumes": [
            {"name": "config", "configMap": {"name": "envoy-gateway-config"}},
            {"name": "certs", "secret": {"secretName": "envoy-gateway"}},
        ],
    }
    return [
        named("ConfigMap", "envoy-gateway-config", data={"envoy-gateway.yaml": "gateway: {}"}),
        named(
            "Deployment",
            "envoy-gateway",
            spec={
                "replicas": 3,
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": {"labels": LABELS}, "spec": pod},
            },
        ),
        named("Service", "envoy-gateway", spec={"selector": LABELS, "ports": [{"name": "grpc", "port": 18000}]}),
        named(
            "ClusterRole",
            "reads",
            None,
            rules=[
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch", "update"]},
                {"apiGroups": ["x"], "resources": ["things", "things/status"], "verbs": ["*"]},
                {"apiGroups": ["x"], "resources": ["things/status"], "verbs": ["update", "patch"]},
            ],
        ),
        named("ClusterRole", "others", None, rules=[{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]),
        named(
            "ClusterRoleBinding", "reads", None, roleRef={"kind": "ClusterRole", "name": "reads"}, subjects=[ACCOUNT]
        ),
        named(
            "ClusterRoleBinding",
            "others",
            None,
            roleRef={"kind": "ClusterRole", "name": "others"},
            subjects=[{**ACCOUNT, "name": "certgen"}],
        ),
        named(
            "Role",
            "leads",
            rules=[
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "list", "create"]},
                {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["create", "get", "delete"]},
            ],
        ),
        named("RoleBinding", "leads", roleRef={"kind": "Role", "name": "leads"}, subjects=[ACCOUNT]),
    ]


def proxies() -> Body:
    arguments = ["--service-cluster ai/ai", "address: envoy-gateway.eg.svc.cluster.local; my-envoy-gateway.eg.svc"]
    labels = {"app.kubernetes.io/name": "envoy", "app.kubernetes.io/component": "proxy", "owner": "ai"}
    template = {
        "metadata": {"labels": labels, "creationTimestamp": None},
        "spec": {
            "containers": [
                {"name": "envoy", "image": "envoy:v1", "args": arguments},
                {"name": "shutdown-manager", "image": "eg:v1", "args": ["envoy-gateway.eg.svc"]},
            ]
        },
    }
    return named("Deployment", "envoy-ai", spec={"replicas": 2, "template": template})


def made(**options: t.Any) -> dict[tuple[str, str], Body]:
    manifests = canary(release(), proxies(), NAMESPACE, "envoy:v2", **options)
    return {(body["kind"], body["metadata"]["name"]): body for body in manifests}


def test_the_canary_may_read_and_write_nothing() -> None:
    found = made()
    roles = [body for (kind, _name), body in found.items() if kind in ("ClusterRole", "Role")]
    assert len(roles) == 2
    rules = [rule for role in roles for rule in role["rules"]]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list", "watch"}
    resources = {resource for rule in rules for resource in rule["resources"]}
    # What only others of the release may read, and leases, by which it would lead, are not among them.
    assert resources == {"secrets", "things", "things/status", "deployments"}


def test_only_the_accounts_of_the_canary_get_these_rights() -> None:
    subjects = [body["subjects"] for (kind, _name), body in made().items() if kind.endswith("Binding")]
    assert subjects == [[{"kind": "ServiceAccount", "name": "envoy-gateway-canary", "namespace": NAMESPACE}]] * 2


def test_the_canary_is_no_pod_of_the_service_of_envoy_gateway() -> None:
    found = made()
    deployment = found["Deployment", "envoy-gateway-canary"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert not set(LABELS.items()) <= set(labels.items())
    assert labels["control-plane"] == "envoy-gateway"
    assert found["Service", "envoy-gateway-canary"]["spec"]["selector"] == labels
    assert deployment["spec"]["replicas"] == 1
    pod = deployment["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "envoy-gateway-canary"
    assert pod["containers"][0]["image"] == "eg:v2"
    assert pod["volumes"][1]["secret"]["secretName"] == "envoy-gateway"
    config = pod["volumes"][0]["configMap"]["name"]
    assert config != "envoy-gateway-config"
    assert found["ConfigMap", config]["data"] == {"envoy-gateway.yaml": "gateway: {}"}


def test_its_proxy_is_configured_by_it_and_served_to_nobody() -> None:
    proxy = made()["Deployment", "envoy-gateway-canary-proxy"]
    template = proxy["spec"]["template"]
    assert "app.kubernetes.io/name" not in template["metadata"]["labels"]
    assert template["metadata"]["labels"]["owner"] == "ai"
    envoy, shutdown = template["spec"]["containers"]
    assert envoy["image"] == "envoy:v2"
    assert envoy["args"][1] == "address: envoy-gateway-canary.eg.svc.cluster.local; my-envoy-gateway.eg.svc"
    assert shutdown["args"] == ["envoy-gateway.eg.svc"]


def test_the_release_itself_can_configure_the_proxy() -> None:
    before, after = made(), made(release_configures=True)
    assert after["Service", "envoy-gateway-canary"]["spec"]["selector"] == LABELS
    key = ("Deployment", "envoy-gateway-canary-proxy")
    assert before[key]["spec"]["template"] != after[key]["spec"]["template"]


def test_what_is_given_is_left_as_it_is() -> None:
    objects, deployment = release(), proxies()
    kept = copy.deepcopy((objects, deployment))
    canary(objects, deployment, NAMESPACE, "envoy:v2")
    assert (objects, deployment) == kept


def test_both_directions_have_names_of_their_own() -> None:
    assert not set(made()) & set(made(name="envoy-gateway-previous"))


@pytest.mark.parametrize("kind", ["Deployment", "Service", "ConfigMap"])
def test_a_release_of_another_form_is_refused(kind: str) -> None:
    objects = [body for body in release() if body["kind"] != kind]
    with pytest.raises(ManifestsError, match=f"no {kind}"):
        canary(objects, proxies(), NAMESPACE, "envoy:v2")


def test_proxies_of_another_form_are_refused() -> None:
    other = proxies()
    other["spec"]["template"]["spec"]["containers"][0]["args"] = ["--config-path", "/etc/envoy.yaml"]
    with pytest.raises(ManifestsError, match="envoy-ai"):
        canary(release(), other, NAMESPACE, "envoy:v2")


def test_a_record_has_what_this_collection_applied() -> None:
    fields = {
        "f:metadata": {"f:labels": {"f:app": {}, f"f:{PART_OF_LABEL}": {}}},
        "f:spec": {"f:replicas": {}},
    }
    entry = {"manager": "egress.ai_gateway", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": fields}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "a",
            "namespace": NAMESPACE,
            "uid": "1",
            "labels": {"app": "a", PART_OF_LABEL: "set", "others": "x"},
            "managedFields": [entry],
        },
        "spec": {"replicas": 2, "paused": False},
        "status": {"replicas": 2},
    }
    secret = {**body, "kind": "Secret"}
    foreign = {**body, "metadata": {"name": "b", "managedFields": [{**entry, "manager": "helm"}]}}
    assert recorded([body, secret, foreign]) == [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "a", "namespace": NAMESPACE, "labels": {"app": "a"}},
            "spec": {"replicas": 2},
        }
    ]
