# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the end of site prints."""

from __future__ import annotations

import typing as t
from pathlib import Path

from rendering import rendered

ADDRESS = "203.0.113.7"
SERVERS = [{"name": name, "simulated": True} for name in ("weather", "try")]
TIER = {
    "name": "free",
    "level": 0,
    "groups": ["system:authenticated"],
    "request_limit": {"requests": 1, "window": "1m"},
}
PROVIDER = {
    "name": "openai",
    "schema": "openai",
    "simulated": True,
    "credential": {"value": "k"},
    "models": [{"name": "gpt-4"}],
}


def summary(directory: Path, **variables: t.Any) -> list[str]:
    given = {
        "gateway_url": "https://ai.example.com",
        "gateway_address": ADDRESS,
        "ai_gateway_helm_binary": "helm",
        "ai_gateway_kubeconfig": "",
        "ai_gateway_platform": "kubernetes",
        "ai_gateway_providers": [PROVIDER],
        "ai_gateway_tiers": [TIER],
        "gateway_tls_secret": "of-others",
        **variables,
    }
    return rendered(directory, "gateway", "summary.txt.j2", given).splitlines()


def test_each_listener_has_a_record(tmp_path: Path) -> None:
    listeners = [
        {"name": "wildcard", "hostname": "*.ai.example.com"},
        {"name": "bare", "hostname": "ai.example.com"},
    ]
    lines = summary(tmp_path, gateway_listeners=listeners)
    first = lines.index("Its DNS records:")
    assert lines[first + 1 : first + 3] == [f"*.ai.example.com A {ADDRESS}", f"ai.example.com A {ADDRESS}"]
    assert not [line for line in lines if "MCP" in line or "No tier" in line]
    assert lines[0] == "The gateway of localhost serves gpt-4"
    assert any('"model": "gpt-4"' in line for line in lines)


def test_an_address_has_no_record(tmp_path: Path) -> None:
    assert not [line for line in summary(tmp_path, gateway_url=f"https://{ADDRESS}") if "DNS" in line]


def test_the_tools_have_a_url_and_no_model_is_needed(tmp_path: Path) -> None:
    lines = summary(
        tmp_path,
        gateway_hostname="ai.example.com",
        gateway_address="lb.example.com",
        ai_gateway_allow_empty=True,
        ai_gateway_providers=[],
        ai_gateway_mcp_servers=SERVERS,
        ai_gateway_tiers=[{**TIER, "mcp_tools": ["weather__*"]}],
    )
    assert "MCP URL: https://ai.example.com/mcp, with the tools of weather, try" in lines
    assert "No tier may call a tool of try: see mcp_tools of ai_gateway_tiers." in lines
    assert lines[lines.index("Its DNS record:") + 1] == "ai.example.com CNAME lb.example.com"
    assert lines[0] == "The gateway of localhost serves no model"
    assert "A first request:" not in lines
