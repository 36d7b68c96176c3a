# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.key_probes import key_probes

DOCUMENTATION = r"""
name: key_probes
short_description: Probes that show the keys with which providers are called
version_added: 1.0.0
description:
  - Accepts a catalogue and returns probes for M(egress.ai_gateway.inference_probe).
  - There are probes of each provider whose key is in the inventory and one of whose models the tier may use.
  - A simulator reports which key it received. Any status but 401 shows that a real provider accepted the key.
  - The probes hold the SHA-256 digests of keys and not the keys.
options:
  _input:
    description: The catalogue, as M(egress.ai_gateway.catalog) returns it.
    type: dict
    required: true
  keys:
    description: The keys of the inventory, as P(egress.ai_gateway.provider_keys#filter) returns them.
    type: dict
    required: true
  tier:
    description: Name of the tier whose user sends the probes.
    type: str
    required: true
  rounds:
    description: Number of probes for each provider. Each request may reach another proxy.
    type: int
    default: 1
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Wait until the providers accept the keys
  egress.ai_gateway.inference_probe:
    url: "{{ gateway_url }}"
    token: "{{ token }}"
    wait_timeout: 60
    probes: >-
      {{ ai_gateway_catalog
      | egress.ai_gateway.key_probes(ai_gateway_providers | egress.ai_gateway.provider_keys, 'free') }}
"""

RETURN = r"""
_value:
  description: The probes, round by round.
  type: list
  elements: dict
"""


class FilterModule:
    """Filters of probes."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"key_probes": key_probes}
