# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the proxies reach Authorino, with one pod of it and with several."""

from __future__ import annotations

import typing as t

import pytest
from rendering import manifests

VARIABLES: dict[str, t.Any] = {
    "ai_gateway_stack": "wg_ai_gateway",
    "ai_gateway_policy_engine": "authorino",
    "ai_gateway_authorino_namespace": "judges",
    "ai_gateway_providers": [
        {
            "name": "openai",
            "schema": "openai",
            "simulated": True,
            "credential": {"value": "sk-a-key"},
            "models": [{"name": "gpt-4"}],
        },
    ],
}
Objects = dict[tuple[str, str], dict[str, t.Any]]
Rendered = dict[int, list[Objects]]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """What each template that asks Authorino renders, by the number of its pods."""
    templates = ("authorino.yaml.j2", "maas_api.yaml.j2")
    return {
        replicas: [
            manifests(
                tmp_path_factory.mktemp("backend"),
                "access_policies",
                name,
                {**VARIABLES, "ai_gateway_controller_replicas": replicas},
            )
            for name in templates
        ]
        for replicas in (1, 2)
    }


def of_kind(objects: Objects, kind: str) -> dict[str, t.Any]:
    (found,) = (manifest for (other, _name), manifest in objects.items() if other == kind)
    return found


@pytest.mark.parametrize(("replicas", "service"), [(1, "authorino"), (2, "authorino-pods")])
def test_several_pods_have_a_name_for_all_their_addresses(rendered: Rendered, replicas: int, service: str) -> None:
    for objects in rendered[replicas]:
        assert of_kind(objects, "Backend")["spec"]["endpoints"] == [
            {"fqdn": {"hostname": f"{service}.judges.svc.cluster.local", "port": 50051}}
        ]


def test_a_policy_refers_to_the_backend_beside_it(rendered: Rendered) -> None:
    for objects in [*rendered[1], *rendered[2]]:
        policy, backend = of_kind(objects, "SecurityPolicy"), of_kind(objects, "Backend")
        assert [reference["name"] for reference in policy["spec"]["extAuth"]["grpc"]["backendRefs"]] == [
            backend["metadata"]["name"]
        ]
        assert policy["metadata"]["namespace"] == backend["metadata"]["namespace"]


def test_who_cannot_be_judged_is_refused(rendered: Rendered) -> None:
    for objects in [*rendered[1], *rendered[2]]:
        judged = of_kind(objects, "SecurityPolicy")["spec"]["extAuth"]
        assert (judged["failOpen"], judged["statusOnError"], judged["timeout"]) == (False, 503, "5s")


def test_authorino_is_asked_again(rendered: Rendered) -> None:
    for objects in [*rendered[1], *rendered[2]]:
        settings = of_kind(objects, "SecurityPolicy")["spec"]["extAuth"]["grpc"]["backendSettings"]
        assert settings["retry"]["numRetries"] == 5
        assert {"connect-failure", "reset", "unavailable"} <= set(settings["retry"]["retryOn"]["triggers"])
        # Envoy's longest pause is the time of an attempt too: a second one has to fit into the timeout of 5 s.
        assert settings["retry"]["perRetry"]["backOff"]["maxInterval"] == "2s"
        # Otherwise attempts wait longer for a connection than the whole answer may take.
        assert settings["timeout"]["tcp"]["connectTimeout"] == "500ms"
        # Of connections HTTP/2 needs few.
        assert settings["circuitBreaker"].pop("maxConnections") == 1024
        assert min(settings["circuitBreaker"].values()) > 1024


def test_a_pod_that_is_gone_is_known_within_a_second_and_passed_over(rendered: Rendered) -> None:
    for objects in rendered[2]:
        settings = of_kind(objects, "SecurityPolicy")["spec"]["extAuth"]["grpc"]["backendSettings"]
        assert settings["dns"] == {"dnsRefreshRate": "1s", "respectDnsTtl": False}
        assert settings["loadBalancer"] == {"type": "RoundRobin"}
        passive = settings["healthCheck"]["passive"]
        assert (passive["splitExternalLocalOriginErrors"], passive["consecutiveLocalOriginFailures"]) == (True, 1)


def test_the_only_pod_is_never_passed_over(rendered: Rendered) -> None:
    for objects in rendered[1]:
        assert {"dns", "healthCheck", "loadBalancer"}.isdisjoint(
            of_kind(objects, "SecurityPolicy")["spec"]["extAuth"]["grpc"]["backendSettings"]
        )
