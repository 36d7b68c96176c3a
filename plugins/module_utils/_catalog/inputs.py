# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables that a catalogue is built from, and the words that they may be set to."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import Fault, nearest

#: What the names of the inventory's variables begin with.
PREFIX = "ai_gateway_"

PLATFORMS = ("embedded", "kind", "openshift", "kubernetes")
ENVOY_AI_GATEWAY = "envoy_ai_gateway"
WG_AI_GATEWAY = "wg_ai_gateway"
STACKS = (ENVOY_AI_GATEWAY, WG_AI_GATEWAY)
AUTHORINO = "authorino"
KUADRANT = "kuadrant"
POLICY_ENGINES = (AUTHORINO, KUADRANT)

#: In ``uncounted_tokens``: estimated from an answer's bytes.
ESTIMATED = "estimated"

#: The variables by their names without PREFIX, and their defaults. None is for those whose default depends on other
#: variables, see ``settings``.
DEFAULTS: dict[str, t.Any] = {
    "platform": "kubernetes",
    "stack": ENVOY_AI_GATEWAY,
    "policy_engine": None,
    "namespace": "ai-gateway",
    "name": None,
    "maas_gateway_namespace": "openshift-ingress",
    "egress_gateway": "egress-gateway",
    "egress_namespace": None,
    "maas_api": None,
    "maas_api_namespace": "opendatahub",
    "simulators_namespace": "external-models",
    "envoy_gateway_namespace": "ai-gateway-envoy-gateway",
    "envoy_ai_gateway_namespace": "ai-gateway-envoy-ai-gateway",
    "authorino_namespace": "ai-gateway-authorino",
    "kuadrant_namespace": "kuadrant-system",
    "providers": (),
    "models": (),
    "mcp_servers": (),
    "inference_pools": (),
    "semantic_router": None,
    "prices": None,
    "currency": "",
    "tiers": (),
    "callers": (),
    "observability": None,
    "allowed_endpoints": (),
    "cluster_networks": (),
    "uncounted_tokens": ESTIMATED,
    "request_body_limit": "50Mi",
    "allow_empty": True,
}
INPUTS = tuple(DEFAULTS)
#: Variables of role catalog that are no part of a catalogue, and the fact that it sets.
OTHER_VARIABLES = (
    "kubeconfig",
    "context",
    "helm_binary",
    "offline_directory",
    "controller_name",
    "controller_replicas",
    "workloads",
    "image_mirror",
    "cache_directory",
    "adopt",
    "force_conflicts",
    "force_removal",
    "catalog",
)


def default_engine(platform: str, stack: str) -> str:
    """The policy engine where the inventory names none."""
    return KUADRANT if platform == "openshift" and stack == WG_AI_GATEWAY else AUTHORINO


def check_names(defined: Iterable[str], faults: list[Fault]) -> None:
    """A variable whose name nearly is one of these is a fault.

    :param defined: the names of all variables in scope.
    """
    known = [PREFIX + name for name in (*INPUTS, *OTHER_VARIABLES)]
    for name in sorted(name for name in defined if name.startswith(PREFIX) and name not in known):
        near = nearest(name, known, 0.9)
        if near:
            faults.append(Fault(name, "is not a variable of this collection", f"did you mean `{near}`?"))
