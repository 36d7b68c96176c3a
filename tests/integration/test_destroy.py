# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last end-to-end test: nothing of the cluster is left on the machine."""

from __future__ import annotations

import pathlib

import machine
import objects
import provider_secrets
from runs import playbook
from sites import NO_CLUSTER, Sites, is_used
from test_end_to_end import molecule


def test_destroy_leaves_the_machine_as_it_was(
    machine_before: dict[str, object], bare_objects: set[str], sites: Sites
) -> None:
    assert bare_objects
    # Of the mixed catalogue; a teardown stops at what is somebody else's.
    provider_secrets.remove()
    with sites.becomes(NO_CLUSTER):
        if is_used():
            # A run that was short of time has left what a teardown of the default site stops at.
            assert playbook("egress.ai_gateway.destroy") > 0
        else:
            assert molecule("destroy") > 0
    assert machine.state() == machine_before
    assert not pathlib.Path(objects.STATE).exists()
    assert playbook("egress.ai_gateway.destroy") == 0
