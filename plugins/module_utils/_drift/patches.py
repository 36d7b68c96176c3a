# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares fields of somebody else's object, as reversible_patch would write or restore them, with a cluster."""

from __future__ import annotations

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.collecting import CollectedPatch
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.reading import CONFIG_MAP
from ansible_collections.egress.ai_gateway.plugins.module_utils._drift.differences import (
    CREATE,
    DELETE,
    FOREIGN,
    UPDATE,
    Difference,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._drift.fields import ABSENT, FieldDifference, Manager
from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch import fields as patched
from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch.patch import (
    PatchError,
    Record,
    Target,
    target_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import Body, Reference


def compared_patch(api: Api, patch: CollectedPatch) -> tuple[list[Difference], bool]:
    """What a run would write or restore, and whether the cluster has a record of the patch."""
    name = f"{patch.namespace}/{patch.name}"
    reference = Reference("v1", "ConfigMap", patch.namespace, patch.name)
    body = api.get(CONFIG_MAP.path(patch.namespace, patch.name))
    try:
        record = Record.from_manifest(body) if body else None
    except PatchError as error:
        return [Difference(name, FOREIGN, reference, reason=f"{error}.")], True
    if patch.present and patch.target:
        return _of_present(api, patch, target_of(patch.target), record), record is not None
    if record is None:
        return [], False
    live = _read(api, record.target)
    gone = Difference(name, DELETE, reference, reason="It is the record of fields that are to be restored.")
    if live is None:
        return [gone], True
    plan = patched.plan_absent(live, record.entries)
    return [gone, *_of_changes(name, record.target, live, plan.changes)], True


def _of_present(api: Api, patch: CollectedPatch, target: Target, record: Record | None) -> list[Difference]:
    name = f"{patch.namespace}/{patch.name}"
    live = _read(api, target)
    if live is None:
        reason = "It is not the catalogue's, and site refuses to go on without it."
        return [Difference(name, FOREIGN, target.reference, reason=reason)]
    if record and record.target != target:
        reason = f"The record is of {record.target}; site refuses to go on before that is restored."
        return [Difference(name, FOREIGN, Reference("v1", "ConfigMap", patch.namespace, patch.name), reason=reason)]
    try:
        plan = patched.plan_present(live, patched.fields_of(patch.fields), record.entries if record else ())
    except patched.FieldError as error:
        return [Difference(name, FOREIGN, target.reference, reason=f"Site refuses to change it: {error}.")]
    found = _of_changes(name, target, live, plan.changes)
    if found and record is None:
        record_of = Reference("v1", "ConfigMap", patch.namespace, patch.name)
        found.append(Difference(name, CREATE, record_of, reason="It is the record of the previous values."))
    return found


def _of_changes(name: str, target: Target, live: Body, changes: list[patched.Change]) -> list[Difference]:
    fields = tuple(
        FieldDifference(
            patched.shown(change.path),
            ABSENT if change.after is patched.ABSENT else change.after,
            ABSENT if change.before is patched.ABSENT else change.before,
            _manager(live, change.path),
        )
        for change in changes
        if change.action in (patched.WRITTEN, patched.RESTORED)
    )
    return [Difference(name, UPDATE, target.reference, fields)] if fields else []


def _manager(live: Body, path: patched.Path) -> Manager:
    names = patched.managers_of(live, path)
    entries = [entry for entry in live["metadata"].get("managedFields") or () if entry.get("manager") in names]
    newest: Body = max(entries, key=lambda entry: str(entry.get("time") or ""), default={})
    return Manager(str(newest.get("manager") or ""), str(newest.get("time") or ""))


def _read(api: Api, target: Target) -> Body | None:
    served = next((found for found in api.types(target.api_version) if found.kind == target.kind), None)
    return api.get(served.path(target.namespace, target.name)) if served else None
