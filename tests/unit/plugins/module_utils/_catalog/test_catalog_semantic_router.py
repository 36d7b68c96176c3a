# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t

import pytest
import routed_inventory
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import CatalogError
from catalog_inventory import INVENTORY, KSERVE
from routed_inventory import LIMIT, MATH, ROUTER

TIERS = [
    *routed_inventory.TIERS,
    {"name": "closed", "level": 2, "groups": ["few"], **LIMIT, "models": ["model-a"]},
]


def inventory(served: t.Any = None, tiers: t.Any = TIERS, **router: t.Any) -> dict[str, t.Any]:
    described = {**copy.deepcopy(ROUTER), **router}
    return {
        **INVENTORY,
        "models": served or [{"name": name, "simulated": True} for name in ("model-a", "model-b")],
        "tiers": tiers,
        "semantic_router": {key: value for key, value in described.items() if value is not ...},
    }


def router_of(given: dict[str, t.Any]) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", build(given).as_dict()["semantic_router"])


def faults_of(given: dict[str, t.Any]) -> list[str]:
    with pytest.raises(CatalogError) as caught:
        build(given)
    return [str(fault) for fault in caught.value.faults]


def decisions(router: dict[str, t.Any]) -> list[tuple[str, int, str]]:
    return [
        (decision["name"], decision["priority"], decision["modelRefs"][0]["model"])
        for decision in router["config"]["routing"]["decisions"]
    ]


def test_no_router() -> None:
    assert build(INVENTORY).as_dict()["semantic_router"] is None
    assert build({**INVENTORY, "semantic_router": {}}).as_dict()["semantic_router"] is None


def test_all_defaults() -> None:
    found = build(inventory())
    router = found.as_dict()["semantic_router"]
    assert {key: value for key, value in router.items() if key not in ("config", "models")} == {
        "mode": "single_gateway",
        "by_path": False,
        "model": "auto",
        "namespace": "vllm-semantic-router-system",
        "service": "semantic-router",
        "hostname": "semantic-router.vllm-semantic-router-system.svc.cluster.local",
        "port": 8801,
        "default_model": "model-a",
        "fallback": "deny",
        "classifiers": False,
        "body_limit": 2**20,
        "requests_at_once": 512,
        "tiers": [
            {"name": "free", "models": ["model-a"]},
            {"name": "paid", "models": ["gpt-4", "model-a", "model-b"]},
        ],
        "egress": [],
    }
    # The router reaches no model by itself, and chooses none of Anthropic's API.
    assert [model["name"] for model in router["models"]] == ["gpt-4", "model-a", "model-b"]
    assert {
        reference["endpoint"]
        for model in router["config"]["providers"]["models"]
        for reference in model["backend_refs"]
    } == {"127.0.0.1:9"}
    assert decisions(router) == [("math", 20, "model-b"), ("default", 10, "model-a")]
    assert [destination.port for destination in found.egress if destination.name == "semantic-router"] == [50051]
    # The gateway knows no model of that name: without the router there is no route for it.
    assert "auto" not in [model.name for model in found.models]


def test_a_model_of_the_catalogue_is_one_of_the_router() -> None:
    names = ["model-a", "model-b", "model-c"]
    found = router_of(inventory([{"name": name, "simulated": True} for name in names]))
    assert [card["name"] for card in found["config"]["routing"]["modelCards"]] == ["gpt-4", *names]
    found = router_of(inventory(models=["model-a"], decisions=[]))
    assert [card["name"] for card in found["config"]["routing"]["modelCards"]] == ["model-a"]


def test_who_calls_is_known_to_the_router() -> None:
    found = router_of(inventory())["config"]
    assert found["routing"]["signals"]["role_bindings"] == [
        {"name": name, "role": name, "subjects": [{"kind": "Group", "name": name}]} for name in ("free", "paid")
    ]
    assert found["global"]["services"]["authz"] == {
        "fail_open": False,
        "identity": {"user_id_header": "x-authz-user-id", "user_groups_header": "x-authz-user-groups"},
    }


def test_a_tier_gets_another_model_in_place_of_one_that_it_may_not_use() -> None:
    router = router_of(inventory(fallback="model-a"))
    assert decisions(router) == [
        ("math.free", 25, "model-a"),
        ("math", 20, "model-b"),
        ("default", 10, "model-a"),
    ]
    rules = router["config"]["routing"]["decisions"][0]["rules"]
    assert rules == {"operator": "AND", "conditions": [{"type": "authz", "name": "free"}, MATH]}


