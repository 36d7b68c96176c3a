# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The built collection, as scripts/package installed it under .build:

all that a user needs is in it, and nothing else is.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

ROOT = pathlib.Path(__file__).parents[2]
COLLECTION = ROOT / ".build/ansible_collections/egress/ai_gateway"
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
INVENTORIES = sorted(path.name for path in (ROOT / "inventories").iterdir())


def ansible(directory: pathlib.Path, *command: str) -> str:
    """Run a command of Ansible in `directory`, where no ansible.cfg and no checkout help it, and return its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment |= {
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"),
        "ANSIBLE_HOME": str(directory / "home"),
        "NO_COLOR": "1",
    }
    ended = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "WARNING" not in ended.stderr, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def documentation(tmp_path_factory: pytest.TempPathFactory) -> dict[str, t.Any]:
    names = [f"egress.ai_gateway.{module}" for module in MODULES]
    return json.loads(
        ansible(tmp_path_factory.mktemp("elsewhere"), "ansible-doc", "--json", "--type", "module", *names)
    )


def test_the_package_holds_what_the_collection_needs_and_nothing_else() -> None:
    files = json.loads((COLLECTION / "FILES.json").read_text(encoding="utf-8"))["files"]
    top = {entry["name"].split("/")[0] for entry in files} - {"."}
    assert top == {
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "awx",
        "changelogs",
        "docs",
        "inventories",
        "meta",
        "playbooks",
        "plugins",
        "roles",
        "tests",
    }
    generated = [entry["name"] for entry in files if {"__pycache__", "reports"} & set(entry["name"].split("/"))]
    assert not generated


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_playbook_runs_by_its_name(playbook: str, tmp_path: pathlib.Path) -> None:
    """With all inventories at once: reading a playbook takes seconds, and is the same with each."""
    sources = [f"--inventory={COLLECTION}/inventories/{inventory}" for inventory in INVENTORIES]
    command = ("ansible-playbook", f"egress.ai_gateway.{playbook}", *sources, "--list-tasks", "--list-hosts")
    listed = {line.strip() for line in ansible(tmp_path, *command).splitlines()}
    # Hosts are named after their inventories but for the fleet's. The playbook of AWX calls no cluster.
    hosts = set(INVENTORIES) - {"fleet"} | {"frankfurt", "dublin"}
    assert listed >= (hosts if playbook != "awx" else {"localhost"})


@pytest.mark.parametrize("module", MODULES)
def test_a_module_documents_itself(module: str, documentation: dict[str, t.Any]) -> None:
    entry = documentation[f"egress.ai_gateway.{module}"]
    assert entry["doc"]["version_added"] == "1.0.0"
    assert entry["doc"]["attributes"].keys() >= {"check_mode", "diff_mode", "idempotent"}
    assert "egress.ai_gateway." in entry["examples"]
    assert entry["return"]


def test_every_role_documents_itself(tmp_path: pathlib.Path) -> None:
    roles = json.loads(ansible(tmp_path, "ansible-doc", "--json", "--type", "role", "--list", "egress.ai_gateway"))
    assert sorted(roles) == [f"egress.ai_gateway.{role}" for role in ROLES]


def test_a_module_that_is_routed_to_an_action_plugin_runs_and_shows_its_progress(tmp_path: pathlib.Path) -> None:
    probe = {"id": "models", "name": "Models", "operation": "models", "wait_timeout": 2, "expect": {"status": [200]}}
    # Nothing listens there.
    arguments = {"url": "http://127.0.0.1:9", "timeout": 1, "fail_on_mismatch": False, "probes": [probe]}
    module = ("-m", "egress.ai_gateway.inference_probe", "-a", json.dumps(arguments))
    place = ("-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}")
    shown = ansible(tmp_path, "ansible", "localhost", *place, *module)
    assert "[localhost] 1 of 1 requests: failed Models" in shown
    assert '"id": "models"' in shown
