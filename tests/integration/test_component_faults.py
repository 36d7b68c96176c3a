# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sample of the faults under load, all of which are in tests/faults.

It runs alone too: make integration ARGS="-k component_faults".
"""

from __future__ import annotations

import pathlib

import component_faults
import pytest
from sites import Sites


@pytest.mark.usefixtures("default_site")
def test_nothing_is_wrongly_allowed_while_a_component_is_harmed(sites: Sites, tmp_path: pathlib.Path) -> None:
    with sites.becomes("a site with tiers for faults"):
        component_faults.provision(tmp_path)
    outcomes = component_faults.endure_all(
        component_faults.selected("authorino-killed,redis-cut-off"), lambda _outcomes: None
    )
    assert [problem for outcome in outcomes for problem in outcome.wrong()] == []
