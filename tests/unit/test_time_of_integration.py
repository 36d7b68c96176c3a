# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""End-to-end tests that there is no time for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_there_was_no_time_for_is_named() -> None:
    command = [sys.executable, "-m", "pytest", "tests/integration", "-k", "existing_cluster"]
    environment = {**os.environ, "INTEGRATION_MINUTES": "0"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
    lines = ended.stdout.splitlines()
    named = [line for line in lines if line.startswith("NOT RUN tests/integration/test_existing_cluster.py::")]
    assert len(named) > 3
    assert "Run them: make integration ARGS=\"-k 'existing_cluster'\"" in lines
