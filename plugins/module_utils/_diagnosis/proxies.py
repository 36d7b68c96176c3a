# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a snapshot keeps of a proxy: names out of its configuration, counters, and lines of its logs. Pure.

Programs, headers, keys and certificates of the configuration are left out.
"""

from __future__ import annotations

import json
import re
import typing as t

Body = dict[str, t.Any]

EXT_PROC_FILTER = "envoy.filters.http.ext_proc/aigateway"
EXT_PROC_CLUSTER = "ai-gateway-extproc-uds"
SIDECAR = "ai-gateway-extproc"
#: On the route of an AIGatewayRoute, as Envoy Gateway passes the annotation of its HTTPRoute on.
GENERATED = "ai-gateway-generated"

#: On loopback, where the processor calls MCP servers for a request that was judged on its way in.
MCP_BACKEND_LISTENER = "aigateway-mcp-backend-listener"

#: Counters that rules read; a snapshot keeps those that are not 0, and those of the processor's streams.
_COUNTERS = re.compile(
    r"ext_proc\.(streams_(started|failed|closed)|stream_msgs_(sent|received)|message_timeouts|failure_mode_allowed)$"
    r"|\.membership_(total|healthy)$"
    r"|^cluster\.ai-gateway-extproc-uds\.upstream_(rq_(200|total|tx_reset|pending_overflow)|cx_connect_fail)$"
    r"|\.upstream_rq_(401|403|429)$"
    r"|\.ratelimit\.(ok|error|over_limit|failure_mode_allowed)$"
    r"|\.ext_authz\.(ok|denied|error|failure_mode_allowed)$"
    r"|\.update_rejected$|^control_plane\.connected_state$|^server\.(uptime|live|days_until_first_cert_expiring)$"
)
#: What an answer is judged by; its caller and what was asked are left out.
_ANSWER = (
    "start_time",
    "response_code",
    "response_code_details",
    "response_flags",
    "upstream_cluster",
    "upstream_host",
    "upstream_transport_failure_reason",
    "model",
)
#: Flags of answers that a proxy gave as its connection to the backend failed.
UPSTREAM_FLAGS = frozenset(("UF", "UH", "UT", "UC", "UR", "URX", "LR", "DF", "UMSDR"))
#: Lines of logs that are worth keeping.
_TROUBLE = re.compile(
    r"\berror\b|\bwarn(ing)?\b|\bfatal\b|\bpanic\b|\[critical\]|ERROR|WARN|run\.sock|larger than max|ResourceExhausted|"
    r"missing internal request ID",
    re.IGNORECASE,
)
#: Lines that a healthy system writes too.
_USUAL = re.compile(
    r"context canceled|status unchanged|level=warning msg=\"(Creating single|Listening for)|"
    r"the object has been modified|leader election|\bDEPRECATED\b|deprecated",
    re.IGNORECASE,
)
#: What looks like a secret, and what is shown of it.
_SECRETS = (
    (re.compile(r"(?i)(bearer\s+|basic\s+)[A-Za-z0-9._~+/=-]{8,}"), r"\g<1>********"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)?"), "********"),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{8,}"), "********"),
    (
        re.compile(r"(?i)((?:api[-_]?key|token|password|secret|authorization)[\"']?\s*[:=]\s*[\"']?)[^\s\"',}]{4,}"),
        r"\g<1>********",
    ),
)
_LONGEST_LINE = 600
_MOST_LINES = 40


def kept_configuration(dump: Body) -> Body:
    """What rules read of Envoy's config_dump."""
    result: Body = {"listeners": [], "route_configs": [], "clusters": [], "sockets": [], "bytes": 0}
    for part in dump.get("configs") or ():
        kind = str(part.get("@type", "")).rpartition(".")[2]
        if kind == "ListenersConfigDump":
            result["listeners"] = [_listener(entry) for entry in part.get("dynamic_listeners") or ()]
        elif kind == "RoutesConfigDump":
            result["route_configs"] = [
                _route_config(entry)
                for entry in part.get("dynamic_route_configs") or ()
                if (entry.get("route_config") or {}).get("name")
            ]
        elif kind == "ClustersConfigDump":
            entries = [*(part.get("static_clusters") or ()), *(part.get("dynamic_active_clusters") or ())]
            result["clusters"] = [_cluster(entry) for entry in entries]
            result["sockets"] = sorted(set(_sockets(entries)))
        if kind in ("ListenersConfigDump", "RoutesConfigDump", "ClustersConfigDump", "SecretsConfigDump"):
            result["bytes"] += len(json.dumps(part, separators=(",", ":")))
    return result


def _listener(entry: Body) -> Body:
    listener = (entry.get("active_state") or entry.get("warming_state") or {}).get("listener") or {}
    address = (listener.get("address") or {}).get("socket_address") or {}
    chains = [*(listener.get("filter_chains") or ()), *filter(None, [listener.get("default_filter_chain")])]
    return {
        "name": entry.get("name", ""),
        "port": address.get("port_value", 0),
        "error": _error(entry),
        "chains": [_chain(chain) for chain in chains],
    }


def _chain(chain: Body) -> Body:
    result: Body = {
        "name": chain.get("name", ""),
        "server_names": list((chain.get("filter_chain_match") or {}).get("server_names") or ()),
        "route_config": "",
        "stat_prefix": "",
        "filters": None,
    }
    for network_filter in chain.get("filters") or ():
        configuration = network_filter.get("typed_config") or {}
        if str(configuration.get("@type", "")).endswith("HttpConnectionManager"):
            result["route_config"] = (configuration.get("rds") or {}).get("route_config_name", "")
            result["stat_prefix"] = configuration.get("stat_prefix", "")
            result["filters"] = [http.get("name", "") for http in configuration.get("http_filters") or ()]
    return result


