# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a validation asks of a semantic router, for catalogues as inventories describe them."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.inference import Probe
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.plan import Plan, Seen, Settings
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.semantic_router import chosen, holds
from validated_providers import REAL

MATH = {"type": "keyword", "name": "math"}
LIMIT = {"token_limit": {"tokens": 100, "window": "1m"}}
FREE = {"name": "free", "level": 0, "groups": ["a"], **LIMIT, "models": ["model-a", "auto"]}
PAID = {"name": "paid", "level": 1, "groups": ["b"], "token_limit": {"tokens": 5000, "window": "1m"}}
CLOSED = {"name": "closed", "level": 2, "groups": ["c"], **LIMIT, "models": ["model-a"]}
ROUTER: dict[str, t.Any] = {
    "default_model": "model-a",
    "models": ["model-a", "model-b"],
    "signals": {"keywords": [{"name": "math", "keywords": ["integral", "derivative"]}]},
    "decisions": [
        {"name": "math", "priority": 1, "rules": {"operator": "AND", "conditions": [MATH]}, "model": "model-b"}
    ],
}


def plan(tier: str, **router: t.Any) -> Plan:
    catalog = build(
        {
            "providers": [],
            "models": [{"name": name, "simulated": True} for name in ("model-a", "model-b")],
            "tiers": [FREE, PAID, CLOSED],
            "semantic_router": {**ROUTER, **router},
        }
    ).as_dict()
    issued = {"results": [{"item": {"id": name}, "token": name * 20} for name in ("caller", "limited")]}
    return Plan(catalog, Settings.of({"tier": tier, "rate_limit_tier": "free"}), Seen(run="r1", issued=issued))


def probes(tier: str, **router: t.Any) -> dict[str, dict[str, t.Any]]:
    found = {probe["id"]: probe for probe in plan(tier, **router).probes if probe["id"].startswith("router:")}
    for probe in found.values():
        Probe.from_params({key: value for key, value in probe.items() if key not in ("id", "name", "hint", "skip")})
    return found


def test_who_may_use_all_models_gets_the_one_that_fits() -> None:
    found = probes("paid")
    assert set(found) == {
        "router:no-token",
        "router:bad-token",
        "router:chat",
        "router:stream",
        "router:forged",
        "router:keywords:math",
    }
    assert found["router:no-token"]["expect"]["status"] == [401]
    assert found["router:chat"]["expect"]["headers"] == {"x-maas-model-executed": r"^(model\-a)$"}
    assert found["router:keywords:math"]["expect"]["headers"] == {"x-maas-model-executed": r"^(model\-b)$"}
    assert found["router:keywords:math"]["prompt"] == "Please explain: integral, derivative."
    assert found["router:keywords:math"]["skip"] == ""
    assert found["router:forged"]["expect"] == found["router:chat"]["expect"]
    assert found["router:forged"]["extra_headers"]["x-selected-model"] == "model-b"


def test_a_model_of_others_is_refused_or_replaced() -> None:
    assert probes("free")["router:keywords:math"]["expect"] == {"status": [403], "api_error": True}
    replaced = probes("free", fallback="model-a")["router:keywords:math"]["expect"]
    assert (replaced["status"], replaced["model"]) == ([200], ["model-a"])


def test_a_tier_without_the_router() -> None:
    found = probes("closed")
    assert set(found) == {"router:no-token", "router:bad-token", "router:forbidden"}
    assert found["router:forbidden"]["expect"]["status"] == [403]


def test_the_budget_is_one() -> None:
    """The limit that other models have spent holds for what the router would choose."""
    assert {"model": "auto", "operation": "chat_completions"} in plan("paid").limits[0]["elsewhere"]
    # Where the tier would not get that model anyway, nothing could be seen.
    assert "auto" not in str(plan("paid", default_model="model-b").limits[0]["elsewhere"])


@pytest.mark.parametrize("mode", ["single_gateway", "dual_gateway"])
def test_its_model_has_no_probes_of_an_ordinary_one(mode: str) -> None:
    found = plan("paid", mode=mode)
    assert [model["name"] for model in found.models] == ["model-a", "model-b"]
    assert "auto" in found.listing["expect"]["models"]


def test_what_money_is_spent_for_is_counted() -> None:
    catalog = build(
        {"providers": [REAL], "tiers": [PAID], "semantic_router": {"default_model": REAL["models"][0]["name"]}}
    ).as_dict()
    issued = {"results": [{"item": {"id": "caller"}, "token": "t" * 50}]}
    found = Plan(catalog, Settings.of({"paid_requests": 1}), Seen(run="r1", issued=issued))
    skipped = {probe["id"]: probe.get("skip", "") for probe in found.probes if probe["id"].startswith("router:")}
    assert "validation_paid_requests" in skipped["router:forged"]


@pytest.mark.parametrize(
    ("rules", "result"),
    [
        (MATH, True),
        ({"type": "keyword", "name": "law"}, False),
        ({"type": "context", "name": "long"}, None),
        ({"operator": "AND", "conditions": []}, True),
        ({"operator": "AND", "conditions": [MATH, {"type": "context", "name": "long"}]}, None),
        ({"operator": "AND", "conditions": [{"type": "authz", "name": "paid"}, {"type": "pii", "name": "x"}]}, False),
        ({"operator": "OR", "conditions": [{"type": "context", "name": "long"}, MATH]}, True),
        ({"operator": "OR", "conditions": [{"type": "authz", "name": "paid"}]}, False),
        ({"operator": "NOT", "conditions": [MATH]}, False),
        ({"operator": "NOT", "conditions": [{"type": "context", "name": "long"}]}, None),
    ],
)
def test_what_is_known_of_a_decision(rules: dict[str, t.Any], result: bool | None) -> None:
    assert holds(rules, {("keyword", "math"), ("authz", "free")}) is result


def test_an_unknown_decision_hides_those_below() -> None:
    decisions = [
        {"name": "long", "rules": {"type": "context", "name": "long"}, "modelRefs": [{"model": "b"}]},
        {"name": "default", "rules": {"conditions": []}, "modelRefs": [{"model": "a"}]},
    ]
    assert chosen({"routing": {"signals": {}, "decisions": decisions}}, set()) == ("", "")
    assert chosen({"routing": {"signals": {}, "decisions": decisions[1:]}}, set()) == ("default", "a")


@pytest.mark.parametrize(
    "signal",
    [
        {"keywords": ["\\d{4,}"], "method": "regex"},
        {"keywords": ["x"], "operator": "NOR"},
        {"keywords": ["x"], "method": "bm25"},
        {"keywords": ["x"], "fuzzy_match": True},
    ],
)
def test_what_other_than_words_decides_is_not_foretold(signal: dict[str, t.Any]) -> None:
    """Whether a prompt of the validation has it, only the router knows."""
    found = probes("paid", signals={"keywords": [{"name": "math", **signal}]})
    assert "router:keywords:math" not in found
    assert found["router:chat"]["expect"]["status"] == [200]
    assert set(found["router:chat"]["expect"]["model"]) >= {"model-a", "model-b"}
