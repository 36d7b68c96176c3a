# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.modules import wait_for_objects
from cluster import Cluster

RESOURCES = {
    "v1": {"pods": ("Pod", True), "namespaces": ("Namespace", False), "events": ("Event", True)},
}
PARAMS: dict[str, t.Any] = {
    "api_version": "v1",
    "kind": "Pod",
    "namespace": "shop",
    "name": "",
    "label_selectors": [],
    "field_selectors": [],
    "query": "length(@) > `0` && length([?status.ready]) == length(@)",
    "what": "the pods",
    "timeout": 0,
}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(wait_for_objects, "_INTERVAL", 0.01)
    monkeypatch.setattr(wait_for_objects, "_PROGRESS_INTERVAL", 0.0)
    return Cluster(RESOURCES)


def wait(
    cluster: Cluster, look_once: bool = False, lines: list[str] | None = None, **params: t.Any
) -> dict[str, t.Any]:
    say = (lines if lines is not None else []).append
    return wait_for_objects.wait(cluster.api(), {**PARAMS, **params}, look_once, say)


def test_objects_that_are_as_they_should_be_are_not_waited_for(cluster: Cluster) -> None:
    cluster.put("pods", "shop", "a", status={"ready": True})
    cluster.put("pods", "other", "b", status={})
    result = wait(cluster)
    assert result["met"] is True
    assert [body["metadata"]["name"] for body in result["resources"]] == ["a"]
    assert result["warnings_of_objects"] == []


def test_objects_are_waited_for_and_it_is_said_what_for(cluster: Cluster) -> None:
    cluster.put("pods", "shop", "a")
    looks = iter([{}, {}, {"ready": True}])
    cluster.status = lambda body: next(looks) if body["kind"] == "Pod" else None
    lines: list[str] = []
    assert wait(cluster, lines=lines, timeout=5)["met"] is True
    assert lines
    assert "waiting for the pods" in lines[0]


@pytest.mark.parametrize("objects", [{"a": {}}, {"a": {"ready": True}, "b": {}}, {}])
def test_a_wait_in_vain_returns_the_warnings(objects: dict[str, t.Any], cluster: Cluster) -> None:
    for name, status in objects.items():
        cluster.put("pods", "shop", name, status=status)
    about = {"kind": "ReplicaSet", "name": "web-1"}
    for number, message in enumerate(("old", "no webhook", "no webhook")):
        cluster.put(
            "events",
            "shop",
            f"e{number}",
            involvedObject=about,
            reason="FailedCreate",
            message=message,
            lastTimestamp=f"2026-02-17T04:05:0{number}Z",
        )
    result = wait(cluster)
    assert result["met"] is False
    assert len(result["resources"]) == len(objects)
    assert result["warnings_of_objects"] == [
        "ReplicaSet web-1: FailedCreate: no webhook",
        "ReplicaSet web-1: FailedCreate: old",
    ]


def test_a_look_is_no_wait(cluster: Cluster) -> None:
    assert wait(cluster, look_once=True, timeout=600)["met"] is False


def test_a_kind_that_is_not_served_has_no_objects(cluster: Cluster) -> None:
    assert wait(cluster, kind="Widget")["resources"] == []
    assert wait(cluster, api_version="shop.example.com/v1", kind="Widget", name="a")["resources"] == []


def test_one_object_by_name_and_no_data_of_it(cluster: Cluster) -> None:
    cluster.put("pods", "shop", "a", status={"ready": True}, data={"key": "secret"})
    cluster.put("pods", "shop", "b", status={})
    result = wait(cluster, name="a")
    assert result["met"] is True
    assert "secret" not in str(result)
