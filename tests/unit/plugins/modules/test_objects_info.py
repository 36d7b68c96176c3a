# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterator

import pytest
from cluster import Cluster

Run = Callable[..., dict[str, t.Any]]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    running = Cluster()
    running.put("configmaps", "shop", "a", metadata={"labels": {"kept": "true"}})
    running.put("configmaps", "shop", "b")
    running.put("configmaps", "other", "c", metadata={"labels": {"kept": "true"}})
    running.serve()
    yield running
    running.close()


def names(run_module: Run, cluster: Cluster, **options: t.Any) -> list[str]:
    arguments = {"host": cluster.url, "api_key": "x", "api_version": "v1", "kind": "ConfigMap", **options}
    result = run_module("objects_info", arguments)
    assert result["changed"] is False
    return sorted(body["metadata"]["name"] for body in result["resources"])


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, ["a", "b", "c"]),
        ({"namespace": "shop"}, ["a", "b"]),
        ({"label_selectors": ["kept=true"]}, ["a", "c"]),
        ({"namespace": "shop", "label_selectors": ["kept=true"]}, ["a"]),
        ({"namespace": "shop", "name": "b"}, ["b"]),
        ({"namespace": "shop", "name": "c"}, []),
        ({"kind": "Widget"}, []),
        ({"api_version": "shop.example.com/v1", "kind": "Widget"}, []),
    ],
)
def test_objects_are_returned(options: dict[str, t.Any], found: list[str], run_module: Run, cluster: Cluster) -> None:
    assert names(run_module, cluster, **options) == found
    assert cluster.writes == []


def test_a_cluster_that_does_not_answer_is_an_error(run_module: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api.FIRST_ANSWER_SECONDS", 0.1
    )
    arguments = {"host": "http://127.0.0.1:1", "api_key": "x", "api_version": "v1", "kind": "ConfigMap", "name": "a"}
    result = run_module("objects_info", arguments)
    assert result["failed"]
    assert result["msg"].startswith("reading ConfigMap /a: ")
