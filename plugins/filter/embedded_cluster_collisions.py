# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.host import collisions

DOCUMENTATION = r"""
name: embedded_cluster_collisions
short_description: What two embedded clusters of an inventory cannot have in common
version_added: 1.0.0
description:
  - Returns a sentence for each setting of an embedded cluster that another host of the run has too, with the remedy.
  - These are the name, which names its directories, the interface, and the network of the addresses.
options:
  _input:
    description: The variable C(hostvars).
    type: dict
    required: true
  hosts:
    description: The variable C(ansible_play_hosts_all).
    type: list
    elements: str
    required: true
  host:
    description: The variable C(inventory_hostname).
    type: str
    required: true
  defaults:
    description: The defaults of the role P(egress.ai_gateway.embedded_cluster#role).
    type: dict
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Assert that each host is a cluster of its own
  ansible.builtin.assert:
    that: >-
      hostvars | egress.ai_gateway.embedded_cluster_collisions(ansible_play_hosts_all, inventory_hostname, defaults)
      | length == 0
"""

RETURN = r"""
_value:
  description: A sentence for each setting.
  type: list
  elements: str
"""


class FilterModule:
    """Filters of embedded clusters."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"embedded_cluster_collisions": collisions}
