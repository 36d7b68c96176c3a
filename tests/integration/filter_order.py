# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of the filters that every request passes, as a proxy has it."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import time
import typing as t
import urllib.request

from gateway_requests import PROXIES, SELECTOR
from objects import KUBECTL, kubectl

Document = dict[str, t.Any]

MANAGER = "envoy.filters.network.http_connection_manager"
#: The filters in their order, and whether each must be there.
ORDER = {
    "egress.ai_gateway.request_filter": True,
    "envoy.filters.http.ext_authz": True,
    "envoy.filters.http.lua": True,
    # Where a semantic router is asked: it chooses a model for a judged request, as often as a user may ask, and the
    # choice is judged.
    "egress.ai_gateway.router_limit": False,
    "egress.ai_gateway.semantic_router": False,
    "egress.ai_gateway.routed_filter": False,
    "envoy.filters.http.buffer": True,
    "envoy.filters.http.ext_proc": True,
    "envoy.filters.http.rbac": False,
    "envoy.filters.http.ratelimit": True,
    "egress.ai_gateway.response_filter": True,
    # Envoy AI Gateway's, for its log: it reads headers of requests alone.
    "envoy.filters.http.header_to_metadata": False,
    # Envoy AI Gateway's too, of InferencePools, on whose routes alone they are on.
    "endpoint picker": False,
    "envoy.filters.http.router": True,
}
#: Filters that may be anywhere, as they judge nothing.
ANYWHERE = {"envoy.filters.http.health_check", "envoy.filters.http.grpc_web", "envoy.filters.http.grpc_stats"}


def chains(dump: Document, url: str) -> dict[str, list[str]]:
    """Return the names of the filters by listener and number of the chain, for what serves the Gateway's listeners at
    this URL: it is named after their port.
    """
    wanted = f"tcp-{443 if url.startswith('https:') else 80}"
    found: dict[str, list[str]] = {}
    for config in dump["configs"]:
        for dynamic in config.get("dynamic_listeners", []):
            listener = dynamic.get("active_state", {}).get("listener", {})
            if listener.get("name") != wanted:
                continue
            ends = [
                *listener.get("filter_chains", []),
                *([listener["default_filter_chain"]] if "default_filter_chain" in listener else []),
            ]
            for chain in ends:
                for network in chain["filters"]:
                    if network["name"] == MANAGER:
                        names = [entry["name"] for entry in network["typed_config"]["http_filters"]]
                        found[f"{listener['name']} {len(found)}"] = names
    return found


#: The listener that Envoy AI Gateway makes for MCP servers, and the filters that it moves there.
MCP_LISTENER = "aigateway-mcp-backend-listener"
MCP_FILTERS = ["ai-eg-mcp-brf-egress.ai_gateway.mcp_answers", "ai-eg-mcp-brf-egress.ai_gateway.mcp_buffer"]


def mcp_faults(dump: Document) -> list[str]:
    """Return what is wrong with the filters between the processor and MCP servers: they are on that listener alone."""
    seen: dict[str, str] = {}
    for config in dump["configs"]:
        for dynamic in config.get("dynamic_listeners", []):
            listener = dynamic.get("active_state", {}).get("listener", {})
            seen[listener.get("name", "")] = json.dumps(listener)
    if MCP_LISTENER not in seen:
        return [f"listener {MCP_LISTENER} is missing"]
    found = [f"{name} is missing" for name in MCP_FILTERS if json.dumps(name) not in seen[MCP_LISTENER]]
    for listener, text in seen.items():
        if listener != MCP_LISTENER:
            found += [f"{name} is on {listener}" for name in MCP_FILTERS if json.dumps(name) in text]
    return found


def faults(names: list[str]) -> list[str]:
    """Return what is wrong with the order of filters of one chain."""
    # Envoy Gateway adds the name of the policy to that of a filter.
    plain = ["endpoint picker" if "/endpointpicker/" in name else re.sub("/.*", "", name) for name in names]
    found = [f"{name} is missing" for name, required in ORDER.items() if required and name not in plain]
    found += [f"{name} has no place in the order" for name in plain if name not in ORDER and name not in ANYWHERE]
    places = list(ORDER)
    known = [name for name in plain if name in ORDER]
    found += [
        f"{later} comes before {earlier}"
        for later, earlier in itertools.pairwise(known)
        if places.index(later) > places.index(earlier)
    ]
    if plain and plain[0] != places[0]:
        found.append(f"{plain[0]} is the first")
    if plain and plain[-1] != places[-1]:
        found.append(f"{plain[-1]} is the last")
    return found


def dump() -> Document:
    """Return what a proxy is configured with."""
    pod = kubectl("get", "pods", f"--namespace={PROXIES}", f"--selector={SELECTOR}", "--output=name").split()[0]
    command = [*KUBECTL, "port-forward", f"--namespace={PROXIES}", pod, ":19000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout
            match = re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline())
            assert match, "kubectl forwards no port"
            for _attempt in range(10):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{match[1]}/config_dump", timeout=20) as answer:
                        found: Document = json.load(answer)
                    return found
                except OSError:
                    time.sleep(0.5)
            raise AssertionError("the proxy does not return its configuration")
        finally:
            forward.terminate()
