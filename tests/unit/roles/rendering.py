# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Templates of the roles, rendered as a play renders them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import build as catalog_build

# Not resolved: a checkout may be linked into the tree of collections.
COLLECTIONS = Path(catalog_build.__file__).parents[6]
ROLES = Path(catalog_build.__file__).parents[3] / "roles"


def rendered(directory: Path, role: str, template: str, variables: dict[str, t.Any]) -> str:
    """The text that ``template`` of ``role`` becomes for an inventory; ``directory`` is a new one of the caller's."""
    defaults = [
        str(path) for path in (ROLES / role / "defaults/main.yml", ROLES / role / "vars/main.yml") if path.exists()
    ]
    lookup = f"{{{{ lookup('ansible.builtin.template', '{ROLES / role}/templates/{template}') }}}}"
    tasks = [{"ansible.builtin.copy": {"content": lookup, "dest": f"{directory}/out"}}]
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "roles": ["egress.ai_gateway.catalog"],
        "vars_files": defaults,
        "tasks": tasks,
    }
    (directory / "play.yml").write_text(json.dumps([play]))
    (directory / "variables.yml").write_text(
        yaml.safe_dump({"ansible_python_interpreter": sys.executable, **variables})
    )
    for name in ("templates", "files"):
        if (ROLES / role / name).exists():
            (directory / name).symlink_to(ROLES / role / name)
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_HOME": str(directory / "home")}
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        "localhost,",
        "-c",
        "local",
        "-e",
        f"@{directory}/variables.yml",
    ]
    ended = subprocess.run(
        [*command, f"{directory}/play.yml"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return (directory / "out").read_text()


def manifests(
    directory: Path, role: str, template: str, variables: dict[str, t.Any]
) -> dict[tuple[str, str], dict[str, t.Any]]:
    """The rendered objects, by kind and name."""
    found = [manifest for manifest in yaml.safe_load_all(rendered(directory, role, template, variables)) if manifest]
    named = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in found}
    assert len(named) == len(found)
    return named
