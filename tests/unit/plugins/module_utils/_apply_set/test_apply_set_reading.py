# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import (
    PART_OF_LABEL,
    Identity,
    SetIdentity,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.reading import NAMESPACES, Reader, seen
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import some

IDENTITY = SetIdentity("crds", "home")
CRDS = ResourceType(
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", False, frozenset()
)
WIDGETS = ResourceType("example.com/v1", "Widget", "widgets", True, frozenset())


class Api:
    """Serves one custom kind with ``widgets``."""

    def __init__(self, *widgets: dict[str, t.Any]) -> None:
        self.widgets = [
            {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a", "namespace": "shop", **widget}}
            for widget in widgets
        ]

    def each(self, function: t.Callable[[t.Any], t.Any], items: t.Sequence[t.Any]) -> list[t.Any]:
        return [function(item) for item in items]

    def versions(self, group: str) -> list[str]:
        return ["example.com/v1"] if group == "example.com" else []

    def types(self, _api_version: str) -> list[ResourceType]:
        return [WIDGETS]

    def pages(self, resource_type: ResourceType, *, names_only: bool) -> t.Iterator[tuple[str, list[dict[str, t.Any]]]]:
        assert resource_type == WIDGETS
        assert names_only
        yield "1", self.widgets


def lines(
    *widgets: dict[str, t.Any], name: str = "widgets.example.com", adopted: t.Collection[Identity] = ()
) -> list[str]:
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name, "uid": "u"},
    }
    api = Api(*widgets)
    reader = Reader(api, IDENTITY, lambda kind, body: seen(kind, body, False, "", None))  # type: ignore[arg-type]
    return reader.resources_of_others([seen(CRDS, body, False, "", None)], adopted)


def test_a_crd_whose_deletion_would_remove_objects_of_others_is_reported() -> None:
    assert lines({}, {"name": "b", "labels": {PART_OF_LABEL: "another set"}}) == [
        "CustomResourceDefinition widgets.example.com cannot be deleted: Widget shop/a, Widget shop/b would go with "
        "it, and are not of this set; "
        "remove them first, or have them deleted by force_removal: true (ai_gateway_force_removal: true with the "
        "playbooks)"
    ]


@pytest.mark.parametrize(
    "widget",
    [
        {"labels": {PART_OF_LABEL: IDENTITY.id}},
        {"ownerReferences": [{"apiVersion": "example.com/v2", "kind": "Widget", "name": "b", "uid": "w"}]},
        {"ownerReferences": [{"apiVersion": "example.org/v1", "kind": "Shop", "name": "b", "uid": "u"}]},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
    ],
)
def test_members_dependents_and_what_goes_anyway_hold_no_crd(widget: dict[str, t.Any]) -> None:
    assert lines(widget) == []


@pytest.mark.parametrize(
    "owners",
    [
        [{"apiVersion": "example.org/v1", "kind": "Widget", "name": "b", "uid": "w"}],
        [
            {"apiVersion": "example.com/v1", "kind": "Widget", "name": "b", "uid": "w"},
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "b", "uid": "d"},
        ],
    ],
)
def test_a_dependent_of_what_stays_holds_its_crd(owners: list[dict[str, str]]) -> None:
    assert "Widget shop/a would go with it" in lines({"ownerReferences": owners})[0]


def test_an_adopted_object_holds_its_crd() -> None:
    widget = {"labels": {PART_OF_LABEL: IDENTITY.id}}
    assert "Widget shop/a would go with it" in lines(widget, adopted={("example.com", "Widget", "shop", "a")})[0]


def test_a_crd_that_is_not_served_holds_nothing() -> None:
    assert lines({}, name="gadgets.example.com") == []
    assert lines({}, name="widgets.other.com") == []


def test_long_lists_are_counted() -> None:
    assert some(["a", "b", "c"]) == "a, b, c"
    assert some(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_what_cannot_be_listed_is_not_taken_for_nothing() -> None:
    class Closed(Api):
        def pages(self, resource_type: ResourceType, *_where: str, **_options: bool) -> t.Any:
            if resource_type.kind == "Secret":
                raise ApiError(403, "Forbidden", "secrets is forbidden")
            return iter(())

    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "far", "uid": "u"}}
    reader = Reader(Closed(), IDENTITY, lambda kind, body: seen(kind, body, False, "", None))  # type: ignore[arg-type]
    (line,) = reader.objects_inside([seen(NAMESPACES, body, False, "", None)], ())
    assert "cannot list secrets in namespace far" in line
    assert "force_removal: true" in line
