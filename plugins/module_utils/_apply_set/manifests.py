# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests of a user, flattened, checked and made ready to submit. Pure; nothing here talks to a cluster."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import math
import re
import typing as t
from dataclasses import dataclass

from ansible.module_utils.common.yaml import SafeLoader  # type: ignore[attr-defined]
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import PART_OF_LABEL, SetIdentity
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import GroupKind, ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import Reference
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.secrets import (
    secret_field_faults,
    shown_path,
)

try:
    import yaml
except ImportError:  # The kubernetes client, which the module asks for first, brings it.
    yaml = None  # type: ignore[assignment]

#: Metadata that only the API server writes; manifests exported from a cluster carry it.
SERVER_METADATA = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)

#: Part of a path of the API server, so nothing else may get through.
_API_VERSION_PATTERN = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[a-z]([-a-z0-9]*[a-z0-9])?")
_NAMESPACE_PATTERN = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class _TextLoader(SafeLoader):
    """Loads YAML as kubectl does: a date without quotes is a string."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in getattr(SafeLoader, "yaml_implicit_resolvers", {}).items()
    }


@dataclass(frozen=True, eq=False)
class Manifest:
    """One object of the list; ``position`` says where, such as ``manifests[3]`` or ``manifests[3].items[0]``."""

    position: str
    body: dict[str, t.Any]

    @property
    def api_version(self) -> str:
        return self.body["apiVersion"]

    @property
    def group_kind(self) -> GroupKind:
        return GroupKind(self.api_version.rpartition("/")[0], self.body["kind"])

    def __str__(self) -> str:
        return _title(self.position, self.body)


@dataclass(frozen=True, eq=False)
class Desired:
    """One object to submit: its body carries the set's label and no field that only the API server writes."""

    position: str
    reference: Reference
    type: ResourceType
    body: dict[str, t.Any]


@dataclass(frozen=True)
class _NotYaml:
    """Represents a string that cannot be parsed. Quotes nothing of it, as it may hold a secret."""

    reason: str
    line: int | None = None

    def __str__(self) -> str:
        line = f" at line {self.line}" if self.line else ""
        return f"is no YAML{line}: {self.reason}"


class ManifestError(Exception):
    """Everything that is wrong with what was asked for; nothing has been written."""

    def __init__(self, faults: t.Sequence[str]) -> None:
        self.faults = list(faults)
        noun = "fault" if len(self.faults) == 1 else "faults"
        super().__init__(
            f"{len(self.faults)} {noun}, nothing was written:\n" + "\n".join(f"- {fault}" for fault in self.faults)
        )


def unfold(manifests: t.Sequence[t.Any]) -> list[tuple[str, t.Any]]:
    """The position and body of each manifest: nulls dropped, strings of YAML parsed, lists and kind List unfolded."""
    return list(_flatten("manifests", manifests))


def check(unfolded: t.Sequence[tuple[str, t.Any]]) -> tuple[list[Manifest], list[str]]:
    """Check what can be checked without a cluster.

    :return: the well-formed manifests, and one line for each fault of the others.
    """
    well_formed: list[Manifest] = []
    faults: list[str] = []
    for position, given in unfolded:
        body, found = _as_json(given)
        found += _faults_of(body)
        faults.extend(f"{_title(position, body)}: {fault}" for fault in found)
        if not found:
            well_formed.append(Manifest(position, body))
    return well_formed, faults


def _flatten(path: str, items: t.Sequence[t.Any]) -> t.Iterator[tuple[str, t.Any]]:
    for index, item in enumerate(items):
        position = f"{path}[{index}]"
        if item is None:
            continue
        if isinstance(item, str):
            yield from _documents(position, item)
        elif isinstance(item, list):
            yield from _flatten(position, item)
        elif (
            isinstance(item, dict)
            and str(item.get("kind", "")).endswith("List")
            and isinstance(item.get("items"), list)
        ):
            yield from _flatten(f"{position}.items", item["items"])
        else:
            yield position, item


def _documents(position: str, text: str) -> t.Iterator[tuple[str, t.Any]]:
    """The documents of a YAML string. A document that is itself a string stays one and is reported as no manifest."""
    if text.startswith("{"):
        # JSON is YAML too, and its own parser is many times faster.
        with contextlib.suppress(ValueError):
            yield position, json.loads(text)
            return
    try:
        documents = list(yaml.load_all(text, Loader=_TextLoader))
        flat = list(_flatten(position, [document for document in documents if not isinstance(document, str)]))
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        # PyYAML raises all of these for values that do not fit their tag, such as !!bool maybe; the last is for lists
        # that hold themselves.
        yield position, _not_yaml(text, error)
        return
    yield from flat
    yield from ((position, document) for document in documents if isinstance(document, str))


