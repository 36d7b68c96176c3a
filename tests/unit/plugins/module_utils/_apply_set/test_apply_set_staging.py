# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sets in files are what the same sets are on a cluster."""

from __future__ import annotations

import copy
import typing as t
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import SetIdentity
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.manifests import ManifestError
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.run import Options, Run
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.staging import (
    stage,
    staged_objects,
    staged_sets,
)
from cluster import Cluster

SHOP = SetIdentity("shop", "home")
MANIFESTS: list[dict[str, t.Any]] = [
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "annotations": {}}, "data": {"key": "value"}},
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "key", "namespace": "other", "labels": {"egress.ai-gateway/kept": "true"}},
        "stringData": {"apiKey": "s3cret"},
    },
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other", "uid": "1"}, "status": {"phase": "Active"}},
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "home"}},
]


def wanted(kind: str, **more: t.Any) -> dict[str, t.Any]:
    return {"api_version": "v1", "kind": kind, "namespace": "", "name": "", "label_selectors": [], **more}


def test_a_staged_set_is_what_a_run_writes(tmp_path: Path) -> None:
    cluster = Cluster()
    Run(cluster.api(), SHOP, Options(), lambda _line: None).present(copy.deepcopy(MANIFESTS))
    stage(tmp_path, SHOP, copy.deepcopy(MANIFESTS))
    (staged,) = staged_sets(tmp_path)
    assert staged.name == "shop"
    found = {(body["kind"], body["metadata"]["name"]): body for body in staged.objects}
    live = {(body["kind"], name): body for (_, _, name), body in cluster.objects.items() if name != "default"}
    assert set(found) == set(live)
    for key, body in found.items():
        assert {name: value for name, value in live[key].items() if name not in ("metadata", "status")} == {
            name: value for name, value in body.items() if name != "metadata"
        }
        for name in ("name", "namespace", "labels", "annotations"):
            assert live[key]["metadata"].get(name) == body["metadata"].get(name), (key, name)


def test_a_run_over_what_was_staged_changes_nothing(tmp_path: Path) -> None:
    cluster = Cluster()
    stage(tmp_path, SHOP, MANIFESTS)
    api = cluster.api()
    query = {"fieldManager": "egress.ai_gateway", "force": "false"}
    plurals = {"Namespace": "namespaces", "ConfigMap": "configmaps", "Secret": "secrets"}
    objects = sorted(staged_sets(tmp_path)[0].objects, key=lambda body: body["kind"] != "Namespace")
    for body in objects:
        namespace = body["metadata"].get("namespace")
        place = f"/api/v1/namespaces/{namespace}" if namespace else "/api/v1"
        path = f"{place}/{plurals[body['kind']]}/{body['metadata']['name']}"
        api.request("PATCH", path, query, body, "application/apply-patch+yaml")
    cluster.writes.clear()
    run = Run(cluster.api(), SHOP, Options(), lambda _line: None)
    run.present(MANIFESTS)
    assert not run.outcome.changed
    assert len(run.outcome.unchanged) == len(MANIFESTS)
    assert cluster.writes == []


def test_sets_keep_their_order_and_the_first_has_what_both_share(tmp_path: Path) -> None:
    stage(tmp_path, SHOP, MANIFESTS)
    stage(tmp_path, SetIdentity("annex", "home"), [MANIFESTS[2]])
    # Once more is no other place.
    stage(tmp_path, SHOP, MANIFESTS)
    assert [staged.name for staged in staged_sets(tmp_path)] == ["shop", "annex"]
    assert [[body["kind"] for body in staged.objects] for staged in staged_sets(tmp_path)] == [
        ["ConfigMap", "Namespace", "Namespace", "ConfigMap", "Secret"],
        ["ConfigMap"],
    ]
    with pytest.raises(ManifestError, match="ConfigMap home/b: another set has it already"):
        stage(tmp_path, SetIdentity("annex", "home"), [MANIFESTS[0]])


def test_faults_are_said_and_nothing_is_written(tmp_path: Path) -> None:
    marked = copy.deepcopy(MANIFESTS[0])
    marked["metadata"]["annotations"] = {"egress.ai-gateway/secret-fields": "data.key"}
    with pytest.raises(ManifestError, match=r"has secrets in .*, which a file would show"):
        stage(tmp_path, SHOP, [marked])
    with pytest.raises(ManifestError, match="duplicate of manifests"):
        stage(tmp_path, SHOP, [MANIFESTS[0], MANIFESTS[0]])
    with pytest.raises(ManifestError, match="is no YAML"):
        stage(tmp_path, SHOP, ["a: b: c"])
    stage(tmp_path, SHOP, MANIFESTS, check_mode=True)
    assert list(tmp_path.iterdir()) == []


def test_objects_are_found_where_a_cluster_would_have_them(tmp_path: Path) -> None:
    stage(tmp_path, SHOP, MANIFESTS)
    kept = (
        "apiVersion: v1\nkind: Secret\ndata: {apiKey: b2xk}\n"
        "metadata: {name: NAME, namespace: other, labels: {egress.ai-gateway/kept: 'true'}}\n"
    )
    (tmp_path / "kept.yaml").write_text(
        f"{kept.replace('NAME', 'key')}---\n{kept.replace('NAME', 'older')}", encoding="utf-8"
    )
    secrets = staged_objects(tmp_path, wanted("Secret", label_selectors=["egress.ai-gateway/kept=true"]))
    # What was rendered just now comes before what was kept.
    assert {body["metadata"]["name"]: body["data"] for body in secrets} == {
        "key": {"apiKey": "czNjcmV0"},
        "older": {"apiKey": "b2xk"},
    }
    assert all(body["metadata"]["resourceVersion"] == "0" for body in secrets)
    assert len(staged_objects(tmp_path, wanted("Namespace"))) == 2
    assert len(staged_objects(tmp_path, wanted("Namespace", name="other"))) == 1
    assert staged_objects(tmp_path, wanted("ConfigMap", namespace="other")) == []
    assert staged_objects(tmp_path, wanted("Secret", label_selectors=["egress.ai-gateway/kept=false"])) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: b: s3cret", "is no YAML; restore it"),
        ("just s3cret", "holds something else than Secrets"),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s3cret, namespace: b}",
            "holds something else than Secrets",
        ),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: s3cret}", "holds something else than Secrets"),
    ],
)
def test_a_file_of_secrets_that_is_none_is_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "kept.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(ManifestError, match=said) as raised:
        staged_objects(tmp_path, wanted("Secret"))
    assert "s3cret" not in str(raised.value)
