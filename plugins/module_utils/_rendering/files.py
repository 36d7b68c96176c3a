# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects as files of YAML that are the same each time, in directories that kustomize reads. Pure."""

from __future__ import annotations

import re
import typing as t
from collections import Counter

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.staging import SECRET, StagedSet
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import NAMESPACE
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import Body, reference_of

try:
    import yaml

    _Base: t.Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
except ImportError:  # The kubernetes client brings it.
    yaml = None  # type: ignore[assignment]
    _Base = object

#: By relative path, what files hold.
Files = dict[str, str]

#: The directory of the Namespaces of all sets, and of Secrets that sops has sealed.
NAMESPACES = "namespaces"
SECRETS = "secrets"
HEADER = "# Rendered by playbook egress.ai_gateway.render, which overwrites changes.\n"
#: Without quotes, no parser of YAML takes these for anything else than strings.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./@-]+( [A-Za-z][A-Za-z0-9_./@-]*)*")
_WORDS = frozenset(["yes", "no", "on", "off", "true", "false", "null", "nan", "inf"])
#: What a file's name may hold.
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class _Dumper(_Base):
    """Strings of several lines as blocks, and others in quotes where a parser could take them for something else."""

    def ignore_aliases(self, data: t.Any) -> bool:
        return True


def _represent_string(dumper: t.Any, value: str) -> t.Any:
    if "\n" in value:
        style: str | None = "|"
    elif _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        style = None
    else:
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


if yaml:
    _Dumper.add_representer(str, _represent_string)


def dumped(body: t.Any) -> str:
    """A document of YAML with sorted keys."""
    text: str = yaml.dump(
        body, Dumper=_Dumper, sort_keys=True, default_flow_style=False, allow_unicode=True, width=10**9
    )
    return text


def file_names(objects: t.Sequence[Body]) -> list[str]:
    """A name for the file of each object: kind, namespace and name, and the group where these are the same twice."""
    short = [_name(body) for body in objects]
    times = Counter(short)
    return [name if times[name] == 1 else _name(body, with_group=True) for name, body in zip(short, objects)]


def _name(body: Body, with_group: bool = False) -> str:
    reference = reference_of(body)
    group = reference.group_kind.group if with_group else ""
    parts = [reference.kind.lower(), group, reference.namespace, reference.name]
    return _UNSAFE.sub("_", ".".join(filter(None, parts))) + ".yaml"


def kustomization(resources: t.Sequence[str], **more: t.Any) -> str:
    """A kustomization of these files or directories, which stay in this order."""
    return HEADER + dumped(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": list(resources),
            "sortOptions": {"order": "fifo"},
            **more,
        }
    )


def secrets_of(sets: t.Sequence[StagedSet]) -> list[Body]:
    """The Secrets of all sets, in their order."""
    return [body for staged in sets for body in staged.objects if reference_of(body).group_kind == SECRET]


def parts_of(sets: t.Sequence[StagedSet]) -> dict[str, list[Body]]:
    """By directory, the objects of all sets without Secrets: Namespaces first, then set by set."""
    everything = [body for staged in sets for body in staged.objects]
    parts = {NAMESPACES: [body for body in everything if reference_of(body).group_kind == NAMESPACE]}
    for staged in sets:
        parts[staged.name] = [
            body for body in staged.objects if reference_of(body).group_kind not in (NAMESPACE, SECRET)
        ]
    return {name: objects for name, objects in parts.items() if objects}


def manifest_files(sets: t.Sequence[StagedSet]) -> Files:
    """A directory for each part with a kustomization, and a kustomization of all of them."""
    files: Files = {}
    parts = parts_of(sets)
    for part, objects in parts.items():
        names = file_names(objects)
        files.update({f"{part}/{name}": dumped(body) for name, body in zip(names, objects)})
        files[f"{part}/kustomization.yaml"] = kustomization(names)
    files["kustomization.yaml"] = kustomization(list(parts))
    return files


def required_secrets(secrets: t.Sequence[Body], existing: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """The list of Secrets that the tree refers to, without their values.

    :param existing: those that the inventory names and does not hold, with ``namespace``, ``name``, ``keys`` and
      ``users``, which say what needs them.
    """
    made = [
        {
            "namespace": body["metadata"]["namespace"],
            "name": body["metadata"]["name"],
            "type": body.get("type", "Opaque"),
            "keys": sorted(body.get("data") or {}),
            "in": "render_secrets_file",
        }
        for body in secrets
    ]
    named = [
        {
            "namespace": secret["namespace"],
            "name": secret["name"],
            "keys": sorted(secret["keys"]),
            "in": "the cluster: named by " + ", ".join(sorted(secret["users"])),
        }
        for secret in existing
    ]
    listed = sorted([*made, *named], key=lambda secret: (secret["namespace"], secret["name"]))
    return (
        HEADER
        + "# The Secrets that the objects of this tree refer to. None of them is in it in plain.\n"
        + dumped(listed)
    )
