# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the pools of a catalogue become in the roles: pickers and objectives, simulators, routes."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import jsonschema
import pytest
import yaml
from rendering import ROLES, manifests
from third_party_crds import strict_schema

Objects = dict[tuple[str, str], dict[str, t.Any]]

PICKER = {
    "replicas": 2,
    "failure_mode": "FailOpen",
    "saturation": {"queue_depth": 3, "kv_cache_percent": 70},
}
POOLS = [
    {
        "name": "gemma2",
        "namespace": "vllm",
        "target_port": 8080,
        "selector": {"model": "gemma2", "llm-d.ai/role": "decode"},
        "endpoint_picker": PICKER,
        "objectives": [{"name": "batch", "priority": -1}, {"name": "urgent", "priority": 5}],
        "direct_route": {"hostname": "direct.example.com"},
        "simulated": True,
        "simulator": {"replicas": 3, "slots": 2, "cache_blocks": 64},
    },
    {"name": "other", "selector": {"model": "other"}},
]
MODELS = [
    {"name": "gemma2", "backend_ref": {"kind": "InferencePool", "name": "gemma2", "namespace": "vllm"}},
    {"name": "google/gemma-2-2b-it", "backend_ref": {"kind": "InferencePool", "name": "gemma2", "namespace": "vllm"}},
    {"name": "other", "backend_ref": {"kind": "InferencePool", "name": "other"}},
    {"name": "theirs", "backend_ref": {"kind": "InferencePool", "name": "theirs", "namespace": "llm-d"}},
]
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_inference_pools": POOLS,
    "ai_gateway_models": MODELS,
    "ai_gateway_platform": "kubernetes",
    "inference_pool_picker_image": "registry.example.com/epp:v1",
    "simulators_image": "registry.example.com/python:3",
}


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return manifests(tmp_path_factory.mktemp("pools"), "inference_pool", "inference_pools.yaml.j2", VARIABLES)


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return manifests(tmp_path_factory.mktemp("simulators"), "simulators", "simulators.yaml.j2", VARIABLES)


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    variables = {**VARIABLES, "__providers_listeners": ["http"]}
    return manifests(tmp_path_factory.mktemp("routes"), "providers", "envoy_ai_gateway.yaml.j2", variables)


def of_kind(objects: Objects, kind: str) -> dict[str, dict[str, t.Any]]:
    return {name: body for (found, name), body in objects.items() if found == kind}


def test_the_objects_of_each_pool(pools: Objects) -> None:
    assert set(of_kind(pools, "InferencePool")) == {"gemma2", "other"}
    assert set(of_kind(pools, "Deployment")) == {"gemma2-endpoint-picker", "other-endpoint-picker"}
    assert set(of_kind(pools, "Service")) == {
        "gemma2-direct",
        "gemma2-endpoint-picker",
        "gemma2-endpoint-picker-pods",
        "other-endpoint-picker",
        "other-endpoint-picker-pods",
    }
    assert {body["metadata"].get("namespace") for body in pools.values()} == {"vllm", "ai-gateway"}
    assert not of_kind(pools, "ClusterRole")


def test_a_pool(pools: Objects) -> None:
    assert pools["InferencePool", "gemma2"]["spec"] == {
        "targetPorts": [{"number": 8080}],
        "selector": {"matchLabels": {"model": "gemma2", "llm-d.ai/role": "decode"}},
        "endpointPickerRef": {
            "group": "",
            "kind": "Service",
            "name": "gemma2-endpoint-picker-pods",
            "port": {"number": 9002},
            "failureMode": "FailOpen",
        },
    }
    # Two pods by default, as of the controllers.
    assert pools["InferencePool", "other"]["spec"]["endpointPickerRef"]["name"] == "other-endpoint-picker-pods"
    assert pools["PodDisruptionBudget", "other-endpoint-picker"]["spec"]["maxUnavailable"] == 1
    assert pools["Service", "other-endpoint-picker-pods"]["spec"]["clusterIP"] == "None"


