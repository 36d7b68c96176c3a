# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster with Kuadrant, as far as the roles that write its policies look at it."""

from __future__ import annotations

import typing as t

from api_server import Body, Server

KINDS = {
    ("v1", "configmaps"): "ConfigMap",
    ("v1", "namespaces"): "Namespace",
    ("v1", "secrets"): "Secret",
    ("v1", "events"): "Event",
    ("apps/v1", "deployments"): "Deployment",
    ("gateway.networking.k8s.io/v1", "gateways"): "Gateway",
    ("gateway.networking.k8s.io/v1", "httproutes"): "HTTPRoute",
    ("gateway.networking.k8s.io/v1beta1", "referencegrants"): "ReferenceGrant",
}
POLICIES = {
    ("kuadrant.io/v1beta1", "kuadrants"): "Kuadrant",
    ("kuadrant.io/v1", "authpolicies"): "AuthPolicy",
    ("kuadrant.io/v1", "ratelimitpolicies"): "RateLimitPolicy",
    ("kuadrant.io/v1alpha1", "tokenratelimitpolicies"): "TokenRateLimitPolicy",
    ("operator.authorino.kuadrant.io/v1beta1", "authorinos"): "Authorino",
}
OPERATOR = "kuadrant-operator-controller-manager"


class Kuadrant(Server):
    """Policies are enforced once the operator was started ``restarts_needed`` times more; until then it says
    ``reason``.
    """

    def __init__(self, installed: bool = True) -> None:
        super().__init__(KINDS | POLICIES if installed else KINDS)
        self.restarts_needed = 0
        self.reason = "Unknown"
        self.ready = True
        self.status = self._status
        for name in ("ai-gateway", "ai-gateway-egress", "openshift-ingress", "kuadrant-system"):
            self.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self.add(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": OPERATOR, "namespace": "kuadrant-system"},
                "spec": {"replicas": 1},
            }
        )
        if installed:
            self.add(
                {
                    "apiVersion": "kuadrant.io/v1beta1",
                    "kind": "Kuadrant",
                    "metadata": {"name": "kuadrant", "namespace": "kuadrant-system"},
                }
            )

    @property
    def restarts(self) -> int:
        return self.writes.count(f"PATCH {OPERATOR}")

    def policy(
        self, name: str = "gateway-auth-policy", kind: str = "AuthPolicy", gateway: str = "maas-default-gateway"
    ) -> None:
        """A policy that somebody else has put on the Gateway."""
        version = "kuadrant.io/v1alpha1" if kind == "TokenRateLimitPolicy" else "kuadrant.io/v1"
        target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway}
        self.add(
            {
                "apiVersion": version,
                "kind": kind,
                "metadata": {"name": name, "namespace": "openshift-ingress"},
                "spec": {"targetRef": target},
            }
        )

    def _status(self, body: Body) -> Body | None:
        kind, generation = body["kind"], body["metadata"].get("generation", 1)
        cured = self.restarts >= self.restarts_needed
        if kind == "Namespace":
            return {"phase": "Active"}
        if kind == "Deployment":
            return {
                "observedGeneration": generation,
                "replicas": 1,
                "updatedReplicas": 1,
                "readyReplicas": 1,
                "availableReplicas": 1,
            }
        if kind == "Kuadrant":
            return {
                "conditions": [
                    condition(
                        "Ready",
                        self.ready or cured,
                        "MissingDependency",
                        "the provider of the gateway is not installed",
                    )
                ]
            }
        if kind.endswith("Policy"):
            accepted, enforced = condition("Accepted", True), condition("Enforced", cured, self.reason, "it waits")
            return {"observedGeneration": generation, "conditions": [accepted, enforced]}
        if kind == "HTTPRoute":
            conditions = [
                condition(name, True) | {"observedGeneration": generation} for name in ("Accepted", "ResolvedRefs")
            ]
            return {
                "parents": [
                    {"parentRef": parent, "controllerName": "c", "conditions": conditions}
                    for parent in body["spec"]["parentRefs"]
                ]
            }
        return None


def condition(name: str, true: bool, reason: str = "", message: str = "") -> dict[str, t.Any]:
    return {"type": name, "status": "True" if true else "False", "reason": name if true else reason, "message": message}
