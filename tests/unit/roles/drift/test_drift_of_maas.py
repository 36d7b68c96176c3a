# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Drift of a gateway behind Models-as-a-Service: bridges, policies of Kuadrant and fields of others."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.collecting import (
    collected_patches,
    collected_sets,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch.fields import fields_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch.patch import (
    Options,
    RecordedPatch,
    target_of,
)
from kuadrants import Kuadrant
from plays import Ended, run_playbook
from provisioned import CALLBACKS, apply, plural_of, report
from trees import VARIABLES

KEY = "sk-canary-of-maas"
INVENTORY: dict[str, t.Any] = {
    **VARIABLES,
    "ai_gateway_platform": "kubernetes",
    "ai_gateway_stack": "wg_ai_gateway",
    "ai_gateway_policy_engine": "kuadrant",
    "ai_gateway_maas_api": True,
    # Any file: no CRD is read.
    "crds_wg_ai_gateway": __file__,
    "maas_api_image": "registry.example.com/maas-api:external-models",
    "controllers_images": {"wg_ai_gateway": "registry.example.com/wg-ai-gateway@sha256:" + "0" * 64},
    "ai_gateway_providers": [
        {
            "name": "openai",
            "schema": "openai",
            "endpoint": {"hostname": "api.openai.com"},
            "credential": {"value": KEY},
            "models": [{"name": "gpt-4"}],
        }
    ],
    "ai_gateway_tiers": [
        {"name": "free", "level": 0, "groups": ["all"], "token_limit": {"tokens": 100, "window": "1m"}}
    ],
}


class Maas(Kuadrant):
    """A cluster with Kuadrant, a programmed Gateway and maas-api."""

    def __init__(self) -> None:
        super().__init__()
        self.resources["apiextensions.k8s.io/v1"] = {"customresourcedefinitions": ("CustomResourceDefinition", False)}
        self.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "opendatahub"}})
        self.add(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "maas-api", "namespace": "opendatahub"},
                "spec": {"template": {"spec": {"containers": [{"name": "maas-api", "image": "maas-api:before"}]}}},
            }
        )
        tiers = {"tiers": "- {name: free, level: 0, groups: [all]}\n"}
        metadata = {"name": "tier-to-group-mapping", "namespace": "opendatahub"}
        self.add({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": tiers})
        authorino = {"name": "authorino", "namespace": "kuadrant-system"}
        self.add({"apiVersion": "operator.authorino.kuadrant.io/v1beta1", "kind": "Authorino", "metadata": authorino})
        self.objects["authorinos", "kuadrant-system", "authorino"]["spec"] = {}

    def serve_kinds(self, sets: Path) -> None:
        """Serve the kinds of collected sets as well."""
        for item in collected_sets(sets):
            for body in item.objects:
                kinds = self.resources.setdefault(body["apiVersion"], {})
                if body["kind"] not in [kind for kind, _namespaced in kinds.values()]:
                    kinds[plural_of(body["kind"])] = body["kind"], bool(body["metadata"].get("namespace"))

    def run(self, directory: Path, playbook: t.Any, **more: t.Any) -> Ended:  # type: ignore[override]
        given = {
            **INVENTORY,
            "ai_gateway_cache_directory": f"{directory}/cache",
            "ai_gateway_kubeconfig": str(self.kubeconfig(directory)),
            "ai_gateway_context": "test",
            "drift_report_directory": f"{directory}/report",
            **more,
        }
        environment = {**CALLBACKS, "K8S_AUTH_KUBECONFIG": str(self.kubeconfig(directory))}
        return run_playbook(directory, playbook, given, host="cluster", environment=environment)


@pytest.fixture
def maas() -> t.Iterator[Maas]:
    server = Maas()
    yield server
    server.close()


def collect(server: Maas, directory: Path) -> Path:
    sets = directory / "collected"
    sets.mkdir()
    role = {"name": "egress.ai_gateway.drift", "tasks_from": "collect.yml"}
    play = {"hosts": "cluster", "gather_facts": False, "tasks": [{"ansible.builtin.import_role": role}]}
    ended = server.run(directory, play, __drift_directory={"path": str(sets)})
    assert ended.returncode == 0, ended.output
    return sets


def test_bridges_policies_and_fields_of_others(tmp_path: Path, maas: Maas) -> None:
    sets = collect(maas, tmp_path)
    assert maas.writes == []
    names = {item.identity.name for item in collected_sets(sets) if item.present}
    assert names >= {"access-policies", "providers", "maas-bridge", "gateway", "maas-api"}
    patches = [patch for patch in collected_patches(sets) if patch.present]
    assert {patch.name for patch in patches} >= {"access-policies-authorino", "maas-api-deployment"}
    maas.serve_kinds(sets)
    for item in collected_sets(sets):
        apply(maas, item)
    for patch in patches:
        run = RecordedPatch(maas.api(), patch.name, patch.namespace, Options(wait=False), lambda _line: None)
        assert patch.target
        run.present(target_of(patch.target), fields_of(patch.fields))
    maas.writes.clear()

    ended = maas.run(tmp_path, "egress.ai_gateway.drift")
    assert ended.returncode == 0, ended.output
    assert report(tmp_path)["differences"] == []

    container = maas.objects["deployments", "opendatahub", "maas-api"]["spec"]["template"]["spec"]["containers"][0]
    wanted, container["image"] = container["image"], "maas-api:of-its-operator"
    (bridge,) = [key for key in maas.objects if key[0] == "authpolicies" and key[1] == "ai-gateway"][:1]
    del maas.objects[bridge]
    ended = maas.run(tmp_path, "egress.ai_gateway.drift")
    assert ended.returncode == 2, ended.output
    found = {(one["set"], one["action"], one["name"]): one for one in report(tmp_path)["differences"]}
    assert set(found) == {
        ("ai-gateway/maas-api-deployment", "update", "maas-api"),
        ("ai-gateway/maas-bridge", "create", bridge[2]),
    }
    (field,) = found["ai-gateway/maas-api-deployment", "update", "maas-api"]["fields"]
    assert (field["wanted"], field["found"]) == (wanted, "maas-api:of-its-operator")
    assert field["path"] == "spec.template.spec.containers[name=maas-api].image"
    assert maas.writes == []
    assert KEY not in ended.output + json.dumps(report(tmp_path))
