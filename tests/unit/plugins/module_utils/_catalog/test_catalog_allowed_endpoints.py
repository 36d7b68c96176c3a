# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from catalog_inventory import INVENTORY, changed, faults, paths


def test_endpoints_that_lead_into_the_cluster_are_allowed_by_name() -> None:
    inventory = changed("providers.1.endpoint", {"hostname": "vllm.llm.svc.cluster.local", "tls": {"mode": "none"}})
    (fault,) = faults(inventory)
    assert fault.path == "ai_gateway_providers[1].endpoint.hostname"
    assert "ai_gateway_allowed_endpoints" in fault.remedy
    assert build({**inventory, "allowed_endpoints": ["vllm.llm.svc.cluster.local"]})
    inventory = changed("providers.1.endpoint", {"hostname": "34.118.224.1", "tls": {"mode": "none"}})
    assert build(inventory)
    assert paths({**inventory, "cluster_networks": ["34.118.224.0/20"]}) == [
        "ai_gateway_providers[1].endpoint.hostname"
    ]
    assert build({**inventory, "cluster_networks": ["34.118.224.0/20"], "allowed_endpoints": ["34.118.224.0/24"]})
    assert paths({**INVENTORY, "cluster_networks": ["10.0.0.1/8"], "allowed_endpoints": ["A b"]}) == [
        "ai_gateway_allowed_endpoints[0]",
        "ai_gateway_cluster_networks[0]",
    ]
