# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import (
    GroupKind,
    ResourceType,
    group_version_path,
    types_of_crd,
    types_of_discovery,
)

DEPLOYMENT = ResourceType("apps/v1", "Deployment", "deployments", True, frozenset())
NAMESPACE = ResourceType("v1", "Namespace", "namespaces", False, frozenset())


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("ConfigMap", GroupKind("", "ConfigMap")),
        ("Role.rbac.authorization.k8s.io", GroupKind("rbac.authorization.k8s.io", "Role")),
    ],
)
def test_group_kinds_are_written_as_kubectl_writes_them(text: str, parsed: GroupKind) -> None:
    assert GroupKind.parse(text) == parsed
    assert str(parsed) == text


def test_paths() -> None:
    assert DEPLOYMENT.path("shop", "web") == "/apis/apps/v1/namespaces/shop/deployments/web"
    assert DEPLOYMENT.path("shop") == "/apis/apps/v1/namespaces/shop/deployments"
    assert DEPLOYMENT.path() == "/apis/apps/v1/deployments"
    assert NAMESPACE.path("ignored", "shop") == "/api/v1/namespaces/shop"
    # Names of RBAC objects have colons.
    assert DEPLOYMENT.path("shop", "system:a b") == "/apis/apps/v1/namespaces/shop/deployments/system%3Aa%20b"
    assert group_version_path("v1") == "/api/v1"
    assert group_version_path("apps/v1") == "/apis/apps/v1"


def test_discovery_lists_resources_without_their_subresources() -> None:
    document = {
        "groupVersion": "apps/v1",
        "resources": [
            {"name": "deployments", "kind": "Deployment", "namespaced": True, "verbs": ["get", "list"]},
            {
                "name": "deployments/scale",
                "group": "autoscaling",
                "kind": "Scale",
                "namespaced": True,
                "verbs": ["get"],
            },
        ],
    }
    assert types_of_discovery(document) == [
        ResourceType("apps/v1", "Deployment", "deployments", True, frozenset(("get", "list")))
    ]
    assert types_of_discovery({"groupVersion": "v1"}) == []
    # Such as an APIGroup, which has no resources of its own.
    assert types_of_discovery({"kind": "APIGroup", "name": "apps"}) == []


def crd(**spec: t.Any) -> dict[str, t.Any]:
    names = {"kind": "Widget", "plural": "widgets"}
    versions = [{"name": "v1", "served": True}, {"name": "v1alpha1", "served": False}]
    return {"spec": {"group": "example.com", "names": names, "scope": "Namespaced", "versions": versions, **spec}}


def test_a_crd_serves_its_served_versions() -> None:
    (found,) = types_of_crd(crd())
    assert (found.api_version, found.kind, found.plural, found.namespaced) == (
        "example.com/v1",
        "Widget",
        "widgets",
        True,
    )
    assert "deletecollection" in found.verbs
    assert not types_of_crd(crd(scope="Cluster"))[0].namespaced


@pytest.mark.parametrize("spec", [{"group": None}, {"names": {}}, {"versions": None}, {"versions": ["v1"]}])
def test_a_malformed_crd_serves_nothing(spec: dict[str, t.Any]) -> None:
    assert types_of_crd(crd(**spec)) == []
