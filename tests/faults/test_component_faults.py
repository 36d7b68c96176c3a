# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each component of a gateway is harmed in each way while requests run.

FAULTS names those to put in, as in FAULTS="authorino-killed,redis-cut-off". The table is reports/faults.html.
"""

from __future__ import annotations

import os

import component_faults
import fault_report
import pytest
from component_faults import Fault, Users
from sites import Sites


@pytest.fixture(scope="module")
def users(sites: Sites, tmp_path_factory: pytest.TempPathFactory) -> Users:
    """Users of a site with tiers that lack a model or have a small limit."""
    sites.ensure_default()
    with sites.becomes("a site with tiers for faults"):
        component_faults.provision(tmp_path_factory.mktemp("faults"))
    return Users()


@pytest.mark.parametrize("fault", component_faults.selected(os.environ.get("FAULTS", "")), ids=lambda fault: fault.name)
def test_nothing_is_wrongly_allowed_while_a_component_is_harmed(users: Users, fault: Fault) -> None:
    outcome = component_faults.endure(fault, users)
    print(component_faults.line(outcome))
    fault_report.write([outcome])
    assert outcome.wrong() == []
