# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest
from trees import INVENTORIES, render

sys.path.insert(0, str(Path(__file__).parents[3] / "integration"))


@pytest.fixture(scope="session", params=sorted(INVENTORIES))
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The name of an inventory, and the directory that it was rendered into."""
    directory = tmp_path_factory.mktemp(request.param)
    ended = render(directory, INVENTORIES[request.param])
    assert ended.returncode == 0, ended.output
    return t.cast("str", request.param), directory
