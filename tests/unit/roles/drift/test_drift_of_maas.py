# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Drift of a gateway behind Models-as-a-Service: bridges, policies of Kuadrant and fields of others."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.collecting import (
    collected_patches,
    collected_sets,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch.fields import fields_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch.patch import (
    Options,
    RecordedPatch,
    target_of,
)
from maas_clusters import KEY, Maas, collect
from provisioned import apply, report


@pytest.fixture
def maas() -> t.Iterator[Maas]:
    server = Maas()
    yield server
    server.close()


def test_bridges_policies_and_fields_of_others(tmp_path: Path, maas: Maas) -> None:
    sets = collect(maas, tmp_path)
    assert maas.writes == []
    names = {item.identity.name for item in collected_sets(sets) if item.present}
    assert names >= {"access-policies", "providers", "maas-bridge", "gateway", "maas-api"}
    patches = [patch for patch in collected_patches(sets) if patch.present]
    assert {patch.name for patch in patches} >= {"access-policies-authorino", "maas-api-deployment"}
    maas.serve_kinds(sets)
    for item in collected_sets(sets):
        apply(maas, item)
    for patch in patches:
        run = RecordedPatch(maas.api(), patch.name, patch.namespace, Options(wait=False), lambda _line: None)
        assert patch.target
        run.present(target_of(patch.target), fields_of(patch.fields))
    maas.writes.clear()

    ended = maas.run(tmp_path, "egress.ai_gateway.drift")
    assert ended.returncode == 0, ended.output
    assert report(tmp_path)["differences"] == []

    container = maas.objects["deployments", "opendatahub", "maas-api"]["spec"]["template"]["spec"]["containers"][0]
    wanted, container["image"] = container["image"], "maas-api:of-its-operator"
    (bridge,) = [key for key in maas.objects if key[0] == "authpolicies" and key[1] == "ai-gateway"][:1]
    del maas.objects[bridge]
    ended = maas.run(tmp_path, "egress.ai_gateway.drift")
    assert ended.returncode == 2, ended.output
    found = {(one["set"], one["action"], one["name"]): one for one in report(tmp_path)["differences"]}
    assert set(found) == {
        ("ai-gateway/maas-api-deployment", "update", "maas-api"),
        ("ai-gateway/maas-bridge", "create", bridge[2]),
    }
    (field,) = found["ai-gateway/maas-api-deployment", "update", "maas-api"]["fields"]
    assert (field["wanted"], field["found"]) == (wanted, "maas-api:of-its-operator")
    assert field["path"] == "spec.template.spec.containers[name=maas-api].image"
    assert maas.writes == []
    assert KEY not in ended.output + json.dumps(report(tmp_path))
