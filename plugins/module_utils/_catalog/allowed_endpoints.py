# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reader of what an inventory says about endpoints: those that are allowed, and the cluster's addresses."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import Fault, quote
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import PREFIX
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.refused_endpoints import (
    Network,
    address,
    danger,
    network,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import (
    ENDPOINT,
    HOSTNAME,
    NETWORK,
    Rule,
)


class AllowedEndpoints:
    """Which endpoints providers may have, from ``allowed_endpoints``, ``cluster_networks`` and the gateway's
    namespaces.
    """

    def __init__(self, root: Entry, namespaces: Sequence[str]) -> None:
        """
        :param root: all variables, by their names without the prefix.
        :param namespaces: see ``danger``.
        """
        self._namespaces = namespaces
        #: The cluster's ranges of addresses.
        self.cluster_networks = [
            found
            for path, cidr in _strings(root, "cluster_networks", NETWORK)
            if (found := _network(root, path, cidr)) is not None
        ]
        #: Names, addresses and ranges that may be called all the same.
        self.allowed = [
            name for path, name in _strings(root, "allowed_endpoints", ENDPOINT) if _is_endpoint(root, path, name)
        ]

    def check(self, entry: Entry, hostname: str, key: str = "hostname") -> None:
        """Note a fault at ``key`` of ``entry`` if the endpoint must not be called."""
        problem = danger(hostname, self._namespaces, self.cluster_networks, self.allowed) if hostname else ""
        if problem:
            remedy = f"write its public name, or add this one to {PREFIX}allowed_endpoints if it is meant"
            entry.fault(key, f"{quote(hostname)} {problem}", remedy)


def _strings(root: Entry, key: str, rule: Rule) -> list[tuple[str, str]]:
    """The strings of a list that may be empty or missing, with their paths."""
    return [] if root.value.get(key) in (None, [], ()) else root.strings(key, rule)


def _is_endpoint(root: Entry, path: str, name: str) -> bool:
    """Whether an endpoint can have this name, address or range. One that cannot allows nothing, which is a fault."""
    found = HOSTNAME.accepts(name) or address(name) is not None or network(name) is not None
    if not found:
        root.faults.append(
            Fault(
                path,
                f"{quote(name)} is no host name, address or range of addresses",
                "write one such as models.example.com, 10.0.0.7 or 10.96.0.0/12, without bits set after the prefix",
            )
        )
    return found


def _network(root: Entry, path: str, cidr: str) -> Network | None:
    found = network(cidr)
    if found is None:
        root.faults.append(
            Fault(
                path,
                f"{quote(cidr)} is no range of addresses",
                "write one such as 10.96.0.0/12, without bits set after the prefix",
            )
        )
    return found
