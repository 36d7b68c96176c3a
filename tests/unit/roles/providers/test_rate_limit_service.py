# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the proxies reach several pods of the rate limit service."""

from __future__ import annotations

import typing as t
from pathlib import Path

from rendering import manifests

PROVIDERS = [
    {
        "name": "openai",
        "schema": "openai",
        "simulated": True,
        "credential": {"value": "sk-a-key"},
        "models": [{"name": "gpt-4"}],
    }
]
LISTENERS = [
    {"name": "https-wildcard", "port": 443},
    {"name": "https-bare", "port": 443},
    {"name": "http-redirect", "port": 80},
]
SEVERAL: dict[str, t.Any] = {
    "ai_gateway_controller_replicas": 2,
    "ai_gateway_providers": PROVIDERS,
    "__providers_gateway": {"resources": [{"spec": {"listeners": LISTENERS}}]},
}


def patches(directory: Path, variables: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The patches of what Envoy Gateway makes, none where there is no such policy."""
    objects = manifests(directory, "providers", "envoy_ai_gateway.yaml.j2", variables)
    return [
        patch
        for (kind, _name), manifest in objects.items()
        if kind == "EnvoyPatchPolicy"
        for patch in manifest["spec"]["jsonPatches"]
    ]


def test_each_pod_is_known_and_asked_in_turn(tmp_path: Path) -> None:
    found = {
        patch["operation"]["path"]: patch["operation"]["value"]
        for patch in patches(tmp_path, SEVERAL)
        if patch["name"] == "ratelimit_cluster"
    }
    address = found["/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address"]
    assert address == "envoy-ratelimit-pods.ai-gateway-envoy-gateway.svc.cluster.local"
    assert (found["/dns_refresh_rate"], found["/respect_dns_ttl"]) == ("1s", False)
    assert found["/outlier_detection"]["consecutive_local_origin_failure"] == 1
    assert "round_robin" in found["/load_balancing_policy"]["policies"][0]["typed_extension_config"]["name"]


def test_another_pod_is_asked_on_the_listeners_that_have_limits(tmp_path: Path) -> None:
    (patch,) = (patch for patch in patches(tmp_path, SEVERAL) if patch["name"] != "ratelimit_cluster")
    assert patch["name"] == "tcp-443"
    assert (patch["operation"]["jsonPath"], patch["operation"]["path"]) == (
        "$..rate_limit_service.grpc_service",
        "/retry_policy",
    )
    assert patch["operation"]["value"]["num_retries"] == 5
    # It is the time of an attempt too, and half of the filter's, so that nothing is counted more than twice.
    assert patch["operation"]["value"]["retry_back_off"]["max_interval"] == "0.250s"


def test_one_pod_keeps_the_address_of_its_service(tmp_path: Path) -> None:
    assert patches(tmp_path, {**SEVERAL, "ai_gateway_controller_replicas": 1}) == []
