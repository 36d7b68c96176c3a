# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.workloads import workload_faults

DOCUMENTATION = r"""
name: workload_faults
short_description: What is wrong with the settings of pods
version_added: 1.0.0
description:
  - Accepts O(egress.ai_gateway.catalog#role:main:ai_gateway_workloads) and returns a line for each component and
    each field that is not known or has another type.
options:
  _input:
    description: The settings, by component.
    type: dict
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Use them
  ansible.builtin.set_fact:
    faults: "{{ ai_gateway_workloads | egress.ai_gateway.workload_faults }}"
"""

RETURN = r"""
_value:
  description: The faults. Empty if there is none.
  type: list
  elements: str
"""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"workload_faults": workload_faults}
