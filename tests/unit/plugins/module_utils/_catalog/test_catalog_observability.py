# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from catalog_inventory import INVENTORY, faults

COLLECTOR = "http://collector.monitoring.svc.cluster.local:4317"


def observed(value: t.Any, **variables: t.Any) -> dict[str, t.Any]:
    return {**INVENTORY, "observability": value, **variables}


def test_nothing_is_observed_unasked() -> None:
    nothing = {"enabled": False, "users": 0, "scrapers": [], "traces": None}
    for value in (None, {}, {"enabled": False}, {"users": 5}):
        assert build(observed(value)).as_dict()["observability"] == nothing


@pytest.mark.parametrize(
    ("platform", "namespaces"),
    [
        ("kubernetes", ["monitoring"]),
        ("openshift", ["openshift-user-workload-monitoring", "openshift-monitoring"]),
    ],
)
def test_scrapers_are_those_of_the_platform(platform: str, namespaces: list[str]) -> None:
    found = build(observed({"enabled": True}, platform=platform)).observability
    assert [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in found.scrapers] == (
        namespaces
    )
    assert found.users == 1000


def test_scrapers_are_peers_of_a_policy() -> None:
    scrapers = [{"namespace": "a", "pods": {"app": "prometheus"}}, {"namespace": "b"}]
    found = build(observed({"enabled": True, "scrapers": scrapers, "user_label": False})).observability
    assert found.scrapers == (
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a"}},
            "podSelector": {"matchLabels": {"app": "prometheus"}},
        },
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "b"}}},
    )
    assert found.users == 0


@pytest.mark.parametrize(
    ("endpoint", "host", "port", "tls", "destination"),
    [
        (COLLECTOR, "collector.monitoring.svc.cluster.local", 4317, False, "namespace.monitoring"),
        ("https://otlp.example.com:443", "otlp.example.com", 443, True, "port-443"),
        ("http://192.0.2.7:4317", "192.0.2.7", 4317, False, "port-4317"),
    ],
)
def test_proxies_may_reach_the_collector(endpoint: str, host: str, port: int, tls: bool, destination: str) -> None:
    catalog = build(observed({"enabled": True, "traces": {"endpoint": endpoint, "sampling": 10}}))
    traces = catalog.observability.traces
    assert traces
    assert (traces.hostname, traces.port, traces.tls, traces.sampling, traces.content) == (host, port, tls, 10, False)
    assert destination in [found.name for found in catalog.egress]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"enable": True}, "enable"),
        ({"enabled": "yes"}, "enabled"),
        ({"enabled": True, "users": 0}, "users"),
        ({"enabled": True, "users": 1_000_000}, "users"),
        ({"enabled": True, "scrapers": []}, "scrapers"),
        ({"enabled": True, "scrapers": [{"pods": {"a": "b"}}]}, "scrapers[0].namespace"),
        ({"enabled": True, "scrapers": [{"namespace": "a", "pods": {}}]}, "scrapers[0].pods"),
        ({"enabled": True, "scrapers": [{"namespace": "a", "pods": {"a": 1}}]}, "scrapers[0].pods.a"),
        ({"enabled": True, "scrapers": [{"namespace": "a", "pods": {"a b": "c"}}]}, "scrapers[0].pods.a b"),
        ({"traces": {"endpoint": COLLECTOR}}, "traces"),
        ({"enabled": True, "traces": {"sampling": 5}}, "traces.endpoint"),
        ({"enabled": True, "traces": {"endpoint": "collector:4317"}}, "traces.endpoint"),
        ({"enabled": True, "traces": {"endpoint": COLLECTOR + "/v1/traces"}}, "traces.endpoint"),
        ({"enabled": True, "traces": {"endpoint": "http://collector:70000"}}, "traces.endpoint"),
        ({"enabled": True, "traces": {"endpoint": "http://1.2.3:4317"}}, "traces.endpoint"),
        ({"enabled": True, "traces": {"endpoint": COLLECTOR, "sampling": 101}}, "traces.sampling"),
    ],
)
def test_what_is_wrong_is_named(value: dict[str, t.Any], path: str) -> None:
    (fault,) = faults(observed(value))
    assert fault.path == f"ai_gateway_observability.{path}"
    assert fault.remedy


def test_a_gateway_of_somebody_else_counts_nothing() -> None:
    found = faults(observed({"enabled": True}, policy_engine="kuadrant", stack="wg_ai_gateway", platform="openshift"))
    assert "ai_gateway_observability.enabled" in [fault.path for fault in found]
