# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of site would apply, collected in files: one task writes a set or a patch, and a later one compares all.

A directory holds a file for each set, in the order of the tasks, and one for each patch of somebody else's object.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import Identity, SetIdentity
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.manifests import ManifestError
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.staging import (
    completed,
    is_wanted,
    path_of,
    write,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import (
    Body,
    Reference,
    reference_of,
)

_SETS, _PATCHES = "sets", "patches"


@dataclass(frozen=True, eq=False)
class CollectedSet:
    """A set as a task of apply_set describes it."""

    identity: SetIdentity
    #: Whether it is to be there at all.
    present: bool
    prune: bool
    adopt: bool
    force_conflicts: bool
    #: As they would be submitted.
    objects: list[Body]


@dataclass(frozen=True, eq=False)
class CollectedPatch:
    """Fields of somebody else's object as a task of reversible_patch describes them."""

    name: str
    namespace: str
    present: bool
    #: Options of reversible_patch; no target where the patch is to be absent.
    target: dict[str, t.Any] | None
    fields: list[dict[str, t.Any]]


def collect_set(directory: Path, params: t.Mapping[str, t.Any], manifests: t.Sequence[t.Any]) -> list[Reference]:
    """Write the set of a task of apply_set with the options ``params``, and return its objects.

    :raises ManifestError: when a manifest is none.
    :raises OSError: when the file cannot be written.
    """
    identity = SetIdentity(params["name"], params["namespace"])
    desired, faults = completed(identity, manifests) if params["state"] == "present" else ([], [])
    if faults:
        raise ManifestError(faults)
    document = {
        "name": identity.name,
        "namespace": identity.namespace,
        "present": params["state"] == "present",
        **{option: params[option] for option in ("prune", "adopt", "force_conflicts")},
        "objects": [item.body for item in desired],
    }
    write(path_of(_below(directory, _SETS), identity.name), json.dumps(document))
    return [item.reference for item in desired]


def collect_patch(directory: Path, params: t.Mapping[str, t.Any]) -> None:
    """Write the patch of a task of reversible_patch with the options ``params``.

    :raises OSError: when the file cannot be written.
    """
    document = {
        "name": params["name"],
        "namespace": params["namespace"],
        "present": params["state"] == "present",
        "target": params["target"],
        "fields": params["fields"],
    }
    write(path_of(_below(directory, _PATCHES), params["name"]), json.dumps(document))


def collected_sets(directory: Path) -> list[CollectedSet]:
    """The sets of ``directory`` in the order of their tasks."""
    return [
        CollectedSet(
            identity=SetIdentity(document["name"], document["namespace"]),
            **{name: document[name] for name in ("present", "prune", "adopt", "force_conflicts", "objects")},
        )
        for document in _documents(directory / _SETS)
    ]


def collected_patches(directory: Path) -> list[CollectedPatch]:
    return [CollectedPatch(**document) for document in _documents(directory / _PATCHES)]


def overlaid(directory: Path, wanted: t.Mapping[str, t.Any], live: t.Sequence[Body]) -> list[Body]:
    """The objects that options of objects_info describe, as they would be after the collected sets were applied.

    :param live: those of the cluster.
    """
    found: dict[Identity, Body] = {reference_of(body).identity: body for body in live}
    # The sets without the kind, such as that of the CRDs, are not parsed.
    for document in _documents(directory / _SETS, f'"kind": {json.dumps(wanted["kind"])}'):
        for body in document["objects"]:
            if is_wanted(body, wanted):
                now = found.get(reference_of(body).identity, {"metadata": {"resourceVersion": "0"}})
                found[reference_of(body).identity] = {
                    **body,
                    "metadata": {**now["metadata"], **body["metadata"]},
                    **({"status": now["status"]} if "status" in now else {}),
                }
    return list(found.values())


def _below(directory: Path, name: str) -> Path:
    """A directory in one that exists."""
    (directory / name).mkdir(mode=0o700, exist_ok=True)
    return directory / name


def _documents(directory: Path, having: str = "") -> t.Iterator[dict[str, t.Any]]:
    for path in sorted(directory.glob("*.json")):
        content = path.read_text(encoding="utf-8")
        if having in content:
            yield json.loads(content)
