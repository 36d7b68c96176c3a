# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from catalog_inventory import KSERVE, faults, paths, shared


def test_a_model_of_two_providers_without_a_rule_names_both() -> None:
    (fault,) = faults(shared({}, {}))
    assert fault.path == "ai_gateway_providers[0].models[0]"
    assert "ai_gateway_providers[1].models[1]" in fault.problem
    (fault,) = faults(shared({"weight": 3}, {}))
    assert fault.path == "ai_gateway_providers[1].models[1]"
    assert "ai_gateway_providers[0].models[0]" in fault.problem


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"weight": 3}, {"weight": 1}),
        ({"priority": 0}, {"priority": 1}),
        ({"weight": 1, "priority": 1}, {"priority": 0}),
    ],
)
def test_a_model_of_two_providers_with_a_rule(first: dict[str, int], second: dict[str, int]) -> None:
    (model,) = [model for model in build(shared(first, second)).as_dict()["models"] if model["name"] == "gpt-4"]
    assert model["backends"] == [
        {"name": "openai", "provider": "openai", "provider_model": "gpt-4", "weight": 1, "priority": 0, **first},
        {
            "name": "anthropic",
            "provider": "anthropic",
            "provider_model": "azure-gpt-4",
            "weight": 1,
            "priority": 0,
            **second,
        },
    ]


def test_a_model_of_several_providers_is_not_reached_by_addresses() -> None:
    """Envoy AI Gateway would give one of them the other's key, or the caller's token."""
    inventory = shared({"priority": 0}, {"priority": 1})
    inventory["providers"][1]["endpoint"] = {"hostname": "34.202.9.189", "tls": {"sni": "api.example.com"}}
    assert paths(inventory) == ["ai_gateway_providers[1].models[1]"]


@pytest.mark.parametrize(("first", "second"), [(0, 2), (1, 1), (1, 2)])
def test_priorities_count_from_zero(first: int, second: int) -> None:
    assert paths(shared({"priority": first}, {"priority": second})) == ["ai_gateway_providers[0].models[0].priority"]


def test_one_object_is_described_once() -> None:
    first = {"name": "a", "backend_ref": KSERVE}
    assert {
        model.backends[0].name for model in build({"models": [first, {"name": "b", "backend_ref": KSERVE}]}).models
    } == {"llminferenceservice.llm.opt.8000"}
    for other in ({"spec": {}}, {"tls": {"ca_bundle": "ca"}}):
        assert paths({"models": [first, {"name": "b", "backend_ref": {**KSERVE, **other}}]}) == [
            "ai_gateway_models[1].backend_ref"
        ]
    assert paths({"models": [first, {"name": "b", "simulated": True, "backend_ref": KSERVE}]}) == [
        "ai_gateway_models[1].backend_ref"
    ]
