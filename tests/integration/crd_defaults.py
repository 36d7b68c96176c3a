# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the API server would add to manifests by the defaults of their CRDs.

A manifest that states every default is the same on the cluster as in its file, and Argo CD calls it in sync.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import jsonschema
import yaml

#: What of a schema is about single values.
_SIMPLE = ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength")

Body = dict[str, t.Any]
#: By API version and kind, the schema.
Schemas = dict[tuple[str, str], Body]


def objects(tree: Path) -> list[Body]:
    """The rendered objects of a tree."""
    return [
        yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
        for path in sorted(tree.glob("*/*.yaml"))
        if path.name != "kustomization.yaml"
    ]


def schemas(bodies: t.Iterable[Body]) -> Schemas:
    """The schemas of the CRDs among objects."""
    return {
        (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]): version["schema"][
            "openAPIV3Schema"
        ]
        for crd in bodies
        if crd["kind"] == "CustomResourceDefinition"
        for version in crd["spec"]["versions"]
        if version["served"]
    }


def scopes(bodies: t.Iterable[Body]) -> dict[tuple[str, str], str]:
    """By group and kind, the scope of the CRDs among objects."""
    return {
        (crd["spec"]["group"], crd["spec"]["names"]["kind"]): crd["spec"]["scope"]
        for crd in bodies
        if crd["kind"] == "CustomResourceDefinition"
    }


def added(body: Body, schema: Body) -> list[str]:
    """The paths of fields that the manifest leaves to their default, each with the value."""
    return list(_added({key: body[key] for key in body if key == "spec"}, schema, ""))


def _added(value: t.Any, schema: Body, path: str) -> t.Iterator[str]:
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for name, inner in properties.items():
            below = f"{path}.{name}".lstrip(".")
            if name in value:
                yield from _added(value[name], inner, below)
            elif "default" in inner and below != "status":
                yield f"{below}={inner['default']}"
        if isinstance(more := schema.get("additionalProperties"), dict):
            for name in value:
                if name not in properties:
                    yield from _added(value[name], more, f"{path}[{name}]")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _added(item, schema.get("items", {}), f"{path}[{number}]")


def unknown(body: Body, schema: Body) -> t.Iterator[str]:
    """What the API server would refuse of a manifest: fields that the schema does not have, and values it forbids."""
    yield from _unknown({key: body[key] for key in body if key == "spec"}, schema, "")


def _unknown(value: t.Any, schema: Body, path: str) -> t.Iterator[str]:
    if isinstance(value, dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        properties, more = schema.get("properties", {}), schema.get("additionalProperties")
        for name, item in value.items():
            below = f"{path}.{name}".lstrip(".")
            if name in properties:
                yield from _unknown(item, properties[name], below)
            elif isinstance(more, dict):
                yield from _unknown(item, more, below)
            elif not more:
                yield f"{below} is not in the schema"
        missing = [name for name in schema.get("required", ()) if name not in value and path]
        yield from (f"{path}.{name} is required" for name in missing)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unknown(item, schema.get("items", {}), f"{path}[{number}]")
    elif not schema.get("x-kubernetes-int-or-string"):
        simple = {
            key: schema[key] for key in _SIMPLE if key in schema and not (value is None and schema.get("nullable"))
        }
        yield from (f"{path}: {error.message}" for error in jsonschema.Draft202012Validator(simple).iter_errors(value))
