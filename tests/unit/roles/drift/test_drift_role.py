# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Playbook drift reports what differs, and ends with the status that says so."""

from __future__ import annotations

import base64
import typing as t
import xml.etree.ElementTree as ET
from pathlib import Path

import catalogs
import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.collecting import collected_sets
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import PART_OF_LABEL
from cluster import Body
from provisioned import Provisioned, collected, drift, drift_of_hosts, empty_server, report, variables
from trees import INVENTORIES

NEW_KEY = "sk-canary-4711-of-drift"
Found = dict[tuple[str, str, str], dict[str, t.Any]]


def by_object(found: dict[str, t.Any]) -> Found:
    """The differences of a report by action, kind and name."""
    return {(one["action"], one["kind"], one["name"]): one for one in found["differences"]}


def test_right_after_site_nothing_differs(tmp_path: Path, provisioned: Provisioned) -> None:
    ended = drift(provisioned, tmp_path)
    assert ended.returncode == 0, ended.output
    found = report(tmp_path)
    assert found["differences"] == []
    assert found["objects"] > 50
    assert found["summary"] == f"No drift: all {found['objects']} objects are as the catalogue has them"
    assert found["summary"] in ended.stdout
    assert provisioned.writes == []


@pytest.mark.parametrize("name", ["a mixed catalogue", "router"])
def test_right_after_a_site_of_another_catalogue_nothing_differs(tmp_path: Path, name: str) -> None:
    inventory = INVENTORIES.get(name)
    if inventory is None:
        path = catalogs.variables(tmp_path / "mixed.yml")
        inventory = {**yaml.safe_load(path.read_text(encoding="utf-8")), "gateway_tls_own_ca_hosts": ["ai.example.com"]}
        inventory["ai_gateway_platform"] = "kind"
    cluster = Provisioned(collected(tmp_path, inventory))
    ended = drift(cluster, tmp_path, inventory=inventory)
    cluster.close()
    assert ended.returncode == 0, ended.output
    assert report(tmp_path)["differences"] == []
    assert report(tmp_path)["objects"] > 50


def test_a_cluster_without_a_site_has_all_to_be_created_and_check_mode_writes_no_report(
    tmp_path: Path, sets: Path
) -> None:
    server = empty_server()
    ended = drift(server, tmp_path, "--check")
    server.close()
    assert ended.returncode == 2, ended.output
    wanted = sum(len(item.objects) + 1 for item in collected_sets(sets) if item.present)
    assert f"{wanted} objects differ: {wanted} to create" in ended.stdout
    assert not (tmp_path / "report").exists()
    assert server.writes == []


def change(cluster: Provisioned) -> None:
    """Change six objects by hand."""

    def scale(body: Body) -> None:
        body["spec"]["template"]["spec"]["automountServiceAccountToken"] = True

    path = "spec", "template", "spec", "automountServiceAccountToken"
    cluster.edited("deployments", "external-models", "one-simulator", scale, *path)
    del cluster.objects["services", "external-models", "two-simulator"]
    label = ("metadata", "labels", PART_OF_LABEL)
    key = "serviceaccounts", "ai-gateway-authorino", "authorino"
    cluster.edited(*key, lambda body: body["metadata"]["labels"].pop(PART_OF_LABEL), *label)
    secret = next(
        name for plural, _space, name in cluster.objects if plural == "secrets" and name.startswith("one-credential.")
    )

    def replace_key(body: Body) -> None:
        body["data"]["apiKey"] = base64.b64encode(NEW_KEY.encode()).decode()

    cluster.edited("secrets", "ai-gateway", secret, replace_key, "data", "apiKey")
    labels = cluster.objects["configmaps", "external-models", "provider-simulator"]["metadata"]["labels"]
    cluster.put(
        "configmaps",
        "external-models",
        "notes",
        metadata={
            "labels": {PART_OF_LABEL: labels[PART_OF_LABEL]},
            "managedFields": [{"manager": "kubectl-create", "operation": "Update", "fieldsV1": {"f:data": {}}}],
        },
    )
    left = dict(cluster.objects["configmaps", "external-models", "provider-simulator"])
    left["metadata"] = {**left["metadata"], "name": "left-over", "uid": "left-over"}
    cluster.objects["configmaps", "external-models", "left-over"] = left


