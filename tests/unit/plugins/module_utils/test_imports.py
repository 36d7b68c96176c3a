# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports inside of module_utils run one way."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = "ansible_collections.egress.ai_gateway.plugins.module_utils."
PLACE = Path(__file__).parents[4] / "plugins/module_utils"
#: What each package or module of the first level may import. A change that adds a line here says why.
ALLOWED: dict[str, set[str]] = {
    "_progress": set(),
    "_kubernetes": {"_progress"},
    "_apply_set": {"_kubernetes"},
    "_field_patch": {"_kubernetes"},
    # Sets as files. How a name becomes a DNS label is said once.
    "_rendering": {"_apply_set", "_catalog", "_kubernetes"},
    "_preflight": {"_kubernetes"},
    # What sets and patches would be, beside what the cluster has of them.
    "_drift": {"_apply_set", "_field_patch", "_kubernetes", "_reports"},
    # What the files and pages of all reports have in common.
    "_reports": set(),
    # What it writes is what the catalogue reads.
    "_dump": {"_catalog"},
    "_diagnosis": {"_kubernetes"},
    # Access logs are read by the cluster's API.
    "_usage": {"_kubernetes"},
    "_catalog": set(),
    # The plan of a validation knows the values that stand for a caller at the providers.
    "_probes": {"_catalog", "_reports"},
    # A cluster is shown as a check where checks are shown.
    "_fleet": {"_probes", "_reports"},
    "_embedded_cluster": set(),
    "_observability": set(),
    # What names must look like is said once.
    "_gateway": {"_catalog"},
    # What was applied is known by the fields that the sets own.
    "_upgrade": {"_apply_set", "_kubernetes"},
    "_tokens": {"_kubernetes", "_probes"},
    # How the data of an inventory is read, with a fault for everything that is wrong.
    "_awx": {"_catalog"},
    # A key is refused by the settings and headers of the catalogue, and its owner is named as that of a token.
    "_api_keys": {"_catalog", "_kubernetes", "_tokens"},
}


def imports() -> dict[str, set[str]]:
    """What each module imports of this place, by dotted names; imports inside of functions and for types alone count
    too.
    """
    found: dict[str, set[str]] = {}
    for path in PLACE.rglob("*.py"):
        name = ".".join(path.relative_to(PLACE).with_suffix("").parts)
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        found[name] = {imported.removeprefix(PACKAGE) for imported in names if imported.startswith(PACKAGE)}
    return {name: {imported for imported in names if imported in found} for name, names in found.items()}


def test_no_modules_import_each_other() -> None:
    graph = imports()
    assert len(graph) > 30
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(graph)


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_what_is_below_it_alone(package: str) -> None:
    first = {(name.split(".")[0], imported.split(".")[0]) for name, names in imports().items() for imported in names}
    assert {imported for name, imported in first if name == package} - {package} <= ALLOWED[package]


def test_every_package_has_its_place() -> None:
    assert {name.split(".")[0] for name in imports()} == set(ALLOWED)
