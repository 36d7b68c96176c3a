# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What site prints at its end."""

from __future__ import annotations

import typing as t
from pathlib import Path

from rendering import rendered

PROVIDER = {"name": "openai", "schema": "openai", "simulated": True, "credential": {"value": "k"}}


def summary(directory: Path, **variables: t.Any) -> list[str]:
    given = {
        "gateway_url": "https://ai.example.com",
        "gateway_address": "192.0.2.1",
        "ai_gateway_helm_binary": "helm",
        "ai_gateway_providers": [{**PROVIDER, "models": [{"name": "gpt-4"}]}],
        "gateway_listeners": [
            {"name": "wildcard", "hostname": "*.ai.example.com"},
            {"name": "bare", "hostname": "ai.example.com"},
        ],
        **variables,
    }
    return rendered(directory, "gateway", "summary.txt.j2", given).splitlines()


def test_each_listener_has_a_record(tmp_path: Path) -> None:
    lines = summary(tmp_path)
    assert lines[1] == "OpenAI base URL: https://ai.example.com/v1"
    assert lines[2:4] == [
        "Its DNS records: *.ai.example.com A 192.0.2.1",
        "                 ai.example.com A 192.0.2.1",
    ]
    assert any('"model": "gpt-4"' in line for line in lines)
    assert not any("/mcp" in line for line in lines)


def test_an_address_needs_no_record(tmp_path: Path) -> None:
    lines = summary(tmp_path, gateway_url="https://192.0.2.1", gateway_listeners=[])
    assert not any("DNS" in line for line in lines)


def test_a_gateway_without_a_model(tmp_path: Path) -> None:
    servers = [{"name": "try", "simulated": True}]
    lines = summary(tmp_path, ai_gateway_providers=[], ai_gateway_allow_empty=True, ai_gateway_mcp_servers=servers)
    assert lines[0].endswith("serves no model")
    assert "MCP servers: https://ai.example.com/mcp" in lines
    assert not any("A first request" in line for line in lines)
