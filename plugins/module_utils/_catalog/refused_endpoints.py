# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which endpoints of providers an inventory may name.

Many people may write an inventory. An endpoint inside the cluster, on the node or at a cloud's metadata service would
let a model's name reach what no client may reach, so such endpoints need to be allowed by name.
"""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Iterable

Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]  # noqa: UP007 (pylint of ansible-test)
Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]  # noqa: UP007 (pylint of ansible-test)

#: Metadata services that clouds serve by name; their addresses are link-local or listed below.
METADATA_NAMES = (
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
)
METADATA_ADDRESSES = ("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "100.100.100.200", "168.63.129.16")
#: What is no address of the internet, for rules that are written before an address is known.
PRIVATE_NETWORKS = (
    *(
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
    ),
    *("198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "::/127", "fc00::/7", "fe80::/10", "ff00::/8"),
)
#: Ranges that are not of the internet, whatever this Python's own list says, among them those with an IPv4 address
#: inside.
SPECIAL_NETWORKS = tuple(
    ipaddress.ip_network(cidr)
    for cidr in (
        *("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4"),
        *(
            "::/96",
            "::ffff:0:0:0/96",
            "64:ff9b::/96",
            "64:ff9b:1::/48",
            "100::/64",
            "2001::/32",
            "2002::/16",
            "fec0::/10",
        ),
    )
)
#: Namespaces that every cluster has; ``<service>.<namespace>`` is found by the search list of a pod.
CLUSTER_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


def address(string: str) -> Address | None:
    """The IP address that ``string`` is, or None; an IPv4 address inside an IPv6 one counts as itself."""
    try:
        found = ipaddress.ip_address(string)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


def network(string: str) -> Network | None:
    """The range of addresses, such as 10.96.0.0/12, that ``string`` is, or None."""
    try:
        return ipaddress.ip_network(string)
    except ValueError:
        return None


def danger(hostname: str, namespaces: Iterable[str], networks: Iterable[Network], allowed: Iterable[str]) -> str:
    """Why an endpoint must not be called, as the rest of a sentence about it; empty if it may be.

    :param hostname: a DNS name in lower case, or an IP address.
    :param namespaces: names of the gateway's own namespaces.
    :param networks: the cluster's ranges of addresses for pods, Services and nodes.
    :param allowed: names, addresses and ranges that may be called all the same.
    """
    found = address(hostname)
    if hostname in allowed or (found is not None and any(_within(found, network(entry)) for entry in allowed)):
        return ""
    return _danger_of_address(found, networks) if found is not None else _danger_of_name(hostname, namespaces)


def _within(found: Address, within: Network | None) -> bool:
    return within is not None and found.version == within.version and found in within


def _danger_of_address(found: Address, networks: Iterable[Network]) -> str:
    if str(found) in METADATA_ADDRESSES:
        return "is the address of a cloud's metadata service"
    if found.is_loopback:
        return "is a loopback address"
    if found.is_link_local:
        return "is a link-local address"
    if any(_within(found, within) for within in networks):
        return "is an address of the cluster"
    if not found.is_global or found.is_multicast or any(_within(found, within) for within in SPECIAL_NETWORKS):
        return "is no address of the internet, and the cluster's own may be among such"
    return ""


def _danger_of_name(name: str, namespaces: Iterable[str]) -> str:
    labels = name.split(".")
    if name in METADATA_NAMES:
        return "is the name of a cloud's metadata service"
    if labels[-1] == "localhost" or name == "localhost.localdomain":
        return "is the proxy itself"
    if len(labels) == 1:
        return "has no dot, so that it is looked up inside the cluster first"
    if name.endswith((".cluster.local", ".svc", ".pod")) or ".svc." in name or ".pod." in name:
        return "is a name inside the cluster"
    if labels[-1] in (*CLUSTER_NAMESPACES, *namespaces):
        return "is a name inside the cluster, a Service and its namespace"
    if labels[-1] in ("local", "internal"):
        return "is a name of a private network"
    return ""
