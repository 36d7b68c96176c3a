# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import yaml
from ansible_collections.egress.ai_gateway.plugins.filter import embedded_cluster_paths
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.paths import DEFAULT_NAME, paths

ROOT = Path(__file__).parents[5]


def test_the_paths_of_a_cluster() -> None:
    assert paths("second") == {
        "directory": "/var/lib/second",
        "runtime_directory": "/run/second",
        "kubeconfig": "/var/lib/second/kubeconfig",
        "offline_directory": "/var/lib/second/upstream",
        "service_account_key": "/var/lib/second/etc/upper/kubernetes/pki/sa.key",
        "helm": "/var/lib/second/bin/helm",
        "kubeadm": "/var/lib/second/bin/kubeadm",
        "kubectl": "/var/lib/second/bin/kubectl",
    }


def test_without_a_name_it_is_the_cluster_of_the_role() -> None:
    defaults = yaml.safe_load((ROOT / "roles/embedded_cluster/defaults/main.yml").read_text(encoding="utf-8"))
    assert defaults["embedded_cluster_name"] == DEFAULT_NAME
    asked = embedded_cluster_paths.FilterModule().filters()["embedded_cluster_paths"]
    assert asked(None) == paths(DEFAULT_NAME)
    assert yaml.safe_load(embedded_cluster_paths.RETURN)["_value"]["sample"] == asked(None)


def test_what_the_role_copies_is_where_others_look() -> None:
    """The role copies below the directory of the cluster by relative paths."""
    variables = yaml.safe_load((ROOT / "roles/embedded_cluster/vars/main.yml").read_text(encoding="utf-8"))
    copied = {f"/var/lib/{DEFAULT_NAME}/{copy['path']}" for copy in variables["__embedded_cluster_copies"]}
    found = paths()
    assert {found["helm"], found["kubeadm"], found["kubectl"]} <= copied
    assert f"{found['offline_directory']}/gateway-helm" in copied
