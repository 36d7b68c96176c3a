# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two hosts that are the same gateway are refused by every playbook that writes, before it does."""

from __future__ import annotations

import json
import sys
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from api_server import Server
from plays import Ended, ansible_playbook

PREFIX = "egress.ai_gateway."
PROVIDER = {
    "name": "openai",
    "schema": "openai",
    "simulated": True,
    "credential": {"value": "k"},
    "models": [{"name": "gpt-4"}],
}
VARIABLES: dict[str, t.Any] = {
    "ansible_connection": "local",
    "ansible_python_interpreter": sys.executable,
    "ai_gateway_providers": [PROVIDER],
    "ai_gateway_callers": [{"kind": "api_key"}],
    "gateway_allow_plain_http": True,
    "api_keys_state": "present",
    "api_keys_name": "build",
    "api_keys_owner": "jane",
    "api_keys_tier": "free",
    "api_keys_file": "{{ playbook_dir }}/{{ inventory_hostname }}.key",
    "tokens_file": "/nonexistent/{{ inventory_hostname }}",
    "preflight_rehearse": "never",
}
REFUSED = "a: Gateway ai-gateway/ai-gateway of cluster one is also that of b."


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[dict[str, Server]]:
    found = {name: Server({("v1", "secrets"): "Secret"}) for name in ("one", "two")}
    for name, server in found.items():
        (tmp_path / name).mkdir()
        server.kubeconfig(tmp_path / name)
        server.put("namespaces", "", "kube-system")
        server.objects["namespaces", "", "kube-system"]["metadata"]["uid"] = name
    yield found
    for server in found.values():
        server.close()


def run(directory: Path, playbook: str, hosts: dict[str, dict[str, t.Any]], *arguments: str) -> Ended:
    """Run the playbook for hosts, each with the name of its cluster and what else its variables are."""
    (directory / "playbooks").mkdir(exist_ok=True)
    inventory = {
        "all": {
            "vars": VARIABLES,
            "hosts": {
                name: {"ai_gateway_kubeconfig": f"{directory}/{variables.pop('cluster')}/kubeconfig", **variables}
                for name, variables in hosts.items()
            },
        }
    }
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    return ansible_playbook(directory, "--inventory", f"{directory}/hosts.yml", *arguments, playbook)


def said(ended: Ended) -> str:
    return " ".join(ended.output.split())


@pytest.mark.parametrize(
    "arguments",
    [("site",), ("site", "--tags=providers"), ("teardown",), ("upgrade",), ("rotate_keys",), ("token",), ("api_keys",)],
)
def test_the_same_gateway_twice_is_refused_by_name(
    arguments: tuple[str, ...], clusters: dict[str, Server], tmp_path: Path
) -> None:
    hosts = {"a": {"cluster": "one"}, "b": {"cluster": "one"}}
    ended = run(tmp_path, f"{PREFIX}{arguments[0]}", hosts, *arguments[1:])
    assert ended.returncode == 2
    assert REFUSED in said(ended)
    assert "b: Gateway ai-gateway/ai-gateway of cluster one is also that of a." in said(ended)
    assert "or name one host with --limit. Nothing was written." in said(ended)
    assert ended.output.count("changed=0") == 2
    assert clusters["one"].writes == []


def test_the_secrets_of_a_rendering_are_refused_too(clusters: dict[str, Server], tmp_path: Path) -> None:
    hosts = {"a": {"cluster": "one"}, "b": {"cluster": "one"}}
    ended = run(tmp_path, f"{PREFIX}render", hosts, "--tags=secrets")
    assert REFUSED in said(ended)
    assert clusters["one"].writes == []


ROLE: list[dict[str, t.Any]] = [
    {
        "hosts": "all",
        "gather_facts": False,
        "module_defaults": {f"group/{PREFIX}ai_gateway": {"kubeconfig": "{{ ai_gateway_kubeconfig }}"}},
        "roles": [f"{PREFIX}cluster_identity"],
    }
]


