# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a submission changes, told from the fields its manager owns (``metadata.managedFields``); secrets masked. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set_identity import FIELD_MANAGER

MASK = "********"
CHANGED_MASK = "******** (changed)"

#: Shorter values occur in ordinary text too often to be worth hiding there.
_SHORTEST_SECRET = 4

Fields = dict[str, t.Any]


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
        return {key[2:]: project(value[key[2:]], sub) for key, sub in children.items() if key.startswith("f:") and key[2:] in value}
    if isinstance(value, list):
        return _project_list(value, children)
    return value


def _project_list(items: list[t.Any], children: Fields) -> list[t.Any]:
    selected: dict[int, t.Any] = {}
    for key, sub in children.items():
        kind, text = key[0], key[2:]
        if kind == "i":
            matches: t.Iterable[int] = (int(text),)
        else:
            wanted = json.loads(text)
            matches = (number for number, item in enumerate(items) if (_has_key(item, wanted) if kind == "k" else item == wanted))
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


def is_applied(live: dict[str, t.Any], submitted: dict[str, t.Any]) -> bool:
    """Whether submitting ``submitted`` provably changes nothing: what we own of ``live`` is exactly that.

    False means unknown, as the API server may still normalise the difference away.
    """
    fields = owned_fields(live, submitted["apiVersion"])
    if fields is None or live["metadata"].get("deletionTimestamp"):
        return False
    return project(live, fields) == _owned_part(submitted)


def _owned_part(submitted: dict[str, t.Any]) -> dict[str, t.Any]:
    """``submitted`` without what identifies the object, which no manager owns."""
    part = {key: value for key, value in submitted.items() if key not in ("apiVersion", "kind", "metadata")}
    metadata = {key: value for key, value in submitted["metadata"].items() if key not in ("name", "namespace")}
    if metadata:
        part["metadata"] = metadata
    return part


def same_content(before: dict[str, t.Any], after: dict[str, t.Any]) -> bool:
    """Whether two readings of one object differ in nothing but its status; a dry run keeps the resourceVersion, so content tells."""
    return _content(before) == _content(after)


def _content(body: dict[str, t.Any]) -> dict[str, t.Any]:
    volatile = ("generation", "managedFields", "resourceVersion")
    content = {key: value for key, value in body.items() if key not in ("metadata", "status")}
    content["metadata"] = {key: value for key, value in body["metadata"].items() if key not in volatile}
    return {"content": content, "owned": owned_fields(body)}


def submitted_diff(title: str, before: dict[str, t.Any] | None, after: dict[str, t.Any] | None, submitted: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
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
    kind, group = next(((body["kind"], body["apiVersion"]) for body in (before, after, submitted) if body), ("", ""))
    if kind == "Secret" and group == "v1":
        old, new = mask_secret(old, new)
    return {"before_header": title, "after_header": title, "before": old, "after": new}


def mask_secret(before: dict[str, t.Any], after: dict[str, t.Any]) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Hide the data of a Secret's two readings, so that only which keys differ shows."""
    old, new = dict(before), dict(after)
    for field in ("data", "stringData"):
        old_values, new_values = _mapping(before.get(field)), _mapping(after.get(field))
        if field in before:
            old[field] = dict.fromkeys(old_values, MASK)
        if field in after:
            new[field] = {key: CHANGED_MASK if key in old_values and old_values[key] != value else MASK for key, value in new_values.items()}
    for body in (old, new):
        # kubectl's copy of the whole manifest, data included.
        metadata = _mapping(body.get("metadata"))
        annotations = _mapping(metadata.get("annotations"))
        if "kubectl.kubernetes.io/last-applied-configuration" in annotations:
            body["metadata"] = {**metadata, "annotations": {**annotations, "kubectl.kubernetes.io/last-applied-configuration": MASK}}
    return old, new


def _mapping(value: t.Any) -> dict[str, t.Any]:
    return value if isinstance(value, dict) else {}


class SecretMask:
    """Hides the values of a set's Secrets in text that others wrote: API errors, events, logs."""

    def __init__(self, bodies: t.Iterable[t.Any] = ()) -> None:
        self._values: set[str] = set()
        for body in bodies:
            self.learn(body)

    def learn(self, body: t.Any) -> None:
        """Remember the values of ``body`` when it is a Secret, well-formed or not."""
        if not isinstance(body, dict) or body.get("kind") != "Secret":
            return
        for field in ("data", "stringData"):
            for value in _mapping(body.get(field)).values():
                self._learn_value(value)

    def _learn_value(self, value: t.Any) -> None:
        text = str(value)
        self._values.add(text)
        self._values.update(line.strip() for line in text.splitlines())
        try:
            decoded = base64.b64decode(text, validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            return
        self._values.add(decoded)
        self._values.update(line.strip() for line in decoded.splitlines())

    def text(self, text: str, secret: bool = False) -> str:
        """``text`` without the values known; ``secret`` says that it is about a Secret, so that any value it quotes goes."""
        # Longest first, so that no rest of a longer value stays.
        for value in sorted((value for value in self._values if len(value) >= _SHORTEST_SECRET), key=len, reverse=True):
            text = text.replace(value, MASK)
        if secret:
            text = re.sub(r'(Invalid value: )("(?:[^"\\]|\\.)*"|\S+)', rf"\g<1>{MASK}", text)
        return text
