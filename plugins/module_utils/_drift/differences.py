# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a cluster differs from a catalogue. Pure."""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._drift.fields import FieldDifference
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import Reference

#: What a run of site would do to an object. It leaves foreign ones as they are, or refuses to go on because of them.
CREATE, UPDATE, DELETE, FOREIGN = ACTIONS = ("create", "update", "delete", "foreign")


@dataclass(frozen=True)
class Difference:
    """One object that is not as the catalogue has it."""

    #: Namespace and name of the set or the patch that it belongs to.
    set: str
    action: str
    reference: Reference
    fields: tuple[FieldDifference, ...] = ()
    #: What is to be known besides, as a sentence; or empty.
    reason: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "set": self.set,
            "action": self.action,
            **self.reference.as_dict(),
            "fields": [field.as_dict() for field in self.fields],
            "reason": self.reason,
        }


@dataclass(frozen=True)
class SetSummary:
    """A set, or a patch of somebody else's object, that was compared."""

    name: str
    #: How many objects the catalogue has for it.
    objects: int
    #: How many objects differ.
    differences: int
    #: Whether the cluster has it.
    exists: bool

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "name": self.name,
            "objects": self.objects,
            "differences": self.differences,
            "exists": self.exists,
        }


def counted(actions: t.Iterable[str]) -> dict[str, int]:
    """How many of each of ACTIONS there are."""
    counts = Counter(actions)
    return {action: counts[action] for action in ACTIONS}


def summary_of(counts: t.Mapping[str, int], objects: int) -> str:
    """One sentence about so many differences of each action.

    :param objects: how many objects the catalogue has.
    """
    total = sum(counts.values())
    if not total:
        return f"No drift: all {objects} objects are as the catalogue has them"
    parts = [
        f"{counts[action]} {words}"
        for action, words in (
            (CREATE, "to create"),
            (UPDATE, "to update"),
            (DELETE, "to delete"),
            (FOREIGN, "foreign"),
        )
        if counts[action]
    ]
    return f"{total} {'object differs' if total == 1 else 'objects differ'}: {', '.join(parts)}"
