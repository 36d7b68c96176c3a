# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.schema import (
    served_versions,
    storage_version,
    unknown_fields,
)

SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "size": {"type": "integer"},
                "parts": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "limits": {
                    "type": "object",
                    "additionalProperties": {"type": "object", "properties": {"most": {"type": "integer"}}},
                },
                "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {}},
                "free": {"type": "object"},
            },
        }
    },
}
CRD = {
    "spec": {
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}},
            {"name": "v1alpha1", "served": False},
        ]
    }
}


@pytest.mark.parametrize(
    ("spec", "unknown"),
    [
        ({"size": 1, "parts": [{"name": "a"}], "labels": {"x": "y"}, "limits": {"x": {"most": 1}}}, []),
        ({"any": {"x": {"y": 1}}, "free": {"x": [1]}, "parts": [], "labels": {}}, []),
        ({"colour": "red"}, [".spec.colour"]),
        ({"parts": [{"name": "a"}, {"title": "b"}]}, [".spec.parts[1].title"]),
        ({"limits": {"x": {"least": 1}}}, [".spec.limits.x.least"]),
    ],
)
def test_fields_that_a_crd_has_no_place_for(spec: dict[str, t.Any], unknown: list[str]) -> None:
    manifest = {"apiVersion": "shop.example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec}
    assert unknown_fields(CRD, manifest) == unknown


def test_a_version_without_a_schema_knows_everything() -> None:
    assert unknown_fields(CRD, {"apiVersion": "shop.example.com/v1alpha1", "kind": "Widget", "spec": {"x": 1}}) == []


def test_versions() -> None:
    assert storage_version(CRD) == "v1"
    assert served_versions(CRD) == ("v1",)
    assert storage_version({"spec": {}}) == ""
