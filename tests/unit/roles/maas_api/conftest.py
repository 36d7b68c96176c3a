# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator

import pytest
from maas_cluster import MaasCluster


@pytest.fixture
def cluster() -> Iterator[MaasCluster]:
    cluster = MaasCluster()
    yield cluster
    cluster.close()
