# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.host import (
    GIB,
    Host,
    Needs,
    Network,
    change_faults,
    collisions,
    host_faults,
    network_faults,
    read_host,
)

HOST = Host(
    system="Linux",
    distributions=("debian",),
    user=0,
    capabilities=(1 << 41) - 1,
    filesystems=("ext4", "overlay"),
    controllers=("cpu", "memory", "pids"),
    memory_available=8 * GIB,
    disk_free={"/var/lib/x": 50 * GIB},
)
NEEDS = Needs(memory=3 * GIB, disk={"/var/lib/x": ("the cluster's state", 5 * GIB)})
NETWORK = Network("egress0", "10.245.0.1/30", "10.245.0.2", "10.244.0.0/16", "10.96.0.0/16")


def test_sufficient_host_has_no_faults():
    assert host_faults(HOST, NEEDS) == []
    assert host_faults(dataclasses.replace(HOST, distributions=("ubuntu", "debian")), NEEDS) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"system": "Darwin"}, "the system is Darwin"),
        ({"distributions": ("fedora",)}, "the distribution is fedora"),
        ({"user": 1000}, "the user is 1000 and not root"),
        ({"capabilities": 0}, "root lacks CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SYS_PTRACE"),
        ({"filesystems": ("ext4",)}, "no overlay file system: run 'modprobe overlay'"),
        ({"controllers": ("memory",)}, "no control groups for cpu, pids"),
        ({"memory_available": GIB}, "1.0 GiB of memory are available and 3.0 GiB are needed"),
        (
            {"disk_free": {"/var/lib/x": 2 * GIB}},
            "/var/lib/x (the cluster's state) has 2.0 GiB free and 5.0 GiB are needed",
        ),
    ],
)
def test_each_lack_is_named(change, message):
    faults = host_faults(dataclasses.replace(HOST, **change), NEEDS)
    assert len(faults) == 1
    assert message in faults[0]


def test_all_lacks_are_named_at_once():
    assert len(host_faults(dataclasses.replace(HOST, user=1, filesystems=(), memory_available=0), NEEDS)) == 3


def test_free_network_has_no_faults():
    assert (
        network_faults(
            NETWORK, [("lo", "127.0.0.1/8"), ("eth0", "192.0.2.2/24"), ("eth0", "fe80::1/64")], running=False
        )
        == []
    )
    assert network_faults(NETWORK, [("egress0", "10.245.0.1/30")], running=True) == []


@pytest.mark.parametrize(
    ("change", "addresses", "message"),
    [
        ({"interface": "much-too-long-name"}, [], "embedded_cluster_interface: 'much-too-long-name'"),
        ({"host_address": "10.245.0.300/30"}, [], "embedded_cluster_host_address: "),
        ({"node_address": "10.245.9.9"}, [], "10.245.9.9 is not another host of 10.245.0.0/30"),
        ({"node_address": "10.245.0.1"}, [], "10.245.0.1 is not another host of 10.245.0.0/30"),
        ({"node_address": "10.245.0.3"}, [], "10.245.0.3 is not another host of 10.245.0.0/30"),
        (
            {"service_subnet": "10.244.8.0/24"},
            [],
            "embedded_cluster_service_subnet: 10.244.8.0/24 overlaps 10.244.0.0/16",
        ),
        ({"pod_subnet": "10.244.0.1/16"}, [], "embedded_cluster_pod_subnet: 10.244.0.1/16 has host bits set"),
        ({}, [("tun0", "10.245.0.77/16")], "10.245.0.0/30 collides with 10.245.0.77/16 of interface tun0"),
        (
            {},
            [("egress0", "10.1.0.1/24")],
            "embedded_cluster_interface: egress0 exists and has the address 10.1.0.1/24",
        ),
    ],
)
def test_each_collision_is_named(change, addresses, message):
    faults = network_faults(dataclasses.replace(NETWORK, **change), addresses, running=False)
    assert len(faults) == 1
    assert message in faults[0]


def test_existing_cluster_keeps_its_networks():
    configuration = (
        "localAPIEndpoint:\n  advertiseAddress: 10.245.0.2\nnetworking:\n  podSubnet: 10.244.0.0/16\n"
        "  serviceSubnet: 10.97.0.0/16\n"
    )
    assert change_faults(None, NETWORK) == []
    (fault,) = change_faults(configuration, NETWORK)
    assert "embedded_cluster_service_subnet: the existing cluster has 10.97.0.0/16" in fault
    assert "embedded_cluster_state: absent" in fault


def test_this_machine_can_be_read(tmp_path):
    host = read_host([str(tmp_path / "not" / "there")])
    assert host.system == "Linux"
    assert host.memory_available > 0
    assert next(iter(host.disk_free.values())) > 0


DEFAULTS = {
    "embedded_cluster_name": "egress-ai-gateway",
    "embedded_cluster_interface": "egress0",
    "embedded_cluster_host_address": "10.245.0.1/30",
    "embedded_cluster_cache": "~/.cache",
}
OTHER = {
    "ai_gateway_platform": "embedded",
    "embedded_cluster_name": "other",
    "embedded_cluster_interface": "other0",
    "embedded_cluster_host_address": "10.246.0.1/30",
}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, []),
        ({"embedded_cluster_name": "egress-ai-gateway"}, ["embedded_cluster_name"]),
        ({"embedded_cluster_interface": "egress0"}, ["embedded_cluster_interface"]),
        # Another address of the same network.
        ({"embedded_cluster_host_address": "10.245.0.2/30"}, ["embedded_cluster_host_address"]),
        ({"embedded_cluster_host_address": "nonsense"}, []),
        ({"embedded_cluster_name": "egress-ai-gateway", "ai_gateway_platform": "kind"}, []),
    ],
)
def test_what_two_clusters_of_a_run_have_in_common_is_named(change, named):
    hostvars = {"a": {"ai_gateway_platform": "embedded"}, "b": {**OTHER, **change}}
    faults = collisions(hostvars, hostvars, "a", DEFAULTS)
    assert [fault.split()[0] for fault in faults] == named
    assert all(" for a and " in fault and " for b: " in fault and "host_vars" in fault for fault in faults)


def test_two_clusters_without_settings_are_one():
    hostvars = {name: {"ai_gateway_platform": "embedded"} for name in ("a", "b")}
    assert len(collisions(hostvars, hostvars, "b", DEFAULTS)) == 3
    assert collisions(hostvars, ["a"], "a", DEFAULTS) == []