def _not_yaml(text: str, error: Exception) -> _NotYaml:
    if isinstance(error, yaml.MarkedYAMLError):
        # The problem alone, as the error's own message shows the lines around it, and nothing from its first quotation
        # mark to its last.
        problem = re.sub(r"""['"].*['"]""", "...", error.problem or "cannot be parsed", flags=re.DOTALL)
        return _NotYaml(problem, error.problem_mark.line + 1 if error.problem_mark else None)
    if isinstance(error, yaml.reader.ReaderError):
        # The two parsers count its position differently; the character itself is a number for both.
        before, _character, _after = text.partition(chr(error.character))
        return _NotYaml(error.reason, before.count("\n") + 1)
    if isinstance(error, RecursionError):
        return _NotYaml("it is nested too deeply, or a list holds itself")
    return _NotYaml("a value does not fit its type; quote it")


def _as_json(body: t.Any) -> tuple[t.Any, list[str]]:
    """``body`` with dates as strings, and one line for each of its parts that is not JSON otherwise."""
    faults: list[str] = []
    try:
        # Nearly all manifests are JSON as they are, which is found out without noting where in them one is.
        return body if not isinstance(body, dict) or _is_json(body) else _converted(body, "", faults), faults
    except RecursionError:
        return body, ["is nested too deeply, or a part of it holds itself; write it out without the anchor"]


