# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fake cluster with the site of an inventory, to which playbook drift is put."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest

# The inventories are those that playbook render is tested with, and one of the integration tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "render"))
sys.path.insert(0, str(Path(__file__).parents[3] / "integration"))

from provisioned import INVENTORY, Provisioned, collected


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the sets that site would apply to a new cluster."""
    return collected(tmp_path_factory.mktemp("collected"), INVENTORY)


@pytest.fixture
def provisioned(sets: Path) -> t.Iterator[Provisioned]:
    """A fake cluster to which these sets are applied."""
    cluster = Provisioned(sets)
    yield cluster
    cluster.close()
