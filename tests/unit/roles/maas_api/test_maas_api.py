# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role's templates render, and the role against an API server in memory."""

from __future__ import annotations

import copy
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from maas_cluster import MaasCluster
from plays import Ended, run_playbook
from rendering import manifests

Body = dict[str, t.Any]
REGISTRY = ("configmaps", "opendatahub", "external-model-registry")
TIERS = ("configmaps", "opendatahub", "tier-to-group-mapping")
DEPLOYMENT = ("deployments", "opendatahub", "maas-api")
PROVIDERS: list[Body] = [
    {
        "name": "openai",
        "schema": "openai",
        "simulated": True,
        "credential": {"value": "k"},
        "models": [{"name": "gpt-4"}, {"name": "gpt-5"}],
    },
    {
        "name": "vllm",
        "schema": "openai",
        "simulated": True,
        "credential": {"value": "k"},
        "models": [{"name": "Qwen/Qwen3-0.6B"}],
    },
]
VARIABLES: Body = {
    "maas_api_image": "registry.example.com/maas-api:external-models",
    "ai_gateway_stack": "wg_ai_gateway",
    "ai_gateway_policy_engine": "authorino",
    "ai_gateway_providers": PROVIDERS,
    "ai_gateway_models": [{"name": "facebook/opt-125m", "simulated": True}],
    "maas_api_settle_seconds": 0,
}
MODELS = [
    {"id": "gpt-4", "provider": "openai", "backend": "openai"},
    {"id": "gpt-5", "provider": "openai", "backend": "openai"},
    {"id": "Qwen/Qwen3-0.6B", "provider": "vllm", "backend": "vllm"},
]


def registry_of(directory: Path, **variables: t.Any) -> Body:
    return manifests(directory, "maas_api", "registry.yaml.j2", {**VARIABLES, **variables})[
        "ConfigMap", "external-model-registry"
    ]


def test_the_registry_lists_what_providers_serve(tmp_path: Path) -> None:
    registry = registry_of(tmp_path, ai_gateway_maas_api_namespace="redhat-ods-applications")
    assert registry["metadata"]["namespace"] == "redhat-ods-applications"
    assert registry["metadata"]["labels"] == {"app": "maas-api", "component": "external-models"}
    assert yaml.safe_load(registry["data"]["models"]) == MODELS


def test_without_providers_it_is_an_empty_list(tmp_path: Path) -> None:
    assert yaml.safe_load(registry_of(tmp_path, ai_gateway_providers=[])["data"]["models"]) == []


def test_of_several_providers_the_one_that_is_asked_first_is_named(tmp_path: Path) -> None:
    providers = [
        {**provider, "models": [{"name": "shared", "priority": 1 - number}]}
        for number, provider in enumerate(PROVIDERS)
    ]
    registry = registry_of(tmp_path, ai_gateway_stack="envoy_ai_gateway", ai_gateway_providers=providers)
    assert yaml.safe_load(registry["data"]["models"]) == [{"id": "shared", "provider": "vllm", "backend": "vllm"}]


class Role:
    """Runs the role against a cluster."""

    def __init__(self, cluster: MaasCluster, directory: Path) -> None:
        self.cluster = cluster
        self._directory = directory

    def __call__(self, *arguments: str, **variables: t.Any) -> int:
        """Run the role; the number of its tasks that changed something."""
        ended = self._run(arguments, variables)
        assert ended.returncode == 0, ended.output
        (changed,) = re.findall(r"changed=(\d+)", ended.stdout)
        self.output = ended.output
        return int(changed)

    def error(self, **variables: t.Any) -> str:
        ended = self._run((), variables)
        assert ended.returncode != 0, ended.stdout
        return " ".join((ended.output).split())

    def _run(self, arguments: tuple[str, ...], variables: Body) -> Ended:
        reach = {"host": self.cluster.url, "api_key": "k"}
        defaults = {"group/egress.ai_gateway.ai_gateway": reach, "group/kubernetes.core.k8s": reach}
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "module_defaults": defaults,
            "roles": ["egress.ai_gateway.maas_api"],
        }
        return run_playbook(self._directory, play, {**VARIABLES, **variables}, *arguments)


@pytest.fixture
def role(cluster: MaasCluster, tmp_path: Path) -> Role:
    pytest.importorskip("kubernetes")
    return Role(cluster, tmp_path)


def objects_of(cluster: MaasCluster) -> dict[t.Any, Body]:
    """Everything, but for what counts its versions."""
    found = copy.deepcopy(cluster.objects)
    for body in found.values():
        del body["metadata"]["resourceVersion"]
    return found


def tier_names(cluster: MaasCluster) -> list[str]:
    return [tier["name"] for tier in yaml.safe_load(cluster.objects[TIERS]["data"]["tiers"])]