def test_the_highest_priority_wins_over_a_tier_of_a_lower_one() -> None:
    low = {"name": "low", "priority": 7, "rules": MATH, "model": "model-b"}
    high = {"name": "high", "priority": 9000, "rules": MATH, "model": "model-a"}
    assert decisions(router_of(inventory(fallback="model-a", decisions=[high, low]))) == [
        ("high", 30, "model-a"),
        ("low.free", 25, "model-a"),
        ("low", 20, "model-b"),
        ("default", 10, "model-a"),
    ]


def test_a_gateway_of_its_own_calls_models_by_their_names() -> None:
    found = build(inventory(mode="dual_gateway"))
    router = found.as_dict()["semantic_router"]
    assert [
        (model["name"], reference["endpoint"])
        for model in router["config"]["providers"]["models"]
        for reference in model["backend_refs"]
    ] == [
        ("model-a", "model-a-simulator.external-models.svc.cluster.local:8000"),
        ("model-b", "model-b-simulator.external-models.svc.cluster.local:8000"),
    ]
    assert [destination["name"] for destination in router["egress"]] == ["simulators"]
    # The route to it is that of a model.
    (public,) = [model for model in found.models if model.name == "auto"]
    reference = public.backends[0].backend_ref
    assert reference is not None
    assert (reference.hostname, reference.port) == (router["hostname"], 8801)
    assert "namespace.vllm-semantic-router-system" in [destination.name for destination in found.egress]


