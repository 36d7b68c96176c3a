# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module's options, result and errors, against an API server in memory."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.modules import reversible_patch
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC
from cluster import Answer, Cluster

RunModule = Callable[..., dict[str, t.Any]]
KEY = ("configmaps", "default", "tiers")
OPTIONS = {
    "name": "record",
    "namespace": "default",
    "target": {"api_version": "v1", "kind": "ConfigMap", "name": "tiers", "namespace": "default"},
    "fields": [{"path": ["data", "tiers"], "value": "new\n"}],
}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    cluster.put("configmaps", "default", "tiers", data={"tiers": "old\n", "other": "x"})
    monkeypatch.setattr(reversible_patch, "connect", lambda params, parallel: cluster.api())
    return cluster


def test_the_documentation_and_the_options_agree() -> None:
    specification = reversible_patch.argument_spec()
    documented = yaml.safe_load(reversible_patch.DOCUMENTATION)["options"]
    assert set(documented) == set(specification) - set(AUTH_ARG_SPEC)
    for name, option in documented.items():
        for key in ("type", "elements", "default", "choices", "required"):
            assert option.get(key) == specification[name].get(key), (name, key)
        assert set(option.get("suboptions", {})) == set(specification[name].get("options", {})), name


def test_writes_and_restores(cluster: Cluster, run_module: RunModule) -> None:
    rehearsed = run_module("reversible_patch", OPTIONS, check_mode=True)
    assert rehearsed["changed"]
    assert cluster.writes == []
    result = run_module("reversible_patch", {**OPTIONS, "_ansible_diff": True})
    assert result["changed"]
    assert (
        result["fields"]
        == rehearsed["fields"]
        == [{"path": ["data", "tiers"], "action": "written", "before": "old\n", "after": "new\n"}]
    )
    assert (result["diff"]["before"], result["diff"]["after"]) == ({"data.tiers": "old\n"}, {"data.tiers": "new\n"})
    assert cluster.objects[KEY]["data"] == {"tiers": "new\n", "other": "x"}
    again = run_module("reversible_patch", {**OPTIONS, "_ansible_diff": True})
    assert not again["changed"]
    assert "diff" not in again
    removal = {"name": "record", "namespace": "default", "state": "absent"}
    assert run_module("reversible_patch", removal)["fields"] == [
        {"path": ["data", "tiers"], "action": "restored", "before": "new\n", "after": "old\n"}
    ]
    assert cluster.objects[KEY]["data"] == {"tiers": "old\n", "other": "x"}
    assert run_module("reversible_patch", removal)["fields"] == []


def test_what_is_left_is_warned_of(cluster: Cluster, run_module: RunModule) -> None:
    run_module("reversible_patch", OPTIONS)
    cluster.objects[KEY]["data"]["tiers"] = "theirs\n"
    result = run_module("reversible_patch", {"name": "record", "namespace": "default", "state": "absent"})
    assert result["warnings"] == [
        "ConfigMap default/tiers: data.tiers was changed by somebody since it was written; it is left as it is, and "
        "no longer recorded"
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": None}, "target is missing; name the object whose fields are written by api_version, kind"),
        ({"fields": [{"path": ["data", "a"]}]}, "missing required arguments: value found in fields"),
        (
            {"fields": [{"path": ["status", "a"], "value": 1}]},
            "fields[0].path status.a is no field to write; name one below spec or data",
        ),
        ({"wait_timeout": 0}, "wait_timeout is 0; give a number of at least 1"),
        ({"settle_seconds": -1}, "settle_seconds is -1; give a number of at least 0"),
        (
            {"target": {**OPTIONS["target"], "name": "nothing"}},
            "there is no ConfigMap default/nothing; create it first",
        ),  # type: ignore[dict-item]
    ],
)
def test_errors(cluster: Cluster, run_module: RunModule, options: dict[str, t.Any], message: str) -> None:
    result = run_module("reversible_patch", {**OPTIONS, **options})
    assert result["failed"]
    assert message in result["msg"]
    assert cluster.writes == []


def test_missing_rights_are_reported_with_their_object(
    cluster: Cluster, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(method: str, url: str, body: bytes | None, **options: t.Any) -> Answer:
        return Answer(403, {"kind": "Status", "reason": "Forbidden", "message": "configmaps is forbidden"})

    monkeypatch.setattr(cluster, "request", forbidden)
    result = run_module("reversible_patch", OPTIONS)
    assert result["msg"] == "record default/record: configmaps is forbidden; check the rights of the credentials in use"


def test_an_inline_kubeconfig_is_not_shown(cluster: Cluster, run_module: RunModule) -> None:
    kubeconfig = {"users": [{"name": "me", "user": {"token": "t0ken-value"}}]}
    result = run_module("reversible_patch", {**OPTIONS, "kubeconfig": kubeconfig})
    assert result["invocation"]["module_args"]["kubeconfig"] == "not shown"
    assert "t0ken-value" not in json.dumps(result)