def test_objectives_have_names_of_their_pool(pools: Objects) -> None:
    found = of_kind(pools, "InferenceObjective")
    assert {name: body["spec"]["priority"] for name, body in found.items()} == {"gemma2.batch": -1, "gemma2.urgent": 5}
    assert found["gemma2.batch"]["spec"]["poolRef"] == {
        "group": "inference.networking.k8s.io",
        "kind": "InferencePool",
        "name": "gemma2",
    }


def test_a_picker(pools: Objects) -> None:
    pod = pools["Deployment", "gemma2-endpoint-picker"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"--pool-name=gemma2", "--pool-namespace=vllm", "--config-file=/config/config.yaml"} <= set(
        container["args"]
    )
    assert "--kv-cache-usage-percentage-metric=vllm:kv_cache_usage_perc" in container["args"]
    assert {item["name"]: item["value"] for item in container["env"]} == {
        "SD_QUEUE_DEPTH_THRESHOLD": "3",
        "SD_KV_CACHE_UTIL_THRESHOLD": "0.7",
        "SD_METRICS_STALENESS_THRESHOLD": "1000ms",
    }
    config = yaml.safe_load(pools["ConfigMap", "gemma2-endpoint-picker"]["data"]["config.yaml"])
    assert [plugin["type"] for plugin in config["plugins"]] == [
        "queue-scorer",
        "kv-cache-utilization-scorer",
        "prefix-cache-scorer",
    ]
    assert pools["Role", "gemma2-endpoint-picker"]["rules"][1]["apiGroups"] == ["inference.networking.x-k8s.io"]


def test_the_arguments_are_those_of_the_program(pools: Objects) -> None:
    """What the program of this version defines, read in its source; without that there is nothing to compare."""
    modules = Path(os.environ.get("GOMODCACHE") or Path.home() / "go/pkg/mod")
    version = yaml.safe_load((ROLES / "versions/vars/main.yml").read_text())["versions_inference_extension"]
    source = modules / f"sigs.k8s.io/gateway-api-inference-extension@{version}/cmd/epp/runner/runner.go"
    if not source.exists():
        pytest.skip(f"{source} is not there")
    text = source.read_text()
    for argument in pools["Deployment", "gemma2-endpoint-picker"]["spec"]["template"]["spec"]["containers"][0]["args"]:
        name = argument.removeprefix("--").partition("=")[0]
        # Those of its logger are not its own.
        assert f'("{name}"' in text or name == "zap-encoder", name


def test_on_openshift_no_user_is_named(tmp_path: Path) -> None:
    found = manifests(
        tmp_path, "inference_pool", "inference_pools.yaml.j2", {**VARIABLES, "ai_gateway_platform": "openshift"}
    )
    assert "runAsUser" not in json.dumps(list(found.values()))


def test_metrics_another_api_of_objectives_and_settings_of_pods(tmp_path: Path) -> None:
    found = manifests(
        tmp_path,
        "inference_pool",
        "inference_pools.yaml.j2",
        {
            **VARIABLES,
            "inference_pool_picker_metrics": True,
            "inference_pool_objective_api_version": "llm-d.ai/v1alpha2",
            "ai_gateway_controller_replicas": 1,
            "ai_gateway_workloads": {"endpoint_picker": {"nodeSelector": {"a": "b"}, "resources": {"limits": {}}}},
        },
    )
    assert set(of_kind(found, "ClusterRole")) == {
        "vllm.gemma2-endpoint-picker.reviews",
        "ai-gateway.other-endpoint-picker.reviews",
    }
    assert found["InferenceObjective", "gemma2.batch"]["apiVersion"] == "llm-d.ai/v1alpha2"
    assert found["Role", "gemma2-endpoint-picker"]["rules"][1]["apiGroups"] == ["llm-d.ai"]
    pod = found["Deployment", "other-endpoint-picker"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"a": "b"}
    assert pod["containers"][0]["resources"] == {"limits": {}}
    # One pod is called by the address of its Service.
    assert found["InferencePool", "other"]["spec"]["endpointPickerRef"]["name"] == "other-endpoint-picker"
    assert ("PodDisruptionBudget", "other-endpoint-picker") not in found
    ports = found["NetworkPolicy", "other-endpoint-picker"]["spec"]["ingress"][1]["ports"]
    assert [port["port"] for port in ports] == [9003, 9090]


