# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._fleet.sharing import shared_paths

DOCUMENTATION = r"""
name: shared_paths
short_description: The files and directories that two hosts of a run would both write to
version_added: 1.0.0
description:
  - Accepts names of variables and returns a sentence for each one that is the same path for another host of the run.
  - A variable that the inventory does not set has a default that is the host's own, so it is left out.
options:
  _input:
    description: Names of variables with paths.
    type: list
    elements: str
    required: true
  hostvars:
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
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Assert that each cluster has its own file
  ansible.builtin.assert:
    that: shared | length == 0
    fail_msg: "{{ shared | join(' ') }}"
  vars:
    shared: >-
      {{ ['tokens_file'] | egress.ai_gateway.shared_paths(hostvars, ansible_play_hosts_all, inventory_hostname) }}
"""

RETURN = r"""
_value:
  description: A sentence for each variable, with the remedy.
  type: list
  elements: str
"""


class FilterModule:
    """Filters of what hosts share."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"shared_paths": shared_paths}
