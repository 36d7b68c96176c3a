# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import ApiError
from ansible_collections.egress.ai_gateway.plugins.modules.cluster_info import identity_of
from cluster import Cluster

Run = Callable[..., dict[str, t.Any]]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    running = Cluster()
    running.put("namespaces", "", "kube-system")
    for name, image in {
        "envoy-gateway": "docker.io/envoyproxy/gateway:v1.8.3",
        "other-gateway": "registry.example.com/envoyproxy/gateway:v1.7.0",
        "ai-gateway-controller": "ghcr.io/envoyproxy/ai-gateway-controller@sha256:0",
        "shop": "docker.io/library/nginx:1",
    }.items():
        running.put("deployments", name, name, spec={"template": {"spec": {"containers": [{"image": image}]}}})
    running.serve()
    yield running
    running.close()


def test_a_cluster_is_identified_and_its_versions_are_read(run_module: Run, cluster: Cluster) -> None:
    result = run_module("cluster_info", {"host": cluster.url, "api_key": "x"})
    assert result["identity"] == "uid-kube-system"
    assert result["server"] == cluster.url
    # A digest says no version.
    assert result["versions"] == {"Kubernetes": "v1.34.0", "Envoy Gateway": "v1.7.0 and v1.8.3"}
    assert next(iter(result["versions"])) == "Kubernetes"
    assert result["changed"] is False
    assert cluster.writes == []


def test_the_identity_alone_asks_for_nothing_else(run_module: Run, cluster: Cluster) -> None:
    result = run_module("cluster_info", {"host": cluster.url, "api_key": "x", "versions": False})
    assert (result["identity"], result["versions"]) == ("uid-kube-system", {})


class Answers:
    """An API server that answers each request with the same."""

    host = "https://api.example.com:6443"

    def __init__(self, answer: dict[str, t.Any] | ApiError | None) -> None:
        self.answer = answer

    def get(self, _path: str) -> dict[str, t.Any] | None:
        if isinstance(self.answer, ApiError):
            raise self.answer
        return self.answer


def test_who_may_not_read_the_namespace_is_known_by_the_url() -> None:
    forbidden: t.Any = Answers(ApiError(403, "Forbidden", "no"))
    missing: t.Any = Answers(None)
    assert identity_of(forbidden) == identity_of(missing) == "https://api.example.com:6443"
    broken: t.Any = Answers(ApiError(500, "InternalError", "no"))
    with pytest.raises(ApiError):
        identity_of(broken)
