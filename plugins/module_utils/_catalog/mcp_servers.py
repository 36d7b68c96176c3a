# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reader of the MCP servers, and of the tools that tiers may call.

A client sees a tool as ``<server>__<tool>``, as Envoy AI Gateway names it.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.allowed_endpoints import AllowedEndpoints
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.credentials import read_credential
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import (
    Fault,
    listing,
    nearest,
    quote,
    unique,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import (
    AUTHORINO,
    ENVOY_AI_GATEWAY,
    PREFIX,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import (
    Endpoint,
    McpServer,
    McpTools,
    Tier,
    Tls,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import (
    MCP_CA_BUNDLE_SUFFIX,
    MCP_CREDENTIAL_SUFFIX,
    MCP_SIMULATOR_SUFFIX,
    SIMULATOR_PORT,
    named_after,
    service_hostname,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.refused_endpoints import address
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.request_headers import MCP_TIER
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.settings import Settings
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import (
    HOSTNAME,
    MCP_PATH,
    MCP_SERVER,
    MCP_TOOL,
    MCP_TOOLS,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.tls import TLS_KEYS, read_tls

#: Between the name of a server and that of its tool.
SEPARATOR = "__"
_SERVER_KEYS = ("name", "simulated", "endpoint", "credential", "tools")
_ENDPOINT_KEYS = ("hostname", "port", "path", "tls")
_DEFAULT_PATH = "/mcp"
# A MCPRoute holds so many servers, so many names in a list of tools, so many rules, and so many characters in each.
_SERVERS = 256
_SELECTED = 32
_RULES = 32
_EXPRESSION = 4096


def read_mcp_servers(root: Entry, settings: Settings, allowed: AllowedEndpoints) -> tuple[McpServer, ...]:
    """The MCP servers of an inventory in its order.

    :param root: all variables, by their names without the prefix.
    """
    found = [(entry, _server(entry, settings, allowed)) for entry in root.entries("mcp_servers", _SERVER_KEYS)]
    unique(
        ((entry.at("name"), server.name) for entry, server in found), "name", "give each server its own", root.faults
    )
    if len(found) > _SERVERS:
        root.fault("mcp_servers", f"has {len(found)} servers", f"write at most {_SERVERS}: one route holds no more")
    if found and (settings.stack, settings.policy_engine) != (ENVOY_AI_GATEWAY, AUTHORINO):
        problem = f"stack {settings.stack} with policy engine {settings.policy_engine} has no route to MCP servers"
        root.fault(
            "mcp_servers",
            problem,
            f"leave it out, or write stack {ENVOY_AI_GATEWAY} and policy engine {AUTHORINO}",
        )
    return tuple(server for _entry, server in found)


def _server(entry: Entry, settings: Settings, allowed: AllowedEndpoints) -> McpServer:
    name = entry.string("name", MCP_SERVER)
    simulated = entry.flag("simulated", False)
    simulator = Endpoint(
        service_hostname(name + MCP_SIMULATOR_SUFFIX, settings.simulators_namespace), SIMULATOR_PORT, Tls("none")
    )
    endpoint, path = Endpoint("", 0, Tls("none")), _DEFAULT_PATH
    if entry.has("endpoint"):
        endpoint, path = _endpoint(entry.entry("endpoint", _ENDPOINT_KEYS), name, None if simulated else allowed)
    elif not simulated:
        entry.missing("endpoint", "hostname, port and path of the server, or `simulated: true`", unless="simulated")
    if simulated:
        # What is written of the endpoint is kept for later.
        endpoint, path = simulator, _DEFAULT_PATH
    if endpoint.tls.ca_certificates:
        bundle = named_after(name + MCP_CA_BUNDLE_SUFFIX, endpoint.hostname, endpoint.port)
        endpoint = replace(endpoint, tls=replace(endpoint.tls, ca_bundle=bundle))
    own_secret = named_after(name + MCP_CREDENTIAL_SUFFIX, endpoint.hostname, endpoint.port)
    credential = (
        read_credential(entry, own_secret, "openai", simulated, settings.policy_engine)
        if entry.has("credential")
        else None
    )
    include, exclude = _selected(entry)
    return McpServer(name, simulated, replace(endpoint, prefix="/"), path, credential, include, exclude)


def _endpoint(entry: Entry, server: str, allowed: AllowedEndpoints | None) -> tuple[Endpoint, str]:
    """The endpoint as written, and the path there.

    :param allowed: None where a simulator answers in its place.
    """
    value = entry.value.get("hostname")
    found = address(value) if isinstance(value, str) else None
    hostname = str(found) if found is not None else entry.string("hostname", HOSTNAME)
    if allowed is not None:
        allowed.check(entry, hostname)
    tls = Tls("simple", sni=hostname)
    if entry.has("tls"):
        tls = read_tls(entry.entry("tls", TLS_KEYS), server, hostname, found is not None)
    elif found is not None and not entry.faulty("hostname"):
        entry.fault(
            "tls",
            "is missing, and an address is no name to verify",
            "write `sni` (the name in the certificate) in it, or mode none",
        )
    port = entry.integer("port", 1, 65535, default=80 if tls.mode == "none" else 443)
    path = entry.string("path", MCP_PATH, _DEFAULT_PATH)
    return Endpoint(hostname, port or 0, tls, found is not None), path


def _selected(server: Entry) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tools that anybody may use of a server, and those that nobody may; one of the two is empty."""
    if not server.has("tools"):
        return (), ()
    entry = server.entry("tools", ("include", "exclude"))
    if entry.has("include") and entry.has("exclude"):
        entry.fault("exclude", "is written beside `include`", "keep one of them: what is not included is excluded")
    if (
        entry.readable
        and not entry.has("include")
        and not entry.has("exclude")
        and not entry.faulty("include", "exclude")
    ):
        entry.fault("", "selects nothing", "write include or exclude in it, or leave it out")
    lists = []
    for key in ("include", "exclude"):
        names = tuple(name for _path, name in entry.strings(key, MCP_TOOL)) if entry.has(key) else ()
        if len(names) > _SELECTED:
            entry.fault(
                key,
                f"has {len(names)} names",
                f"write at most {_SELECTED}: one route holds no more. The tools of a tier are in mcp_tools of "
                f"{PREFIX}tiers",
            )
        lists.append(names)
    return lists[0], lists[1]


def read_mcp_tools(tier: Entry, servers: Sequence[McpServer], limits_requests: bool) -> tuple[McpTools, ...]:
    """The tools that a tier may call, by server; none where the tier names none.

    :param limits_requests: whether the tier limits the requests of a user.
    """
    if not tier.has("mcp_tools"):
        return ()
    by_name = {server.name: server for server in servers}
    found: dict[str, McpTools] = {}
    listed = tier.strings("mcp_tools", MCP_TOOLS)
    if {"*"} < {text for _path, text in listed}:
        tier.fault("mcp_tools", 'names tools beside "*"', 'write ["*"] for all, or the names alone')
    for path, text in listed:
        if text == "*":
            found = {server.name: McpTools(server.name, True) for server in servers}
            if not servers:
                tier.faults.append(_no_server(path, text, by_name))
            continue
        name, _separator, tool = text.partition(SEPARATOR)
        if name not in by_name:
            tier.faults.append(_no_server(path, name, by_name))
            continue
        fault = _hidden(path, tool, by_name[name])
        if fault:
            tier.faults.append(fault)
        found[name] = _with(found.get(name, McpTools(name)), tool)
    if found and not limits_requests:
        tier.fault(
            "request_limit",
            "is missing, and calls of tools have no tokens that a limit could count",
            "write requests and window, for example {requests: 60, window: 1m}, or leave out mcp_tools",
        )
    return tuple(found.values())


def _no_server(path: str, name: str, servers: Mapping[str, McpServer]) -> Fault:
    near = nearest(name, servers)
    known = f"it takes tools of {listing(list(servers))}" if servers else f"list the server in {PREFIX}mcp_servers"
    return Fault(path, f"{quote(name)} is no MCP server", f"did you mean `{near}`?" if near else known)


def _hidden(path: str, tool: str, server: McpServer) -> Fault | None:
    """The fault of a tool that ``tools`` of its server keeps from everybody."""
    if tool.endswith("*"):
        if server.include and not any(name.startswith(tool[:-1]) for name in server.include):
            known = f"write the beginning of {listing(server.include, 'or')}, or change that list"
            return Fault(path, f"no tool in include of server {server.name} begins with {quote(tool[:-1])}", known)
        return None
    if tool in server.exclude or (server.include and tool not in server.include):
        where = f"{'exclude' if tool in server.exclude else 'include'} of server {server.name}"
        return Fault(path, f"{quote(tool)} is kept from everybody by {where}", "leave it out, or change that list")
    return None


def _with(tools: McpTools, tool: str) -> McpTools:
    if tool == "*":
        return replace(tools, every=True)
    if tool.endswith("*"):
        return replace(tools, prefixes=(*tools.prefixes, tool[:-1]))
    return replace(tools, names=(*tools.names, tool))


def authorization(root: Entry, tiers: Iterable[Tier]) -> tuple[str, ...]:
    """The conditions under which a tool may be called and is listed, as CEL expressions of a MCPRoute's rules.

    :param root: all variables, by their names without the prefix.
    """
    expressions: list[str] = []
    for tier in tiers:
        head = f'request.headers["{MCP_TIER}"] == {json.dumps(tier.name)} && '
        room = _EXPRESSION - len(head) - 2
        parts: list[str] = []
        for tools in tier.mcp_tools:
            parts += _conditions(tools, room)
        packed: list[list[str]] = []
        for part in parts:
            if packed and sum(len(other) + 4 for other in packed[-1]) + len(part) <= room:
                packed[-1].append(part)
            else:
                packed.append([part])
        expressions += [f"{head}({' || '.join(group)})" for group in packed]
    if len(expressions) > _RULES:
        root.fault(
            "tiers",
            f"need {len(expressions)} rules for the tools that they name",
            f"name fewer tools, or a server's tools together as <server>{SEPARATOR}*: one route holds {_RULES} rules",
        )
    return tuple(expressions)


def _conditions(tools: McpTools, room: int) -> list[str]:
    """The conditions for the tools of one server, each of at most ``room`` characters."""
    of_server = f"request.mcp.backend == {json.dumps(tools.server)}"
    if tools.every:
        return [of_server]
    found = [f"{of_server} && request.mcp.tool.startsWith({json.dumps(prefix)})" for prefix in tools.prefixes]
    names: list[str] = []
    for name in map(json.dumps, tools.names):
        if names and len(_one_of(of_server, [*names, name])) > room:
            found.append(_one_of(of_server, names))
            names = []
        names.append(name)
    return [*found, _one_of(of_server, names)] if names else found


def _one_of(of_server: str, names: Sequence[str]) -> str:
    return f"{of_server} && request.mcp.tool in [{', '.join(names)}]"


def moved_servers(servers: Iterable[Mapping[str, t.Any]], backends: Iterable[Mapping[str, t.Any]]) -> list[str]:
    """The faults of servers with a key whose endpoint is not the one that the cluster has for them.

    A server's Backend keeps its name, and the copy of its key follows some time after a change of either: until then
    the key of one endpoint would reach the other.

    :param servers: those of the catalogue, as ``Catalog.as_dict`` returns them.
    :param backends: the Backend objects of the gateway's namespace, as the API server returns them.
    """
    before = {backend["metadata"]["name"]: _place(backend) for backend in backends}
    found = []
    for index, server in enumerate(servers):
        place = (server["endpoint"]["hostname"], server["endpoint"]["port"])
        known = before.get(server["name"])
        if "credential" in server and known and known != place:
            found.append(
                f"{PREFIX}mcp_servers[{index}].endpoint: server {server['name']} was at {known[0]}:{known[1]}, and its "
                f"key could reach {place[0]}:{place[1]} or the new one the former; give the server another name, or "
                "run site without it before"
            )
    return found


def _place(backend: Mapping[str, t.Any]) -> tuple[str, int] | None:
    """Where a Backend leads, a host name or an address and a port."""
    (endpoint, *_others) = backend.get("spec", {}).get("endpoints") or [{}]
    if "fqdn" in endpoint:
        return endpoint["fqdn"]["hostname"], endpoint["fqdn"]["port"]
    return (endpoint["ip"]["address"], endpoint["ip"]["port"]) if "ip" in endpoint else None
