# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fake API server of a cluster with maas-api, for the clients of a play."""

from __future__ import annotations

from cluster import RESOURCES, Cluster

CRDS = {"customresourcedefinitions": ("CustomResourceDefinition", False)}


class MaasCluster(Cluster):
    """A cluster with maas-api, which clients reach by HTTP at ``url``."""

    def __init__(self) -> None:
        super().__init__({**RESOURCES, "apiextensions.k8s.io/v1": CRDS})
        for namespace in ("opendatahub", "ai-gateway"):
            self.put("namespaces", "", namespace)
        containers = [{"name": "maas-api", "image": "maas-api:before"}]
        status = {"updatedReplicas": 1, "replicas": 1, "availableReplicas": 1}
        self.put(
            "deployments",
            "opendatahub",
            "maas-api",
            spec={"template": {"spec": {"containers": containers}}},
            status=status,
        )
        self.put(
            "configmaps",
            "opendatahub",
            "tier-to-group-mapping",
            data={"tiers": "# Ours\n- {name: free, level: 0, groups: [system:authenticated]}\n"},
        )
        self.serve()
