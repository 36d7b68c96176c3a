# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from pathlib import Path

# The end-to-end tests import what lies beside it.
sys.path.insert(0, str(Path(__file__).parents[2] / "integration"))
