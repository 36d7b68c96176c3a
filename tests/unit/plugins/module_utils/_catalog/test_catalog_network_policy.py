# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.network_policy import (
    to_inference_service,
    to_namespaces,
    to_outside,
    to_simulators,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.refused_endpoints import (
    METADATA_ADDRESSES,
    PRIVATE_NETWORKS,
    danger,
)

CLUSTER = [ipaddress.ip_network("34.118.224.0/20")]


def reached(peers: t.Iterable[dict[str, t.Any]], text: str) -> bool:
    """Whether the peers allow an address, as a network plugin reads them."""
    address = ipaddress.ip_address(text)

    def within(cidr: str) -> bool:
        network = ipaddress.ip_network(cidr)
        return address.version == network.version and address in network

    blocks = [peer["ipBlock"] for peer in peers if "ipBlock" in peer]
    return any(within(block["cidr"]) and not any(map(within, block.get("except", []))) for block in blocks)


def test_each_port_of_the_providers_is_a_destination() -> None:
    found = to_outside([("api.openai.com", 443), ("api.anthropic.com", 443), ("vllm.example.com", 8443)], CLUSTER, [])
    assert [(destination.name, destination.port) for destination in found] == [("port-443", 443), ("port-8443", 8443)]
    assert to_outside([], CLUSTER, ["10.0.0.1"]) == []


@pytest.mark.parametrize("text", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "100.128.0.1", "172.32.0.1", "192.0.1.1"])
def test_names_may_be_anywhere_in_the_internet(text: str) -> None:
    (destination,) = to_outside([("api.openai.com", 443)], CLUSTER, [])
    assert reached(destination.peers, text)


@pytest.mark.parametrize(
    "text",
    [
        *METADATA_ADDRESSES,
        "10.1.2.3",
        "127.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "34.118.224.1",
        "::1",
        "fe80::1",
        "fd00::1",
    ],
)
def test_names_may_not_lead_inside(text: str) -> None:
    (destination,) = to_outside([("api.openai.com", 443)], CLUSTER, [])
    assert not reached(destination.peers, text)


def test_what_is_private_here_is_refused_as_an_endpoint_too() -> None:
    for cidr in PRIVATE_NETWORKS:
        assert danger(str(ipaddress.ip_network(cidr)[0]), [], [], []), cidr


def test_exceptions_are_smaller_than_their_blocks_and_none_is_in_another() -> None:
    (destination,) = to_outside(
        [("api.openai.com", 443)], [*CLUSTER, ipaddress.ip_network("10.96.0.0/12"), ipaddress.ip_network("::/0")], []
    )
    (block,) = [peer["ipBlock"] for peer in destination.peers]
    assert block["cidr"] == "0.0.0.0/0"
    networks = [ipaddress.IPv4Network(cidr) for cidr in block["except"]]
    assert all(one == other or not one.overlaps(other) for one in networks for other in networks)


def test_an_address_that_is_named_is_all_that_is_reached() -> None:
    (destination,) = to_outside(
        [("10.20.0.7", 8000), ("34.202.9.189", 8000), ("2606:4700::1", 8000), ("10.20.0.7", 8000)],
        CLUSTER,
        ["10.20.0.7"],
    )
    assert destination.peers == (
        {"ipBlock": {"cidr": "10.20.0.7/32"}},
        {"ipBlock": {"cidr": "34.202.9.189/32"}},
        {"ipBlock": {"cidr": "2606:4700::1/128"}},
    )


def test_a_range_that_is_allowed_is_where_names_may_lead() -> None:
    (destination,) = to_outside([("vllm.corp.internal", 443)], CLUSTER, ["vllm.corp.internal", "10.20.0.0/16"])
    assert reached(destination.peers, "10.20.3.4")
    assert not reached(destination.peers, "10.21.3.4")


def test_services_are_reached_in_their_namespaces_on_any_port() -> None:
    names = ["opt.llm.svc.cluster.local", "other.llm.svc", "a.b.example.com", "api.openai.com", "1.1.1.1"]
    (destination,) = to_namespaces(names)
    assert (destination.name, destination.port) == ("namespace.llm", None)
    assert destination.peers == ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "llm"}}},)
    # A provider that is one of these is not outside.
    assert to_outside([(name, 443) for name in names[:2]], CLUSTER, names) == []


def test_pods_are_selected_by_labels_in_one_peer() -> None:
    for destination, namespace in (
        (to_simulators("external-models", 8000), "external-models"),
        (to_inference_service("llm", "opt", 8000), "llm"),
    ):
        (peer,) = destination.peers
        assert peer["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
        assert peer["podSelector"]["matchLabels"]
