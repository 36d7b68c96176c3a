# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.request_headers import HEADERS, RESERVED
from catalog_inventory import INVENTORY, faults, paths

POOL: dict[str, t.Any] = {
    "name": "gemma2",
    "target_port": 8000,
    "selector": {"model": "gemma2"},
    "objectives": [{"name": "batch", "priority": -1}],
    "simulated": True,
}
BACKEND_REF = {"kind": "InferencePool", "name": "gemma2"}
MODELS = [
    {"name": "gemma2", "backend_ref": BACKEND_REF},
    {"name": "google/gemma-2-2b-it", "backend_ref": BACKEND_REF, "objective": "batch"},
]


def with_pool(**pool: t.Any) -> dict[str, t.Any]:
    return {**INVENTORY, "inference_pools": [{**POOL, **pool}], "models": MODELS}


def pool_of(inventory: dict[str, t.Any]) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", build(inventory).as_dict()["inference_pools"][0])


def test_a_pool_with_all_defaults() -> None:
    assert pool_of(with_pool()) == {
        "name": "gemma2",
        "namespace": "ai-gateway",
        "backend": "inferencepool.ai-gateway.gemma2",
        "route": "inferencepool-ai-gateway-gemma2-a71ccdc5",
        "managed": True,
        "target_port": 8000,
        "selector": {"model": "gemma2"},
        "picker": {
            "name": "gemma2-endpoint-picker",
            "port": 9002,
            "replicas": None,
            "failure_mode": "FailClose",
            "config": {
                "apiVersion": "inference.networking.x-k8s.io/v1alpha1",
                "kind": "EndpointPickerConfig",
                "plugins": [
                    {"type": "queue-scorer"},
                    {"type": "kv-cache-utilization-scorer"},
                    {"type": "prefix-cache-scorer"},
                ],
                "schedulingProfiles": [
                    {
                        "name": "default",
                        "plugins": [
                            {"pluginRef": "queue-scorer", "weight": 1},
                            {"pluginRef": "kv-cache-utilization-scorer", "weight": 1},
                            {"pluginRef": "prefix-cache-scorer", "weight": 1},
                        ],
                    }
                ],
            },
            "queue_depth": 5,
            "kv_cache_percent": 80,
            "metrics_age_milliseconds": 1000,
            "queued_requests_metric": "vllm:num_requests_waiting",
            "kv_cache_usage_metric": "vllm:kv_cache_usage_perc",
            "lora_info_metric": "vllm:lora_requests_info",
            "foreign_types": [],
        },
        "objectives": [{"name": "batch", "priority": -1}],
        "simulator": {"name": "gemma2-simulator", "replicas": 2, "slots": 4, "cache_blocks": 1024},
        "direct_hostname": "",
        "models": ["gemma2", "google/gemma-2-2b-it"],
    }


def test_the_models_of_a_pool_share_its_route_and_its_simulator() -> None:
    models = build(with_pool()).as_dict()["models"]
    assert [(model["name"], model["routes"], model.get("objective")) for model in models[2:]] == [
        ("gemma2", [], None),
        ("google/gemma-2-2b-it", [], "batch"),
    ]
    assert {model["backends"][0]["name"] for model in models[2:]} == {"inferencepool.ai-gateway.gemma2"}
    assert {model["backends"][0]["backend_ref"]["simulator"] for model in models[2:]} == {"gemma2-simulator"}


def test_a_route_keeps_its_name_when_models_come_and_go() -> None:
    alone = build({**with_pool(), "models": MODELS[:1]}).inference_pools[0]
    both = build(with_pool()).inference_pools[0]
    assert (alone.route, alone.models) == (both.route, both.models[:1])


def test_what_the_proxies_may_call() -> None:
    egress = {item["name"]: item for item in build(with_pool(target_port=8080)).as_dict()["egress"]}
    pods, picker = (
        egress["inferencepool.ai-gateway.gemma2"],
        egress["inferencepool.ai-gateway.gemma2.picker"],
    )
    assert (pods["port"], picker["port"]) == (8080, 9002)
    assert [peer["podSelector"]["matchLabels"] for peer in pods["peers"] + picker["peers"]] == [
        {"model": "gemma2"},
        {"app.kubernetes.io/name": "endpoint-picker", "app.kubernetes.io/instance": "gemma2-endpoint-picker"},
    ]


