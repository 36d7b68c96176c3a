# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a snapshot to findings. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis import (
    rules_backends,
    rules_controllers,
    rules_gateways,
    rules_router,
    rules_routes,
    rules_wiring,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.findings import Finding, root_causes
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.snapshot import Snapshot

Rule = t.Callable[[Snapshot], t.Iterator[Finding]]
RULES: tuple[Rule, ...] = (
    *rules_controllers.RULES,
    *rules_wiring.RULES,
    *rules_gateways.RULES,
    *rules_routes.RULES,
    *rules_backends.RULES,
    *rules_router.RULES,
)


def diagnose(snapshot: Snapshot) -> list[Finding]:
    """The root causes of what is wrong, the gravest first, each with its consequences; empty where nothing is."""
    return root_causes([finding for rule in RULES for finding in rule(snapshot)])
