#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rendered_tree
short_description: Write rendered sets as a directory that kustomize or Argo CD reads
version_added: 1.0.0
description:
  - Accepts sets that M(egress.ai_gateway.apply_set) has rendered with O(egress.ai_gateway.apply_set#module:render_to)
    and writes their objects into a directory, a file of YAML for each, with a kustomization for each set and one of
    all.
  - The same sets give the same bytes. Files that are rendered no more are removed, and files of others stay.
  - Secrets are not among the objects. They are written into a file of their own, and a list of them into the directory.
    With O(secrets=sops) they are also in the directory, sealed by sops.
options:
  source:
    description: The directory that holds the rendered sets.
    type: path
    required: true
  directory:
    description: The directory of the tree. It is created if it does not exist.
    type: path
    required: true
  secrets_file:
    description:
      - The file of all Secrets, in plain, readable for its owner alone. It must be outside of O(directory).
      - A file that ansible-vault has encrypted is accepted as long as its content does not change.
    type: path
    required: true
  secrets:
    description:
      - V(references) writes no Secret into the tree.
      - V(sops) writes each Secret into O(directory)C(/secrets), sealed by sops. A sealed file stays as it is until its
        Secret or its recipients change, as sops would seal it differently each time.
    type: str
    choices: [references, sops]
    default: references
  ksops:
    description: Whether kustomize opens sealed Secrets by its plugin ksops, as Argo CD can.
    type: bool
    default: false
  sops_binary:
    description: The program sops, by its name or its path.
    type: str
    default: sops
  sops_age:
    description: Recipients of age that can open sealed Secrets. By default C(.sops.yaml) says who can.
    type: list
    elements: str
    default: []
  existing_secrets:
    description:
      - Secrets that the objects refer to and that exist in the cluster, each with C(namespace), C(name), C(keys) and
        C(users), the variables that name it. They are listed.
    type: list
    elements: dict
    default: []
  of:
    description:
      - What the tree is of, such as a gateway and its cluster. It is kept in C(.rendered.json) of O(directory), and
        a tree of something else is refused there.
    type: str
    default: ""
  files:
    description: Further files of the tree, each with its C(path) in O(directory) and its C(content).
    type: list
    elements: dict
    default: []
extends_documentation_fragment:
  - egress.ai_gateway.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows the files that are created, changed and removed. C(git diff) shows what is in them.
  idempotent:
    support: full
requirements:
  - PyYAML >= 3.11
  - the collection community.sops and sops, for O(secrets=sops)
seealso:
  - module: egress.ai_gateway.apply_set
  - module: community.sops.sops_encrypt
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Render a set
  egress.ai_gateway.apply_set:
    name: providers
    namespace: ai-gateway
    template: providers.yaml.j2
    render_to: /tmp/rendered

- name: Write it for kustomize
  egress.ai_gateway.rendered_tree:
    source: /tmp/rendered
    directory: clusters/production
    secrets_file: ../secrets/production.yaml
"""

RETURN = r"""
created:
  description: Files that were created, relative to O(directory).
  returned: success
  type: list
  elements: str
updated:
  description: Files that were changed.
  returned: success
  type: list
  elements: str
deleted:
  description: Files that were removed.
  returned: success
  type: list
  elements: str
parts:
  description: The directories of the objects, in the order in which they are to be applied.
  returned: success
  type: list
  elements: str
  sample: [namespaces, crds, controllers, gateway, access-policies, providers]
secrets:
  description: The Secrets of O(secrets_file), by namespace and name.
  returned: success
  type: list
  elements: str
"""

import shutil
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set import staging
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.manifests import ManifestError
from ansible_collections.egress.ai_gateway.plugins.module_utils._rendering import files as rendered_files
from ansible_collections.egress.ai_gateway.plugins.module_utils._rendering import sealing, tree

try:
    import yaml
except ImportError:
    yaml = None  # type: ignore[assignment]
try:
    from ansible_collections.community.sops.plugins.module_utils.sops import Sops, SopsError

    HAS_SOPS = True
except ImportError:
    HAS_SOPS = False

VAULT = "$ANSIBLE_VAULT"


def arguments() -> dict[str, t.Any]:
    return {
        "argument_spec": {
            "source": {"type": "path", "required": True},
            "directory": {"type": "path", "required": True},
            "secrets_file": {"type": "path", "required": True, "no_log": False},
            "secrets": {
                "type": "str",
                "choices": ["references", "sops"],
                "default": "references",
                "no_log": False,
            },
            "ksops": {"type": "bool", "default": False},
            "sops_binary": {"type": "str", "default": "sops"},
            "sops_age": {"type": "list", "elements": "str", "default": []},
            "existing_secrets": {"type": "list", "elements": "dict", "default": [], "no_log": False},
            "of": {"type": "str", "default": ""},
            "files": {"type": "list", "elements": "dict", "default": []},
        }
    }


def sops_binary(module: AnsibleModule) -> str:
    """The path of the program sops."""
    name = module.params["sops_binary"]
    path = shutil.which(name)
    if not path:
        raise sealing.SealingError(
            f"there is no program {name}, which seals Secrets; install sops, or write its path in render_sops_binary"
        )
    return str(Path(path).absolute())


def sealer(module: AnsibleModule, directory: Path) -> sealing.Seal:
    """What seals a Secret by sops."""
    if not HAS_SOPS:
        raise sealing.SealingError("secrets is sops, which needs the collection community.sops; install it")
    options = {
        "sops_binary": sops_binary(module),
        "encrypted_regex": sealing.SEALED_FIELDS,
        "age": module.params["sops_age"] or None,
    }

    def seal(text: str, path: str) -> str:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            sealed: bytes = Sops.encrypt(
                text.encode(),
                cwd=str(directory),
                input_type="yaml",
                output_type="yaml",
                filename=path,
                get_option_value=options.get,
                module=module,
            )
        except SopsError as error:
            raise sealing.SealingError(f"sops does not seal {path}: {error}") from error
        return sealed.decode()

    return seal


def sealed(module: AnsibleModule, directory: Path, secrets: list[t.Any], present: dict[str, str]) -> dict[str, str]:
    """The files of sealed Secrets."""
    recipients = sealing.recipients_of(directory, module.params["sops_age"])

    def unsealed(_text: str, _path: str) -> str:
        sops_binary(module)
        return ""

    # In check mode it is enough to know which would be sealed.
    seal = unsealed if module.check_mode else sealer(module, directory)
    return sealing.sealed_files(secrets, present, recipients, seal, module.params["ksops"])


def perform(module: AnsibleModule) -> dict[str, t.Any]:
    """Write the tree and the file of Secrets, and return the result.

    :raises ManifestError, SealingError, TreeError: when it cannot be; nothing has been written then.
    """
    params = module.params
    directory, secrets_file = Path(params["directory"]).resolve(), Path(params["secrets_file"]).resolve()
    if secrets_file.is_relative_to(directory):
        raise tree.TreeError(f"secrets_file {secrets_file} is in {directory}, where everybody reads; move it out")
    sets = staging.staged_sets(Path(params["source"]))
    if not sets:
        raise tree.TreeError(f"{params['source']} has no rendered set; render one with apply_set and render_to first")
    secrets = rendered_files.secrets_of(sets)
    plain = "".join(f"---\n{rendered_files.dumped(body)}" for body in secrets)
    kept = Path(params["source"]) / staging.KEPT
    secrets_change = plain != (kept.read_text(encoding="utf-8") if kept.exists() else "")
    if secrets_change and secrets_file.is_file() and secrets_file.read_text(encoding="utf-8").startswith(VAULT):
        raise tree.TreeError(
            f"{secrets_file} is encrypted by ansible-vault, and a Secret in it is new or has changed: decrypt it with "
            "ansible-vault decrypt, render, and encrypt it again"
        )
    found = tree.present(directory)
    files = rendered_files.manifest_files(sets)
    parts = list(rendered_files.parts_of(sets))
    in_tree: list[dict[str, t.Any]] = [] if params["secrets"] == "sops" else secrets
    files["required-secrets.yaml"] = rendered_files.required_secrets(in_tree, params["existing_secrets"])
    if params["secrets"] == "sops":
        files.update(sealed(module, directory, secrets, found))
    files.update({file["path"]: file["content"] for file in params["files"]})
    files, changes = tree.compare(directory, files, params["of"])
    if not module.check_mode:
        # First, as without them the tree could not be rendered the same again.
        if secrets_change:
            tree.write_secrets(secrets_file, plain)
        tree.write(directory, files, changes)
    return {
        "changed": bool(changes) or secrets_change,
        "created": changes.created,
        "updated": changes.updated,
        "deleted": changes.deleted,
        "parts": parts,
        "secrets": [f"{body['metadata']['namespace']}/{body['metadata']['name']}" for body in secrets],
        "diff": [
            {
                "before_header": f"files of {directory}",
                "after_header": f"files of {directory}",
                "before": "".join(f"{name}\n" for name in [*changes.updated, *changes.deleted]),
                "after": "".join(
                    f"{name}\n" for name in [*changes.created, *(f"{x} (changed)" for x in changes.updated)]
                ),
            }
        ],
    }


def main() -> None:
    module = AnsibleModule(**arguments(), supports_check_mode=True)
    if yaml is None:
        module.fail_json(msg=missing_required_lib("PyYAML"))
    try:
        result = perform(module)
    except (ManifestError, sealing.SealingError, tree.TreeError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}; make it readable and writable for this user")
    if not module._diff:
        del result["diff"]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