def test_registers_once_and_restores_everything(cluster: MaasCluster, role: Role) -> None:
    before = objects_of(cluster)
    assert role("--check") == 3
    assert objects_of(cluster) == before
    assert role() == 3
    assert yaml.safe_load(cluster.objects[REGISTRY]["data"]["models"]) == MODELS
    assert tier_names(cluster) == ["free", "premium", "enterprise"]
    deployment = cluster.objects[DEPLOYMENT]
    assert deployment["metadata"]["annotations"] == {"opendatahub.io/managed": "false"}
    assert (
        deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        == "registry.example.com/maas-api:external-models"
    )
    assert role() == 0
    # Switched off, everything comes back as teardown brings it back.
    assert role(ai_gateway_maas_api=False) == 3
    assert objects_of(cluster) == before


def test_a_list_of_others_is_completed_and_theirs_again(cluster: MaasCluster, role: Role) -> None:
    text = "# Theirs\n- {id: theirs, provider: other}\n- {id: gpt-4, provider: other}\n"
    cluster.put("configmaps", "opendatahub", "external-model-registry", data={"models": text})
    before = objects_of(cluster)
    assert role() == 3
    models = yaml.safe_load(cluster.objects[REGISTRY]["data"]["models"])
    assert models == [{"id": "theirs", "provider": "other"}, *MODELS]
    # What is taken out of the inventory goes again, and the rest stays.
    tiers = [
        {
            "name": "premium",
            "level": 1,
            "groups": ["tier-premium-users"],
            "token_limit": {"tokens": 1, "window": "1m"},
            "models": ["*"],
        }
    ]
    assert role(ai_gateway_providers=PROVIDERS[:1], ai_gateway_tiers=tiers, maas_api_image="maas-api@sha256:0") == 3
    models = yaml.safe_load(cluster.objects[REGISTRY]["data"]["models"])
    assert [model["id"] for model in models] == ["theirs", "gpt-4", "gpt-5"]
    assert tier_names(cluster) == ["free", "premium"]
    assert role(maas_api_state="absent") == 3
    assert objects_of(cluster) == before


def test_maas_api_is_gone_at_the_end(cluster: MaasCluster, role: Role) -> None:
    role()
    for key in [key for key in cluster.objects if key[1] == "opendatahub"]:
        del cluster.objects[key]
    assert (
        role(
            maas_api_state="absent",
            ai_gateway_tiers=[],
            ai_gateway_providers=[],
            ai_gateway_models=[],
            ai_gateway_allow_empty=True,
        )
        == 3
    )
    assert "there is no Deployment opendatahub/maas-api any more" in " ".join(role.output.split())
    assert cluster.names() == []


def test_the_later_generation_is_told(cluster: MaasCluster, role: Role) -> None:
    for name in ("externalmodels.maas.opendatahub.io", "maassubscriptions.maas.opendatahub.io"):
        cluster.put("customresourcedefinitions", "", name)
    error = role.error()
    found = "maassubscriptions.maas.opendatahub.io, externalmodels.maas.opendatahub.io"
    assert (
        f"The cluster has CustomResourceDefinition {found}: its Models-as-a-Service is of the later generation" in error
    )
    assert "To provision the gateways without it, set ai_gateway_maas_api to false." in error
    assert cluster.writes == []


def test_no_maas_api(cluster: MaasCluster, role: Role) -> None:
    del cluster.objects[DEPLOYMENT]
    error = role.error()
    assert (
        "There is no Deployment maas-api in namespace opendatahub. "
        "Deploy Models-as-a-Service first, or name its namespace" in error
    )
    assert cluster.writes == []


def test_no_tiers(cluster: MaasCluster, role: Role) -> None:
    del cluster.objects[TIERS]
    assert (
        "There is no ConfigMap tier-to-group-mapping in namespace opendatahub, "
        "by which maas-api finds the tier of a user" in role.error()
    )
    assert cluster.writes == []


def test_an_image_without_tag(cluster: MaasCluster, role: Role) -> None:
    assert 'maas_api_image is "maas-api"; write an image and its tag or digest.' in role.error(
        maas_api_image="maas-api"
    )


def test_a_list_of_others_that_is_none(cluster: MaasCluster, role: Role) -> None:
    cluster.put("configmaps", "opendatahub", "external-model-registry", data={"models": "gpt-4: openai\n"})
    assert (
        "is no list of mappings with id and provider, and maas-api shows none of it. Mend it, or delete the ConfigMap."
        in role.error()
    )


def test_on_the_stack_without_maas_nothing_is_asked(cluster: MaasCluster, role: Role) -> None:
    asked: list[str] = []
    cluster.respond = lambda *request: asked.append(request[1])  # type: ignore[assignment,method-assign,func-returns-value]
    for state in ("present", "absent"):
        assert role(ai_gateway_stack="envoy_ai_gateway", maas_api_state=state) == 0
    assert asked == []
