# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a submission changes, from the fields its manager owns (``metadata.managedFields``); secrets masked.

Pure.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import FIELD_MANAGER
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.secrets import mask_fields, secret_paths

Fields = dict[str, t.Any]

_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?([numkKMGTPE]|[KMGTPE]i|e[0-9]+)?")


def owned_fields(body: dict[str, t.Any], api_version: str = "") -> Fields | None:
    """The field set (FieldsV1) that this collection applied to an object.

    :param api_version: only ownership recorded in this version of the API counts, when given.
    :returns: None when the object carries none.
    """
    for entry in body["metadata"].get("managedFields") or ():
        if entry.get("manager") != FIELD_MANAGER or entry.get("operation") != "Apply" or entry.get("subresource"):
            continue
        if not api_version or entry.get("apiVersion") == api_version:
            return entry.get("fieldsV1") or {}
    return None


def project(value: t.Any, fields: Fields) -> t.Any:
    """Keep of ``value`` what ``fields`` names; a field named without children is kept whole."""
    children = {key: sub for key, sub in fields.items() if key != "."}
    if not children:
        # A lone "." owns the item but nothing in it.
        return value if not fields else type(value)() if isinstance(value, (dict, list)) else value
    if isinstance(value, dict):
        return {
            key[2:]: project(value[key[2:]], sub)
            for key, sub in children.items()
            if key.startswith("f:") and key[2:] in value
        }
    if isinstance(value, list):
        return _project_list(value, children)
    return value


def _project_list(items: list[t.Any], children: Fields) -> list[t.Any]:
    selected: dict[int, t.Any] = {}
    for key, sub in children.items():
        kind, text = key[0], key[2:]
        if kind == "i":
            matches: t.Iterable[int] = (int(text),)
        elif kind in "kv":
            wanted = json.loads(text)
            matches = (
                number
                for number, item in enumerate(items)
                if (_has_key(item, wanted) if kind == "k" else item == wanted)
            )
        else:
            # A field of what was a mapping in another version of the API, or is one on the other side of a diff.
            continue
        for number in matches:
            if number < len(items):
                selected[number] = project(items[number], sub)
    return [selected[number] for number in sorted(selected)]


def _has_key(item: t.Any, wanted: dict[str, t.Any]) -> bool:
    return isinstance(item, dict) and all(item.get(name) == value for name, value in wanted.items())


def merge_fields(one: Fields, other: Fields) -> Fields:
    """The field set that names everything either names."""
    if not one or not other:
        # A field named without children is owned whole, which includes every part of it.
        return {}
    shared = {key: merge_fields(fields, other[key]) for key, fields in one.items() if key in other}
    return {**one, **other, **shared}


def is_applied(live: dict[str, t.Any], submitted: dict[str, t.Any]) -> bool | None:
    """Whether submitting ``submitted`` changes nothing: what we own of ``live`` is exactly that.

    False means that it does, or that it is unknown. None means that the two differ only as the API server's own way of
    writing may have it: defaults inside fields that are owned whole, empty values left out, quantities in another unit.
    A dry run shows which.
    """
    fields = owned_fields(live, submitted["apiVersion"])
    if fields is None or live["metadata"].get("deletionTimestamp"):
        return False
    owned, wanted = project(live, fields), _owned_part(submitted)
    if owned == wanted:
        return True
    return None if _is_alike(owned, wanted) else False


def _is_alike(live: t.Any, submitted: t.Any) -> bool:
    if isinstance(live, dict) and isinstance(submitted, dict):
        return all(_is_alike(live[key], value) if key in live else not value for key, value in submitted.items())
    if isinstance(live, list) and isinstance(submitted, list):
        return len(live) == len(submitted) and all(map(_is_alike, live, submitted))
    return bool(live == submitted) or all(_QUANTITY.fullmatch(str(value)) for value in (live, submitted))


def _owned_part(submitted: dict[str, t.Any]) -> dict[str, t.Any]:
    """``submitted`` without what identifies the object, which no manager owns."""
    part = {key: value for key, value in submitted.items() if key not in ("apiVersion", "kind", "metadata")}
    metadata = {key: value for key, value in submitted["metadata"].items() if key not in ("name", "namespace")}
    if metadata:
        part["metadata"] = metadata
    return part


def content_digest(body: dict[str, t.Any]) -> str:
    """Stands for everything in a reading of an object but its status and the API server's bookkeeping.

    Two readings with one digest are the same object unchanged: a dry run keeps the resourceVersion, and a status
    written meanwhile moves it, so the version alone does not distinguish them.
    """
    content = {key: value for key, value in body.items() if key not in ("metadata", "status")}
    metadata = {
        key: value
        for key, value in body["metadata"].items()
        if key not in ("generation", "managedFields", "resourceVersion")
    }
    text = json.dumps([content, metadata, owned_fields(body)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def submitted_diff(
    title: str,
    before: dict[str, t.Any] | None,
    after: dict[str, t.Any] | None,
    submitted: dict[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    """One entry of Ansible's ``diff`` for one object: the fields we own before or after, secrets masked.

    :param before: the object as it was; None when it is new.
    :param after: the object as the API server answered; None when it is gone, or when ``submitted`` stands for it.
    """
    fields = None
    for body in (before, after):
        owned = owned_fields(body) if body else None
        if owned is not None:
            fields = owned if fields is None else merge_fields(fields, owned)
    old = project(before, fields or {"f:metadata": {"f:labels": {}}}) if before else {}
    new = project(after, fields or {}) if after is not None else _owned_part(submitted or {"metadata": {}})
    # What was marked before is secret still, and what is marked now was so before.
    paths = dict.fromkeys(path for body in (before, after, submitted) for path in secret_paths(body))
    old, new = mask_fields(old, new, paths)
    return {"before_header": title, "after_header": title, "before": old, "after": new}
