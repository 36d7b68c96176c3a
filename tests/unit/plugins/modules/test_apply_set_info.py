# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The members of a set, against an API server in memory."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import SetIdentity
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.run import Options, Run
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes import api as kubernetes_api
from ansible_collections.egress.ai_gateway.plugins.modules import apply_set_info
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC
from cluster import Cluster

RunModule = Callable[..., dict[str, t.Any]]
SET = {"name": "set", "namespace": "home"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(apply_set_info, "connect", lambda params, parallel: cluster.api())
    return cluster


def config_map(name: str, namespace: str = "home") -> dict[str, t.Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}}


def namespace(name: str) -> dict[str, t.Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def apply(cluster: Cluster, *manifests: dict[str, t.Any], name: str = "set") -> None:
    Run(cluster.api(), SetIdentity(name, "home"), Options(), lambda line: None).present(manifests)


def test_the_documentation_and_the_options_agree() -> None:
    specification = apply_set_info.argument_spec()
    documented = yaml.safe_load(apply_set_info.DOCUMENTATION)["options"]
    assert set(documented) == set(specification) - set(AUTH_ARG_SPEC)
    for name, option in documented.items():
        assert {key: option.get(key) for key in ("type", "required")} == specification[name]


def test_members_are_listed_and_nothing_else(cluster: Cluster, run_module: RunModule) -> None:
    cluster.put("namespaces", "", "elsewhere")
    apply(cluster, namespace("home"), config_map("b"), config_map("a"), config_map("c", "elsewhere"))
    apply(cluster, config_map("of-another-set"), name="other")
    cluster.put("configmaps", "home", "of-nobody")
    cluster.writes.clear()
    result = run_module("apply_set_info", SET)
    assert not result["changed"]
    assert result["members"] == [
        {"apiVersion": "v1", "kind": "Namespace", "namespace": "", "name": "home"},
        {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "elsewhere", "name": "c"},
        {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "home", "name": "a"},
        {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "home", "name": "b"},
    ]
    assert cluster.writes == []


def test_without_the_set_there_are_none(cluster: Cluster, run_module: RunModule) -> None:
    assert run_module("apply_set_info", SET, check_mode=True)["members"] == []


def test_a_parent_object_of_somebody_else_is_named(cluster: Cluster, run_module: RunModule) -> None:
    cluster.put("configmaps", "home", "set")
    result = run_module("apply_set_info", SET)
    assert result["failed"]
    assert result["msg"].startswith("set home/set: ConfigMap home/set exists and is no parent of a set")


def test_no_cluster(run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_api, "FIRST_ANSWER_SECONDS", 0.1)
    result = run_module("apply_set_info", {**SET, "host": "https://127.0.0.1:1", "api_key": "t0ken-value"})
    assert "set home/set: no answer from the API server https://127.0.0.1:1" in result["msg"]
    kubeconfig = {"users": 5, "current-context": "prod"}
    result = run_module("apply_set_info", {**SET, "kubeconfig": kubeconfig})
    assert "cannot read how to reach the cluster" in result["msg"]
    assert result["invocation"]["module_args"]["kubeconfig"] == "not shown"