def _is_json(value: t.Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_is_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, str):
        return value.isascii() or _is_encodable(value)
    return value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _is_encodable(text: str) -> bool:
    """Whether a string has whole characters only; halves of surrogate pairs cannot be sent."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _converted(value: t.Any, path: str, faults: list[str]) -> t.Any:
    if isinstance(value, dict):
        faults.extend(
            f"{path or 'the manifest'} has the key {key!r}, which is not a string; quote it"
            for key in value
            if not isinstance(key, str)
        )
        return {key: _converted(item, _below(path, key), faults) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_converted(item, f"{path}[{index}]", faults) for index, item in enumerate(value)]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, (set, frozenset)):
        faults.append(f"{path} is a {type(value).__name__}, which JSON does not have; write a list")
    elif isinstance(value, str) and not _is_json(value):
        faults.append(f"{path} has characters that are no Unicode; write it in base64")
    elif not _is_json(value):
        # The value itself may be secret; infinity and the like are not.
        shown = repr(value) if isinstance(value, float) else f"a {type(value).__name__}"
        faults.append(f"{path} is {shown}, which JSON does not have; quote it")
    return value


def _below(path: str, key: t.Any) -> str:
    step = shown_path((str(key),))
    return path + step if step.startswith("[") or not path else f"{path}.{step}"


def _title(position: str, body: t.Any) -> str:
    """Name a possibly broken manifest as well as it allows."""
    if not isinstance(body, dict):
        return position
    metadata = body.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = "/".join(str(part) for part in (metadata.get("namespace"), metadata.get("name")) if part)
    return " ".join(str(part) for part in (position, body.get("kind"), name) if part)


def _faults_of(body: t.Any) -> list[str]:
    if isinstance(body, _NotYaml):
        return [str(body)]
    if not isinstance(body, dict):
        return [f"is a {type(body).__name__}, not a mapping; write a manifest as a mapping or as a string of YAML"]
    faults = []
    api_version = body.get("apiVersion")
    if not isinstance(api_version, str) or not _API_VERSION_PATTERN.fullmatch(api_version):
        faults.append(f"apiVersion is {_shown(api_version)}; write GROUP/VERSION, or VERSION for the core group")
    kind = body.get("kind")
    if not isinstance(kind, str) or not kind:
        faults.append(f"kind is {_shown(kind)}; name the object's kind")
    if (api_version, kind) == ("v1", "Secret"):
        faults.extend(
            # Without the value, which is secret.
            f"{field} is a {type(body[field]).__name__}; write a mapping"
            for field in ("data", "stringData")
            if not isinstance(body.get(field), (dict, type(None)))
        )
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        faults.append(f"metadata is {_shown(metadata)}; write a mapping with at least name")
        return faults
    faults.extend(_metadata_faults(metadata))
    faults.extend(secret_field_faults(body))
    return faults


def _metadata_faults(metadata: dict[str, t.Any]) -> list[str]:
    faults = []
    name = metadata.get("name")
    if not name and metadata.get("generateName"):
        faults.append("metadata.generateName cannot be applied twice to the same object; write metadata.name")
    elif not isinstance(name, str) or not name:
        faults.append(f"metadata.name is {_shown(name)}; write a non-empty string")
    elif name in (".", "..") or "/" in name or "%" in name:
        faults.append(f"metadata.name {name!r} cannot be part of a path; use letters, digits, '-' and '.'")
    namespace = metadata.get("namespace")
    # An empty one is none, as for kubectl.
    if namespace not in (None, "") and (not isinstance(namespace, str) or not _NAMESPACE_PATTERN.fullmatch(namespace)):
        faults.append(
            f"metadata.namespace is {_shown(namespace)}; use up to "
            "63 lower case letters, digits and '-', or leave it out"
        )
    for field in ("labels", "annotations"):
        entries = metadata.get(field)
        if entries is None:
            continue
        if not isinstance(entries, dict):
            faults.append(f"metadata.{field} is {_shown(entries)}; write a mapping of strings")
            continue
        faults.extend(
            f"metadata.{field}[{key!r}] is a {type(value).__name__}, not a string; quote it"
            for key, value in entries.items()
            if not isinstance(value, str)
        )
    if isinstance(metadata.get("labels"), dict) and PART_OF_LABEL in metadata["labels"]:
        faults.append(f"metadata.labels has {PART_OF_LABEL}, which this module sets; remove it")
    return faults


def _shown(value: t.Any) -> str:
    if value is None:
        return "missing"
    return repr(value) if isinstance(value, (str, int, float, bool)) else f"a {type(value).__name__}"


def complete(
    manifests: t.Sequence[Manifest],
    types: t.Mapping[tuple[str, str], ResourceType],
    identity: SetIdentity,
) -> tuple[list[Desired], list[str]]:
    """Make each manifest whose type is known ready to submit.

    :param types: by (apiVersion, kind); manifests of other kinds are left out, as the caller has reported them.
    :returns: the objects in the order given, and one line for each duplicate or clash with the parent object.
    """
    desired: list[Desired] = []
    faults: list[str] = []
    first: dict[tuple[str, str, str, str], str] = {}
    for manifest in manifests:
        resource_type = types.get((manifest.api_version, manifest.body["kind"]))
        if resource_type is None:
            continue
        item = _submittable(manifest, resource_type, identity)
        key = item.reference.identity
        if key == ("", "ConfigMap", identity.namespace, identity.name):
            faults.append(f"{manifest}: is the parent object of the set itself; rename the ConfigMap or the set")
        elif key in first:
            faults.append(f"{manifest}: duplicate of {first[key]}; render the object once")
        else:
            first[key] = manifest.position
            desired.append(item)
    return desired, faults


def _submittable(manifest: Manifest, resource_type: ResourceType, identity: SetIdentity) -> Desired:
    # Shares everything below with the manifest, which nothing changes: copies of large sets cost time and memory.
    body = {key: value for key, value in manifest.body.items() if key != "status"}
    metadata = body["metadata"] = {key: value for key, value in body["metadata"].items() if key not in SERVER_METADATA}
    if not resource_type.namespaced:
        metadata.pop("namespace", None)
    elif not metadata.get("namespace"):
        metadata["namespace"] = identity.namespace
    metadata["labels"] = {**(metadata.get("labels") or {}), PART_OF_LABEL: identity.id}
    if not metadata.get("annotations", True):
        del metadata["annotations"]
    if manifest.group_kind == GroupKind("", "Secret"):
        _fold_string_data(body)
    reference = Reference(manifest.api_version, body["kind"], metadata.get("namespace", ""), metadata["name"])
    return Desired(manifest.position, reference, resource_type, body)


def _fold_string_data(secret: dict[str, t.Any]) -> None:
    """Move ``stringData`` into ``data``.

    Server-side apply does not track ``stringData``, so keys that a user drops from it would stay.
    """
    string_data = secret.pop("stringData", None)
    if not isinstance(string_data, dict):
        return
    data = dict(secret.get("data") or {})
    for key, value in string_data.items():
        # Anything but a string is left for the API server's own validation to name.
        data[key] = base64.b64encode(value.encode("utf-8")).decode("ascii") if isinstance(value, str) else value
    secret["data"] = data
