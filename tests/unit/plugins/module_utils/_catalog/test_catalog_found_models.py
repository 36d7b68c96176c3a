# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.found_models import with_found
from test_catalog_semantic_router import inventory

ROUTED = {"egress.ai-gateway/semantic-router": "true"}


def service(name: str, model: str = "", **annotations: str) -> dict[str, t.Any]:
    words = {f"egress.ai-gateway/{key}": value for key, value in annotations.items()}
    return {
        "metadata": {"name": name, "namespace": "llm", "annotations": {**ROUTED, **words}},
        "spec": {"model": {"name": model}} if model else {},
    }


def names_of(catalog: dict[str, t.Any]) -> list[str]:
    return [model["name"] for model in catalog["models"]]


def found(*services: dict[str, t.Any]) -> dict[str, t.Any]:
    catalog = build(inventory(mode="dual_gateway", fallback="model-a")).as_dict()
    return with_found(catalog["semantic_router"], catalog["tiers"], services, ["llm"], names_of(catalog))


def test_a_model_of_the_cluster_is_one_of_the_router() -> None:
    router = found(service("sql", "Model-SQL", keywords="select, database"))
    assert router["faults"] == []
    assert router["models"][-1] == {
        "name": "Model-SQL",
        "provider_model": "Model-SQL",
        "hostname": "sql-kserve-workload-svc.llm.svc.cluster.local",
        "port": 8000,
    }
    assert [model["name"] for model in router["config"]["providers"]["models"]] == ["model-a", "model-b", "Model-SQL"]
    # A tier whose models are named does not get it.
    assert {tier["name"]: tier["models"] for tier in router["tiers"]} == {
        "free": ["model-a"],
        "paid": ["model-a", "model-b", "Model-SQL"],
    }
    assert [(decision["name"], decision["priority"]) for decision in router["config"]["routing"]["decisions"]] == [
        ("math.free", 26),
        ("math", 21),
        ("llm.sql", 20),
        ("default", 10),
    ]
    rules = router["config"]["routing"]["decisions"][2]["rules"]["conditions"]
    assert rules == [
        {"type": "keyword", "name": "llm.sql"},
        {"operator": "OR", "conditions": [{"type": "authz", "name": "paid"}]},
    ]
    assert router["egress"][-1]["peers"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == "sql"


def test_several_have_priorities_of_their_own() -> None:
    router = found(service("b", keywords="law"), service("a", keywords="sums"))
    decisions = router["config"]["routing"]["decisions"]
    assert [decision["name"] for decision in decisions] == ["math.free", "math", "llm.a", "llm.b", "default"]
    assert len({decision["priority"] for decision in decisions}) == len(decisions)


def test_others_are_left_alone() -> None:
    catalog = build(inventory(mode="dual_gateway")).as_dict()
    other = service("other")
    other["metadata"]["annotations"] = {}
    leaving = service("leaving")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert with_found(catalog["semantic_router"], catalog["tiers"], [other, leaving], ["*"], names_of(catalog)) == {
        **catalog["semantic_router"],
        "faults": [],
    }


def test_faults() -> None:
    assert found(service("one", "model-a"))["faults"] == [
        "LLMInferenceService llm/one: its model model-a is one of the catalogue already; give it another name in "
        "spec.model.name"
    ]
    assert "no name of a model" in found(service("two", "a model"))["faults"][0]
    assert "has a keyword that is" in found(service("three", "m", keywords="sql, ${HOME}"))["faults"][0]
    assert "has a keyword that is" in found(service("three", "m", keywords="x" * 513))["faults"][0]
    misspelt = service("four", "m")
    misspelt["metadata"]["annotations"]["egress.ai-gateway/semantic-router"] = "True"
    assert "is 'True'; write true or false" in found(misspelt)["faults"][0]
    assert "KServe cuts its name" in found(service("x" * 50, "m"))["faults"][0]


def test_those_of_other_namespaces_do_not_count() -> None:
    catalog = build(inventory(mode="dual_gateway")).as_dict()
    other = service("sql")
    other["metadata"]["namespace"] = "tenant"
    for namespaces, names in ([["llm"], []], [["tenant"], ["sql"]], [["*"], ["sql"]]):
        router = with_found(catalog["semantic_router"], catalog["tiers"], [other], namespaces, names_of(catalog))
        assert [model["name"] for model in router["models"][2:]] == names
        assert router["faults"] == []


@pytest.mark.parametrize("word", ["the", "a", "of", "What", "how to", "please explain", ".", "??", "1", "é"])
def test_no_keyword_draws_all_prompts(word: str) -> None:
    router = found(service("greedy", keywords=f"database, {word}"), service("sql", keywords="sql"))
    assert router["faults"] == [
        f'LLMInferenceService llm/greedy: annotation egress.ai-gateway/keywords has "{word}", which is in too many '
        "prompts; write a rarer word"
    ]
    # The other one is a model all the same.
    assert [model["name"] for model in router["models"][2:]] == ["sql"]
    assert "llm.greedy" not in [decision["name"] for decision in router["config"]["routing"]["decisions"]]


def test_keywords_that_are_rare_enough() -> None:
    assert found(service("sql", keywords="sql, how to query, 天气, C++ code"))["faults"] == []
    many = ", ".join(f"word{number}" for number in range(51))
    assert "has 51 keywords; write at most 50" in found(service("sql", keywords=many))["faults"][0]


@pytest.mark.parametrize("word", ["c++", "C#", ".net", "\u043a\u043e\u0442", "caf\u00e9s \u00e9t\u00e9"])
def test_keywords_that_the_router_finds_nowhere(word: str) -> None:
    (fault,) = found(service("sql", keywords=f"sql, {word}"))["faults"]
    assert "finds it nowhere" in fault or "too many prompts" in fault


def test_a_name_that_the_inventory_has_is_left_to_it() -> None:
    catalog = build(inventory(mode="dual_gateway")).as_dict()
    catalog["semantic_router"]["config"]["routing"]["signals"]["keywords"].append({"name": "llm.sql"})
    arguments = (catalog["tiers"], [service("sql", keywords="select")], ["llm"], [*names_of(catalog), "elsewhere"])
    (fault,) = with_found(catalog["semantic_router"], *arguments)["faults"]
    assert "a signal or decision of the inventory has the name" in fault
    # Nor is the name of a model that the router does not lead to free.
    taken = (catalog["tiers"], [service("other", "elsewhere")], ["llm"], [*names_of(catalog), "elsewhere"])
    (fault,) = with_found(catalog["semantic_router"], *taken)["faults"]
    assert "is one of the catalogue already" in fault