@pytest.mark.parametrize(
    ("a", "b", "refused"),
    [
        ({"cluster": "one"}, {"cluster": "two"}, ""),
        ({"cluster": "one"}, {"cluster": "one", "ai_gateway_namespace": "other", "ai_gateway_name": "other"}, ""),
        # Their sets would have the same parents.
        (
            {"cluster": "one"},
            {"cluster": "one", "ai_gateway_name": "other"},
            "a: Namespace ai-gateway of cluster one is also that of b. Two hosts would write to it at the same time.",
        ),
        # One of them cannot be asked, and fails by that alone.
        ({"cluster": "one"}, {"cluster": "missing"}, "cannot read how to reach the cluster"),
    ],
)
def test_hosts_may_be_different_gateways(
    a: dict[str, t.Any],
    b: dict[str, t.Any],
    refused: str,
    clusters: dict[str, Server],
    tmp_path: Path,
) -> None:
    del clusters
    (tmp_path / "play.yml").write_text(json.dumps(ROLE), encoding="utf-8")
    ended = run(tmp_path, str(tmp_path / "play.yml"), {"a": dict(a), "b": dict(b)})
    assert (ended.returncode == 0) == (not refused), ended.output
    assert refused in said(ended)
    assert ("a is also" in said(ended)) is False


@pytest.mark.parametrize("serial", [1, 2])
def test_hosts_of_a_later_batch_are_compared_with_earlier_ones(
    serial: int, clusters: dict[str, Server], tmp_path: Path
) -> None:
    del clusters
    (tmp_path / "play.yml").write_text(json.dumps([{**ROLE[0], "serial": serial}]), encoding="utf-8")
    hosts = {"c": {"cluster": "two"}, "a": {"cluster": "one"}, "b": {"cluster": "one"}}
    ended = run(tmp_path, str(tmp_path / "play.yml"), hosts)
    assert ended.returncode == 2
    assert "b: Gateway ai-gateway/ai-gateway of cluster one is also that of a." in said(ended)
    assert "c: Gateway" not in said(ended)


def test_one_host_asks_nothing(clusters: dict[str, Server], tmp_path: Path) -> None:
    del clusters
    (tmp_path / "play.yml").write_text(json.dumps(ROLE), encoding="utf-8")
    hosts = {"a": {"cluster": "missing"}, "b": {"cluster": "missing"}}
    ended = run(tmp_path, str(tmp_path / "play.yml"), hosts, "--limit", "a")
    assert ended.returncode == 0, ended.output


@pytest.mark.parametrize(
    ("playbook", "variables"),
    [
        ("token", {"tokens_file": "/nonexistent/token"}),
        ("api_keys", {"api_keys_file": "/nonexistent/key"}),
        ("diagnose", {"diagnosis_snapshot_to": "/nonexistent/snapshot"}),
        ("diagnose", {"diagnosis_report_directory": "/nonexistent/reports"}),
        ("site", {"validation_report_directory": "/nonexistent/reports"}),
        (
            "site",
            {
                "gateway_ca_file": "/nonexistent/ca.crt",
                "gateway_tls_own_ca": True,
                "gateway_hostname": "ai.example.com",
            },
        ),
        ("render", {"render_secrets_file": "/nonexistent/secrets.yaml"}),
    ],
)
def test_a_file_of_two_hosts_is_refused(
    playbook: str, variables: dict[str, t.Any], clusters: dict[str, Server], tmp_path: Path
) -> None:
    hosts = {"a": {"cluster": "one", **variables}, "b": {"cluster": "two", **variables}}
    ended = run(tmp_path, f"{PREFIX}{playbook}", hosts)
    assert ended.returncode == 2
    name, path = next(iter(variables.items()))
    assert f"{name} is {path} for a and for b: one would overwrite the other's." in said(ended)
    assert [server.writes for server in clusters.values()] == [[], []]


def test_two_hosts_that_are_one_embedded_cluster_are_refused(tmp_path: Path) -> None:
    hosts = {
        name: {"cluster": "one", "ai_gateway_platform": "embedded", "embedded_cluster_interface": f"egress-{name}"}
        for name in ("a", "b")
    }
    ended = run(tmp_path, f"{PREFIX}site", hosts)
    assert ended.returncode == 2
    assert "embedded_cluster_name is egress-ai-gateway for a and egress-ai-gateway for b: each embedded" in said(ended)
    assert "embedded_cluster_host_address is 10.245.0.1/30 for a" in said(ended)
    assert "embedded_cluster_interface" not in said(ended).partition("fatal: [a]")[2].partition("fatal: [b]")[0]
    assert ended.output.count("changed=0") == 2
