# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a semantic router of a catalogue becomes: its pod, its configuration, the Envoy beside it, and its network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.semantic_router import (
    _CLASSIFIERS_MEMORY,
    _MEMORY,
)
from rendering import manifests
from routed_inventory import MATH, ROUTER, TIERS

sys.path.insert(0, str(Path(__file__).parents[2] / "fakes"))

from envoys import envoy_program

Objects = dict[tuple[str, str], dict[str, t.Any]]

LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
MODELS = [{"name": name, "simulated": True} for name in ("model-a", "model-b")]
SIGNALS = {
    "keywords": [{"name": "math", "keywords": ["integral", "derivative"], "operator": "AND"}],
    "context": [{"name": "long", "min_tokens": "8K"}, {"name": "short", "max_tokens": "100"}],
    "language": [{"name": "zh"}],
    "structure": [
        {"name": "code", "feature": {"type": "exists", "source": {"type": "regex", "pattern": "def |class "}}}
    ],
    "conversation": [
        {
            "name": "turns",
            "feature": {"type": "count", "source": {"type": "message", "role": "user"}},
            "predicate": {"gte": 4},
        }
    ],
}
LONG = {
    "operator": "OR",
    "conditions": [
        {"type": "context", "name": "long"},
        {
            "operator": "AND",
            "conditions": [{"type": "language", "name": "zh"}, {"operator": "NOT", "conditions": [MATH]}],
        },
        {"type": "conversation", "name": "turns"},
        {"type": "structure", "name": "code"},
    ],
}
CASES: dict[str, dict[str, t.Any]] = {
    "single": ROUTER,
    "dual": {**ROUTER, "mode": "dual_gateway"},
    "every_signal": {
        **ROUTER,
        "fallback": "model-a",
        "signals": SIGNALS,
        "decisions": [
            *ROUTER["decisions"],
            {"name": "long", "priority": 50, "rules": LONG, "model": "model-b", "use_reasoning": True},
            {"name": "paid", "priority": 10, "rules": {"type": "authz", "name": "paid"}, "model": "model-b"},
        ],
    },
    "classifiers": {
        **ROUTER,
        "signals": {**ROUTER["signals"], "domains": [{"name": "law", "description": "Law"}]},
        "classifiers": {"embeddings": {}},
        "settings": {"router": {"include_config_models_in_list": False}},
    },
}


def variables(case: str, **more: t.Any) -> dict[str, t.Any]:
    return {
        "ai_gateway_platform": "kubernetes",
        "ai_gateway_models": MODELS,
        "ai_gateway_tiers": TIERS,
        "ai_gateway_semantic_router": CASES[case],
        "semantic_router_image": "registry.example.com/router:v1",
        "semantic_router_gateway_image": "registry.example.com/envoy:v1",
        "access_policies_chat_filter": {"name": "chat_filter", "typed_config": {"@type": LUA}},
        **more,
    }


@pytest.fixture(scope="module", params=sorted(CASES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Objects]:
    directory = tmp_path_factory.mktemp(request.param)
    return request.param, manifests(directory, "semantic_router", "semantic_router.yaml.j2", variables(request.param))


def pod_of(objects: Objects) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", objects["Deployment", "semantic-router"]["spec"]["template"]["spec"])


def envoy_of(objects: Objects) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads(objects["ConfigMap", "semantic-router-gateway"]["data"]["envoy.json"]))


def config_of(objects: Objects) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", yaml.safe_load(objects["ConfigMap", "semantic-router"]["data"]["config.yaml"]))


