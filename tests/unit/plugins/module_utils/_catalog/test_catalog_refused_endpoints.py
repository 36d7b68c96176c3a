# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.refused_endpoints import danger, network

NETWORKS = [found for found in (network("34.118.224.0/20"), network("2600:1900::/32")) if found]


@pytest.mark.parametrize(
    "hostname",
    [
        "127.0.0.1",
        "127.1.2.3",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "169.254.1.1",
        "fe80::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "10.96.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "224.0.0.1",
        "34.118.224.1",
        "2600:1900::1",
        "localhost",
        "a.localhost",
        "metadata",
        "metadata.google.internal",
        "instance-data.ec2.internal",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "kubernetes.default.svc.other.domain",
        "authorino.authorino",
        "redis-0.redis.default",
        "10-0-0-1.default.pod",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "2002:7f00:1::",
        "fec0::1",
        "192.0.0.192",
        "192.88.99.1",
        "printer.local",
        "vllm.corp.internal",
    ],
)
def test_ends_that_lead_inside(hostname: str) -> None:
    assert danger(hostname, ["authorino"], NETWORKS, [])
    assert danger(hostname, ["authorino"], NETWORKS, ["api.example.com", "192.0.2.0/24"])
    assert not danger(hostname, ["authorino"], NETWORKS, [hostname])


@pytest.mark.parametrize(
    "hostname",
    [
        "api.openai.com",
        "openai.com",
        "ec2-34-202-9-189.compute-1.amazonaws.com",
        "34.202.9.189",
        "2606:4700::6810:84e5",
    ],
)
def test_ends_outside(hostname: str) -> None:
    assert not danger(hostname, ["authorino"], NETWORKS, [])


def test_a_range_allows_its_addresses() -> None:
    assert not danger("10.1.2.3", [], [], ["10.1.0.0/16"])
    assert danger("10.2.2.3", [], [], ["10.1.0.0/16"])
    assert danger("10.1.2.3", [], [], ["2600::/16"])
