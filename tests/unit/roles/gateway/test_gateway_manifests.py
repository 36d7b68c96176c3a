# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role's template renders."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from rendering import manifests

POLICY = ("NetworkPolicy", "ai-gateway.ai-gateway.proxies")


def policy_of(directory: Path, **variables: t.Any) -> dict[str, t.Any]:
    given = {"ai_gateway_allow_empty": True, "__gateway_identity_key": "k" * 64, **variables}
    return t.cast("dict[str, t.Any]", manifests(directory, "gateway", "gateway.yaml.j2", given)[POLICY])


def ports_of(rules: list[dict[str, t.Any]]) -> set[tuple[str, int]]:
    return {(port["protocol"], port["port"]) for rule in rules for port in rule["ports"]}


@pytest.mark.parametrize(("secret", "port"), [("", 10080), ("certificate", 10443)])
def test_clients_reach_the_port_of_the_listener(tmp_path: Path, secret: str, port: int) -> None:
    policy = policy_of(tmp_path, gateway_tls_secret=secret)
    assert policy["metadata"]["namespace"] == "ai-gateway-envoy-gateway"
    ingress = policy["spec"]["ingress"]
    assert not any("from" in rule for rule in ingress)
    assert ports_of(ingress) == {("TCP", number) for number in (port, 19001, 19002, 19003, 1064)}


def test_the_proxies_reach_what_they_always_need_and_no_more(tmp_path: Path) -> None:
    spec = policy_of(tmp_path)["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    labels = {
        "gateway.envoyproxy.io/owning-gateway-name": "ai-gateway",
        "gateway.envoyproxy.io/owning-gateway-namespace": "ai-gateway",
    }
    assert spec["podSelector"] == {"matchLabels": labels}
    assert ports_of(spec["egress"]) == {("UDP", 53), ("TCP", 53), ("TCP", 18000), ("TCP", 8081), ("TCP", 50051)}
    assert all(rule["to"] for rule in spec["egress"])
    assert [peer["ipBlock"]["cidr"] for rule in spec["egress"] for peer in rule["to"] if "ipBlock" in peer] == [
        "169.254.20.10/32"
    ]


def test_openshift_resolves_elsewhere(tmp_path: Path) -> None:
    (rule, *_others) = policy_of(tmp_path, ai_gateway_platform="openshift", ai_gateway_policy_engine="authorino")[
        "spec"
    ]["egress"]
    assert rule["to"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "openshift-dns"}
    assert {port["port"] for port in rule["ports"]} == {5353}
