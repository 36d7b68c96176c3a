# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.filter.gateway_url import FilterModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.gateway_url import gateway_url

Body = dict[str, t.Any]
HTTP: Body = {"name": "http", "protocol": "HTTP", "port": 80}
HTTPS: Body = {"name": "https", "protocol": "HTTPS", "port": 443}


def gateway(*addresses: str, listeners: t.Sequence[Body] = (HTTP,)) -> Body:
    return {
        "kind": "Gateway",
        "spec": {"listeners": list(listeners)},
        "status": {"addresses": [{"type": "IPAddress", "value": value} for value in addresses]},
    }


def service(kind: str, **port: int) -> Body:
    return {"kind": "Service", "spec": {"type": kind, "clusterIP": "10.96.0.7", "ports": [{"port": 80, **port}]}}


@pytest.mark.parametrize(
    ("found", "of_proxies", "url"),
    [
        # A load balancer's address, as an IP address or a host name.
        (gateway("203.0.113.7"), service("LoadBalancer", nodePort=31000), "http://203.0.113.7"),
        (gateway("lb.example.com"), service("LoadBalancer", nodePort=31000), "http://lb.example.com"),
        (gateway("2001:db8::7"), service("LoadBalancer"), "http://[2001:db8::7]"),
        (gateway("203.0.113.7", "203.0.113.8"), None, "http://203.0.113.7"),
        # The address of a node, or of the cluster.
        (gateway("10.245.0.2"), service("NodePort", nodePort=30080), "http://10.245.0.2:30080"),
        (gateway("fd00::2"), service("NodePort", nodePort=30080), "http://[fd00::2]:30080"),
        (gateway("10.245.0.2"), service("NodePort"), "http://10.245.0.2"),
        (gateway("10.96.0.7"), service("ClusterIP"), "http://10.96.0.7"),
        # HTTPS, beside another listener too.
        (gateway("203.0.113.7", listeners=[HTTPS]), None, "https://203.0.113.7"),
        (gateway("203.0.113.7", listeners=[HTTP, HTTPS]), None, "https://203.0.113.7"),
        (gateway("203.0.113.7", listeners=[]), None, "https://203.0.113.7"),
        # The host name of the listener that counts.
        (
            gateway("203.0.113.7", listeners=[HTTP, {**HTTPS, "hostname": "ai.example.com"}]),
            None,
            "https://ai.example.com",
        ),
        (gateway("203.0.113.7", listeners=[{**HTTPS, "hostname": "*.example.com"}]), None, "https://203.0.113.7"),
        # A wildcard and a bare host on one port.
        (
            gateway("203.0.113.7", listeners=[{**HTTPS, "hostname": f"{start}example.com"} for start in ("*.", "")]),
            None,
            "https://example.com",
        ),
        # The port of the nodes that leads to the listener, wherever it stands.
        (
            gateway("10.245.0.2", listeners=[HTTPS, HTTP]),
            {
                "spec": {
                    "type": "NodePort",
                    "ports": [{"port": 80, "nodePort": 30081}, {"port": 443, "nodePort": 30080}],
                }
            },
            "https://10.245.0.2:30080",
        ),
        # No address yet.
        (gateway(), service("LoadBalancer"), ""),
        ({"spec": {"listeners": [HTTP]}, "status": {}}, None, ""),
        ({"spec": {"listeners": [HTTP]}}, {"spec": {"type": "NodePort"}}, ""),
        (None, None, ""),
    ],
)
def test_the_url_of_what_the_cluster_has(found: Body | None, of_proxies: Body | None, url: str) -> None:
    assert gateway_url(found, of_proxies) == url
    asked = FilterModule().filters()["gateway_url"]
    assert asked([found] if found else [], [of_proxies] if of_proxies else []) == url


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({"hostname": "ai.example.com"}, "http://ai.example.com:30080"),
        ({"hostname": "*.example.com"}, "http://203.0.113.7:30080"),
        ({"https": True}, "https://203.0.113.7:30080"),
        ({"hostname": "ai.example.com", "https": False}, "http://ai.example.com:30080"),
    ],
)
def test_what_the_inventory_says_counts_first(options: Body, url: str) -> None:
    assert gateway_url(gateway("203.0.113.7"), service("NodePort", nodePort=30080), **options) == url


@pytest.mark.parametrize(("https", "url"), [(True, "https://10.245.0.2:30080"), (False, "http://10.245.0.2:30081")])
def test_each_protocol_has_its_port_of_the_nodes(https: bool, url: str) -> None:
    ports = [{"port": 443, "nodePort": 30080}, {"port": 80, "nodePort": 30081}]
    proxies = {"spec": {"type": "NodePort", "ports": ports}}
    assert gateway_url(gateway("10.245.0.2", listeners=[HTTPS, HTTP]), proxies, https=https) == url


def test_a_host_name_needs_no_gateway() -> None:
    assert gateway_url(None, None, "maas.apps.example.com") == "https://maas.apps.example.com"
    assert gateway_url(None, None, "ai.example.com", https=False) == "http://ai.example.com"
