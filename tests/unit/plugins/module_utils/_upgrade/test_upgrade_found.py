# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import gzip
import json
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._upgrade.found import (
    LARGEST_MANIFESTS,
    RECORD_KEY,
    packed,
    proxy_port,
    read,
    record_of,
    unpacked,
)
from cluster import Cluster

Body = dict[str, t.Any]
NAMESPACE = "eg"
KINDS = {
    "v1": {
        "namespaces": ("Namespace", False),
        "configmaps": ("ConfigMap", True),
        "services": ("Service", True),
    },
    "apps/v1": {"deployments": ("Deployment", True)},
    "rbac.authorization.k8s.io/v1": {"clusterroles": ("ClusterRole", False)},
    "gateway.envoyproxy.io/v1alpha1": {"envoyproxies": ("EnvoyProxy", True)},
    "apiextensions.k8s.io/v1": {"customresourcedefinitions": ("CustomResourceDefinition", False)},
}
OWNERS = {
    "gateway.envoyproxy.io/owning-gateway-name": "ai",
    "gateway.envoyproxy.io/owning-gateway-namespace": "gateways",
}
RELEASE = {"app.kubernetes.io/instance": "release"}
MANIFESTS = [
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "envoy-gateway", "namespace": NAMESPACE}, "spec": {}}
]


def pod(name: str, image: str) -> Body:
    return {"replicas": 1, "template": {"spec": {"containers": [{"name": name, "image": image}]}}}


def applied(labels: Body) -> Body:
    fields = {"f:metadata": {"f:labels": {f"f:{name}": {} for name in labels}}, "f:spec": {"f:replicas": {}}}
    entry = {"manager": "egress.ai_gateway", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": fields}
    return {"labels": labels, "managedFields": [entry]}


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster(KINDS)
    made.put("namespaces", "", "kube-system")
    made.put(
        "deployments", NAMESPACE, "envoy-gateway", metadata=applied(RELEASE), spec=pod("envoy-gateway", "eg:v1.8.2")
    )
    made.put("deployments", "aieg", "ai-gateway-controller", spec=pod("ai-gateway-helm", "ai:v1.0.0"))
    made.put("deployments", NAMESPACE, "proxies", metadata={"labels": OWNERS}, spec=pod("envoy", "envoy:1.38.3"))
    canary = {**OWNERS, "egress.ai-gateway/canary": "envoy-gateway-canary.proxy"}
    made.put("deployments", NAMESPACE, "canary", metadata={"labels": canary}, spec=pod("envoy", "envoy:1.40.0"))
    made.put("clusterroles", "", "reads", metadata={"labels": RELEASE}, rules=[])
    return made


def found(cluster: Cluster) -> Body:
    return read(cluster.api(), NAMESPACE, "ai", "gateways", "aieg", "ai.upgrade")


def test_what_runs(cluster: Cluster) -> None:
    result = found(cluster)
    assert result["images"] == {"envoy_gateway": "eg:v1.8.2", "envoy_ai_gateway": "ai:v1.0.0", "envoy": "envoy:1.38.3"}
    assert result["versions"] == {"envoy_gateway": "1.8.2", "envoy_ai_gateway": "1.0.0", "envoy": "1.38.3"}
    assert result["proxies"]["metadata"] == {"name": "proxies", "namespace": NAMESPACE}
    assert result["record"] == {}
    assert cluster.writes == []


def test_the_canary_is_no_proxy_of_the_gateway(cluster: Cluster) -> None:
    del cluster.objects["deployments", NAMESPACE, "proxies"]
    result = found(cluster)
    assert result["proxies"] == {}
    assert result["images"]["envoy"] == ""


def test_the_image_that_is_asked_for_counts(cluster: Cluster) -> None:
    """A rollout that does not end is of an image that is asked for already."""
    wanted = {"provider": {"kubernetes": {"envoyDeployment": {"container": {"image": "envoy:1.40.0"}}}}}
    cluster.put("envoyproxies", "gateways", "ai", spec=wanted)
    assert found(cluster)["images"]["envoy"] == "envoy:1.40.0"


def test_the_release_is_recorded_by_what_was_applied(cluster: Cluster) -> None:
    (manifest,) = found(cluster)["manifests"]
    assert manifest["metadata"] == {"name": "envoy-gateway", "namespace": NAMESPACE, "labels": RELEASE}
    assert manifest["spec"] == {"replicas": 1}


def test_releases_of_crds_are_read_where_they_are_written(cluster: Cluster) -> None:
    assert found(cluster)["crds"] == {"envoy_gateway": "", "gateway_api": ""}
    for name, annotation, value in (
        ("backends.gateway.envoyproxy.io", "egress.ai-gateway/release", "v1.8.3"),
        ("gateways.gateway.networking.k8s.io", "gateway.networking.k8s.io/bundle-version", "v1.5.1"),
    ):
        cluster.put("customresourcedefinitions", "", name, metadata={"annotations": {annotation: value}})
    assert found(cluster)["crds"] == {"envoy_gateway": "v1.8.3", "gateway_api": "v1.5.1"}


def test_nothing_runs() -> None:
    result = found(Cluster(KINDS))
    assert result["images"] == {"envoy_gateway": "", "envoy_ai_gateway": "", "envoy": ""}
    assert (result["manifests"], result["proxies"]) == ([], {})


def test_a_record_comes_back(cluster: Cluster) -> None:
    assert unpacked(packed(MANIFESTS)) == MANIFESTS
    record = {"phase": "done", "images": {"envoy_gateway": "a", "envoy": "b"}}
    data = {RECORD_KEY: json.dumps(record), "manifests": packed(MANIFESTS)}
    cluster.put("configmaps", "gateways", "ai.upgrade", data=data)
    assert found(cluster)["record"] == {**record, "manifests": MANIFESTS}


def gzipped(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content)).decode()


