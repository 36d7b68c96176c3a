# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

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
from two_gateways import directory  # noqa: F401 - a fixture


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Destroy the cluster last, and before that fill it with what stays."""
    last = ["test_existing_cluster.py", "test_destroy.py"]
    items.sort(key=lambda item: last.index(item.path.name) if item.path.name in last else -1)
