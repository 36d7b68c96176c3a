# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of objects in files, in place of a cluster: one task writes a set, and a later one reads it.

A directory holds a file ``<number>-<set>.json`` for each set in the order of rendering, with the objects as they would
be submitted, and the Secrets of an earlier rendering in ``kept.yaml``.
"""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import (
    Contents,
    SetIdentity,
    parent_manifest,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.manifests import (
    Desired,
    ManifestError,
    check,
    complete,
    unfold,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.order import in_phases
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import (
    CUSTOM_RESOURCE_DEFINITION,
    NAMESPACE,
    GroupKind,
    ResourceType,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import (
    Body,
    Reference,
    reference_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.secrets import SECRET_FIELDS_ANNOTATION

try:
    import yaml
except ImportError:  # The kubernetes client brings it.
    yaml = None  # type: ignore[assignment]

KEPT = "kept.yaml"
SECRET = GroupKind("", "Secret")
#: The kinds that are in no namespace. Of custom ones, those of the CRDs that the collection installs.
CLUSTER_SCOPED = frozenset(
    GroupKind(group, kind)
    for group, kinds in (
        ("", "Namespace PersistentVolume"),
        ("rbac.authorization.k8s.io", "ClusterRole ClusterRoleBinding"),
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration ValidatingWebhookConfiguration ValidatingAdmissionPolicy "
            "ValidatingAdmissionPolicyBinding",
        ),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("apiregistration.k8s.io", "APIService"),
        ("scheduling.k8s.io", "PriorityClass"),
        ("storage.k8s.io", "StorageClass"),
        ("gateway.networking.k8s.io", "GatewayClass"),
    )
    for kind in kinds.split()
)
#: An object that several sets have belongs to the first one, as on a cluster.
_SHARED = (NAMESPACE, CUSTOM_RESOURCE_DEFINITION)


@dataclass(frozen=True, eq=False)
class StagedSet:
    """A set by its name, with its objects in the order of writing: Secrets, the parent and Namespaces among them."""

    name: str
    objects: list[Body]


def stage(
    directory: Path, identity: SetIdentity, manifests: t.Sequence[t.Any], check_mode: bool = False
) -> list[Reference]:
    """Write the set into ``directory``, except in check mode, and return its objects.

    :raises ManifestError: when a manifest is none, or cannot be in a file.
    """
    desired, faults = completed(identity, manifests)
    faults += [
        f"{item.reference}: has secrets in {SECRET_FIELDS_ANNOTATION}, which a file would show; write it as a Secret"
        for item in desired
        if SECRET_FIELDS_ANNOTATION in (item.body["metadata"].get("annotations") or {})
    ]
    if faults:
        raise ManifestError(faults)
    earlier = {
        reference_of(body).identity for name, objects in _sets(directory) if name != identity.name for body in objects
    }
    desired = [
        item for item in desired if not (item.reference.group_kind in _SHARED and item.reference.identity in earlier)
    ]
    twice = [item.reference for item in desired if item.reference.identity in earlier]
    if twice:
        raise ManifestError([f"{reference}: another set has it already" for reference in twice])
    contents = Contents(
        frozenset(item.reference.group_kind for item in desired),
        frozenset(item.reference.namespace for item in desired if item.reference.namespace),
    )
    objects = [
        item.body
        for _number, items in in_phases(desired, lambda item: item.reference.group_kind)
        for item in sorted(items, key=lambda item: item.reference.identity)
    ]
    if not check_mode:
        write(path_of(directory, identity.name), json.dumps([parent_manifest(identity, contents), *objects]))
    return [item.reference for item in desired]


def completed(identity: SetIdentity, manifests: t.Sequence[t.Any]) -> tuple[list[Desired], list[str]]:
    """The objects of a set as they would be submitted, and one line for each fault. No cluster says which kinds are
    namespaced, so that is as CLUSTER_SCOPED has it.
    """
    well_formed, faults = check(unfold(manifests))
    types = {
        (manifest.api_version, manifest.body["kind"]): _type_of(manifest.api_version, manifest.body["kind"])
        for manifest in well_formed
    }
    desired, clashes = complete(well_formed, types, identity)
    return desired, faults + clashes


def _type_of(api_version: str, kind: str) -> ResourceType:
    namespaced = GroupKind(api_version.rpartition("/")[0], kind) not in CLUSTER_SCOPED
    return ResourceType(api_version, kind, kind.lower(), namespaced, frozenset())


def path_of(directory: Path, name: str) -> Path:
    """The file of a set: its own, or the next one."""
    files = sorted(directory.glob("*.json"))
    for path in files:
        if path.stem.partition("-")[2] == name:
            return path
    return directory / f"{len(files):02d}-{name}.json"


def write(path: Path, content: str) -> None:
    """Write a file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(content)


def _sets(directory: Path) -> t.Iterator[tuple[str, list[Body]]]:
    for path in sorted(directory.glob("*.json")):
        yield path.stem.partition("-")[2], json.loads(path.read_text(encoding="utf-8"))


def staged_sets(directory: Path) -> list[StagedSet]:
    """The sets of ``directory`` in the order in which they were rendered."""
    return [StagedSet(name, objects) for name, objects in _sets(directory)]


def kept_secrets(directory: Path) -> list[Body]:
    """The Secrets of an earlier rendering.

    :raises ManifestError: when the file holds something else.
    """
    path = directory / KEPT
    if not path.exists():
        return []
    try:
        bodies = [body for body in yaml.safe_load_all(path.read_text(encoding="utf-8")) if body is not None]
    except yaml.YAMLError as error:
        # Its message shows the lines around it.
        raise ManifestError(["the file of Secrets is no YAML; restore it"]) from error
    if not all(_is_secret(body) for body in bodies):
        raise ManifestError(["the file of Secrets holds something else than Secrets with a name and a namespace"])
    return bodies


def _is_secret(body: t.Any) -> bool:
    if not isinstance(body, dict) or (body.get("apiVersion"), body.get("kind")) != ("v1", "Secret"):
        return False
    metadata = body.get("metadata")
    return isinstance(metadata, dict) and all(isinstance(metadata.get(key), str) for key in ("name", "namespace"))


def staged_objects(directory: Path, wanted: t.Mapping[str, t.Any]) -> list[Body]:
    """The objects that options of objects_info describe: those of the sets, then Secrets of an earlier rendering.

    :raises ManifestError: when one of the files is not readable.
    """
    found: dict[tuple[str, str, str, str], Body] = {}
    for body in [*(body for _name, objects in _sets(directory) for body in objects), *kept_secrets(directory)]:
        if is_wanted(body, wanted):
            found.setdefault(reference_of(body).identity, body)
    # What a cluster would give it.
    return [{**body, "metadata": {"resourceVersion": "0", **body["metadata"]}} for body in found.values()]


def is_wanted(body: Body, wanted: t.Mapping[str, t.Any]) -> bool:
    """Whether options of objects_info describe an object; those of fields are left aside."""
    reference = reference_of(body)
    return (
        (reference.api_version, reference.kind) == (wanted["api_version"], wanted["kind"])
        and wanted["namespace"] in ("", reference.namespace)
        and wanted["name"] in ("", reference.name)
        and all(_is_selected(body, selector) for selector in wanted["label_selectors"])
    )


def _is_selected(body: Body, selector: str) -> bool:
    name, _equals, value = selector.partition("=")
    return (body["metadata"].get("labels") or {}).get(name) == value.lstrip("=")
