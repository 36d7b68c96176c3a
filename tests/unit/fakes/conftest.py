# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
# The fakes' client, the schemas of kinds that others define, and a server of the plugins' tests.
sys.path += [str(TESTS / "fakes"), str(TESTS / "unit/roles"), str(TESTS / "unit/plugins")]
