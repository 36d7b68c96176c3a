# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role's template renders for MCP servers, and when a proxy serves them."""

from __future__ import annotations

import base64
import json
import typing as t

import pytest
from plays import run_playbook
from rendering import ROLES, manifests

KEY = "sk-a-key-that-must-not-show"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_providers": [
        {
            "name": "openai",
            "schema": "openai",
            "simulated": True,
            "credential": {"value": "sk-other"},
            "models": [{"name": "gpt-4"}],
        }
    ],
    "ai_gateway_mcp_servers": [
        {"name": "weather", "simulated": True, "credential": {"value": KEY}, "tools": {"include": ["echo"]}},
        {
            "name": "jira",
            "endpoint": {"hostname": "mcp.example.com", "path": "/v1/mcp", "tls": {"ca_bundle": CERTIFICATE}},
            "credential": {"header": "x-api-key", "external_secret": {"store": "vault", "key": "jira"}},
            "tools": {"exclude": ["delete"]},
        },
        {"name": "plain", "endpoint": {"hostname": "34.202.9.189", "tls": {"mode": "none"}}},
    ],
    "ai_gateway_tiers": [
        {
            "name": "free",
            "level": 0,
            "groups": ["all"],
            "request_limit": {"requests": 60, "window": "1m"},
            "mcp_tools": ["weather__echo", "jira__*"],
        }
    ],
}
Objects = dict[tuple[str, str], dict[str, t.Any]]


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return manifests(tmp_path_factory.mktemp("servers"), "providers", "envoy_ai_gateway.yaml.j2", VARIABLES)


def test_one_route_for_all_servers(objects: Objects) -> None:
    assert [name for kind, name in objects if kind == "MCPRoute"] == ["mcp-servers"]
    spec = objects["MCPRoute", "mcp-servers"]["spec"]
    weather, jira, plain = spec["backendRefs"]
    assert spec["path"] == "/mcp"
    assert [backend["name"] for backend in spec["backendRefs"]] == ["weather", "jira", "plain"]
    assert (weather["toolSelector"], jira["toolSelector"]) == ({"include": ["echo"]}, {"exclude": ["delete"]})
    assert (weather["path"], jira["path"]) == ("/mcp", "/v1/mcp")
    assert "header" not in weather["securityPolicy"]["apiKey"]
    assert jira["securityPolicy"]["apiKey"]["header"] == "x-api-key"
    assert not {"toolSelector", "securityPolicy"} & set(plain)
    assert [backend["forwardHeaders"] for backend in spec["backendRefs"]] == [[{"name": "x-ai-gateway-mcp-tier"}]] * 3


def test_what_no_rule_allows_is_denied(objects: Objects) -> None:
    authorization = objects["MCPRoute", "mcp-servers"]["spec"]["securityPolicy"]["authorization"]
    assert authorization["defaultAction"] == "Deny"
    (rule,) = authorization["rules"]
    assert rule["action"] == "Allow"
    assert rule["cel"].startswith('request.headers["x-ai-gateway-mcp-tier"] == "free" && (')


def test_without_tools_of_a_tier_all_are_denied(tmp_path_factory: pytest.TempPathFactory) -> None:
    tier = {name: value for name, value in VARIABLES["ai_gateway_tiers"][0].items() if name != "mcp_tools"}
    found = manifests(
        tmp_path_factory.mktemp("none"),
        "providers",
        "envoy_ai_gateway.yaml.j2",
        {**VARIABLES, "ai_gateway_tiers": [tier]},
    )
    expected = {"authorization": {"defaultAction": "Deny", "rules": []}}
    assert found["MCPRoute", "mcp-servers"]["spec"]["securityPolicy"] == expected


def test_endpoints_and_keys(objects: Objects) -> None:
    (secret,) = (body for (kind, name), body in objects.items() if kind == "Secret" and name.startswith("weather-"))
    assert base64.b64decode(secret["data"]["apiKey"]).decode() == KEY
    route = objects["MCPRoute", "mcp-servers"]["spec"]
    assert route["backendRefs"][0]["securityPolicy"]["apiKey"]["secretRef"]["name"] == secret["metadata"]["name"]
    assert KEY not in json.dumps(list(objects.values()))
    (external,) = (body for (kind, _name), body in objects.items() if kind == "ExternalSecret")
    assert (
        external["spec"]["target"]["name"] == route["backendRefs"][1]["securityPolicy"]["apiKey"]["secretRef"]["name"]
    )
    tls = objects["Backend", "jira"]["spec"]["tls"]
    (reference,) = tls["caCertificateRefs"]
    assert objects["ConfigMap", reference["name"]]["data"]["ca.crt"] == CERTIFICATE
    assert tls["sni"] == "mcp.example.com"
    endpoints = [{"ip": {"address": "34.202.9.189", "port": 80}}]
    assert objects["Backend", "plain"]["spec"] == {"type": "Endpoints", "endpoints": endpoints}
    policies = [name for kind, name in objects if kind == "NetworkPolicy"]
    assert {"ai-gateway.ai-gateway.port-80", "ai-gateway.ai-gateway.port-443"} <= set(policies)


def test_without_servers_there_is_no_route(tmp_path_factory: pytest.TempPathFactory) -> None:
    variables = {"ai_gateway_providers": VARIABLES["ai_gateway_providers"]}
    found = manifests(tmp_path_factory.mktemp("without"), "providers", "envoy_ai_gateway.yaml.j2", variables)
    assert not [kind for kind, _name in found if kind == "MCPRoute"]


def pod(*arguments: str) -> dict[str, t.Any]:
    return {
        "metadata": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        "spec": {"initContainers": [{"name": "ai-gateway-extproc", "args": ["-logLevel", "info", *arguments]}]},
    }


@pytest.mark.parametrize(("servers", "serving"), [(True, 1), (False, 2)])
def test_a_proxy_serves_with_its_mcp_proxy(
    servers: bool, serving: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Envoy AI Gateway starts the proxies anew for their first MCPRoute."""
    directory = tmp_path_factory.mktemp("serving")
    pods = [pod("-mcpAddr", ":9856"), pod()]
    count = "{{ pods | community.general.json_query(__providers_serving) | length }}"
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(ROLES / "providers/vars/main.yml")],
        "vars": {"pods": pods, "ai_gateway_catalog": {"mcp_servers": [{"name": "a"}] if servers else []}},
        "tasks": [{"ansible.builtin.copy": {"content": count, "dest": f"{directory}/out"}}],
    }
    ended = run_playbook(directory, play, {})
    assert ended.returncode == 0, ended.output
    assert (directory / "out").read_text() == str(serving)
