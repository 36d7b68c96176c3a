# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fake cluster with Models-as-a-Service, and the sets that site would apply to it."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.collecting import collected_sets
from kuadrants import Kuadrant
from plays import Ended, run_playbook
from provisioned import CALLBACKS, plural_of
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
        return self.run_with(
            directory, playbook, {**INVENTORY, "drift_report_directory": f"{directory}/report", **more}
        )

    def run_with(self, directory: Path, playbook: t.Any, variables: dict[str, t.Any]) -> Ended:
        """Run a playbook with no more of the inventory than this."""
        kubeconfig = str(self.kubeconfig(directory))
        given = {
            **variables,
            "ai_gateway_cache_directory": f"{directory}/cache",
            "ai_gateway_kubeconfig": kubeconfig,
            "ai_gateway_context": "test",
        }
        environment = {**CALLBACKS, "K8S_AUTH_KUBECONFIG": kubeconfig}
        return run_playbook(directory, playbook, given, host="cluster", environment=environment)


def collect(server: Maas, directory: Path, **variables: t.Any) -> Path:
    sets = directory / "collected"
    sets.mkdir()
    role = {"name": "egress.ai_gateway.drift", "tasks_from": "collect.yml"}
    play = {"hosts": "cluster", "gather_facts": False, "tasks": [{"ansible.builtin.import_role": role}]}
    ended = server.run(directory, play, __drift_directory={"path": str(sets)}, **variables)
    assert ended.returncode == 0, ended.output
    return sets
