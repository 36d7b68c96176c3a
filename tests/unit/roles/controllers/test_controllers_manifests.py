# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role's template renders beside the charts."""

from __future__ import annotations

import typing as t

import pytest
from rendering import manifests

VARIABLES = {
    "ai_gateway_allow_empty": True,
    "ai_gateway_platform": "embedded",
    "__controllers_kept_charts": [],
    "__controllers_ca": {"certificate": "authority", "key": "key"},
    "__controllers_certificates": {
        name: {"certificate": f"{name} certificate", "key": "key"} for name in ("webhook", "authorino")
    },
    "__controllers_redis_password": "password",
}


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, t.Any]]:
    found = manifests(tmp_path_factory.mktemp("controllers"), "controllers", "controllers.yaml.j2", VARIABLES)
    return {name: manifest for (kind, name), manifest in found.items() if kind == "NetworkPolicy"}


def open_to(policy: dict[str, t.Any]) -> dict[int | str, str]:
    """Who reaches each port of a policy:

    the labels of pods, their namespace before it where that is another, or nothing for all.
    """
    found = {}
    for rule in policy["spec"]["ingress"]:
        (peer,) = rule.get("from", [{}])
        namespace = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name", "")
        labels = peer.get("podSelector", {}).get("matchLabels", {})
        who = "/".join(
            filter(None, [namespace, labels.get("app.kubernetes.io/component") or labels.get("control-plane") or ""])
        )
        found.update({port["port"]: who for port in rule["ports"]})
    return found


def test_who_reaches_the_ports_of_the_controllers(policies: dict[str, dict[str, t.Any]]) -> None:
    assert {name: open_to(policy) for name, policy in policies.items()} == {
        "redis": {"redis": "ratelimit"},
        "envoy-gateway": {18000: "proxy", 18001: "ratelimit", 19001: ""},
        "envoy-ratelimit": {8081: "proxy", 19001: ""},
        "ai-gateway-controller": {1063: "ai-gateway-envoy-gateway/envoy-gateway", 9443: "", 8080: ""},
        "authorino": {"grpc": "ai-gateway-envoy-gateway/proxy", "health": ""},
    }


def test_each_policy_stands_in_the_namespace_of_its_pods(policies: dict[str, dict[str, t.Any]]) -> None:
    assert {name: policy["metadata"]["namespace"] for name, policy in policies.items()} == {
        **dict.fromkeys(("redis", "envoy-gateway", "envoy-ratelimit"), "ai-gateway-envoy-gateway"),
        "ai-gateway-controller": "ai-gateway-envoy-ai-gateway",
        "authorino": "ai-gateway-authorino",
    }
    assert all("Ingress" in policy["spec"]["policyTypes"] for policy in policies.values())
