# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.order import (
    PHASES,
    in_phases,
    phase_of,
    phase_title,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import GroupKind

IN_ORDER = [
    "Namespace",
    "CustomResourceDefinition.apiextensions.k8s.io",
    "ClusterRole.rbac.authorization.k8s.io",
    "Secret",
    "Service",
    "Deployment.apps",
    "ValidatingWebhookConfiguration.admissionregistration.k8s.io",
    "EnvoyProxy.gateway.envoyproxy.io",
    "GatewayClass.gateway.networking.k8s.io",
    "Gateway.gateway.networking.k8s.io",
    "Backend.gateway.envoyproxy.io",
    "SecurityPolicy.gateway.envoyproxy.io",
    "AIGatewayRoute.aigateway.envoyproxy.io",
    "Widget.example.com",
]


def test_phases_follow_the_kinds() -> None:
    numbers = [phase_of(GroupKind.parse(text)) for text in IN_ORDER]
    assert numbers == sorted(set(numbers))


def test_a_kind_belongs_to_one_phase() -> None:
    assert all(not one[1] & other[1] for one, other in itertools.combinations(PHASES, 2))


def test_kinds_that_share_a_name_are_distinguished_by_group() -> None:
    assert phase_of(GroupKind("example.com", "Gateway")) == len(PHASES)
    assert phase_title(len(PHASES)) == "other objects"
    assert phase_title(0) == "namespaces"


def test_items_are_grouped_in_the_order_of_writing_and_of_removal() -> None:
    items = [
        "Widget.example.com",
        "Secret",
        "Namespace",
        "ConfigMap",
        "ServiceAccount",
        "Role.rbac.authorization.k8s.io",
    ]
    written = [found for number, found in in_phases(items, GroupKind.parse)]
    assert written == [
        ["Namespace"],
        ["ServiceAccount", "Role.rbac.authorization.k8s.io"],
        ["Secret", "ConfigMap"],
        ["Widget.example.com"],
    ]
    assert [found for number, found in in_phases(items, GroupKind.parse, removal=True)] == written[::-1]
    assert in_phases([], GroupKind.parse) == []
