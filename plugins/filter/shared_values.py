# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._fleet.sharing import shared_values

DOCUMENTATION = r"""
name: shared_values
short_description: What a host has in common with others of the run that must be its own
version_added: 1.0.0
description:
  - Compares what a host says must be its own with what others say, and returns a sentence for each value that another
    host has too. So two hosts do not write to the same place at the same time.
options:
  _input:
    description: The values of this host by what they are called. Empty values are of no one.
    type: dict
    required: true
  others:
    description: The same of the other hosts, by their names.
    type: dict
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show what two hosts share
  ansible.builtin.debug:
    msg: "{{ {'Gateway': 'a/b'} | egress.ai_gateway.shared_values({'other': {'Gateway': 'a/b'}}) }}"
"""

RETURN = r"""
_value:
  description: A sentence for each value that another host has too.
  type: list
  elements: str
  sample: ["Gateway a/b is also that of other."]
"""


class FilterModule:
    """Filters of what hosts share."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"shared_values": shared_values}
