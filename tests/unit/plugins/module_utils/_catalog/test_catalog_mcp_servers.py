# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t

import cel
import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.mcp_servers import moved_servers
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import named_after
from catalog_inventory import CERTIFICATE, INVENTORY, KEY, faults, paths

SERVERS: list[dict[str, t.Any]] = [
    {"name": "weather", "simulated": True, "credential": {"value": KEY}},
    {
        "name": "jira",
        "endpoint": {"hostname": "mcp.example.com", "path": "/v1/mcp", "tls": {"ca_bundle": CERTIFICATE}},
        "credential": {"header": "x-api-key", "secret": "jira-key"},
        "tools": {"exclude": ["delete"]},
    },
    {"name": "plain", "endpoint": {"hostname": "tools.example.com", "tls": {"mode": "none"}}},
]
REQUESTS = {"requests": 60, "window": "1m"}


def inventory(*tools: str, servers: list[dict[str, t.Any]] = SERVERS, **tier: t.Any) -> dict[str, t.Any]:
    """The inventory with MCP servers, and with tools for its first tier."""
    found = copy.deepcopy(INVENTORY)
    found["mcp_servers"] = copy.deepcopy(servers)
    found["tiers"][0] |= {"request_limit": REQUESTS, **({"mcp_tools": list(tools)} if tools else {}), **tier}
    return found


def changed(index: int, **values: t.Any) -> dict[str, t.Any]:
    """The inventory with other values of one server; None removes one."""
    found = inventory()
    server = found["mcp_servers"][index] | values
    found["mcp_servers"][index] = {key: value for key, value in server.items() if value is not None}
    return found


def test_servers() -> None:
    catalog = build(inventory())
    weather, jira, plain = catalog.mcp_servers
    simulator = "weather-mcp-server.external-models.svc.cluster.local"
    assert (weather.endpoint.hostname, weather.endpoint.port, weather.path) == (simulator, 8000, "/mcp")
    assert weather.credential is not None
    assert (weather.credential.secret, weather.credential.managed) == (
        named_after("weather-mcp-key", simulator, 8000),
        True,
    )
    assert (jira.endpoint.hostname, jira.endpoint.port, jira.path) == ("mcp.example.com", 443, "/v1/mcp")
    assert jira.endpoint.tls.ca_bundle == named_after("jira-mcp-ca", "mcp.example.com", 443)
    assert (jira.include, jira.exclude) == ((), ("delete",))
    assert jira.credential is not None
    assert (jira.credential.header, jira.credential.secret) == ("x-api-key", "jira-key")
    assert (plain.endpoint.port, plain.credential) == (80, None)
    assert [secret.name for secret in catalog.secrets if secret.users == ("MCP server jira",)] == ["jira-key"]
    assert {"port-80", "port-443", "simulators"} <= {destination.name for destination in catalog.egress}


def test_the_plain_catalogue() -> None:
    weather, jira, plain = build(inventory()).as_dict()["mcp_servers"]
    assert weather["endpoint"]["tls"] == {"mode": "none"}
    assert "credential" not in plain
    assert "external_secret" not in jira["credential"]
    assert KEY not in str(weather)


@pytest.mark.parametrize(
    ("index", "values", "path", "problem"),
    [
        (0, {"name": "Weather"}, "[0].name", "MCP server's name"),
        (0, {"name": "a__b"}, "[0].name", "MCP server's name"),
        (1, {"name": "weather"}, "[1].name", "is taken by"),
        (1, {"endpoint": None}, "[1].endpoint", "is missing"),
        (1, {"endpoint": {"hostname": "10.0.0.1", "tls": {"mode": "none"}}}, "[1].endpoint.hostname", ""),
        (1, {"endpoint": {"hostname": "34.202.9.189"}}, "[1].endpoint.tls", "no name to verify"),
        (1, {"endpoint": {"hostname": "a.example.com", "path": "mcp"}}, "[1].endpoint.path", "is not a path"),
        (1, {"credential": {"header": "cookie-key", "secret": "a"}}, "[1].credential.header", "cannot send"),
        (0, {"credential": {"secret": "a"}}, "[0].credential.value", "is missing"),
        (1, {"tools": {}}, "[1].tools", "selects nothing"),
        (1, {"tools": {"include": ["a"], "exclude": ["b"]}}, "[1].tools.exclude", "beside `include`"),
        (1, {"tools": {"include": ["a b"]}}, "[1].tools.include[0]", "tool's name"),
        (1, {"tools": {"include": [f"t{index}" for index in range(33)]}}, "[1].tools.include", "33 names"),
    ],
)
def test_faults_of_a_server(index: int, values: dict[str, t.Any], path: str, problem: str) -> None:
    (fault,) = faults(changed(index, **values))
    assert fault.path == "ai_gateway_mcp_servers" + path
    assert problem in fault.problem


@pytest.mark.parametrize(
    ("tools", "path", "problem"),
    [
        (["wether__echo"], "mcp_tools[0]", "no MCP server"),
        (["echo"], "mcp_tools[0]", "not a tool of an MCP server"),
        (["weather__*", "*"], "mcp_tools", 'beside "*"'),
        (["*", "*"], "mcp_tools[1]", "is taken by"),
        (["jira__delete"], "mcp_tools[0]", "kept from everybody"),
        (["weather__echo", "weather__echo"], "mcp_tools[1]", "is taken by"),
    ],
)
def test_faults_of_a_tiers_tools(tools: list[str], path: str, problem: str) -> None:
    (fault,) = faults(inventory(*tools))
    assert fault.path == f"ai_gateway_tiers[0].{path}"
    assert problem in fault.problem


