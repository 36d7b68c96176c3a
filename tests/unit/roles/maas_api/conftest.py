# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Where the API server in memory is.
sys.path.insert(0, str(Path(__file__).parents[2] / "plugins"))

from maas_cluster import MaasCluster


@pytest.fixture
def cluster() -> Iterator[MaasCluster]:
    cluster = MaasCluster()
    yield cluster
    cluster.close()
