# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a CustomResourceDefinition does not know of a manifest. Pure.

The API server says the same in a dry run, but only for objects whose namespace exists.
"""

from __future__ import annotations

import typing as t

Body = dict[str, t.Any]

#: Every object has these, whatever its schema says.
_COMMON = ("apiVersion", "kind", "metadata")


def unknown_fields(crd: Body, manifest: Body) -> list[str]:
    """The paths of a manifest's fields that ``crd`` has no place for in the version that the manifest is written in.

    None where the version has no schema.
    """
    version = manifest["apiVersion"].rpartition("/")[2]
    schemas = [
        (entry.get("schema") or {}).get("openAPIV3Schema")
        for entry in crd["spec"].get("versions", ())
        if entry.get("name") == version
    ]
    content = {key: value for key, value in manifest.items() if key not in _COMMON}
    return [path for schema in schemas if schema for path in _unknown(schema, content, "")]


def storage_version(crd: Body) -> str:
    """The version that the objects of a kind are stored in, which its controllers are written for."""
    names = [entry.get("name", "") for entry in crd["spec"].get("versions") or () if entry.get("storage")]
    return names[0] if names else ""


def served_versions(crd: Body) -> tuple[str, ...]:
    versions = (crd.get("spec") or {}).get("versions") or ()
    return tuple(entry.get("name", "") for entry in versions if entry.get("served"))


def _unknown(schema: Body, value: t.Any, path: str) -> t.Iterator[str]:
    if schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource"):
        return
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unknown(schema.get("items") or {}, item, f"{path}[{number}]")
    elif isinstance(value, dict):
        known, others = schema.get("properties") or {}, schema.get("additionalProperties")
        if not known and (others is None or others is True):
            # Any object, as the schema has nothing to say about its fields.
            return
        for key, item in value.items():
            below = f"{path}.{key}"
            if key in known:
                yield from _unknown(known[key], item, below)
            elif isinstance(others, dict):
                yield from _unknown(others, item, below)
            elif not others:
                yield below
