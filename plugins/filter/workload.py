# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.workloads import workload

DOCUMENTATION = r"""
name: workload
short_description: The settings of a component's pods
version_added: 1.0.0
description:
  - Accepts O(egress.ai_gateway.catalog#role:main:ai_gateway_workloads) and returns the fields of one component.
  - Those of V(all) come first, and each field of the component itself replaces the one of V(all).
options:
  _input:
    description: The settings, by component.
    type: dict
    required: true
  component:
    description: Name of the component.
    type: str
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Use them
  ansible.builtin.set_fact:
    resources: "{{ ai_gateway_workloads | egress.ai_gateway.workload('authorino') }}"
"""

RETURN = r"""
_value:
  description: The fields, by the names of Kubernetes.
  type: dict
"""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"workload": workload}
