# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.workloads import (
    pod_fields,
    workload,
    workload_faults,
)

WORKLOADS: dict[str, dict[str, t.Any]] = {
    "all": {"nodeSelector": {"pool": "infra"}, "priorityClassName": "high"},
    "redis": {"nodeSelector": {"pool": "data"}, "resources": {"limits": {"memory": "1Gi"}}},
}


def test_a_component_has_its_own_fields_over_those_of_all() -> None:
    assert workload(WORKLOADS, "redis") == {**WORKLOADS["all"], **WORKLOADS["redis"]}
    assert workload(WORKLOADS, "proxy") == WORKLOADS["all"]
    assert workload({}, "proxy") == {}


def test_resources_are_not_the_pods() -> None:
    assert pod_fields(WORKLOADS, "redis") == {"nodeSelector": {"pool": "data"}, "priorityClassName": "high"}


def test_what_an_upstream_has_no_place_for_is_left_out_of_what_holds_for_all() -> None:
    assert workload(WORKLOADS, "envoy_ai_gateway") == {"nodeSelector": {"pool": "infra"}}
    assert workload({"all": {**WORKLOADS["all"], "resources": {}}}, "processor") == {"resources": {}}


@pytest.mark.parametrize(
    ("workloads", "words"),
    [
        ([], "it is a list; write a mapping"),
        ({"rediss": {}}, "rediss is no component; did you mean `redis`?"),
        ({"redis": []}, "redis is a list; write a mapping of fields"),
        ({"redis": {"replicas": 2}}, "redis.replicas is no field that can be set; write one of resources"),
        ({"redis": {"node_selector": {}}}, "redis.node_selector is no field that can be set; did you mean"),
        ({"redis": {"tolerations": {}}}, "redis.tolerations is a mapping; write a list"),
        ({"envoy_ai_gateway": {"priorityClassName": "x"}}, "envoy_ai_gateway.priorityClassName has no place"),
        ({"processor": {"nodeSelector": {}}}, "processor.nodeSelector has no place in the upstream's chart or API"),
    ],
)
def test_faults_name_the_field_and_the_remedy(workloads: t.Any, words: str) -> None:
    (fault,) = workload_faults(workloads)
    assert words in fault


def test_sound_settings_have_none() -> None:
    assert workload_faults(WORKLOADS) == workload_faults({}) == []