def test_the_models_of_kserve_with_kuadrant() -> None:
    kserve = {key: value for key, value in KSERVE.items() if key != "tls"}
    given = {
        **inventory([{"name": "model-a", "backend_ref": kserve}], decisions=[], signals=...),
        "platform": "openshift",
        "stack": "wg_ai_gateway",
        "policy_engine": "kuadrant",
        "providers": [],
        "tiers": TIERS[:1],
    }
    found = build(given).as_dict()
    router = found["semantic_router"]
    assert (router["mode"], router["by_path"]) == ("dual_gateway", True)
    assert (router["models"][0]["hostname"], router["models"][0]["port"]) == (
        "opt-kserve-workload-svc.llm.svc.cluster.local",
        8000,
    )
    assert "auto" not in [model["name"] for model in found["models"]]
    given["semantic_router"]["mode"] = "single_gateway"
    assert faults_of(given) == [
        "ai_gateway_semantic_router.mode: needs a program in the proxies, and with engine kuadrant the gateway is "
        "another's; write dual_gateway"
    ]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"default_model": ...}, "default_model: is missing; write one of gpt-4, model-a or model-b"),
        (
            {"default_model": "model-z"},
            'default_model: "model-z" is no model of the router; write gpt-4, model-a or model-b',
        ),
        ({"default_model": "Model-A"}, 'default_model: "Model-A" is no model of the router; did you mean `model-a`?'),
        ({"fallback": "Deny"}, 'fallback: "Deny" is no model of the router; did you mean `deny`?'),
        ({"settings": {"services": "x"}}, "settings.services: is a string; write a mapping"),
        (
            {"signals": {"keywords": [{"name": "math", "keywords": ["(integral"], "method": "regex"}]}},
            "signals.keywords[0].keywords[0]: is no regular expression of Go: it lacks a closing parenthesis",
        ),
        (
            {"signals": {"keywords": [{"name": "math", "keywords": ["a(?=b)"], "method": "regex"}]}},
            'signals.keywords[0].keywords[0]: is no regular expression of Go: it has "(?=b)", and Go knows no such',
        ),
        *(
            (
                {"signals": {"keywords": [{"name": "math", "keywords": ["sums", word]}]}},
                "signals.keywords[0].keywords[1]: begins or ends with what is no ASCII letter, digit or _, so that the "
                "router finds it nowhere; write method: regex",
            )
            for word in ("_+", "c++", "C#", ".net", "\u043a\u043e\u0442", "\u00e9t\u00e9", "\ubbf8\uc801\ubd84")
        ),
        ({"settings": {"router": {"streamed_body": {}}}}, "settings.router.streamed_body: is the collection's"),
        (
            {"settings": {"model_catalog": {}}},
            "settings.model_catalog: names models that the router loads; write it in classifiers",
        ),
        ({"body_limit": "4MB"}, 'body_limit: "4MB" is not a size; write a size such as 4Mi'),
        ({"body_limit": "0Mi"}, 'body_limit: "0Mi" is not a size'),
        (
            {"body_limit": "51Mi"},
            'body_limit: "51Mi" is more than ai_gateway_request_body_limit, and no larger body comes this far; write '
            "at most 52428800 (bytes), or raise that",
        ),
        ({"settings": {"router": {"learning": {}}}}, "settings.router.learning: is the collection's"),
        ({"settings": {"router": {"fallback": {}}}}, "settings.router.fallback: is the collection's"),
        ({"settings": {"router": {"strategy": "x"}}}, "settings.router.strategy: is the collection's"),
        ({"settings": {"stores": {"vector_store": {}}}}, "settings.stores.vector_store: is the collection's"),
        (
            {"settings": {"services": {"observability": {"tracing": {"enabled": True}}}}},
            "settings.services.observability.tracing: is the collection's",
        ),
        (
            {"settings": {"services": {"observability": {"profiling": None}}}},
            "settings.services.observability.profiling: is the collection's",
        ),
        ({"signals": {"keywords": [{"name": "math", "keywords": ["a"], "$HOME": 1}]}}, "signals.keywords[0]: has `$`"),
        ({"settings": {"integrations": {"looper": {}}}}, "settings.integrations.looper: is the collection's"),
        ({"default_model": "claude-3-sonnet"}, 'default_model: "claude-3-sonnet" is no model of the router; write'),
        ({"mode": "two"}, 'mode: is "two"; write single_gateway or dual_gateway'),
        ({"model": "gpt-4"}, 'model: "gpt-4" is a model of the catalogue too; give one of them another name'),
        ({"namespace": "ai-gateway"}, 'namespace: "ai-gateway" has another use already'),
        ({"models": ["claude-3-sonnet"]}, 'models[0]: "claude-3-sonnet" is not served in chats of OpenAI\'s API'),
        ({"models": ["*", "gpt-4"]}, 'models: names models beside "*"'),
        ({"fallback": "model-b"}, 'fallback: "model-b" is in place of "model-b", and tier free may not use it either'),
        ({"signals": {"keyword": []}}, "signals.keyword: is not a known key; did you mean `keywords`?"),
        ({"signals": {"domains": [{"name": "law"}]}}, "signals.domains: needs a model that the router loads; write"),
        ({"signals": {"keywords": [{"name": "math"}]}}, "signals.keywords[0].keywords: is missing"),
        (
            {"signals": {"keywords": [{"name": "math", "keywords": ["a"], "operator": "XOR"}]}},
            'signals.keywords[0].operator: is "XOR"; write AND, OR or NOR',
        ),
        (
            {"signals": {**ROUTER["signals"], "context": [{"name": "long", "min_tokens": "8K", "max_tokens": "1K"}]}},
            "signals.context[0].max_tokens: is less than min_tokens",
        ),
        (
            {"signals": {**ROUTER["signals"], "context": [{"name": "long"}]}},
            "signals.context[0]: bounds nothing; write min_tokens, max_tokens or both",
        ),
        (
            {
                "signals": {
                    **ROUTER["signals"],
                    "structure": [
                        {"name": "x", "feature": {"type": "exists", "source": {"type": "regex", "pattern": "("}}}
                    ],
                }
            },
            "signals.structure[0].feature.source.pattern: is no regular expression",
        ),
        (
            {"signals": {"keywords": [{"name": "math", "keywords": ["integral", "^sum$"]}]}},
            "signals.keywords[0].keywords[1]: has `$`, where the router puts variables of its environment",
        ),
        ({"signals": {}}, 'decisions[0].rules.conditions[0].name: no signal of type keyword is named "math"'),
        ({"settings": {"services": {"authz": {"fail_open": True}}}}, "settings.services.authz: is the collection's"),
    ],
)
def test_faults(change: dict[str, t.Any], fault: str) -> None:
    found = faults_of(inventory(**change))
    assert any(line.startswith(f"ai_gateway_semantic_router.{fault}") for line in found), found


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"priority": ...}, "priority: is missing; write a whole number from 1 to 1000000"),
        ({"model": "model-z"}, 'model: "model-z" is no model of the router; write gpt-4, model-a or model-b'),
        ({"name": "default"}, 'name: "default" is the name of a decision that is added'),
        ({"rules": {"operator": "AND", "conditions": []}}, "rules.conditions: names no condition"),
        ({"rules": {"operator": "XOR", "conditions": MATH["conditions"]}}, 'rules.operator: is "XOR"'),
        (
            {"rules": {"operator": "NOT", "conditions": MATH["conditions"] * 2}},
            "rules.conditions: has 2 items; write one",
        ),
        (
            {"rules": {"operator": "AND", "conditions": [{"type": "authz", "name": "closed"}]}},
            'rules.conditions[0].name: no tier is named "closed"; write free or paid',
        ),
        (
            {"rules": {"operator": "OR", "conditions": [MATH, {"type": "colour", "name": "red"}]}},
            'rules.conditions[1].type: is "colour"; write keyword,',
        ),
        ({"description": "pays ${HOME}"}, "description: has `$`"),
        ({"name": "a decision"}, 'name: "a decision" is not a name of a signal'),
    ],
)
def test_faults_of_a_decision(change: dict[str, t.Any], fault: str) -> None:
    decision = {key: value for key, value in {**ROUTER["decisions"][0], **change}.items() if value is not ...}
    found = faults_of(inventory(decisions=[decision]))
    assert any(line.startswith(f"ai_gateway_semantic_router.decisions[0].{fault}") for line in found), found


