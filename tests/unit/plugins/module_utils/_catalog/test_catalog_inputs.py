# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.inputs import DEFAULTS, PREFIX
from ansible_collections.egress.ai_gateway.plugins.modules import catalog as documentation
from catalog_inventory import faults


def test_a_misspelt_variable() -> None:
    found = faults(
        {},
        defined=[
            "ai_gateway_provider",
            "ai_gateway_tiers",
            "ai_gateway_catalog",
            "ai_gateway_mine",
            "inventory_hostname",
        ],
    )
    assert [(fault.path, fault.remedy) for fault in found] == [
        ("ai_gateway_provider", "did you mean `ai_gateway_providers`?")
    ]


def test_the_role_and_the_module_have_the_same_defaults() -> None:
    role = Path(documentation.__file__).parents[2] / "roles/catalog/defaults/main.yml"
    of_role = yaml.safe_load(role.read_text(encoding="utf-8"))
    options = yaml.safe_load(documentation.DOCUMENTATION)["options"]
    for name, default in DEFAULTS.items():
        if isinstance(default, str):
            assert (of_role[PREFIX + name], options[name]["default"]) == (default, default), name