def test_nobody_else_reaches_pods_and_pickers_reach_nothing_else(tmp_path: Path) -> None:
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    found = manifests(
        tmp_path, "inference_pool", "inference_pools.yaml.j2", {**VARIABLES, "inference_pool_peers": [monitoring]}
    )
    policy = found["NetworkPolicy", "gemma2-pods"]
    assert policy["metadata"]["namespace"] == "vllm"
    selector = {"matchLabels": POOLS[0]["selector"]}
    assert policy["spec"]["podSelector"] == selector
    callers, others = policy["spec"]["ingress"]
    picker = {"app.kubernetes.io/name": "endpoint-picker", "app.kubernetes.io/instance": "gemma2-endpoint-picker"}
    proxies, own = callers["from"]
    assert proxies["podSelector"]["matchLabels"]["gateway.envoyproxy.io/owning-gateway-name"] == "ai-gateway"
    assert own == {"podSelector": {"matchLabels": picker}}
    assert callers["ports"] == [{"protocol": "TCP", "port": 8080}]
    assert others == {"from": [{"podSelector": selector}, monitoring]}

    spec = found["NetworkPolicy", "gemma2-endpoint-picker"]["spec"]
    assert (spec["podSelector"]["matchLabels"], spec["policyTypes"]) == (picker, ["Ingress", "Egress"])
    pods, api_server = spec["egress"]
    assert pods == {"to": [{"podSelector": selector}], "ports": [{"protocol": "TCP", "port": 8080}]}
    assert api_server == {"ports": [{"protocol": "TCP", "port": port} for port in (443, 6443)]}


def test_the_simulators_of_a_pool(simulators: Objects) -> None:
    deployment = simulators["Deployment", "gemma2-simulator"]
    assert (deployment["metadata"]["namespace"], deployment["spec"]["replicas"]) == ("vllm", 3)
    template = deployment["spec"]["template"]
    assert POOLS[0]["selector"].items() <= template["metadata"]["labels"].items()  # type: ignore[attr-defined]
    arguments = template["spec"]["containers"][0]["args"]
    assert {
        "--port=8080",
        "--no-key",
        "--slots=2",
        "--cache-blocks=64",
        "--model=gemma2",
        "--model=google/gemma-2-2b-it",
    } <= set(arguments)
    assert ("Namespace", "vllm") in simulators
    assert set(simulators["ConfigMap", "pool-simulator"]["data"]) == {
        path.name for path in (ROLES / "simulators/files").glob("*.py") if path.name != "mcp_simulator.py"
    }
    # A pool whose pods are real has none, and neither has one of the cluster.
    assert set(of_kind(simulators, "Deployment")) == {"gemma2-simulator"}


def route_to(routes: Objects, name: str) -> dict[str, t.Any]:
    (found,) = [
        body
        for body in of_kind(routes, "AIGatewayRoute").values()
        if body["spec"]["rules"][0]["backendRefs"][0].get("kind") == "InferencePool"
        and body["spec"]["rules"][0]["backendRefs"][0]["name"] == name
    ]
    return found


def test_a_pool_has_one_rule_with_all_its_models(routes: Objects) -> None:
    route = route_to(routes, "gemma2")
    # Envoy AI Gateway looks for a pool in the route's own namespace.
    assert route["metadata"]["namespace"] == "vllm"
    assert route["spec"]["parentRefs"][0]["namespace"] == "ai-gateway"
    (rule,) = route["spec"]["rules"]
    pool = {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "gemma2"}
    assert rule["backendRefs"] == [{**pool, "weight": 1, "priority": 0}]
    assert [
        {header["name"]: (header["type"], header["value"]) for header in match["headers"]} for match in rule["matches"]
    ] == [
        {
            "x-ai-eg-model": ("Exact", model),
            "x-ai-gateway-provider": ("RegularExpression", "^([*]|inferencepool\\.vllm\\.gemma2)$"),
        }
        for model in ("gemma2", "google/gemma-2-2b-it")
    ]
    assert route["spec"]["llmRequestCosts"]
    assert route_to(routes, "theirs")["metadata"]["namespace"] == "llm-d"
    assert len(of_kind(routes, "AIGatewayRoute")) == 5


