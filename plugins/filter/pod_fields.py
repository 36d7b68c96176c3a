# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.workloads import pod_fields

DOCUMENTATION = r"""
name: pod_fields
short_description: The fields of a component's pod specification
version_added: 1.0.0
description:
  - As P(egress.ai_gateway.workload#filter), without C(resources), which are those of the container.
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
    pod: "{{ ai_gateway_workloads | egress.ai_gateway.pod_fields('authorino') }}"
"""

RETURN = r"""
_value:
  description: The fields, by the names of Kubernetes.
  type: dict
"""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"pod_fields": pod_fields}
