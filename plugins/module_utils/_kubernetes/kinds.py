# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds and the resources that serve them, from discovery documents or from CustomResourceDefinitions. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from urllib.parse import quote


class GroupKind(t.NamedTuple):
    """A kind in its API group (empty for the core group). Written ``Kind.group``, as ApplySet annotations do."""

    group: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @classmethod
    def parse(cls, text: str) -> GroupKind:
        kind, _dot, group = text.partition(".")
        return cls(group, kind)


NAMESPACE = GroupKind("", "Namespace")
CUSTOM_RESOURCE_DEFINITION = GroupKind("apiextensions.k8s.io", "CustomResourceDefinition")


@dataclass(frozen=True)
class ResourceType:
    """How the API server serves one kind in one version."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str]

    @property
    def group_kind(self) -> GroupKind:
        return GroupKind(self.api_version.rpartition("/")[0], self.kind)

    def path(self, namespace: str = "", name: str = "") -> str:
        """Path of one object, or of the collection when ``name`` is empty; of all namespaces when ``namespace`` is."""
        parts = [group_version_path(self.api_version)]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        return "/".join(parts)


def group_version_path(api_version: str) -> str:
    """Path of the discovery document of ``api_version``."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def types_of_discovery(document: dict[str, t.Any]) -> list[ResourceType]:
    """The types listed by an ``APIResourceList``, without subresources; none of another document."""
    api_version = document.get("groupVersion")
    if not api_version:
        return []
    return [
        ResourceType(
            api_version,
            resource["kind"],
            resource["name"],
            bool(resource.get("namespaced")),
            frozenset(resource.get("verbs") or ()),
        )
        for resource in document.get("resources") or ()
        if "/" not in resource["name"]
    ]


def types_of_crd(crd: dict[str, t.Any]) -> list[ResourceType]:
    """The types a CustomResourceDefinition will serve once it is established; none when it is malformed."""
    spec = crd.get("spec") or {}
    names = spec.get("names") or {}
    if not (
        isinstance(spec.get("group"), str)
        and isinstance(names.get("kind"), str)
        and isinstance(names.get("plural"), str)
    ):
        return []
    verbs = frozenset(("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"))
    return [
        ResourceType(
            f"{spec['group']}/{version['name']}",
            names["kind"],
            names["plural"],
            spec.get("scope") == "Namespaced",
            verbs,
        )
        for version in spec.get("versions") or ()
        if isinstance(version, dict) and version.get("served") and version.get("name")
    ]
