# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order kinds are written; removal goes the other way round. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import GroupKind

_GATEWAY = "gateway.networking.k8s.io"
_ENVOY = "gateway.envoyproxy.io"
_AI = "aigateway.envoyproxy.io"
_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
_INFERENCE = ("inference.networking.k8s.io", "inference.networking.x-k8s.io")
_WG_AI = "ainetworking.prototype.x-k8s.io"

#: Kinds of one entry are written in parallel, entries one after the other. Kinds named nowhere come last.
PHASES: tuple[tuple[str, frozenset[GroupKind]], ...] = tuple(
    (title, frozenset(GroupKind(group, kind) for group, kinds in groups for kind in kinds.split()))
    for title, groups in (
        ("namespaces", [("", "Namespace")]),
        ("CRDs", [("apiextensions.k8s.io", "CustomResourceDefinition")]),
        (
            "access control",
            [
                ("", "ServiceAccount ResourceQuota LimitRange"),
                (_RBAC, "Role ClusterRole RoleBinding ClusterRoleBinding"),
                ("scheduling.k8s.io", "PriorityClass"),
                ("storage.k8s.io", "StorageClass"),
                ("networking.k8s.io", "NetworkPolicy"),
            ],
        ),
        ("configuration", [("", "ConfigMap Secret PersistentVolume PersistentVolumeClaim")]),
        ("services", [("", "Service Endpoints"), ("discovery.k8s.io", "EndpointSlice")]),
        (
            "workloads",
            [
                ("", "Pod ReplicationController"),
                ("apps", "Deployment StatefulSet DaemonSet ReplicaSet"),
                ("batch", "Job CronJob"),
                ("autoscaling", "HorizontalPodAutoscaler"),
                ("policy", "PodDisruptionBudget"),
                ("serving.kserve.io", "LLMInferenceService"),
            ],
        ),
        # After the workloads that answer them: a webhook that fails closed must not refuse the pods of its own set.
        (
            "webhooks",
            [
                (
                    _ADMISSION,
                    "MutatingWebhookConfiguration ValidatingWebhookConfiguration "
                    "ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding",
                ),
                ("apiregistration.k8s.io", "APIService"),
            ],
        ),
        # Pods get what is here when they are made, which an EnvoyProxy that changes lets them be.
        ("processor parameters", [(_AI, "GatewayConfig")]),
        ("gateway parameters", [(_ENVOY, "EnvoyProxy")]),
        ("gateway classes", [(_GATEWAY, "GatewayClass")]),
        ("gateways", [(_GATEWAY, "Gateway ReferenceGrant")]),
        (
            "backends",
            [
                (_ENVOY, "Backend"),
                (_AI, "AIServiceBackend"),
                (_WG_AI, "Backend XBackendDestination"),
                *((group, "InferencePool InferenceModel InferenceObjective") for group in _INFERENCE),
            ],
        ),
        # Before the routes they guard, and so after them on removal: no route is ever open for want of its policy.
        (
            "policies",
            [
                (_GATEWAY, "BackendTLSPolicy"),
                (
                    _ENVOY,
                    "SecurityPolicy BackendTrafficPolicy ClientTrafficPolicy "
                    "EnvoyExtensionPolicy EnvoyPatchPolicy HTTPRouteFilter",
                ),
                (_AI, "BackendSecurityPolicy QuotaPolicy"),
                ("authorino.kuadrant.io", "AuthConfig"),
                ("kuadrant.io", "AuthPolicy RateLimitPolicy TokenRateLimitPolicy TLSPolicy DNSPolicy"),
            ],
        ),
        ("routes", [(_GATEWAY, "HTTPRoute GRPCRoute TLSRoute TCPRoute UDPRoute"), (_AI, "AIGatewayRoute MCPRoute")]),
    )
)

_NUMBER = {group_kind: number for number, (title, kinds) in enumerate(PHASES) for group_kind in kinds}

Item = t.TypeVar("Item")


def phase_of(group_kind: GroupKind) -> int:
    """Number of the phase a kind belongs to, ascending in the order of writing."""
    return _NUMBER.get(group_kind, len(PHASES))


def is_route(group_kind: GroupKind) -> bool:
    """Whether requests come to their backends by objects of this kind."""
    return phase_title(phase_of(group_kind)) == "routes"


def phase_title(number: int) -> str:
    return PHASES[number][0] if number < len(PHASES) else "other objects"


def in_phases(
    items: t.Iterable[Item], group_kind: t.Callable[[Item], GroupKind], removal: bool = False
) -> list[tuple[int, list[Item]]]:
    """Group ``items`` by phase, in the order of writing, or of removal; within a phase the order given stays."""
    phases: dict[int, list[Item]] = {}
    for item in items:
        phases.setdefault(phase_of(group_kind(item)), []).append(item)
    # Kinds nobody knows are removed first, and CRDs and namespaces last.
    return sorted(phases.items(), key=lambda phase: phase[0], reverse=removal)