def test_a_pool_that_the_cluster_has() -> None:
    model = {"name": "m", "backend_ref": {"kind": "InferencePool", "name": "pool", "namespace": "llm"}}
    catalog = build({**INVENTORY, "models": [{**model, "objective": "theirs"}]}).as_dict()
    pool = catalog["inference_pools"][0]
    assert (pool["managed"], pool["picker"], pool["models"], pool["target_port"]) == (False, None, ["m"], None)
    assert [item for item in catalog["egress"] if item["name"] == "namespace.llm"] == [
        {
            "name": "namespace.llm",
            "port": None,
            "peers": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "llm"}}}],
        }
    ]


def test_scorers_with_weights_and_parameters() -> None:
    scorers = [
        {"type": "queue-scorer", "weight": 2},
        {"type": "prefix-cache-scorer", "parameters": {"hashBlockSize": 16}},
    ]
    config = pool_of(with_pool(endpoint_picker={"scorers": scorers}))["picker"]["config"]
    assert config["plugins"] == [
        {"type": "queue-scorer"},
        {"type": "prefix-cache-scorer", "parameters": {"hashBlockSize": 16}},
    ]
    assert config["schedulingProfiles"][0]["plugins"] == [
        {"pluginRef": "queue-scorer", "weight": 2},
        {"pluginRef": "prefix-cache-scorer", "weight": 1},
    ]


def test_a_whole_configuration_is_kept() -> None:
    config = {
        "plugins": [{"name": "random", "type": "random-picker", "parameters": {"maxNumOfEndpoints": 1}}],
        "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "random"}]}],
    }
    found = pool_of(with_pool(endpoint_picker={"config": config}))["picker"]["config"]
    assert found == {"apiVersion": "inference.networking.x-k8s.io/v1alpha1", "kind": "EndpointPickerConfig", **config}


def config_of(plugins: list[t.Any], *profiles: list[t.Any]) -> dict[str, t.Any]:
    """A configuration with plugins of these types, or as they are, and profiles that name these."""
    return {
        "plugins": [{"type": plugin} if isinstance(plugin, str) else plugin for plugin in plugins],
        "schedulingProfiles": [
            {
                "name": f"p{number}",
                "plugins": [{"pluginRef": plugin} if isinstance(plugin, str) else plugin for plugin in profile],
            }
            for number, profile in enumerate(profiles)
        ],
    }


QUEUE, RANDOM, HANDLER = "queue-scorer", "random-picker", "single-profile-handler"


@pytest.mark.parametrize(
    ("config", "fault", "said"),
    [
        ({"plugins": [{"type": QUEUE}]}, "schedulingProfiles", "is missing"),
        (config_of([]), "plugins", "is empty"),
        (config_of([QUEUE]), "schedulingProfiles", "is empty"),
        (config_of(["header-based-testing-filter"], ["header-based-testing-filter"]), "plugins[0].type", "lets"),
        (config_of([QUEUE], ["queue"]), "schedulingProfiles[0].plugins[0].pluginRef", "write queue-scorer"),
        # What has a name is named by it.
        (
            config_of([{"type": QUEUE, "name": "q"}], [QUEUE]),
            "schedulingProfiles[0].plugins[0].pluginRef",
            '"queue-scorer" is none of `plugins`; write q',
        ),
        (config_of([QUEUE, QUEUE], [QUEUE]), "plugins[1].type", "give each plugin a `name` of its own"),
        (
            config_of([{"type": QUEUE, "name": "q"}, {"type": RANDOM, "name": "q"}], ["q"]),
            "plugins[1].name",
            "is taken by",
        ),
        (config_of([QUEUE], [QUEUE], [QUEUE]), "schedulingProfiles", "has 2 profiles, and no plugin handles several"),
        (config_of([QUEUE, HANDLER], [QUEUE], [QUEUE]), "schedulingProfiles", "is for one alone"),
        (config_of([QUEUE, HANDLER, {"type": HANDLER, "name": "h"}], [QUEUE]), "plugins[2].type", "keep one of them"),
        (
            config_of([QUEUE, RANDOM, "max-score-picker"], [QUEUE, RANDOM, "max-score-picker"]),
            "schedulingProfiles[0].plugins[2].pluginRef",
            "second picker",
        ),
        (
            config_of([QUEUE, RANDOM], [RANDOM, QUEUE]),
            "schedulingProfiles[0].plugins[1].weight",
            "is missing; write it, or name the scorer before random-picker",
        ),
        ({**config_of([QUEUE], []), "schedulingProfiles": [{"name": "p"}]}, "schedulingProfiles[0].plugins", "missing"),
    ],
)
def test_a_configuration_with_which_the_picker_would_not_start(config: dict[str, t.Any], fault: str, said: str) -> None:
    wrong = {**INVENTORY, "inference_pools": [{**POOL, "endpoint_picker": {"config": config}}]}
    noted = {found.path: str(found) for found in faults(wrong)}
    assert said in noted[f"ai_gateway_inference_pools[0].endpoint_picker.config.{fault}"]


