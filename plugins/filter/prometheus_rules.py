# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._observability.rules import rule_groups

DOCUMENTATION = r"""
name: prometheus_rules
short_description: Recording rules and alerts of a gateway
version_added: 1.0.0
description:
  - Accepts a catalogue and returns the groups of rules for Prometheus, which are the content of a file of rules and the
    C(spec) of a PrometheusRule.
  - They are of the gateway by its name, so that those of several gateways fit into one Prometheus.
positional: _input, thresholds, runbook_url
options:
  _input:
    description: The catalogue.
    type: dict
    required: true
  thresholds:
    description: >-
      From where on alerts fire, numbers for some of C(error_ratio), C(refusal_ratio), C(duration_seconds),
      C(first_token_seconds) and C(certificate_days).
    type: dict
    required: true
  runbook_url:
    description: URL of the page that has a section for each alert.
    type: str
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the names of the alerts
  ansible.builtin.debug:
    msg: >-
      {{ (ai_gateway_catalog | egress.ai_gateway.prometheus_rules({}, 'https://example.com/runbook')).groups
         | map(attribute='rules') | flatten | selectattr('alert', 'defined') | map(attribute='alert') }}
"""

RETURN = r"""
_value:
  description: The C(groups), each with its C(name) and its C(rules).
  type: dict
"""


class FilterModule:
    """Filters of rules."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"prometheus_rules": rule_groups}
