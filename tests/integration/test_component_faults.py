# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sample of the faults under load, all of which are in tests/faults.

It runs alone too: make integration ARGS="-k component_faults".
"""

from __future__ import annotations

import component_faults
import pytest
from component_faults import Fault, Users
from sites import Sites

SAMPLE = component_faults.selected("authorino-killed,redis-cut-off")


@pytest.fixture(scope="module")
def users(sites: Sites, tmp_path_factory: pytest.TempPathFactory) -> Users:
    """Users of a site with tiers that lack a model or have a small limit."""
    sites.ensure_default()
    with sites.becomes("a site with tiers for faults"):
        component_faults.provision(tmp_path_factory.mktemp("faults"))
    return Users()


@pytest.mark.parametrize("fault", SAMPLE, ids=lambda fault: fault.name)
def test_nothing_is_wrongly_allowed_while_a_component_is_harmed(users: Users, fault: Fault) -> None:
    outcome = component_faults.endure(fault, users)
    print(component_faults.line(outcome))
    assert outcome.wrong() == []
