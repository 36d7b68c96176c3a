# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What site refuses before its first write."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils import _catalog

# Not resolved: a checkout may be linked into the tree of collections.
COLLECTIONS = Path(_catalog.__file__).parents[5]
PROVIDER = {"name": "openai", "schema": "openai", "simulated": True, "credential": {"value": "k"}, "models": [{"name": "gpt-4"}]}
VARIABLES: dict[str, t.Any] = {
    "ansible_python_interpreter": sys.executable,
    "ai_gateway_providers": [PROVIDER],
    # Nothing listens there.
    "ai_gateway_kubeconfig": "/nonexistent/kubeconfig",
    "gateway_allow_plain_http": True,
}
WITH_TLS = {**PROVIDER, "endpoint": {"tls": {"mode": "simple"}}}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ai_gateway_providers": [{"name": "openai"}]}, "ai_gateway_providers[0].schema: is missing"),
        ({"ai_gateway_allow_empty": "maybe"}, "ai_gateway_allow_empty"),
        ({"ai_gateway_stack": "wg_ai_gateway", "crds_wg_ai_gateway": "/nonexistent/definition"}, "crds_wg_ai_gateway is /nonexistent/definition."),
        ({"controllers_images": {"envoy": "envoy:1"}}, "controllers_images takes"),
        ({"gateway_allow_plain_http": False}, "gateway_tls_secret is empty"),
        ({"simulators_replicas": 0}, "write simulators_replicas from 1"),
        ({"ai_gateway_providers": [WITH_TLS]}, "Give a certificate to the providers whose endpoint.tls.mode is not none (openai)"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_asked_of_the_cluster(variables: dict[str, t.Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "variables.yml").write_text(yaml.safe_dump({**VARIABLES, **variables}))
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_FORCE_COLOR": "false"}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "cluster,", "-c", "local", "-e", f"@{tmp_path}/variables.yml"]
    ended = subprocess.run([*command, "egress.ai_gateway.site"], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode != 0, ended.stdout
    assert said in " ".join((ended.stdout + ended.stderr).split())
    assert "/nonexistent/kubeconfig" not in ended.stdout + ended.stderr
    assert "changed=0" in ended.stdout
