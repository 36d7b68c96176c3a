# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of the Kubernetes API as JSON, and what names them. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import GroupKind

Body = dict[str, t.Any]

#: Owner of every field that this collection writes.
FIELD_MANAGER = "egress.ai_gateway"


@dataclass(frozen=True)
class Reference:
    """Names one object; ``namespace`` is empty for a cluster-scoped one."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @property
    def group_kind(self) -> GroupKind:
        return GroupKind(self.api_version.rpartition("/")[0], self.kind)

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What makes an object the same one, whatever version of its API it is written in."""
        return (self.api_version.rpartition("/")[0], self.kind, self.namespace, self.name)

    def as_dict(self) -> dict[str, str]:
        return {"apiVersion": self.api_version, "kind": self.kind, "namespace": self.namespace, "name": self.name}

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def reference_of(body: dict[str, t.Any]) -> Reference:
    """The reference of an object as the API server returns it."""
    metadata = body["metadata"]
    return Reference(body["apiVersion"], body["kind"], metadata.get("namespace", ""), metadata["name"])


def some(items: t.Sequence[t.Any], most: int = 3) -> str:
    """The first of ``items`` and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(str(item) for item in items[:most]) + more