def test_envoy_accepts_its_configuration(case: tuple[str, Objects], tmp_path: Path) -> None:
    program = envoy_program(tmp_path)
    (tmp_path / "envoy.json").write_text(json.dumps(envoy_of(case[1])), encoding="utf-8")
    command = [str(program), "--mode", "validate", "--log-level", "warn", "--config-path", str(tmp_path / "envoy.json")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "Deprecated" not in ended.stderr


def test_the_routers_own_program_accepts_its_configuration(case: tuple[str, Objects], tmp_path: Path) -> None:
    """VLLM_SR names the program, where it is not in the path; the test is skipped without it."""
    program = os.environ.get("VLLM_SR") or shutil.which("vllm-sr")
    if not program:
        pytest.skip("vllm-sr is not installed")
    (tmp_path / "config.yaml").write_text(case[1]["ConfigMap", "semantic-router"]["data"]["config.yaml"])
    command = [program, "config", "validate", "--config", str(tmp_path / "config.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_pod_has_no_rights(case: tuple[str, Objects]) -> None:
    _name, objects = case
    pod = pod_of(objects)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
    assert objects["Deployment", "semantic-router"]["spec"]["strategy"] == {"type": "Recreate"}


def test_a_pod_is_ready_when_it_routes(case: tuple[str, Objects]) -> None:
    _name, objects = case
    router, gateway = pod_of(objects)["containers"]
    assert "readinessProbe" not in router
    assert gateway["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "probes"}
    listeners = {found["name"]: found for found in envoy_of(objects)["static_resources"]["listeners"]}
    assert listeners["readiness"]["address"]["socket_address"]["address"] == "127.0.0.1"
    assert ("models" in listeners) == (_name == "dual")


def test_what_bounds_clients_bounds_no_question_of_readiness(case: tuple[str, Objects]) -> None:
    name, objects = case
    clusters = {found["name"]: found for found in envoy_of(objects)["static_resources"]["clusters"]}
    assert "circuit_breakers" not in clusters["router_readiness"]
    (check,) = clusters["readiness"]["health_checks"]
    # The router has five seconds for each of two messages.
    assert check["timeout"] == "11.0s"
    listeners = {found["name"]: found for found in envoy_of(objects)["static_resources"]["listeners"]}
    assert {found for found in listeners if not listeners[found]["bypass_overload_manager"]} <= {"models"}
    assert ("router" in clusters) == ("overload_manager" in envoy_of(objects)) == (name == "dual")


def test_the_bound_is_of_the_memory_that_the_router_has(case: tuple[str, Objects]) -> None:
    """The catalogue's number is half of it by the largest body."""
    name, objects = case
    router, gateway = pod_of(objects)["containers"]
    assert router["resources"]["limits"]["memory"] == ("7Gi" if name == "classifiers" else "1Gi")
    assert (_MEMORY, _CLASSIFIERS_MEMORY) == ("1Gi", "7Gi")
    # And that of the overload manager.
    assert gateway["resources"]["limits"]["memory"] == "512Mi"


def test_models_are_kept_where_there_are_classifiers(case: tuple[str, Objects]) -> None:
    name, objects = case
    volumes = {volume["name"]: volume for volume in pod_of(objects)["volumes"]}
    classifies = name == "classifiers"
    assert (("PersistentVolumeClaim", "semantic-router-models") in objects) == classifies
    assert ("persistentVolumeClaim" in volumes["models"]) == classifies
    environment = {found["name"]: found["value"] for found in pod_of(objects)["containers"][0]["env"]}
    assert (environment.get("HF_HUB_OFFLINE") == "1") == (not classifies)


def test_the_proxies_alone_ask(case: tuple[str, Objects]) -> None:
    name, objects = case
    policy = objects["NetworkPolicy", "semantic-router"]["spec"]
    asked, probes = policy["ingress"]
    assert asked["ports"] == [{"protocol": "TCP", "port": 18801 if name == "dual" else 50051}]
    assert asked["from"][0]["podSelector"]["matchLabels"]["gateway.envoyproxy.io/owning-gateway-name"] == "ai-gateway"
    assert probes == {"ports": [{"protocol": "TCP", "port": 18802}]}
    ports = [port["port"] for rule in policy["egress"] for port in rule.get("ports", ())]
    # Nothing, or names and models, or names and where the models of classifiers are.
    assert ports == {"dual": [53, 53, 53, 53, 8000], "classifiers": [53, 53, 53, 53, 443]}.get(name, [])


def test_a_tier_reaches_its_models_alone(tmp_path: Path) -> None:
    objects = manifests(tmp_path, "semantic_router", "semantic_router.yaml.j2", variables("dual"))
    (models,) = [found for found in envoy_of(objects)["static_resources"]["listeners"] if found["name"] == "models"]
    manager = models["filter_chains"][0]["filters"][0]["typed_config"]
    assert [found["name"] for found in manager["http_filters"]] == [
        "chat_filter",
        "envoy.filters.http.local_ratelimit",
        "envoy.filters.http.ext_proc",
        "envoy.filters.http.rbac",
        "envoy.filters.http.header_mutation",
        "envoy.filters.http.router",
    ]
    policies = manager["http_filters"][3]["typed_config"]["rules"]["policies"]
    assert {
        tier: [found["header"]["string_match"]["exact"] for found in policy["permissions"]]
        for tier, policy in policies.items()
    } == {"free": ["model-a"], "paid": ["model-a", "model-b"]}
    asks = manager["http_filters"][2]["typed_config"]
    assert (asks["failure_mode_allow"], asks["processing_mode"]["response_body_mode"]) == (False, "NONE")
    hosts = [
        found["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["address"]
        for found in envoy_of(objects)["static_resources"]["clusters"]
    ]
    assert hosts[3:] == [f"model-{letter}-simulator.external-models.svc.cluster.local" for letter in "ab"]


def test_the_image_is_pinned(tmp_path: Path) -> None:
    digest = "sha256:" + "0" * 64
    given = variables("single", semantic_router_digest=digest)
    objects = manifests(tmp_path, "semantic_router", "semantic_router.yaml.j2", given)
    assert pod_of(objects)["containers"][0]["image"] == f"registry.example.com/router:v1@{digest}"


def test_models_from_a_volume_of_the_users_need_no_internet(tmp_path: Path) -> None:
    given = variables("classifiers", semantic_router_offline=True, semantic_router_cache_claim="seeded")
    objects = manifests(tmp_path, "semantic_router", "semantic_router.yaml.j2", given)
    assert ("PersistentVolumeClaim", "semantic-router-models") not in objects
    (models,) = [volume for volume in pod_of(objects)["volumes"] if volume["name"] == "models"]
    assert models["persistentVolumeClaim"] == {"claimName": "seeded"}
    assert objects["NetworkPolicy", "semantic-router"]["spec"]["egress"] == []


def test_the_configuration_keeps_no_prompts(case: tuple[str, Objects]) -> None:
    settings = config_of(case[1])["global"]
    assert settings["services"]["router_replay"] == {"enabled": False}
    assert settings["services"]["observability"]["tracing"] == {"enabled": False}
    assert settings["stores"] == {name: {"enabled": False} for name in ("response_cache", "memory", "vector_store")}


def test_models_that_the_cluster_has_besides(tmp_path: Path) -> None:
    service = {
        "metadata": {
            "name": "sql",
            "namespace": "llm",
            "annotations": {"egress.ai-gateway/semantic-router": "true", "egress.ai-gateway/keywords": "select"},
        },
        "spec": {},
    }
    given = variables(
        "dual", semantic_router_discover_namespaces=["llm"], __semantic_router_services={"resources": [service]}
    )
    objects = manifests(tmp_path, "semantic_router", "semantic_router.yaml.j2", given)
    assert [model["name"] for model in config_of(objects)["providers"]["models"]] == ["model-a", "model-b", "sql"]
    clusters = [cluster.get("alt_stat_name") for cluster in envoy_of(objects)["static_resources"]["clusters"]]
    assert clusters[3:] == ["model-a", "model-b", "sql"]
    (models,) = [found for found in envoy_of(objects)["static_resources"]["listeners"] if found["name"] == "models"]
    rules = models["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][3]["typed_config"]["rules"]
    assert json.dumps(rules["policies"]["paid"]).count('"sql"') == 1
    assert '"sql"' not in json.dumps(rules["policies"]["free"])
    selected = [
        peer.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/name")
        for rule in objects["NetworkPolicy", "semantic-router"]["spec"]["egress"]
        for peer in rule["to"]
    ]
    assert "sql" in selected
