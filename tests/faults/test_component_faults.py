# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each component of a gateway is harmed in each way while requests run.

FAULTS names those to put in, as in FAULTS="authorino-killed,redis-cut-off". The table is reports/faults.html.
"""

from __future__ import annotations

import os
import pathlib

import component_faults
import fault_report
import pytest
from sites import Sites


@pytest.fixture
def limited_site(sites: Sites, default_site: None, tmp_path: pathlib.Path) -> None:
    """The default site with tiers that lack a model or have a small limit."""
    with sites.becomes("a site with tiers for faults"):
        component_faults.provision(tmp_path)


@pytest.mark.usefixtures("limited_site")
def test_nothing_is_wrongly_allowed_while_a_component_is_harmed() -> None:
    faults = component_faults.selected(os.environ.get("FAULTS", ""))
    outcomes = component_faults.endure_all(faults, fault_report.write)
    assert [problem for outcome in outcomes for problem in outcome.wrong()] == []
