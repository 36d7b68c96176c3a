# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from pathlib import Path

# The catalogues are those of the integration tests.
sys.path.insert(0, str(Path(__file__).parents[3] / "integration"))
