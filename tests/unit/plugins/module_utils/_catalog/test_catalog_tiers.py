# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from catalog_inventory import INVENTORY, changed, paths


def test_limits_of_every_measure_and_of_single_models() -> None:
    tier = {
        "request_limit": {"requests": 7, "window": "1s"},
        "input_token_limit": {"tokens": 8, "window": "1h"},
        "model_limits": [{"models": ["gpt-4", "claude-3-sonnet"], "output_token_limit": {"tokens": 9, "window": "1m"}}],
    }
    inventory = changed("tiers.0", {**INVENTORY["tiers"][0], **tier})
    limits = [(limit.measure, limit.amount, limit.unit, limit.model) for limit in build(inventory).tiers[0].limits]
    assert limits == [
        ("total_tokens", 100, "Minute", ""),
        ("input_tokens", 8, "Hour", ""),
        ("requests", 7, "Second", ""),
        ("output_tokens", 9, "Minute", "gpt-4"),
        ("output_tokens", 9, "Minute", "claude-3-sonnet"),
    ]


def test_a_tier_may_limit_requests_alone() -> None:
    inventory = changed("tiers.0.token_limit", ...)
    inventory["tiers"][0]["request_limit"] = {"requests": 7, "window": "1s"}
    assert [limit.measure for limit in build(inventory).tiers[0].limits] == ["requests"]


def test_one_policy_holds_256_limits() -> None:
    inventory = copy.deepcopy(INVENTORY)
    names = [f"m{index}" for index in range(256)]
    inventory["providers"][0]["models"] += [{"name": name} for name in names]
    inventory["tiers"][0]["model_limits"] = [{"models": names, "request_limit": {"requests": 1, "window": "1m"}}]
    assert paths(inventory) == ["ai_gateway_tiers"]