@pytest.mark.parametrize(
    "config",
    [
        config_of([QUEUE, RANDOM, HANDLER], [QUEUE, RANDOM]),
        config_of([QUEUE, RANDOM], [RANDOM, {"pluginRef": QUEUE, "weight": 2}]),
        config_of([{"type": QUEUE, "name": "q"}], ["q"]),
    ],
)
def test_a_configuration_with_which_the_picker_starts(config: dict[str, t.Any]) -> None:
    assert pool_of(with_pool(endpoint_picker={"config": config}))["picker"]["foreign_types"] == []


def test_another_picker_has_plugins_of_its_own() -> None:
    config = config_of([QUEUE, "pd-profile-handler", "prefill-filter"], [QUEUE, "prefill-filter"], [QUEUE])
    picker = pool_of(with_pool(endpoint_picker={"config": config}))["picker"]
    assert picker["foreign_types"] == ["pd-profile-handler", "prefill-filter"]


def test_what_a_client_sends_to_the_picker_ends_at_the_listener() -> None:
    sent = {
        "x-gateway-destination-endpoint",
        "x-gateway-inference-objective",
        "x-gateway-inference-fairness-id",
        "x-gateway-model-name-rewrite",
    }
    assert sent <= set(HEADERS.removed_at_listener)
    assert sent - {"x-gateway-destination-endpoint"} <= RESERVED


@pytest.mark.parametrize(
    ("pool", "fault"),
    [
        ({"name": "Gemma"}, ".name"),
        ({"name": "g" * 43}, ".name"),
        ({"selector": None}, ".selector"),
        ({"selector": {}}, ".selector"),
        ({"selector": ["model"]}, ".selector"),
        ({"selector": {"model": "a b"}}, ".selector.model"),
        ({"selector": {"no key": "a"}}, ".selector"),
        ({"target_port": 0}, ".target_port"),
        ({"target_port": 80}, ".target_port"),
        ({"target_prt": 8000}, ".target_prt"),
        ({"namespace": "external-models"}, ".namespace"),
        ({"namespace": "ai-gateway-envoy-gateway"}, ".namespace"),
        ({"namespace": "kube-system"}, ".namespace"),
        ({"namespace": "kube-public", "simulated": False}, ".namespace"),
        ({"namespace": "default"}, ".namespace"),
        ({"simulated": False, "simulator": {}}, ".simulator"),
        ({"simulator": {"slots": 0}}, ".simulator.slots"),
        ({"endpoint_picker": {"failure_mode": "open"}}, ".endpoint_picker.failure_mode"),
        ({"endpoint_picker": {"replicas": 0}}, ".endpoint_picker.replicas"),
        ({"endpoint_picker": {"port": 9003}}, ".endpoint_picker.port"),
        ({"endpoint_picker": {"scorers": []}}, ".endpoint_picker.scorers"),
        ({"endpoint_picker": {"scorers": [{"type": "queue"}]}}, ".endpoint_picker.scorers[0].type"),
        ({"endpoint_picker": {"scorers": [{"type": "queue-scorer"}] * 2}}, ".endpoint_picker.scorers[1].type"),
        ({"endpoint_picker": {"saturation": {"queue_depth": -1}}}, ".endpoint_picker.saturation.queue_depth"),
        ({"endpoint_picker": {"metrics": {"lora_info": "a-b"}}}, ".endpoint_picker.metrics.lora_info"),
        ({"objectives": [{"name": "batch"}]}, ".objectives[0].priority"),
        ({"objectives": [{"name": "batch", "priority": 1}] * 2}, ".objectives[1].name"),
        ({"direct_route": {"hostname": "https://direct"}}, ".direct_route.hostname"),
        ({"direct_route": {}}, ".direct_route.hostname"),
    ],
)
def test_faults_of_pools(pool: dict[str, t.Any], fault: str) -> None:
    # Models are left out, as those of a pool with another name are served by one that the cluster has.
    assert paths({**INVENTORY, "inference_pools": [{**POOL, **pool}]}) == [f"ai_gateway_inference_pools[0]{fault}"]


def test_a_pool_is_described_once() -> None:
    assert paths({**INVENTORY, "inference_pools": [POOL, POOL]}) == ["ai_gateway_inference_pools[1].name"]


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ({"provider_model": "gemma"}, "[0].provider_model"),
        ({"upstream_name": "gemma"}, "[0].upstream_name"),
        ({"simulated": True}, "[0].simulated"),
        ({"objective": "other"}, "[0].objective"),
        ({"objective": "Not A Label"}, "[0].objective"),
        ({"backend_ref": {**BACKEND_REF, "port": 8000}}, "[0].backend_ref.port"),
    ],
)
def test_faults_of_models(model: dict[str, t.Any], fault: str) -> None:
    inventory = {**with_pool(), "models": [{**MODELS[0], **model}]}
    assert paths(inventory) == [f"ai_gateway_models{fault}"]