def test_the_pods_without_the_picker(routes: Objects) -> None:
    direct = "inferencepool.vllm.gemma2.direct"
    assert routes["Backend", direct]["spec"]["endpoints"] == [
        {"fqdn": {"hostname": "gemma2-direct.vllm.svc.cluster.local", "port": 8080}}
    ]
    backend = routes["AIServiceBackend", direct]
    assert "x-ai-gateway-provider" in backend["spec"]["headerMutation"]["remove"]
    found = {
        name.rpartition(".")[2]: body
        for name, body in of_kind(routes, "AIGatewayRoute").items()
        if body["spec"]["rules"][0]["backendRefs"][0]["name"] == direct
    }
    assert set(found) == {"open", "direct"}
    assert found["direct"]["spec"]["hostnames"] == ["direct.example.com"]
    assert "hostnames" not in found["open"]["spec"]
    providers = [body["spec"]["rules"][0]["matches"][0]["headers"][1]["value"] for body in found.values()]
    assert "^inferencepool\\.vllm\\.gemma2[.]direct$" in providers
    # A pool that closes has no such way.
    assert not [
        name
        for kind, name in routes
        if name.startswith("inferencepool.ai-gateway.other") and kind in ("Backend", "AIServiceBackend")
    ]


def test_where_the_proxies_may_call(routes: Objects) -> None:
    found = {name: body["spec"]["egress"] for name, body in of_kind(routes, "NetworkPolicy").items()}
    (pods,) = found["ai-gateway.ai-gateway.inferencepool.vllm.gemma2"]
    assert pods["ports"] == [{"protocol": "TCP", "port": 8080}]
    assert "ai-gateway.ai-gateway.inferencepool.vllm.gemma2.picker" in found
    assert "ai-gateway.ai-gateway.namespace.llm-d" in found


MODULES = {
    "InferencePool": ("pools", "inference.networking.k8s.io_inferencepools.yaml"),
    "InferenceObjective": ("pools", "inference.networking.x-k8s.io_inferenceobjectives.yaml"),
    "AIGatewayRoute": ("routes", "aigateway.envoyproxy.io_aigatewayroutes.yaml"),
    "AIServiceBackend": ("routes", "aigateway.envoyproxy.io_aiservicebackends.yaml"),
}


@pytest.mark.parametrize("kind", MODULES)
def test_the_objects_fit_their_definitions(kind: str, request: pytest.FixtureRequest) -> None:
    """As the API server sees them, where the modules of their upstreams have been downloaded."""
    fixture, file = MODULES[kind]
    modules = Path(os.environ.get("GOMODCACHE") or Path.home() / "go/pkg/mod")
    stated = yaml.safe_load((ROLES / "versions/vars/main.yml").read_text())
    upstreams = {
        "pools": f"sigs.k8s.io/gateway-api-inference-extension@{stated['versions_inference_extension']}"
        "/config/crd/bases",
        "routes": f"github.com/envoyproxy/ai-gateway@{stated['versions_envoy_ai_gateway']}"
        "/manifests/charts/ai-gateway-crds-helm/templates",
    }
    path = modules / upstreams[fixture] / file
    if not path.exists():
        pytest.skip(f"{path} is not there")
    for body in of_kind(request.getfixturevalue(fixture), kind).values():
        validator = jsonschema.Draft202012Validator(strict_schema(path, body["apiVersion"].partition("/")[2]))
        validator.validate(body)
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**body, "spec": {**body["spec"], "unknown": 1}})