def test_the_beginning_of_a_tool_is_that_of_one_that_is_included() -> None:
    servers = [{**SERVERS[0], "tools": {"include": ["read_a", "read_b"]}}]
    assert build(inventory("weather__read_*", servers=servers)).tiers[0].mcp_tools[0].prefixes == ("read_",)
    assert build(inventory("weather__*", servers=servers)).tiers[0].mcp_tools[0].every
    (fault,) = faults(inventory("weather__write_*", servers=servers))
    assert str(fault) == (
        'ai_gateway_tiers[0].mcp_tools[0]: no tool in include of server weather begins with "write_"; write the '
        "beginning of read_a or read_b, or change that list"
    )


def test_servers_without_a_model() -> None:
    alone = {**inventory("*"), "providers": []}
    alone["tiers"] = [{**alone["tiers"][0]}]
    assert build({**alone, "allow_empty": True}).mcp_servers
    (fault,) = faults({**alone, "allow_empty": False})
    assert fault.remedy == (
        "write at least one provider with a model, or set ai_gateway_allow_empty to true for MCP servers alone"
    )


def test_a_misspelt_server_has_its_remedy() -> None:
    assert [fault.remedy for fault in faults(inventory("wether__echo"))] == ["did you mean `weather`?"]
    assert [fault.remedy for fault in faults(inventory("weather__echo", servers=[]))] == [
        "list the server in ai_gateway_mcp_servers"
    ]


def test_tools_need_a_limit_of_requests() -> None:
    assert paths(inventory("*", request_limit=None)) == ["ai_gateway_tiers[0].request_limit"]
    assert build(inventory(request_limit=None)).mcp_authorization == ()


@pytest.mark.parametrize("engine", ["authorino", "kuadrant"])
def test_other_stacks_have_no_route(engine: str) -> None:
    found = inventory() | {"stack": "wg_ai_gateway", "policy_engine": engine}
    if engine == "kuadrant":
        found["providers"] = found["providers"][:1]
        found["providers"][0]["models"] = [{"name": "gpt-4"}]
        found["tiers"] = found["tiers"][:1]
    assert [fault.path for fault in faults(found)] == ["ai_gateway_mcp_servers"]


def allowed(expressions: t.Iterable[str], tier: str, server: str, tool: str) -> bool:
    """Whether one of a route's rules allows the call of a tool; as Envoy AI Gateway does, a rule that cannot be
    evaluated allows nothing.
    """
    request = {"headers": {"x-ai-gateway-mcp-tier": tier}, "mcp": {"backend": server, "tool": tool}}
    return any(cel.evaluate(expression, {"request": request}) is True for expression in expressions)


def test_which_tools_the_rules_allow() -> None:
    found = inventory("weather__*", "jira__search", "jira__list_*")
    found["tiers"][1] |= {"mcp_tools": ["*"], "request_limit": REQUESTS}
    found["tiers"].append({"name": "none", "level": 2, "groups": ["a"], "request_limit": REQUESTS})
    rules = build(found).mcp_authorization
    calls = [("weather", "echo"), ("jira", "search"), ("jira", "list_all"), ("jira", "searches"), ("plain", "echo")]
    assert [allowed(rules, "free", *call) for call in calls] == [True, True, True, False, False]
    assert all(allowed(rules, "paid", *call) for call in calls)
    assert not any(allowed(rules, tier, *call) for tier in ("none", "", "fre", "free ") for call in calls)


def test_many_tools_are_divided_among_rules() -> None:
    names = [f"tool_{number:04}_with_a_name_that_is_long" for number in range(400)]
    rules = build(inventory(*(f"jira__{name}" for name in names))).mcp_authorization
    assert 1 < len(rules) <= 32
    assert max(map(len, rules)) <= 4096
    assert all(allowed(rules, "free", "jira", name) for name in (names[0], names[199], names[399]))
    assert not allowed(rules, "free", "jira", "tool")
    too_many = inventory(*(f"jira__{name}_{index}" for name in names for index in range(8)))
    assert paths(too_many) == ["ai_gateway_tiers"]


def backend(name: str, kind: str, place: str, port: int) -> dict[str, t.Any]:
    field = "hostname" if kind == "fqdn" else "address"
    return {"metadata": {"name": name}, "spec": {"endpoints": [{kind: {field: place, "port": port}}]}}


def test_a_server_with_a_key_keeps_its_endpoint() -> None:
    servers = build(inventory()).as_dict()["mcp_servers"]
    there = [
        backend("jira", "fqdn", "mcp.example.com", 443),
        backend("plain", "ip", "192.0.2.1", 80),
        backend("other.1234", "fqdn", "mcp.example.com", 1),
    ]
    assert moved_servers(servers, there) == []
    for moved in (backend("jira", "fqdn", "mcp.example.com", 444), backend("jira", "ip", "192.0.2.1", 443)):
        (fault,) = moved_servers(servers, [moved])
        assert fault.startswith("ai_gateway_mcp_servers[1].endpoint: server jira was at ")
        assert "another name" in fault
