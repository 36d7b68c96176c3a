# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import filter_order
import pytest

RIGHT = [
    "egress.ai_gateway.request_filter",
    "envoy.filters.http.ext_authz/securitypolicy/ai-gateway/ai-gateway",
    "envoy.filters.http.lua/envoyextensionpolicy/ai-gateway/ai-gateway/lua/0",
    "envoy.filters.http.buffer",
    "envoy.filters.http.ext_proc/aigateway",
    "envoy.filters.http.ratelimit",
    "egress.ai_gateway.response_filter",
    "envoy.filters.http.router",
]
RBAC = "envoy.filters.http.rbac"


ROUTER = ["egress.ai_gateway.router_limit", "egress.ai_gateway.semantic_router", "egress.ai_gateway.routed_filter"]


@pytest.mark.parametrize("names", [RIGHT, [*RIGHT[:5], RBAC, *RIGHT[5:]], [*RIGHT[:3], *ROUTER, *RIGHT[3:]]])
def test_the_right_order(names: list[str]) -> None:
    assert filter_order.faults(names) == []


@pytest.mark.parametrize("name", RIGHT)
def test_each_filter_is_missed(name: str) -> None:
    assert f"{name.partition('/')[0]} is missing" in filter_order.faults([other for other in RIGHT if other != name])


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_envoy_ai_gateway_before_what_must_precede_it(place: int) -> None:
    names = [name for name in RIGHT if "ext_proc" not in name]
    names.insert(place, RIGHT[4])
    assert any(fault.startswith("envoy.filters.http.ext_proc comes before") for fault in filter_order.faults(names))


@pytest.mark.parametrize("place", [1, 2, 4, 5])
def test_a_semantic_router_between_other_filters(place: int) -> None:
    assert filter_order.faults([*RIGHT[:place], *ROUTER, *RIGHT[place:]]) != []


def test_what_nobody_knows_is_told() -> None:
    assert "envoy.filters.http.wasm has no place in the order" in filter_order.faults(
        [*RIGHT[:2], "envoy.filters.http.wasm", *RIGHT[2:]]
    )
    assert "envoy.filters.http.health_check is the first" in filter_order.faults(
        ["envoy.filters.http.health_check", *RIGHT]
    )
    assert filter_order.faults([]) != []


def test_the_listeners_of_the_gateway_alone() -> None:
    manager = {"name": filter_order.MANAGER, "typed_config": {"http_filters": [{"name": name} for name in RIGHT]}}

    def listener(name: str) -> dict[str, object]:
        return {
            "active_state": {
                "listener": {
                    "name": name,
                    "filter_chains": [{"filters": [manager]}],
                    "default_filter_chain": {"filters": [manager]},
                }
            }
        }

    names = ("tcp-443", "tcp-80", "ready")
    dump = {"configs": [{}, {"dynamic_listeners": [listener(name) for name in names]}]}
    for url, name in (("https://10.245.0.2:30080", "tcp-443"), ("http://ai.example.com", "tcp-80")):
        found = filter_order.chains(dump, url)
        assert list(found.values()) == [RIGHT, RIGHT]
        assert all(listener.startswith(name) for listener in found)


def test_the_filters_of_mcp_servers_are_on_their_listener_alone() -> None:
    def dump(**listeners: list[str]) -> dict[str, object]:
        dynamic = [
            {"active_state": {"listener": {"name": name.replace("_", "-"), "http_filters": filters}}}
            for name, filters in listeners.items()
        ]
        return {"configs": [{"dynamic_listeners": dynamic}]}

    answers, buffer = filter_order.MCP_FILTERS
    moved = {"aigateway_mcp_backend_listener": [answers, buffer]}
    assert filter_order.mcp_faults(dump(tcp_80=RIGHT, **moved)) == []
    assert filter_order.mcp_faults(dump(tcp_80=[answers], **moved)) == [f"{answers} is on tcp-80"]
    assert filter_order.mcp_faults(dump(aigateway_mcp_backend_listener=[answers])) == [f"{buffer} is missing"]
    assert filter_order.mcp_faults(dump(tcp_80=RIGHT)) == ["listener aigateway-mcp-backend-listener is missing"]
