# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Schemas of kinds that others define, from a directory of their CRDs."""

from __future__ import annotations

import functools
import os
import typing as t
from pathlib import Path

import jsonschema
import pytest
import yaml

#: The environment variable that names the directory.
DIRECTORY = "THIRD_PARTY_CRDS"


@functools.cache
def validator_of(file: str, version: str) -> jsonschema.Draft202012Validator:
    """A validator of manifests against ``schema_of``, which is checked once: that takes seconds."""
    schema = schema_of(file, version)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def schema_of(file: str, version: str) -> dict[str, t.Any]:
    """The JSON schema of a kind's version.

    It knows all fields, as the API server refuses others with strict validation; skips the test without the file.
    """
    directory = os.environ.get(DIRECTORY)
    if not directory:
        pytest.skip(f"{DIRECTORY} names no directory of CRDs")
    if not (Path(directory) / file).exists():
        pytest.skip(f"{DIRECTORY} has no {file}")
    return strict_schema(Path(directory) / file, version)


def strict_schema(path: Path, version: str) -> dict[str, t.Any]:
    """The same of the CRD in a file."""
    # One has megabytes.
    crd = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    (found,) = [item for item in crd["spec"]["versions"] if item["name"] == version and item["served"]]
    return t.cast("dict[str, t.Any]", _strict(found["schema"]["openAPIV3Schema"]))


def _strict(schema: dict[str, t.Any]) -> dict[str, t.Any]:
    """The schema in the words of JSON Schema:

    without fields that are not named, and with what Kubernetes says in its own words.
    """
    found = dict(schema)
    if "properties" in found:
        found["properties"] = {name: _strict(item) for name, item in found["properties"].items()}
        if not found.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = _strict(found[key])
    if found.pop("x-kubernetes-int-or-string", False):
        found.pop("type", None)
        found["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if found.pop("nullable", False):
        found = {"anyOf": [found, {"type": "null"}]}
    return found