IMAGES = json.dumps({"images": {"envoy_gateway": "eg:v1", "envoy": "envoy:v1"}})


@pytest.mark.parametrize(
    "data",
    [
        {"record": IMAGES},
        {"record": "no", "manifests": packed([])},
        {"record": "[]", "manifests": packed([])},
        {"record": "{}", "manifests": packed([])},
        {"record": '{"images": {"envoy_gateway": "eg:v1"}}', "manifests": packed([])},
        {"record": '{"images": {"envoy_gateway": "eg:v1", "envoy": 1}}', "manifests": packed([])},
        {"record": IMAGES, "manifests": "?"},
        {"record": IMAGES, "manifests": base64.b64encode(b"no gzip").decode()},
        {"record": IMAGES, "manifests": gzipped(b"{}")},
        {"record": IMAGES, "manifests": gzipped(b"[1]")},
        {"record": IMAGES, "manifests": gzipped(b"[]")[:12]},
        {"record": IMAGES, "manifests": gzipped(b"[" + b" " * LARGEST_MANIFESTS + b"]")},
        {"record": IMAGES, "manifests": packed([{**MANIFESTS[0], "metadata": {"name": "envoy-gateway"}}])},
        {"record": IMAGES, "manifests": packed([{**MANIFESTS[0], "metadata": 1}])},
    ],
)
def test_a_record_that_cannot_be_read_is_an_error(data: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="the record of an earlier upgrade cannot be read"):
        record_of({"data": data}, NAMESPACE, "release")


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("https://10.0.0.1:30080", 10443),
        ("http://10.0.0.1:30081", 10080),
        ("https://ai.example.com", 10443),
        ("http://ai.example.com/", 10080),
        ("https://ai.example.com:8443", 0),
    ],
)
def test_the_port_of_a_proxy_behind_a_url(url: str, port: int) -> None:
    ports = [
        {"port": 80, "node_port": 30081, "target": 10080},
        {"port": 443, "node_port": 30080, "target": 10443},
        {"port": 8443, "node_port": 0, "target": "named"},
    ]
    assert proxy_port(ports, url) == port
