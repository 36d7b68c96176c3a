# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets sealed by sops, which seals the same Secret differently each time: sealed files stay until one changes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import typing as t
from pathlib import Path

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import Body
from ansible_collections.egress.ai_gateway.plugins.module_utils._rendering.files import (
    HEADER,
    SECRETS,
    Files,
    dumped,
    file_names,
    kustomization,
)

try:
    import yaml
except ImportError:  # The kubernetes client brings it.
    yaml = None  # type: ignore[assignment]

#: A file with a digest of each sealed Secret and of who can open it, by a key that only the Secrets hold. Not in the
#: Secrets themselves, which are to be the same as those of a site.
DIGESTS = ".sealed.json"
#: The fields that sops seals; the rest of a Secret stays readable.
SEALED_FIELDS = "^(data|stringData)$"
CREATION_RULES = ".sops.yaml"

#: From a Secret as YAML and the path of its file to the sealed one.
Seal = t.Callable[[str, str], str]


class SealingError(Exception):
    """A Secret could not be sealed."""


def sealed_files(secrets: t.Sequence[Body], present: Files, recipients: str, seal: Seal, with_ksops: bool) -> Files:
    """By path, the sealed Secrets and the kustomization of their directory.

    :param present: the files that the tree has.
    :param recipients: what says who can open them.
    :param with_ksops: whether kustomize's plugin ksops opens them, as in Argo CD, or what reads the directory does.
    """
    key = _key_of(secrets)
    files: Files = {}
    found, digests = _digests_of(present), {}
    names = [name.removesuffix(".yaml") + ".sops.yaml" for name in file_names(secrets)]
    for name, body in zip(names, secrets):
        digest = hmac.new(key, json.dumps([body, recipients], sort_keys=True).encode(), hashlib.sha256).hexdigest()
        path = f"{SECRETS}/{name}"
        digests[path] = digest
        files[path] = present[path] if found.get(path) == digest else seal(dumped(body), path)
    if not names:
        return files
    files[DIGESTS] = json.dumps(digests, indent=1, sort_keys=True) + "\n"
    if with_ksops:
        files[f"{SECRETS}/ksops.yaml"] = HEADER + dumped(
            {
                "apiVersion": "viaduct.ai/v1",
                "kind": "ksops",
                "metadata": {
                    "name": "secrets",
                    "annotations": {"config.kubernetes.io/function": "exec:\n  path: ksops\n"},
                },
                "files": names,
            }
        )
        files[f"{SECRETS}/kustomization.yaml"] = kustomization([], generators=["ksops.yaml"])
    else:
        files[f"{SECRETS}/kustomization.yaml"] = kustomization(names)
    return files


def _key_of(secrets: t.Sequence[Body]) -> bytes:
    """Of the random values that are kept, one that never changes: the longest is the key of identities.

    Without any, what the Secrets hold together.
    """
    values = [
        base64.b64decode(value)
        for body in secrets
        if (body["metadata"].get("labels") or {}).get("egress.ai-gateway/kept") == "true"
        and body.get("type") == "Opaque"
        and len(body.get("data") or {}) == 1
        for value in body["data"].values()
    ]
    return values[0] if values else hashlib.sha256(json.dumps(secrets, sort_keys=True).encode()).digest()


def _digests_of(present: Files) -> dict[str, str]:
    """By path, the digests of the sealed files that the tree has."""
    try:
        digests = json.loads(present.get(DIGESTS, "{}"))
    except ValueError:
        return {}
    if not isinstance(digests, dict):
        return {}
    return {path: digest for path, digest in digests.items() if _is_sealed(present.get(path, ""))}


def _is_sealed(content: str) -> bool:
    try:
        body = yaml.safe_load(content)
    except yaml.YAMLError:
        return False
    return isinstance(body, dict) and "sops" in body


def recipients_of(directory: Path, age: t.Sequence[str]) -> str:
    """What says who can open sealed files: the recipients, or the creation rules of this directory or one above.

    :raises SealingError: where there is neither.
    """
    if age:
        return ",".join(age)
    for place in (directory, *directory.parents):
        rules = place / CREATION_RULES
        if rules.is_file():
            return rules.read_text(encoding="utf-8")
    raise SealingError(
        f"no one could open the Secrets: write the recipients of age in render_sops_age, or a file {CREATION_RULES} "
        f"with creation_rules into {directory} or a directory above"
    )
