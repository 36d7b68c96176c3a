# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._preflight.readings import (
    Controller,
    Readings,
    Right,
    read,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._preflight.rules import (
    Needs,
    faults_of,
    rights_of,
    warnings_of,
)
from cluster import Cluster

NEEDS = Needs(
    version="1.32",
    controllers={"Envoy Gateway": "ai-gateway-envoy-gateway", "Envoy AI Gateway": "ai-gateway-envoy-ai-gateway"},
    controller_name="gateway.envoyproxy.io/ours",
    namespace="ai-gateway",
)
RESOURCES = {
    "v1": {
        "configmaps": ("ConfigMap", True),
        "namespaces": ("Namespace", False),
        "services": ("Service", True),
        "nodes": ("Node", False),
    },
    "apps/v1": {"deployments": ("Deployment", True)},
    "authorization.k8s.io/v1": {},
}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Readings("v1.31.9"), "The cluster runs Kubernetes v1.31.9"),
        (Readings("v1.34.4", missing_rights=[Right("apps", "deployments", "patch")]), "deployments.apps: patch"),
        (
            Readings("v1.34.4", [Controller("Envoy AI Gateway", "theirs", "ai-gateway-controller", "v1.0.0")]),
            "Envoy AI Gateway v1.0.0 in namespace theirs takes the AIGatewayRoutes of every namespace",
        ),
        (
            Readings(
                "v1.34.4", [Controller("Envoy AI Gateway", "theirs", "c", "", ("--watchNamespaces=a,ai-gateway",))]
            ),
            "Envoy AI Gateway in namespace theirs takes",
        ),
        (
            Readings("v1.34.4", [Controller("Envoy Gateway", "theirs", "c", "v1.5.0", (), NEEDS.controller_name)]),
            "Set ai_gateway_controller_name to another name",
        ),
    ],
)
def test_what_stands_in_the_way(found: Readings, words: str) -> None:
    (fault,) = faults_of(found, NEEDS)
    assert words in fault


@pytest.mark.parametrize(
    "found",
    [
        Readings("v1.32.0"),
        Readings("v1.40.1-gke.100"),
        # Nobody knows how old it is.
        Readings("unknown"),
        Readings(
            "v1.34.4",
            [Controller("Envoy Gateway", "ai-gateway-envoy-gateway", "c", "", (), "gateway.envoyproxy.io/ours")],
        ),
        Readings("v1.34.4", [Controller("Envoy Gateway", "envoy-gateway-system", "c", "", (), "theirs")]),
        Readings("v1.34.4", [Controller("Envoy AI Gateway", "theirs", "c", "", ("-watchNamespaces=a,b",))]),
        Readings("v1.34.4", [Controller("Istio", "istio-system", "istiod", "1.27.0")]),
    ],
)
def test_what_does_not(found: Readings) -> None:
    assert faults_of(found, NEEDS) == []


def test_a_run_that_installs_no_controllers_may_meet_any() -> None:
    needs = dataclasses.replace(NEEDS, controllers={})
    found = Readings("v1.34.4", [Controller("Envoy AI Gateway", "theirs", "c", "")])
    assert faults_of(found, needs) == []
    assert Right("batch", "jobs", "create") not in rights_of(needs)
    assert Right("batch", "jobs", "create") in rights_of(NEEDS)


def test_a_cluster_without_load_balancers_is_a_warning() -> None:
    assert warnings_of(Readings(load_balancer=True), NEEDS) == warnings_of(Readings(), NEEDS) == []
    (warning,) = warnings_of(Readings(load_balancer=False), NEEDS)
    assert "gateway_service_type" in warning


def deployment(namespace: str, name: str, image: str, *args: str, **labels: str) -> dict[str, t.Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"template": {"spec": {"containers": [{"image": image, "args": list(args)}]}}},
    }


def test_controllers_are_known_by_their_images_wherever_they_come_from() -> None:
    cluster = Cluster(RESOURCES)
    cluster.add(
        deployment("eg", "envoy-gateway", "docker.io/envoyproxy/gateway:v1.5.0"),
        deployment("mirror", "eg", "mirror.example.com:5000/x/envoyproxy/gateway@sha256:abc"),
        deployment("ai", "c", "docker.io/envoyproxy/ai-gateway-controller:v0.4.0", "--watchNamespaces=x"),
        deployment("istio-system", "istiod", "docker.io/istio/pilot:1.27.0"),
        deployment("shop", "web", "docker.io/library/nginx:1.29"),
    )
    data = {"envoy-gateway.yaml": "gateway:\n  controllerName: gateway.envoyproxy.io/theirs\n"}
    cluster.put("configmaps", "eg", "envoy-gateway-config", data=data)
    found = read(cluster.api(), "ai-gateway", [], True, "applyset.kubernetes.io/id")
    assert found.controllers == [
        Controller("Envoy Gateway", "eg", "envoy-gateway", "v1.5.0", (), "gateway.envoyproxy.io/theirs"),
        Controller("Envoy Gateway", "mirror", "eg", ""),
        Controller("Envoy AI Gateway", "ai", "c", "v0.4.0", ("--watchNamespaces=x",)),
        Controller("Istio", "istio-system", "istiod", "1.27.0"),
    ]
    assert found.version == "v1.34.0"
    assert found.load_balancer is False
    assert cluster.writes == []


@pytest.mark.parametrize(
    ("plural", "content"),
    [
        (
            "services",
            {"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}},
        ),
        ("nodes", {"spec": {"providerID": "aws:///eu-central-1a/i-1"}}),
    ],
)
def test_signs_of_a_load_balancer(plural: str, content: dict[str, t.Any]) -> None:
    cluster = Cluster(RESOURCES)
    cluster.put(plural, "shop" if plural == "services" else "", "a", **content)
    assert read(cluster.api(), "ai-gateway", [], True, "x").load_balancer is True


class Denying(Cluster):
    """Allows its user to create deployments and to list nothing."""

    def request(self, method: str, url: str, body: bytes | None, **options: t.Any) -> t.Any:
        answer = super().request(method, url, body, **options)
        if "selfsubjectaccessreviews" in url:
            answer.data = b'{"status": {"allowed": %s}}' % (b"true" if b'"create"' in (body or b"") else b"false")
        elif url.partition("?")[0].endswith("/deployments"):
            answer.status, answer.data = 403, b'{"kind": "Status", "code": 403, "message": "no deployments for you"}'
        return answer


def test_rights_and_what_may_not_be_read() -> None:
    rights = [Right("apps", "deployments", "create"), Right("", "serviceaccounts/token", "get")]
    found = read(Denying(RESOURCES).api(), "ai-gateway", rights, False, "x")
    assert found.missing_rights == [rights[1]]
    assert found.unread == ["deployments: no deployments for you"]
    (warning,) = warnings_of(found, NEEDS)
    assert "no deployments for you" in warning


def test_other_refusals_are_errors() -> None:
    class Broken(Cluster):
        def request(self, method: str, url: str, body: bytes | None, **options: t.Any) -> t.Any:
            answer = super().request(method, url, body, **options)
            if url.partition("?")[0].endswith("/deployments"):
                answer.status, answer.data = 400, b'{"kind": "Status", "code": 400, "message": "broken"}'
            return answer

    with pytest.raises(ApiError, match="broken"):
        read(Broken(RESOURCES).api(), "ai-gateway", [], False, "x")
