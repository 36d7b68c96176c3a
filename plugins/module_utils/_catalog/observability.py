# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reader of what the gateway reports about its requests: metrics with bounded labels, and spans."""

from __future__ import annotations

import re

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import quote, type_name
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import KUADRANT
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import Observability, Peer, Traces
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.settings import Settings
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import (
    LABEL,
    LABEL_KEY,
    LABEL_VALUE,
    Rule,
)

_KEYS = ("enabled", "user_label", "users", "scrapers", "traces")
#: Namespaces of Prometheus where the inventory names none.
_SCRAPERS = {"openshift": ("openshift-user-workload-monitoring", "openshift-monitoring")}
_OTHER_SCRAPERS = ("monitoring",)
#: Users with a label of their own where the inventory says nothing, and the most of them: each has a series for every
#: model that it calls.
_USERS, _USERS_LIMIT = 1000, 100_000
_COLLECTOR = Rule(
    "the URL of an OTLP collector",
    r"https?://[a-z0-9]([-a-z0-9.]*[a-z0-9])?:[1-9][0-9]{0,4}",
    "scheme, host and port of its gRPC endpoint alone, such as http://collector.monitoring.svc.cluster.local:4317",
    limit=253,
)


def read_observability(root: Entry, settings: Settings) -> Observability:
    """What the inventory wants to be reported; nothing where it does not say so.

    :param root: all variables, by their names without the prefix.
    """
    if not root.value.get("observability"):
        return Observability()
    entry = root.entry("observability", _KEYS)
    enabled = entry.flag("enabled", False)
    users = entry.integer("users", 1, _USERS_LIMIT, _USERS) or 0
    labelled = entry.flag("user_label", True)
    scrapers = _scrapers(entry, settings)
    traces = _traces(entry)
    if enabled and settings.policy_engine == KUADRANT:
        entry.fault(
            "enabled",
            "is true with policy engine kuadrant, where the clients' gateway is another's and counts nothing by tier",
            "write false, or policy engine authorino, which brings a gateway of its own",
        )
    if not enabled and traces:
        entry.fault("traces", "is given and enabled is not true", "write enabled: true, or leave traces out")
    if not enabled:
        return Observability()
    return Observability(True, users if labelled else 0, scrapers, traces)


def collectors(observability: Observability) -> list[tuple[str, int]]:
    """Host names and ports to which the proxies send spans."""
    traces = observability.traces
    return [(traces.hostname, traces.port)] if traces else []


def _scrapers(entry: Entry, settings: Settings) -> tuple[Peer, ...]:
    if not entry.has("scrapers"):
        return tuple(_peer(name, {}) for name in _SCRAPERS.get(settings.platform, _OTHER_SCRAPERS))
    peers = []
    for scraper in entry.entries("scrapers", ("namespace", "pods")):
        namespace = scraper.string("namespace", LABEL)
        peers.append(_peer(namespace, _labels(scraper)))
    if not peers:
        entry.fault("scrapers", "is empty, so that nobody could read the metrics", "name the namespace of Prometheus")
    return tuple(peers)


def _labels(scraper: Entry) -> dict[str, str]:
    """The labels of the pods that may read; none for all pods of the namespace."""
    if not scraper.has("pods"):
        return {}
    pods = scraper.value["pods"]
    if not isinstance(pods, dict) or not pods:
        scraper.fault("pods", f"is {type_name(pods)}", "write labels of the pods, or leave it out for all pods")
        return {}
    labels = scraper.entry("pods", tuple(pods))
    for key in pods:
        if not LABEL_KEY.accepts(key):
            labels.fault(key, f"{quote(key)} is not {LABEL_KEY.kind}", f"write {LABEL_KEY.remedy}")
    return {key: labels.string(key, LABEL_VALUE) for key in pods}


def _peer(namespace: str, labels: dict[str, str]) -> Peer:
    peer: Peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    return {**peer, "podSelector": {"matchLabels": labels}} if labels else peer


def _traces(entry: Entry) -> Traces | None:
    if not entry.value.get("traces"):
        return None
    traces = entry.entry("traces", ("endpoint", "sampling", "content"))
    endpoint = traces.string("endpoint", _COLLECTOR)
    sampling = traces.integer("sampling", 0, 100, 100)
    content = traces.flag("content", False)
    if not endpoint or sampling is None:
        return None
    # The rule has let no other form pass; a port may still be too large.
    scheme, _separator, authority = endpoint.partition("://")
    hostname, _separator, port = authority.rpartition(":")
    if int(port) > 65535 or (re.fullmatch(r"[0-9.]+", hostname) and not _is_address(hostname)):
        traces.fault("endpoint", f"{quote(endpoint)} has no host and port", f"write {_COLLECTOR.remedy}")
        return None
    return Traces(hostname, int(port), scheme == "https", sampling, content)


def _is_address(hostname: str) -> bool:
    parts = hostname.split(".")
    return len(parts) == 4 and all(part.isdigit() and int(part) < 256 for part in parts)
