# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an existing object is this collection's and what is somebody else's, by ``metadata.managedFields``."""

from __future__ import annotations

import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import PART_OF_LABEL
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.reading import Seen
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import MERGE_PATCH, Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import FIELD_MANAGER, Body

#: How often a release is tried anew when somebody changed the object meanwhile.
_TRIES = 5


def without_scaled_replicas(manifest: Body, live: Body) -> Body:
    """``manifest`` without ``spec.replicas`` where somebody else set them, such as an autoscaler or ``kubectl scale``.

    A field that is not submitted keeps its value while another manager owns it.
    """
    spec = manifest.get("spec")
    if not isinstance(spec, dict) or "replicas" not in spec or "selector" not in spec or not _is_scaled(live):
        return manifest
    return {**manifest, "spec": {key: value for key, value in spec.items() if key != "replicas"}}


def _is_scaled(live: Body) -> bool:
    """Whether somebody scaled what this collection applied. Who applies a whole manifest, as `kubectl apply` does, is
    another owner instead, whose fields are a conflict.
    """
    metadata = live["metadata"]
    if metadata.get("deletionTimestamp"):
        # The object that comes after it has nobody's replicas.
        return False
    entries = metadata.get("managedFields") or ()
    is_applied = any(entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply" for entry in entries)
    return any(
        "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})
        for entry in entries
        if entry.get("manager") != FIELD_MANAGER and (is_applied or entry.get("subresource") == "scale")
    )


def release(api: Api, members: t.Sequence[Seen]) -> list[str]:
    """Take adopted objects out of the set and leave them as they are; one line for each that could not be."""
    return [failure for failure in api.each(lambda member: _release(api, member), members) if failure]


def _release(api: Api, member: Seen) -> str:
    path = member.type.path(member.reference.namespace, member.reference.name)
    for attempt in range(_TRIES):
        try:
            live = api.get(path)
            if live is None or live["metadata"]["uid"] != member.uid:
                return ""
            # Without the owner of the fields, the next owner meets no conflict.
            others = [
                entry
                for entry in live["metadata"].get("managedFields") or ()
                if entry.get("manager") != FIELD_MANAGER or entry.get("operation") != "Apply"
            ]
            patch = {
                "metadata": {
                    "resourceVersion": live["metadata"]["resourceVersion"],
                    "labels": {PART_OF_LABEL: None},
                    # An empty list is no change; one empty entry resets them.
                    "managedFields": others or [{}],
                }
            }
            api.request("PATCH", path, {"fieldManager": FIELD_MANAGER}, patch, MERGE_PATCH)
            return ""
        except ApiError as error:
            if error.status == 404:
                return ""
            if error.status != 409 or attempt + 1 == _TRIES:
                return f"releasing {member.reference}, which the set had adopted: {error.message}"
    return ""
