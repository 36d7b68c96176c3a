# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of the collection must have in common, which no linter looks at."""

from __future__ import annotations

import pathlib
import subprocess
import tomllib
import typing as t

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
#: Roles with tasks; role versions has only variables.
ROLES = sorted(path.parent.name for path in (ROOT / "roles").glob("*/meta"))
#: What the variables of a role start with, where that is not its name: those of the catalogue are read by every role.
PREFIXES = {"catalog": "ai_gateway_"}
#: Files that cannot carry a comment, or that tools write.
WITHOUT_HEADER = {
    "LICENSE",
    "go.mod",
    "go.sum",
    "package-lock.json",
    "requirements.txt",
    "changelog.yaml",
    "CHANGELOG.md",
    ".gitignore",
    ".gitkeep",
}


def load(path: str) -> t.Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def specification(role: str) -> dict[str, t.Any]:
    return load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]


def test_every_module_is_in_one_action_group() -> None:
    groups = load("meta/runtime.yml")["action_groups"]
    assert MODULES
    assert sorted(module for group in groups.values() for module in group) == MODULES


@pytest.mark.parametrize("role", ROLES)
def test_a_role_specifies_exactly_its_defaults(role: str) -> None:
    options = specification(role)["main"]["options"]
    path = ROOT / f"roles/{role}/defaults/main.yml"
    defaults = (load(str(path)) or {}) if path.exists() else {}
    assert sorted(options) == sorted(defaults)
    for name, option in options.items():
        prefix = PREFIXES.get(role, f"{role}_")
        assert name.startswith(prefix), f"{name} does not start with {prefix}"
        if "default" in option:
            assert option["default"] == defaults[name], f"{name} has another default than it says"


def tracked_files() -> list[str]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listing.stdout.split("\0") if name]


def test_every_file_carries_the_licence() -> None:
    names = [
        name for name in tracked_files() if pathlib.Path(name).name not in WITHOUT_HEADER and (ROOT / name).is_file()
    ]
    assert names
    bare = [
        name for name in names if "SPDX-License-Identifier: " not in (ROOT / name).read_text(encoding="utf-8")[:1000]
    ]
    assert not bare


def test_the_lock_names_no_registry_and_hashes_everything() -> None:
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert "://" not in lock
    packages = [block for block in lock.replace("\\\n", "").splitlines() if "==" in block]
    assert packages
    assert all("--hash=sha256:" in package for package in packages)


def test_the_versions_that_users_read_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"| Python on the control node | {project['requires-python'].removeprefix('>=')} or newer" in readme
    core = load("meta/runtime.yml")["requires_ansible"].removeprefix(">=").removesuffix(".0")
    assert f"| ansible-core | {core} or newer |" in readme
    assert load("galaxy.yml")["version"] == project["version"]
