# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from sites import (  # noqa: F401 - fixtures
    any_site,
    bare_objects,
    default_site,
    machine_before,
    mixed_site,
    mixed_variables,
    sites,
    token,
)
from time_limit import TimeLimit, name_of_file
from two_gateways import directory  # noqa: F401 - a fixture

#: The files in the order in which each leaves the least to do for the next: the cluster is filled with what stays, and
#: destroyed, last.
ORDER = [
    "end_to_end",
    "rendered",
    "combined_site",
    "semantic_router",
    "callers",
    "clients",
    "two_gateways",
    "existing_cluster",
    "drift",
    "dump",
    "awx_reading_jobs",
    "observability",
    "usage",
    "component_faults",
    "destroy",
]


def pytest_configure(config: pytest.Config) -> None:
    """The last test leaves the machine as it was."""
    config.pluginmanager.register(TimeLimit(os.environ.get("INTEGRATION_MINUTES", ""), "integration", ORDER[-1]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in order."""
    items.sort(key=lambda item: ORDER.index(name) if (name := name_of_file(item)) in ORDER else -1)
