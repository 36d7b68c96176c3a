# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from catalog_inventory import INVENTORY, changed, faults, paths

PRICES = {"gpt-4": {"input": 2.5, "output": "10"}, "claude-3-sonnet": {"input": 0, "output": 0.000001}}
COST = {"cost": 1.25, "window": "24h"}


def priced(prices: t.Any, **tier: t.Any) -> dict[str, t.Any]:
    inventory = changed("tiers.0", {**INVENTORY["tiers"][0], **tier})
    return {**inventory, "prices": prices}


def test_models_have_prices_and_costs_are_limited_in_millionths() -> None:
    catalog = build(priced(PRICES, cost_limit=COST)).as_dict()
    assert {model["name"]: model["price"] for model in catalog["models"]} == {
        "gpt-4": {"input": 2.5, "output": 10.0, "cached_input": 2.5},
        "claude-3-sonnet": {"input": 0, "output": 0.000001, "cached_input": 0},
    }
    limits = [(limit["measure"], limit["amount"], limit["unit"]) for limit in catalog["tiers"][0]["limits"]]
    assert limits == [("total_tokens", 100, "Minute"), ("cost", 1_250_000, "Day")]


def test_what_a_provider_has_in_its_cache_has_a_price_of_its_own() -> None:
    catalog = build({**priced({"gpt-4": {**PRICES["gpt-4"], "cached_input": 0}}), "currency": "EUR"}).as_dict()
    assert catalog["models"][0]["price"] == {"input": 2.5, "output": 10.0, "cached_input": 0}
    assert catalog["currency"] == "EUR"


@pytest.mark.parametrize("currency", ["euro", "EURO", "\u20ac", 3])
def test_a_currency_is_a_code(currency: t.Any) -> None:
    assert paths({**priced(PRICES), "currency": currency}) == ["ai_gateway_currency"]


def test_a_model_without_a_price_has_none() -> None:
    catalog = build(priced({"gpt-4": PRICES["gpt-4"]})).as_dict()
    assert ["price" in model for model in catalog["models"]] == [True, False]


def test_a_limit_of_costs_needs_the_prices_of_what_it_counts() -> None:
    alone = {"gpt-4": PRICES["gpt-4"]}
    (fault,) = faults(priced(alone, cost_limit=COST))
    assert fault.path == "ai_gateway_tiers[0].cost_limit"
    assert "claude-3-sonnet" in fault.problem
    assert "ai_gateway_prices" in fault.remedy
    # Those of another tier, and those beside the model that is counted, need none.
    build(priced(alone, cost_limit=COST, models=["gpt-4"]))
    build(priced(alone, model_limits=[{"models": ["gpt-4"], "cost_limit": COST}]))


@pytest.mark.parametrize(
    ("prices", "path"),
    [
        ({"gpt-5": {"input": 1, "output": 1}}, "ai_gateway_prices.gpt-5"),
        ({"gpt-4": {"input": 1}}, "ai_gateway_prices.gpt-4.output"),
        ({"gpt-4": {"input": -1, "output": 1}}, "ai_gateway_prices.gpt-4.input"),
        ({"gpt-4": {"input": True, "output": 1}}, "ai_gateway_prices.gpt-4.input"),
        ({"gpt-4": {"input": 1e-7, "output": 1}}, "ai_gateway_prices.gpt-4.input"),
        ({"gpt-4": {"input": "cheap", "output": 1}}, "ai_gateway_prices.gpt-4.input"),
        ({"gpt-4": {"input": float("nan"), "output": 1}}, "ai_gateway_prices.gpt-4.input"),
        ({"gpt-4": {"input": 1, "output": 1, "cached_input": "no"}}, "ai_gateway_prices.gpt-4.cached_input"),
        ({"gpt-4": {"input": 1, "output": 1, "cached": 1}}, "ai_gateway_prices.gpt-4.cached"),
        ({"gpt-4": 3}, "ai_gateway_prices.gpt-4"),
        ([1], "ai_gateway_prices"),
    ],
)
def test_wrong_prices_are_named(prices: t.Any, path: str) -> None:
    assert paths(priced(prices)) == [path]


@pytest.mark.parametrize("cost", [0, 4295, "much", None])
def test_wrong_costs_are_named(cost: t.Any) -> None:
    assert paths(priced(PRICES, cost_limit={**COST, "cost": cost})) == ["ai_gateway_tiers[0].cost_limit.cost"]


def test_behind_a_gateway_of_its_own_a_router_hides_what_is_called() -> None:
    inventory = priced({**PRICES, "local": PRICES["gpt-4"]}, cost_limit=COST)
    inventory["models"] = [{"name": "local", "simulated": True}]
    inventory["semantic_router"] = {"mode": "single_gateway", "default_model": "local"}
    build(inventory)
    inventory["semantic_router"]["mode"] = "dual_gateway"
    (fault,) = faults(inventory)
    assert fault.path == "ai_gateway_tiers[0].cost_limit"
    assert "single_gateway" in fault.remedy
    # A price of the router's model would be none of what is called.
    assert "ai_gateway_prices.auto" in paths({**inventory, "prices": {**inventory["prices"], "auto": PRICES["gpt-4"]}})


def test_prices_of_a_catalogue_without_models_are_nobodys() -> None:
    """Playbooks that need the names alone, such as teardown, ended with an IndexError."""
    assert build({"allow_empty": True, "prices": PRICES}).as_dict()["models"] == []
