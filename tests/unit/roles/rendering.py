# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Templates of the roles, rendered as a play renders them."""

from __future__ import annotations

import typing as t
from pathlib import Path

import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import build as catalog_build
from plays import run_playbook

ROLES = Path(catalog_build.__file__).parents[3] / "roles"


def rendered(directory: Path, role: str, template: str, variables: dict[str, t.Any]) -> str:
    """The rendered ``template`` of ``role`` for an inventory; ``directory`` is a new one of the caller's."""
    defaults = [
        str(path) for path in (ROLES / role / "defaults/main.yml", ROLES / role / "vars/main.yml") if path.exists()
    ]
    lookup = f"{{{{ lookup('ansible.builtin.template', '{ROLES / role}/templates/{template}') }}}}"
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "roles": ["egress.ai_gateway.catalog"],
        "vars_files": defaults,
        "tasks": [{"ansible.builtin.copy": {"content": lookup, "dest": f"{directory}/out"}}],
    }
    for name in ("templates", "files"):
        if (ROLES / role / name).exists():
            (directory / name).symlink_to(ROLES / role / name)
    ended = run_playbook(directory, play, variables)
    assert ended.returncode == 0, ended.output
    return (directory / "out").read_text()


def documents(rendering: str) -> list[dict[str, t.Any]]:
    """The objects in rendered manifests."""
    return [document for document in yaml.load_all(rendering, yaml.CSafeLoader) if document]


def manifests(
    directory: Path, role: str, template: str, variables: dict[str, t.Any]
) -> dict[tuple[str, str], dict[str, t.Any]]:
    """The rendered objects, by kind and name."""
    found = documents(rendered(directory, role, template, variables))
    named = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in found}
    assert len(named) == len(found)
    return named
