# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.charts import kept_charts

DOCUMENTATION = r"""
name: kept_charts
short_description: Where charts are from and where they are kept once they are rendered
version_added: 1.0.0
description:
  - Accepts charts with their values and returns each with C(reference), C(version) and C(cached), the path of a file
    for what it renders to.
  - The name of the file changes with everything that a chart renders to depends on.
options:
  _input:
    description: The charts, each with C(name), C(release_values) and whatever else it is rendered with.
    type: list
    elements: dict
    required: true
  versions:
    description: The C(reference) and C(version) of each chart, by its name.
    type: dict
    required: true
  offline_directory:
    description: Directory with a directory for each chart. Empty where charts are downloaded.
    type: str
    required: true
  cache:
    description: Directory of the cache.
    type: path
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show where a chart is kept
  ansible.builtin.debug:
    msg: "{{ [chart] | egress.ai_gateway.kept_charts(charts, '', '/var/cache') }}"
  vars:
    chart: {name: gateway-helm, release_values: {}}
    charts: {gateway-helm: {reference: 'oci://registry.example.com/gateway-helm', version: v1}}
"""

RETURN = r"""
_value:
  description: The charts.
  type: list
  elements: dict
"""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"kept_charts": kept_charts}