def test_behind_the_gateway_no_limit_of_the_fallback_is_passed_by() -> None:
    served = [{"name": name, "simulated": True} for name in ("model-a", "model-b", "model-c")]
    limits = {"model_limits": [{"models": ["model-c"], **LIMIT}]}
    tiers = [{**TIERS[0], "models": ["model-a", "model-c", "auto"], **limits}]
    (fault,) = faults_of(inventory(served=served, tiers=tiers, mode="dual_gateway", fallback="model-c"))
    assert fault.startswith('ai_gateway_tiers[0].model_limits: limit "model-c"')


def test_a_decision_has_no_name_of_one_that_is_added() -> None:
    decision = ROUTER["decisions"][0]
    found = faults_of(inventory(decisions=[decision, {**decision, "name": "math.free", "priority": 1}]))
    assert [line.partition(";")[0] for line in found] == [
        'ai_gateway_semantic_router.decisions[1].name: "math.free" is the name of a decision that is added to those of '
        "the inventory"
    ]


def test_a_tier_that_may_ask_may_use_a_model() -> None:
    alone = {**TIERS[0], "models": ["auto"]}
    assert faults_of(inventory(tiers=[alone])) == [
        'ai_gateway_tiers[0].models: has "auto" and none of the models that it leads to; add gpt-4, model-a or '
        "model-b, or leave it out"
    ]


@pytest.mark.parametrize("word", [r"\d{4,}", r"[*+]+x", r"a\++", r"(?i)sum", r"(?P<n>x)", r"\(?=x"])
def test_expressions_that_go_knows_are_accepted(word: str) -> None:
    signals = {"keywords": [{"name": "math", "keywords": [word], "method": "regex"}]}
    assert router_of(inventory(signals=signals))


def test_two_decisions_of_one_priority() -> None:
    decision = ROUTER["decisions"][0]
    found = faults_of(inventory(decisions=[decision, {**decision, "name": "other"}]))
    assert found == [
        "ai_gateway_semantic_router.decisions[1].priority: priority 100 is taken by "
        "ai_gateway_semantic_router.decisions[0].priority; give each decision its own: the highest that matches wins"
    ]


def test_some_tier_asks_the_router() -> None:
    assert faults_of(inventory(tiers=TIERS[2:])) == [
        'ai_gateway_semantic_router.model: no tier may use model "auto"; name it in models of ai_gateway_tiers, or '
        "leave the router out"
    ]


