# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.charts import chart_manifests

DOCUMENTATION = r"""
name: chart_manifests
short_description: The manifests of charts that are in the cache
version_added: 1.0.0
description:
  - Accepts charts as P(egress.ai_gateway.kept_charts#filter) returns them and reads their files.
options:
  _input:
    description: The charts, each with C(cached).
    type: list
    elements: dict
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show how many manifests a chart has
  ansible.builtin.debug:
    msg: "{{ charts | egress.ai_gateway.chart_manifests | length }}"
"""

RETURN = r"""
_value:
  description: The manifests, each a string of JSON.
  type: list
  elements: str
"""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"chart_manifests": chart_manifests}
