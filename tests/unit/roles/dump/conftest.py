# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from pathlib import Path

# The inventories are those of role render.
sys.path.insert(0, str(Path(__file__).parents[1] / "render"))