def test_the_chosen_model_is_what_limits_count() -> None:
    limited = {**TIERS[1], "model_limits": [{"models": ["auto"], **LIMIT}]}
    (fault,) = faults_of(inventory(tiers=[limited]))
    assert fault.startswith('ai_gateway_tiers[0].model_limits[0].models[0]: "auto" is no model that may be used here')
    limited = {**TIERS[1], "model_limits": [{"models": ["model-b"], **LIMIT}]}
    assert build(inventory(tiers=[limited])).tiers[0].limits[1].model == "model-b"
    (fault,) = faults_of(inventory(mode="dual_gateway", tiers=[limited]))
    assert fault.startswith('ai_gateway_tiers[0].model_limits: limit "model-b", and in mode dual_gateway requests for')


def test_what_the_router_of_a_dual_gateway_cannot_reach() -> None:
    (fault,) = faults_of(inventory(mode="dual_gateway", models=["gpt-4", "model-a", "model-b"]))
    assert fault == (
        'ai_gateway_semantic_router.models[0]: "gpt-4" is of a provider outside, whose key the router has not (mode '
        "single_gateway reaches it); leave it out"
    )


@pytest.mark.parametrize(
    ("limit", "whole", "bytes_", "megabytes"),
    [
        (..., "50Mi", 2**20, 2),
        (..., "512Ki", 2**19, 2),
        ("4Mi", "50Mi", 2**22, 5),
        ("50Mi", "50Mi", 50 * 2**20, 51),
        ("1.5Mi", "50Mi", 1_572_864, 3),
        ("1000k", "50Mi", 1_000_000, 2),
        ("7", "50Mi", 7, 2),
    ],
)
def test_a_message_of_the_router_holds_a_body(limit: t.Any, whole: str, bytes_: int, megabytes: int) -> None:
    router = router_of({**inventory(body_limit=limit), "request_body_limit": whole})
    assert router["body_limit"] == bytes_
    assert router["config"]["global"]["integrations"] == {"looper": {"grpc_max_msg_size_mb": megabytes}}


@pytest.mark.parametrize(
    ("limit", "signals", "requests"),
    [
        ("1Mi", {}, 512),
        ("4Mi", {}, 128),
        ("50Mi", {}, 10),
        ("7", {}, 1024),
        ("1Mi", {"domains": [{"name": "law"}]}, 1024),
        ("50Mi", {"domains": [{"name": "law"}]}, 71),
        ("600Mi", {}, 1),
    ],
)
def test_the_largest_bodies_at_once_are_half_of_the_routers_memory(limit: str, signals: t.Any, requests: int) -> None:
    more = {"signals": signals, "decisions": [], "classifiers": {"system": {}}} if signals else {}
    router = router_of({**inventory(body_limit=limit, **more), "request_body_limit": "1Gi"})
    assert router["requests_at_once"] == requests


def test_no_name_of_a_model_has_a_variable_of_the_environment() -> None:
    reference = {"name": "model-b", "namespace": "llm", "port": 8000}
    served = [
        {"name": "model-a", "simulated": True},
        {"name": "model-b", "backend_ref": reference, "provider_model": "b$HOME"},
    ]
    given = inventory(served, mode="dual_gateway", models=["model-a", "model-b"], signals=..., decisions=[])
    assert faults_of(given) == [
        'ai_gateway_semantic_router.models[1]: "model-b" is "b$HOME" at its Service, and the router has a variable in '
        "place of `$`; leave it out"
    ]
    found = router_of({**given, "semantic_router": {**given["semantic_router"], "models": ["*"]}})
    assert [model["name"] for model in found["models"]] == ["model-a"]


def test_nothing_of_a_prompt_or_an_answer_is_stored() -> None:
    settings = {"services": {"observability": {"metrics": {"enabled": True}}}}
    found = router_of(inventory(settings=settings))["config"]["global"]
    assert found["stores"] == {name: {"enabled": False} for name in ("response_cache", "memory", "vector_store")}
    assert found["services"]["observability"] == {
        "metrics": {"enabled": True},
        "tracing": {"enabled": False},
        "profiling": {"enabled": False},
    }
    assert found["router"]["learning"] == {"enabled": False}
    kept = {name: found["services"][name] for name in ("router_replay", "response_api")}
    assert set(map(str, kept.values())) == {"{'enabled': False}"}


def test_classifiers_need_models() -> None:
    catalogue = {"embeddings": {}}
    router = router_of(inventory(classifiers=catalogue, signals={**ROUTER["signals"], "domains": [{"name": "law"}]}))
    assert router["classifiers"] is True
    assert router["config"]["global"]["model_catalog"] == catalogue
