# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the proxies of a gateway may call, as peers of NetworkPolicies.

Each destination is a policy of its own, since policies add up: a new one opens before anything is routed there, and one
that is no longer named closes when its routes are gone.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import (
    Destination,
    InferencePool,
    McpServer,
    Model,
    Peer,
    Provider,
    SemanticRouter,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import (
    KSERVE_PORT,
    ROUTER_GRPC_PORT,
    SIMULATOR_PORT,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.refused_endpoints import (
    METADATA_ADDRESSES,
    PRIVATE_NETWORKS,
    Network,
    address,
    network,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.schemas import (
    AWS,
    GCP,
    SCHEMAS,
    WORKLOAD_IDENTITY,
)

# By cloud, what says who the proxies are: names of the policies, ports and addresses.
_IDENTITIES = (
    (AWS, "aws-pod-identity", 80, ("169.254.170.23/32", "fd00:ec2::23/128")),
    (GCP, "gcp-metadata", 80, ("169.254.169.254/32",)),
    (GCP, "gke-metadata", 988, ("169.254.169.252/32",)),
)


def to_providers(
    providers: Sequence[Provider | McpServer],
    simulators_namespace: str,
    cluster_networks: Iterable[Network],
    allowed: Iterable[str],
    issuers: Iterable[tuple[str, int]] = (),
) -> list[Destination]:
    """Where the providers, the MCP servers and their simulators are, and the keys of issuers.

    ``cluster_networks`` and ``allowed`` are as for ``to_outside``.

    :param issuers: host names and ports at which the keys are.
    """
    outside = [(provider.endpoint.hostname, provider.endpoint.port) for provider in providers if not provider.simulated]
    outside += issuers
    found = to_outside(outside, cluster_networks, allowed)
    found += to_namespaces(hostname for hostname, _port in outside)
    if any(provider.simulated for provider in providers):
        found.append(to_simulators(simulators_namespace, SIMULATOR_PORT))
    return found


def to_identities(providers: Iterable[Provider]) -> list[Destination]:
    """Where the proxies get the credentials of their own ServiceAccount: the agent of Pod Identity on the node, and the
    metadata server of a node in Google Cloud, which a proxy in it may answer for. Roles for ServiceAccounts need
    neither. The metadata service of a node of AWS is not among them: its role is the node's.
    """
    clouds = {SCHEMAS[provider.schema].cloud for provider in providers if provider.credential.form == WORKLOAD_IDENTITY}
    return [
        Destination(name, port, tuple({"ipBlock": {"cidr": cidr}} for cidr in cidrs))
        for cloud, name, port, cidrs in _IDENTITIES
        if cloud in clouds
    ]


def to_models(models: Sequence[Model], simulators_namespace: str) -> list[Destination]:
    """Where the models on the premises and their simulators are."""
    references = {
        backend.name: backend.backend_ref
        for model in models
        for backend in model.backends
        if backend.backend_ref is not None and backend.backend_ref.kind != "InferencePool"
    }
    real = [reference for reference in references.values() if not reference.simulator]
    found = to_namespaces(reference.hostname for reference in real if reference.kind == "Service")
    found += [
        to_inference_service(reference.namespace, reference.name, KSERVE_PORT)
        for reference in real
        if reference.kind == "LLMInferenceService"
    ]
    if len(real) < len(references):
        found.append(to_simulators(simulators_namespace, SIMULATOR_PORT))
    return found


def to_pools(pools: Iterable[InferencePool]) -> list[Destination]:
    """The pods of InferencePools and their endpoint pickers; the whole namespace of a pool that the cluster has, whose
    pods nobody knows.
    """
    found = []
    for pool in pools:
        if pool.picker is None:
            found.append(to_namespace(f"namespace.{pool.namespace}", pool.namespace))
            continue
        picker = {"app.kubernetes.io/name": "endpoint-picker", "app.kubernetes.io/instance": pool.picker.name}
        found += [
            Destination(pool.backend, pool.target_port, (_namespace(pool.namespace, dict(pool.selector)),)),
            Destination(f"{pool.backend}.picker", pool.picker.port, (_namespace(pool.namespace, picker),)),
        ]
    return found


def to_router(router: SemanticRouter) -> Destination:
    """The pods of the semantic router, where a gateway asks it."""
    labels = {"app.kubernetes.io/name": router.service}
    return Destination("semantic-router", ROUTER_GRPC_PORT, (_namespace(router.namespace, labels),))


def once(destinations: Iterable[Destination]) -> tuple[Destination, ...]:
    """The destinations without those whose name comes earlier."""
    return tuple({destination.name: destination for destination in destinations}.values())


def to_outside(
    endpoints: Iterable[tuple[str, int]], cluster_networks: Iterable[Network], allowed: Iterable[str]
) -> list[Destination]:
    """The ports of the providers outside, each with the addresses that are named and, for those with a name, the
    internet.

    :param endpoints: host names or addresses, and ports.
    :param cluster_networks: what is no part of the internet besides the private networks.
    :param allowed: names, addresses and ranges that may be called although they are private. No policy knows a name, so
        ranges say where it may be.
    """
    ranges = [found for found in map(network, allowed) if found is not None]
    internet = [*_internet(list(cluster_networks)), *map(_block, ranges)]
    hosts: dict[int, list[str]] = {}
    for hostname, port in endpoints:
        if not _namespace_of(hostname):
            hosts.setdefault(port, []).append(hostname)
    found = []
    for port, names in sorted(hosts.items()):
        addresses = [
            network(str(item))
            for item in sorted(filter(None, map(address, set(names))), key=lambda item: (item.version, item))
        ]
        peers = [_block(item) for item in addresses if item is not None]
        found.append(
            Destination(f"port-{port}", port, (*peers, *(internet if len(addresses) < len(set(names)) else ())))
        )
    return found


def to_namespaces(hostnames: Iterable[str]) -> list[Destination]:
    """The namespaces of Services, on any port.

    The port of a Service may differ from that of its pods, and policies see the latter.
    """
    names = sorted({name for name in map(_namespace_of, hostnames) if name})
    return [to_namespace(f"namespace.{name}", name) for name in names]


def to_inference_service(namespace: str, name: str, port: int) -> Destination:
    """The pods behind the Service that KServe makes for an LLMInferenceService."""
    labels = {"app.kubernetes.io/part-of": "llminferenceservice", "app.kubernetes.io/name": name}
    return Destination(f"llminferenceservice.{namespace}.{name}", port, (_namespace(namespace, labels),))


def to_namespace(name: str, namespace: str) -> Destination:
    """All pods of a namespace on any port, under a name of the caller's."""
    return Destination(name, None, (_namespace(namespace),))


def to_pods(name: str, namespace: str, labels: dict[str, str]) -> Destination:
    """Pods of a namespace on any port, under a name of the caller's."""
    return Destination(name, None, (_namespace(namespace, labels),))


def to_simulators(namespace: str, port: int) -> Destination:
    """The pods of all simulators."""
    return Destination("simulators", port, (_namespace(namespace, {"app.kubernetes.io/name": "provider-simulator"}),))


def _namespace_of(hostname: str) -> str:
    """The namespace in a Service's name inside the cluster; empty in any other name."""
    found = re.fullmatch(r"[^.]+\.([^.]+)\.svc(\.cluster\.local)?", hostname)
    return found[1] if found else ""


def _namespace(name: str, labels: dict[str, str] | None = None) -> Peer:
    peer: Peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
    return {**peer, "podSelector": {"matchLabels": labels}} if labels else peer


def _block(found: Network) -> Peer:
    return {"ipBlock": {"cidr": str(found)}}


def _internet(cluster_networks: Sequence[Network]) -> list[Peer]:
    private = [*map(network, (*PRIVATE_NETWORKS, *METADATA_ADDRESSES)), *cluster_networks]
    peers = []
    for everything in (IPv4Network("0.0.0.0/0"), IPv6Network("::/0")):
        same = [found for found in private if found is not None and found.version == everything.version]
        inside = list(collapse_addresses(t.cast("list[IPv4Network]", same)))
        # An exception is smaller than its block; one that is not leaves nothing.
        if everything not in inside:
            peers.append({"ipBlock": {"cidr": str(everything), "except": [str(found) for found in inside]}})
    return peers
