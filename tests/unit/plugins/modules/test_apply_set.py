# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes import api as kubernetes_api
from ansible_collections.egress.ai_gateway.plugins.modules import apply_set
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "key"},
    "stringData": {"apiKey": "correct-horse-battery"},
}
#: Nothing listens there.
NOWHERE = "https://127.0.0.1:1"


def test_the_documentation_and_the_options_agree() -> None:
    documented = yaml.safe_load(apply_set.DOCUMENTATION)["options"]
    specified = {name: option for name, option in apply_set.argument_spec().items() if name in documented}
    assert set(documented) == set(apply_set.argument_spec()) - set(AUTH_ARG_SPEC)
    for name, option in documented.items():
        assert option["type"] == specified[name]["type"], name
        assert option.get("default") == specified[name].get("default"), name
        assert option.get("choices") == specified[name].get("choices"), name


def test_only_credentials_are_hidden_of_the_options() -> None:
    kubeconfig = {
        "clusters": [{"name": "prod", "cluster": {"server": "https://prod"}}],
        "users": [{"name": "me", "user": {"token": "t0ken", "client-key-data": "k3y"}}, None],
    }
    params = {
        "api_key": "abc",
        "password": None,
        "proxy_headers": {"basic_auth": "u:p"},
        "kubeconfig": kubeconfig,
        "manifests": [SECRET],
    }
    assert apply_set.hidden_values(params) == {"abc", "u:p", "t0ken", "k3y"}
    assert apply_set.hidden_values({"kubeconfig": "/etc/kubeconfig"}) == set()


@pytest.mark.parametrize("users", [5, "me", {"name": "me"}, [{"name": "me", "user": "t0ken"}], [5]])
def test_a_kubeconfig_that_is_none_is_refused(run_module: t.Callable[..., dict[str, t.Any]], users: t.Any) -> None:
    kubeconfig = {"users": users, "current-context": "prod"}
    result = run_module("apply_set", {"name": "a", "namespace": "b", "kubeconfig": kubeconfig, "state": "absent"})
    assert "cannot read how to reach the cluster" in result["msg"]


def test_a_failure_shows_no_manifest(
    run_module: t.Callable[..., dict[str, t.Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_api, "FIRST_ANSWER_SECONDS", 0.1)
    result = run_module(
        "apply_set", {"name": "a", "namespace": "b", "manifests": [SECRET], "host": NOWHERE, "api_key": "t0ken-value"}
    )
    assert result["failed"]
    assert f"no answer from the API server {NOWHERE}" in result["msg"]
    assert result["created"] == []
    text = json.dumps(result)
    assert "correct-horse-battery" not in text
    assert "t0ken-value" not in text
    assert result["invocation"]["module_args"]["manifests"] == "1 manifests, not shown"


def test_bad_options_are_reported_with_what_to_give(run_module: t.Callable[..., dict[str, t.Any]]) -> None:
    result = run_module("apply_set", {"name": "a", "namespace": "b", "manifests": [SECRET], "parallel": 0})
    assert result["failed"]
    assert result["msg"] == "parallel is 0; give a number of at least 1"
    result = run_module("apply_set", {"name": "a", "namespace": "b", "manifests": [SECRET], "wait_timeout": "soon"})
    assert result["failed"]
    assert "correct-horse-battery" not in json.dumps(result)


def test_a_template_that_nothing_rendered_is_refused(run_module: t.Callable[..., dict[str, t.Any]]) -> None:
    result = run_module("apply_set", {"name": "a", "namespace": "b", "template": ["providers.yaml.j2"]})
    assert result["failed"]
    assert result["msg"].startswith("template is rendered by the action plugin of this module")


def test_a_kubeconfig_that_does_not_exist_is_named(
    run_module: t.Callable[..., dict[str, t.Any]], tmp_path: Path
) -> None:
    path = str(tmp_path / "kubeconfig")
    result = run_module("apply_set", {"name": "a", "namespace": "b", "kubeconfig": path, "state": "absent"})
    assert result["failed"]
    assert f"cannot read how to reach the cluster from kubeconfig {path}" in result["msg"]


def test_a_kubeconfig_given_as_a_mapping_is_used_and_not_shown(
    run_module: t.Callable[..., dict[str, t.Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_api, "FIRST_ANSWER_SECONDS", 0.1)
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "prod", "cluster": {"server": NOWHERE}}],
        "users": [{"name": "me", "user": {"token": "t0ken-value"}}],
        "contexts": [{"name": "prod", "context": {"cluster": "prod", "user": "me"}}],
        "current-context": "prod",
    }
    result = run_module("apply_set", {"name": "a", "namespace": "b", "kubeconfig": kubeconfig, "state": "absent"})
    assert f"no answer from the API server {NOWHERE}" in result["msg"]
    assert result["invocation"]["module_args"]["kubeconfig"] == "not shown"
    assert "t0ken-value" not in json.dumps(result)
