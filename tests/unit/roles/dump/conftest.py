# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from pathlib import Path

# The inventories are those of role render, and the cluster with Models-as-a-Service is that of role drift.
sys.path.insert(0, str(Path(__file__).parents[1] / "render"))
sys.path.insert(0, str(Path(__file__).parents[1] / "drift"))
sys.path.insert(0, str(Path(__file__).parents[3] / "integration"))
