# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from catalog_inventory import KEY, changed, faults, paths


def test_numbers_may_come_as_strings() -> None:
    assert build(changed("providers.1.endpoint.port", "8443")).providers[1].endpoint.port == 8443


@pytest.mark.parametrize(("text", "enabled"), [("true", True), ("False", False), ("false", False)])
def test_truth_values_may_come_as_strings(text: str, enabled: bool) -> None:
    assert build({"maas_api": text}).maas_api.enabled is enabled


@pytest.mark.parametrize("value", [{"openai": {}}, "openai", 1])
def test_providers_that_are_no_list(value: t.Any) -> None:
    assert paths({"providers": value}) == ["ai_gateway_providers"]


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("providers.0.shema", "did you mean `schema`?"),
        ("providers.0.credential.vlaue", "did you mean `value`?"),
        ("providers.1.endpoint.tls.cabundle", "did you mean `ca_bundle`?"),
        ("tiers.0.tokens_limit", "did you mean `token_limit`?"),
        (
            "tiers.0.zzz",
            "it takes name, level, groups, token_limit, input_token_limit, output_token_limit, cost_limit, "
            "request_limit, model_limits, models, mcp_tools and objective",
        ),
    ],
)
def test_an_unknown_key_names_the_nearest(path: str, remedy: str) -> None:
    assert [fault.remedy for fault in faults(changed(path, 1))] == [remedy]


def test_a_misspelt_key_is_not_missing_too() -> None:
    provider = {
        "nam": "x",
        "shema": "openai",
        "simulate": True,
        "credentials": {"value": KEY},
        "model": [{"name": "gpt-4"}],
    }
    assert paths({"providers": [provider]}) == [f"ai_gateway_providers[0].{key}" for key in sorted(provider)]