def _route_config(entry: Body) -> Body:
    configuration = entry.get("route_config") or {}
    return {
        "name": configuration.get("name", ""),
        "error": _error(entry),
        "routes": [
            _route(route) for host in configuration.get("virtual_hosts") or () for route in host.get("routes") or ()
        ],
    }


def _route(route: Body) -> Body:
    metadata = (route.get("metadata") or {}).get("filter_metadata") or {}
    resources = (metadata.get("envoy-gateway") or {}).get("resources") or [{}]
    resource = resources[0]
    action = route.get("route") or {}
    clusters = [cluster.get("name", "") for cluster in (action.get("weighted_clusters") or {}).get("clusters") or ()]
    filters = route.get("typed_per_filter_config") or {}
    return {
        "name": route.get("name", ""),
        "resource": f"{resource.get('kind', '')} {resource.get('namespace', '')}/{resource.get('name', '')}",
        "generated": any(GENERATED in (found.get("annotations") or {}) for found in resources),
        "clusters": [*filter(None, [action.get("cluster")]), *clusters],
        "status": (route.get("direct_response") or {}).get("status", 0),
        "redirect": "redirect" in route,
        "filters": sorted(filters),
        "off": sorted(name for name, value in filters.items() if isinstance(value, dict) and value.get("disabled")),
        "limits": any((value or {}).get("rate_limits") for name, value in filters.items() if "ratelimit" in name)
        or bool(action.get("rate_limits")),
    }


def _cluster(entry: Body) -> Body:
    cluster = entry.get("cluster") or {}
    extensions = cluster.get("typed_extension_protocol_options") or {}
    filters = [http.get("name", "") for options in extensions.values() for http in options.get("http_filters") or ()]
    return {
        "name": cluster.get("name", ""),
        "type": cluster.get("type") or (cluster.get("cluster_type") or {}).get("name", ""),
        "error": _error(entry),
        "filters": filters,
    }


def _error(entry: Body) -> str:
    return shortened((entry.get("error_state") or {}).get("details", ""))


def _sockets(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, dict):
        pipe = value.get("pipe")
        if isinstance(pipe, dict) and pipe.get("path"):
            yield str(pipe["path"])
        for item in value.values():
            yield from _sockets(item)
    elif isinstance(value, list):
        for item in value:
            yield from _sockets(item)


def kept_statistics(document: Body) -> dict[str, int]:
    """The counters that rules read, of Envoy's statistics as JSON."""
    return {
        counter["name"]: counter["value"]
        for counter in document.get("stats") or ()
        if isinstance(counter.get("value"), int)
        and _COUNTERS.search(counter.get("name", ""))
        and (counter["value"] or "membership_" in counter["name"] or "connected_state" in counter["name"])
    }


def kept_clusters(document: Body) -> dict[str, Body]:
    """By name of each cluster, how many hosts it has, and the highest number of requests at a time."""
    result = {}
    for cluster in document.get("cluster_statuses") or ():
        thresholds = (cluster.get("circuit_breakers") or {}).get("thresholds") or [{}]
        result[cluster.get("name", "")] = {
            "hosts": len(cluster.get("host_statuses") or ()),
            "max_requests": thresholds[0].get("max_requests", 0),
        }
    return result


def last_answers(lines: t.Iterable[str]) -> Body:
    """Of the lines of an access log in JSON: by cluster the last answer of the backend, and by what a proxy said of its
    own answers the last of these, and when a backend was reached last.

    Answers that a proxy gave on its own hide no answer of a backend.
    """
    backends: dict[str, Body] = {}
    own: dict[str, Body] = {}
    reached = ""
    for line in lines:
        if not line.startswith("{"):
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        details = str(entry.get("response_code_details") or "")
        if not entry.get("start_time") or not details:
            continue
        answer = {name: entry[name] for name in _ANSWER if entry.get(name) not in (None, "", "-")}
        if "upstream_transport_failure_reason" in answer:
            answer["upstream_transport_failure_reason"] = without_secrets(
                shortened(str(answer["upstream_transport_failure_reason"]))
            )
        cluster = str(entry.get("upstream_cluster") or "")
        flags = set(str(entry.get("response_flags") or "").split(","))
        if cluster and (details == "via_upstream" or flags & UPSTREAM_FLAGS):
            _keep_latest(backends, cluster, answer)
            if details == "via_upstream":
                reached = max(reached, answer["start_time"])
        else:
            kind = re.split(r"[{(:]", details)[0]
            _keep_latest(own, kind, answer)
            if kind == "request_rate_limited":
                reached = max(reached, answer["start_time"])
    return {"backends": backends, "own": own, "reached": reached}


def _keep_latest(answers: dict[str, Body], key: str, answer: Body) -> None:
    if key not in answers or answers[key]["start_time"] <= answer["start_time"]:
        answers[key] = answer


def trouble(lines: t.Iterable[str], masked: t.Callable[[str], str] = lambda line: line) -> list[str]:
    """The last lines of a log that report trouble, without secrets, each once.

    :param masked: hides values that are known to be secret.
    """
    found: dict[str, None] = {}
    for line in lines:
        if _TROUBLE.search(line) and not _USUAL.search(line) and not _is_answer(line):
            shown = without_secrets(masked(shortened(line)))
            found.pop(shown, None)
            found[shown] = None
    return list(found)[-_MOST_LINES:]


def _is_answer(line: str) -> bool:
    return line.startswith("{") and '"response_code"' in line


def without_secrets(text: str) -> str:
    """A string without what looks like a token, a key or a password."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def shortened(text: str, length: int = _LONGEST_LINE) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