def test_an_objective_is_one_of_a_pool() -> None:
    service = {"name": "m", "backend_ref": {"name": "m", "port": 80}, "objective": "batch"}
    assert paths({**INVENTORY, "models": [service]}) == ["ai_gateway_models[0].objective"]
    inventory = copy.deepcopy(with_pool())
    inventory["tiers"][0]["objective"] = "other"
    assert paths(inventory) == ["ai_gateway_tiers[0].objective"]
    inventory["tiers"][0]["objective"] = "batch"
    assert build(inventory).tiers[0].objective == "batch"
    # The objectives of a pool that the cluster has are not known here.
    theirs = {"name": "theirs", "backend_ref": {"kind": "InferencePool", "name": "theirs"}}
    inventory["tiers"][0]["objective"] = "other"
    inventory["models"].append(theirs)
    assert build(inventory).tiers[0].objective == "other"


def test_a_model_that_leaves_out_the_namespace_of_its_pool() -> None:
    inventory = with_pool(namespace="vllm")
    found = faults(inventory)
    assert [fault.path for fault in found] == [f"ai_gateway_models[{index}].backend_ref.namespace" for index in (0, 1)]
    assert found[0].remedy == "write vllm, or ai-gateway for a pool that the cluster has there"
    # Another pool of the cluster may have the same name.
    models = [
        {"name": namespace, "backend_ref": {**BACKEND_REF, "namespace": namespace}} for namespace in ("vllm", "other")
    ]
    pools = build({**inventory, "models": models}).inference_pools
    assert [(pool.namespace, pool.managed) for pool in pools] == [("vllm", True), ("other", False)]


def test_a_described_pool_serves_a_model() -> None:
    (fault,) = faults({**INVENTORY, "inference_pools": [POOL]})
    assert (fault.path, fault.problem) == (
        "ai_gateway_inference_pools[0]",
        "no model names InferencePool ai-gateway/gemma2",
    )


def test_no_pool_is_where_the_callers_of_a_tier_are() -> None:
    namespace = "ai-gateway-tier-free"
    models = [{"name": "m", "backend_ref": {**BACKEND_REF, "namespace": namespace}}]
    (fault,) = faults({**with_pool(namespace=namespace), "models": models})
    assert fault.path == "ai_gateway_inference_pools[0].namespace"
    assert "callers of tier free" in fault.problem


@pytest.mark.parametrize(
    ("first", "second", "namespace", "expected"),
    [
        ({"a": "b"}, {"a": "b"}, "ai-gateway", [1]),
        ({"a": "b"}, {"a": "b", "c": "d"}, "ai-gateway", [0]),
        ({"a": "b", "c": "d"}, {"a": "b"}, "ai-gateway", [1]),
        ({"a": "b"}, {"a": "c"}, "ai-gateway", []),
        ({"a": "b"}, {"a": "b"}, "other", []),
    ],
)
def test_each_pool_has_pods_of_its_own(
    first: dict[str, str], second: dict[str, str], namespace: str, expected: list[int]
) -> None:
    pools = [{**POOL, "selector": first}, {**POOL, "name": "other", "selector": second, "namespace": namespace}]
    other = {"name": "other", "backend_ref": {"kind": "InferencePool", "name": "other", "namespace": namespace}}
    inventory = {**INVENTORY, "inference_pools": pools, "models": [*MODELS, other]}
    if not expected:
        assert len(build(inventory).inference_pools) == 2
        return
    assert paths(inventory) == [f"ai_gateway_inference_pools[{index}].selector" for index in expected]


def test_the_models_of_a_pool_fit_into_one_rule() -> None:
    models = [{"name": f"m{number}", "backend_ref": BACKEND_REF} for number in range(65)]
    assert len(build({**with_pool(), "models": models[:64]}).inference_pools[0].models) == 64
    assert paths({**with_pool(), "models": models}) == ["ai_gateway_models"]


def test_pools_need_envoy_ai_gateway_with_authorino() -> None:
    inventory = {**with_pool(), "stack": "wg_ai_gateway", "policy_engine": "kuadrant"}
    found = paths(inventory)
    assert "ai_gateway_inference_pools[0]" in found
    assert "ai_gateway_models[0].backend_ref.kind" in found