def test_six_changes_by_hand_are_named_and_nothing_else(tmp_path: Path, provisioned: Provisioned) -> None:
    change(provisioned)
    ended = drift(provisioned, tmp_path, "-vv")
    assert ended.returncode == 2, ended.output
    found = report(tmp_path)
    objects = by_object(found)
    (secret,) = [key for key in objects if key[1] == "Secret"]
    assert set(objects) == {
        ("update", "Deployment", "one-simulator"),
        ("create", "Service", "two-simulator"),
        ("update", "ServiceAccount", "authorino"),
        secret,
        ("foreign", "ConfigMap", "notes"),
        ("delete", "ConfigMap", "left-over"),
    }
    assert found["summary"] == "6 objects differ: 1 to create, 3 to update, 1 to delete, 1 foreign"
    (field,) = objects["update", "Deployment", "one-simulator"]["fields"]
    assert field == {
        "path": "spec.template.spec.automountServiceAccountToken",
        "wanted": False,
        "found": True,
        "manager": "kubectl-edit",
        "time": "2026-02-17T05:00:00Z",
        "secret": False,
        "state": "changed",
    }
    assert "ai_gateway_force_conflicts" in objects["update", "Deployment", "one-simulator"]["reason"]
    (field,) = objects["update", "ServiceAccount", "authorino"]["fields"]
    assert (field["path"], field["state"]) == (f"metadata.labels['{PART_OF_LABEL}']", "missing")
    (field,) = objects[secret]["fields"]
    assert (field["path"], field["secret"], field["state"]) == ("data.apiKey", True, "changed")
    assert not {"wanted", "found"} & set(field)
    assert "last written by kubectl-create" in objects["foreign", "ConfigMap", "notes"]["reason"]
    for one in found["differences"]:
        assert f"{one['action']:<8}{one['kind']} {one['namespace']}/{one['name']}" in ended.stdout
    assert provisioned.writes == []
    root = ET.parse(tmp_path / "report/drift.xml").getroot()  # noqa: S314 - our own
    assert len(root.findall(".//failure")) == 6
    page = (tmp_path / "report/drift.html").read_text(encoding="utf-8")
    assert found["summary"] in page
    written = [path.read_text(encoding="utf-8") for path in (tmp_path / "report").iterdir()]
    for shown in (ended.output, *written):
        for key in (NEW_KEY, base64.b64encode(NEW_KEY.encode()).decode(), "canary-openai-6f0c1b"):
            assert key not in shown


@pytest.mark.parametrize("unreachable", [False, True])
def test_of_several_clusters_one_that_does_not_answer_is_an_error(
    tmp_path: Path, provisioned: Provisioned, unreachable: bool
) -> None:
    del provisioned.objects["services", "external-models", "two-simulator"]
    hosts = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        hosts[name] = variables(provisioned, tmp_path / name, drift_fails=name == "one" and not unreachable)
    if unreachable:
        provisioned.url = "http://127.0.0.1:9"
        hosts["two"]["ai_gateway_kubeconfig"] = str(provisioned.kubeconfig(tmp_path))
    ended = drift_of_hosts(tmp_path, hosts)
    assert ended.returncode == (1 if unreachable else 2), ended.output
    assert report(tmp_path / "one")["counts"]["create"] == 1
    assert (tmp_path / "two/report").exists() != unreachable
    assert ("no answer from the API server" in ended.output) == unreachable


def test_two_clusters_do_not_share_a_report(tmp_path: Path, provisioned: Provisioned) -> None:
    hosts = {name: variables(provisioned, tmp_path) for name in ("one", "two")}
    ended = drift_of_hosts(tmp_path, hosts)
    assert ended.returncode == 1, ended.output
    said = " ".join(ended.output.split())
    assert f"drift_report_directory is {tmp_path}/report for one and for two: one would overwrite the other's" in said
