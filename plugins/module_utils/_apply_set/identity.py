# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ApplySet convention (KEP-3659): what names a set, and what its parent object records. Pure."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import typing as t
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import GroupKind
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import FIELD_MANAGER

ID_LABEL = "applyset.kubernetes.io/id"
PART_OF_LABEL = "applyset.kubernetes.io/part-of"
TOOLING_ANNOTATION = "applyset.kubernetes.io/tooling"
GROUP_KINDS_ANNOTATION = "applyset.kubernetes.io/contains-group-kinds"
NAMESPACES_ANNOTATION = "applyset.kubernetes.io/additional-namespaces"
#: Members that existed before the set took them over. Not of the convention, which knows no adoption.
ADOPTED_ANNOTATION = "egress.ai-gateway/adopted"
#: On a manifest: its fields are the set's alone, no matter who wrote them last.
FORCE_ANNOTATION = "egress.ai-gateway/force-conflicts"

#: Group, kind, namespace and name of an object.
Identity = tuple[str, str, str, str]

#: The tool named on sets.
TOOLING = f"{FIELD_MANAGER}/v1"


@dataclass(frozen=True)
class SetIdentity:
    """A set is named by its parent object, the ConfigMap ``name`` in ``namespace``."""

    name: str
    namespace: str

    @functools.cached_property
    def id(self) -> str:
        """Value of the parent's id label and of every member's part-of label."""
        digest = hashlib.sha256(f"{self.name}.{self.namespace}.ConfigMap.".encode()).digest()
        return f"applyset-{base64.urlsafe_b64encode(digest).decode('ascii').rstrip('=')}-v1"

    @property
    def selector(self) -> str:
        """Label selector of the members."""
        return f"{PART_OF_LABEL}={self.id}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Contents:
    """Where members may be: which kinds, and in which namespaces besides the parent's own; and which are adopted."""

    group_kinds: frozenset[GroupKind] = frozenset()
    namespaces: frozenset[str] = frozenset()
    adopted: frozenset[Identity] = frozenset()

    def __or__(self, other: Contents) -> Contents:
        return Contents(
            self.group_kinds | other.group_kinds, self.namespaces | other.namespaces, self.adopted | other.adopted
        )


class ForeignParentError(Exception):
    """The ConfigMap that would be the parent belongs to somebody else."""


def parent_manifest(identity: SetIdentity, contents: Contents) -> dict[str, t.Any]:
    """The parent object recording ``contents``."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": identity.name,
            "namespace": identity.namespace,
            "labels": {ID_LABEL: identity.id},
            "annotations": {
                TOOLING_ANNOTATION: TOOLING,
                GROUP_KINDS_ANNOTATION: ",".join(sorted(str(group_kind) for group_kind in contents.group_kinds)),
                NAMESPACES_ANNOTATION: ",".join(sorted(contents.namespaces - {identity.namespace})),
                # As JSON, as names of cluster-scoped objects may hold commas.
                **(
                    {ADOPTED_ANNOTATION: json.dumps(sorted(map(_written, contents.adopted)))}
                    if contents.adopted
                    else {}
                ),
            },
        },
    }


def read_parent(identity: SetIdentity, parent: dict[str, t.Any]) -> Contents:
    """What a parent object found on the cluster records.

    :raises ForeignParentError: when it is no parent of this set, or another tool's.
    """
    metadata = parent["metadata"]
    labels = metadata.get("labels") or {}
    annotations = metadata.get("annotations") or {}
    if labels.get(ID_LABEL) != identity.id:
        raise ForeignParentError(
            f"ConfigMap {identity} exists and is no parent of a set; rename it, or choose another name or "
            "namespace for the set (ai_gateway_namespace with the playbooks)"
        )
    tool = str(annotations.get(TOOLING_ANNOTATION, "")).rpartition("/")[0]
    if tool != FIELD_MANAGER:
        raise ForeignParentError(
            f"set {identity} is managed by {tool or 'an unnamed tool'}, "
            f"not by {FIELD_MANAGER}; choose another name for the set"
        )
    kinds = str(annotations.get(GROUP_KINDS_ANNOTATION, ""))
    namespaces = str(annotations.get(NAMESPACES_ANNOTATION, ""))
    return Contents(
        frozenset(GroupKind.parse(text) for text in kinds.split(",") if text),
        frozenset(text for text in namespaces.split(",") if text),
        frozenset(map(_read, json.loads(annotations.get(ADOPTED_ANNOTATION) or "[]"))),
    )


def _written(identity: Identity) -> str:
    group, kind, namespace, name = identity
    return f"{GroupKind(group, kind)}/{namespace}/{name}"


def _read(text: str) -> Identity:
    kind, _slash, rest = text.partition("/")
    namespace, _slash, name = rest.partition("/")
    return (*GroupKind.parse(kind), namespace, name)
