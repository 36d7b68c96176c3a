# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the preflight of role controllers says of versions, in front of a cluster that has nothing."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from api_server import Server
from plays import run_playbook

VARIABLES = {"ai_gateway_allow_empty": True, "ai_gateway_platform": "embedded"}
BAD = {"versions_envoy_gateway": "v1.8.1"}


@pytest.fixture
def server() -> t.Iterator[Server]:
    made = Server({("v1", "secrets"): "Secret", ("apps/v1", "deployments"): "Deployment"})
    yield made
    made.close()


def preflight(server: Server, directory: Path, **variables: t.Any) -> tuple[int, str]:
    play = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.import_role": {"name": "egress.ai_gateway.controllers", "tasks_from": "preflight"}}
        ],
    }
    environment = {"K8S_AUTH_KUBECONFIG": str(server.kubeconfig(directory))}
    ended = run_playbook(directory, play, {**VARIABLES, **variables}, environment=environment)
    return ended.returncode, " ".join(ended.output.split())


def test_versions_that_are_known_to_be_bad_are_refused(server: Server, tmp_path: Path) -> None:
    status, said = preflight(server, tmp_path, **BAD)
    assert status != 0
    assert "These versions are known not to go together. Envoy Gateway 1.8.1: its rate limit service counts no" in said
    assert "controllers_allow_known_bad_pairs=true installs these all the same" in said
    assert server.writes == []


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"versions_envoy_gateway": "v1.8.2"},
        {"versions_envoy_gateway": "v1.9.1"},
        {**BAD, "controllers_allow_known_bad_pairs": True},
        {**BAD, "controllers_state": "absent"},
        # Of a way back, which the record has.
        {**BAD, "controllers_envoy_gateway_manifests": [{"kind": "Deployment"}]},
        {"controllers_images": {"envoy_gateway": "mirror/gateway@sha256:" + "e7" * 32}},
    ],
)
def test_other_versions_are_not(variables: dict[str, t.Any], server: Server, tmp_path: Path) -> None:
    status, said = preflight(server, tmp_path, **variables)
    assert status == 0, said
