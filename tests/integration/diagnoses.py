# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the diagnosis says of the site of the tests."""

from __future__ import annotations

import tempfile
import time
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.collect import collect
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.diagnose import diagnose
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.findings import Finding
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.snapshot import Snapshot
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import connect
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.port_forward import PortForward
from objects import STATE

GATEWAY = {"namespace": "ai-gateway", "name": "ai-gateway"}
#: Seconds for which logs are read: what was before the last fault is not meant.
WINDOW = 60


def findings() -> list[Finding]:
    """What a diagnosis finds now."""
    params = {"kubeconfig": f"{STATE}/kubeconfig"}
    with tempfile.TemporaryDirectory() as directory:
        data = collect(connect(params, 8, directory), PortForward(params, directory), [GATEWAY], WINDOW)
    return diagnose(Snapshot(data))


def shown(roots: t.Sequence[Finding]) -> str:
    return "; ".join(f"{root.code} {root.sentence}" for root in roots) or "nothing"


def nothing_is_found(seconds: float = WINDOW + 30) -> str:
    """What is found after the time by which nothing should be; "nothing" where that came true."""
    deadline = time.monotonic() + seconds
    while (said := shown(findings())) != "nothing" and time.monotonic() < deadline:
        time.sleep(3)
    return said
