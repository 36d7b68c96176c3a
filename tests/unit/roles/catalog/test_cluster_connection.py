# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which cluster a run calls, where the environment names one as a credential of AWX does."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from api_server import Server
from plays import ansible_playbook


def token(
    directory: Path, variables: dict[str, t.Any], environment: dict[str, str], hosts: int = 1, *arguments: str
) -> str:
    """Run playbook token, which fails as there is no such tier, and return what it printed."""
    given = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "tokens_file": f"{directory}/token",
        **variables,
    }
    inventory = {"all": {"hosts": {f"cluster{number}": None for number in range(hosts)}, "vars": given}}
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    ended = ansible_playbook(
        directory,
        "--inventory",
        f"{directory}/hosts.yml",
        *arguments,
        "egress.ai_gateway.token",
        environment=environment,
    )
    assert ended.returncode != 0
    return " ".join(ended.output.split())


@pytest.fixture
def server() -> t.Iterator[Server]:
    running = Server({("v1", "namespaces"): "Namespace"})
    yield running
    running.close()


def connection(server: Server, directory: Path) -> dict[str, str]:
    """As AWX injects a credential of type "OpenShift or Kubernetes API Bearer Token"."""
    kubeconfig = yaml.safe_load(Path(server.kubeconfig(directory)).read_text(encoding="utf-8"))
    return {
        "K8S_AUTH_HOST": kubeconfig["clusters"][0]["cluster"]["server"],
        "K8S_AUTH_API_KEY": "token",
        "K8S_AUTH_VERIFY_SSL": "False",
    }


@pytest.mark.parametrize("platform", ["kubernetes", "embedded"])
def test_the_environment_alone_says_how_to_reach_the_cluster(platform: str, server: Server, tmp_path: Path) -> None:
    said = token(tmp_path, {"ai_gateway_platform": platform}, connection(server, tmp_path))
    assert "tier 'premium' has no namespace ai-gateway-tier-premium" in said


@pytest.mark.parametrize(
    ("variables", "environment", "named"),
    [
        ({"ai_gateway_context": "prod"}, {}, "ai_gateway_context: the cluster is ambiguous"),
        ({"ai_gateway_kubeconfig": "/a"}, {}, "ai_gateway_kubeconfig: the cluster is ambiguous"),
        ({}, {"K8S_AUTH_KUBECONFIG": "/a"}, "K8S_AUTH_KUBECONFIG: the cluster is ambiguous"),
        ({}, {"K8S_AUTH_CONTEXT": "prod"}, "K8S_AUTH_CONTEXT: the cluster is ambiguous"),
    ],
)
def test_two_clusters_are_ambiguous(
    variables: dict[str, t.Any], environment: dict[str, str], named: str, server: Server, tmp_path: Path
) -> None:
    said = token(tmp_path, variables, {**connection(server, tmp_path), **environment})
    assert named in said
    assert "has no namespace" not in said


def test_one_host_of_the_environment_is_not_the_cluster_of_many(server: Server, tmp_path: Path) -> None:
    given = connection(server, tmp_path)
    said = token(tmp_path, {}, given, 2)
    assert "this run has 2 hosts, each a cluster of its own" in said
    assert "has no namespace" not in said
    assert "has no namespace" in token(tmp_path, {}, given, 2, "--limit=cluster1")
