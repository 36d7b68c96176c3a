# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import PART_OF_LABEL, SetIdentity
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.reading import Reader, seen
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


def lines(*widgets: dict[str, t.Any], name: str = "widgets.example.com") -> list[str]:
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name, "uid": "u"},
    }
    api = Api(*widgets)
    reader = Reader(api, IDENTITY, lambda kind, body: seen(kind, body, False, "", None))  # type: ignore[arg-type]
    return reader.resources_of_others([seen(CRDS, body, False, "", None)])


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
        {"ownerReferences": [{"kind": "Widget", "name": "b"}]},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
    ],
)
def test_members_dependents_and_what_goes_anyway_hold_no_crd(widget: dict[str, t.Any]) -> None:
    assert lines(widget) == []


def test_a_crd_that_is_not_served_holds_nothing() -> None:
    assert lines({}, name="gadgets.example.com") == []
    assert lines({}, name="widgets.other.com") == []


def test_long_lists_are_counted() -> None:
    assert some(["a", "b", "c"]) == "a, b, c"
    assert some(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
