# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
# The fakes' client, the schemas of kinds that others define, a server of the plugins' tests, and frames of HTTP/2.
sys.path += [str(TESTS / name) for name in ("fakes", "unit/roles", "unit/plugins", "integration")]
