# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._observability.dashboards import dashboards

DOCUMENTATION = r"""
name: grafana_dashboards
short_description: Dashboards of a gateway
version_added: 1.0.0
description:
  - Accepts a catalogue and returns the dashboards of the gateway as Grafana imports them.
options:
  _input:
    description: The catalogue.
    type: dict
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the titles of the dashboards
  ansible.builtin.debug:
    msg: "{{ (ai_gateway_catalog | egress.ai_gateway.grafana_dashboards).values() | map(attribute='title') }}"
"""

RETURN = r"""
_value:
  description: The dashboards by their names.
  type: dict
"""


class FilterModule:
    """Filters of dashboards."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"grafana_dashboards": dashboards}
