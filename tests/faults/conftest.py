# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))

from sites import any_site, default_site, mixed_site, mixed_variables, sites, token  # noqa: F401 - fixtures
from time_limit import TimeLimit, name_of_file

#: The files that come first.
ORDER = ["canary_keys", "component_faults", "site_kills"]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(TimeLimit(os.environ.get("FAULT_MINUTES", ""), "faults"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in order."""
    items.sort(key=lambda item: ORDER.index(name) if (name := name_of_file(item)) in ORDER else len(ORDER))
