# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.ownership import without_scaled_replicas
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import FIELD_MANAGER

REPLICAS: t.Any = {"f:spec": {"f:replicas": {}}}


@pytest.mark.parametrize(
    ("managers", "left"),
    [
        ({}, False),
        ({FIELD_MANAGER: REPLICAS}, False),
        ({FIELD_MANAGER: REPLICAS, "kube-controller-manager": {"f:status": {}}}, False),
        ({FIELD_MANAGER: REPLICAS, "kubectl": REPLICAS}, True),
        ({FIELD_MANAGER: {"f:spec": {}}, "kube-controller-manager": REPLICAS}, True),
        # Who applied a whole manifest, to an object that was not ours, is another owner.
        ({"kubectl": REPLICAS}, False),
    ],
)
def test_replicas_are_left_to_whoever_set_them(managers: dict[str, t.Any], left: bool) -> None:
    live = {
        "metadata": {
            "managedFields": [
                {"manager": name, "operation": "Apply", "fieldsV1": owned} for name, owned in managers.items()
            ]
        }
    }
    manifest = {"kind": "Deployment", "spec": {"replicas": 2, "selector": {}}}
    shown = without_scaled_replicas(manifest, live)
    assert shown == ({"kind": "Deployment", "spec": {"selector": {}}} if left else manifest)
    assert manifest["spec"] == {"replicas": 2, "selector": {}}


def test_other_kinds_have_replicas_of_their_own() -> None:
    live = {"metadata": {"managedFields": [{"manager": "kubectl", "fieldsV1": REPLICAS}]}}
    manifest = {"kind": "Shop", "spec": {"replicas": 2}}
    assert without_scaled_replicas(manifest, live) == manifest


@pytest.mark.parametrize(("leaving", "left"), [(False, True), (True, False)])
def test_replicas_that_were_scaled_count_until_the_object_goes(leaving: bool, left: bool) -> None:
    live: dict[str, t.Any] = {
        "metadata": {
            **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if leaving else {}),
            "managedFields": [
                {"manager": "kubectl", "operation": "Update", "subresource": "scale", "fieldsV1": REPLICAS}
            ],
        }
    }
    manifest = {"kind": "Deployment", "spec": {"replicas": 2, "selector": {}}}
    assert ("replicas" not in without_scaled_replicas(manifest, live)["spec"]) == left
