# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.filter.manifests_as_json import manifests_as_json
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.charts import chart_manifests, kept_charts

VERSIONS = {"one": {"reference": "oci://registry.example.com/one", "version": "v1"}}
CHART = {"name": "one", "release_values": {"a": 1}}


def test_a_chart_is_kept_under_a_name_that_changes_with_it() -> None:
    (kept,) = kept_charts([CHART], VERSIONS, "", "/cache")
    assert kept["reference"] == "oci://registry.example.com/one"
    assert kept["cached"].startswith("/cache/charts/one-")
    assert kept_charts([dict(CHART)], VERSIONS, "", "/cache") == [kept]
    others = [
        kept_charts([{**CHART, "release_values": {"a": 2}}], VERSIONS, "", "/cache"),
        kept_charts([{**CHART, "namespace": "x"}], VERSIONS, "", "/cache"),
        kept_charts([CHART], {"one": {**VERSIONS["one"], "version": "v2"}}, "", "/cache"),
        kept_charts([CHART], {"one": {**VERSIONS["one"], "reference": "oci://other"}}, "", "/cache"),
    ]
    assert len({kept["cached"], *(other[0]["cached"] for other in others)}) == 5


@pytest.mark.parametrize("change", ["content", "file"])
def test_the_files_of_a_directory_count(change: str, tmp_path: Path) -> None:
    (tmp_path / "one/templates").mkdir(parents=True)
    (tmp_path / "one/Chart.yaml").write_text("name: one")
    (first,) = kept_charts([CHART], VERSIONS, str(tmp_path), "/cache")
    assert first["reference"] == f"{tmp_path}/one"
    name = "one/Chart.yaml" if change == "content" else "one/templates/new.yaml"
    (tmp_path / name).write_text("name: another")
    (second,) = kept_charts([CHART], VERSIONS, str(tmp_path), "/cache")
    assert first["cached"] != second["cached"]


def test_manifests_come_back_as_they_were(tmp_path: Path) -> None:
    text = "---\n# Source: a\nkind: A\nvalue: 'yes'\n---\n---\nkind: B\ntext: |\n  one\n  two\n"
    (tmp_path / "a.json").write_text(manifests_as_json(text))
    found = [json.loads(line) for line in chart_manifests([{"cached": str(tmp_path / "a.json")}])]
    assert found == [{"kind": "A", "value": "yes"}, {"kind": "B", "text": "one\ntwo\n"}]


def test_manifests_get_annotations_beside_their_own() -> None:
    text = "{kind: A, metadata: {name: a}}\n---\n---\n{kind: B, metadata: {name: b, annotations: {own: x}}}\n"
    first, second = map(json.loads, manifests_as_json(text, {"release": "v1"}).splitlines())
    assert first["metadata"]["annotations"] == {"release": "v1"}
    assert second["metadata"]["annotations"] == {"own": "x", "release": "v1"}
    assert "annotations" not in json.loads(manifests_as_json(text).splitlines()[0])["metadata"]
