# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.keys import replaced_keys

DOCUMENTATION = r"""
name: replaced_keys
short_description: The keys that a gateway has and an inventory has others for
version_added: 1.0.0
description:
  - Accepts the providers of a catalogue and returns the keys that are replaced, by the providers' names. Providers whose key stays are left out.
  - These are the keys in the Secrets of the gateway, and those that an interrupted rotation recorded. Keys that the inventory does not have are not replaced.
  - The result holds secrets. Use it with C(no_log).
options:
  _input:
    description: The providers of the catalogue.
    type: list
    elements: dict
    required: true
  keys:
    description: The keys of the inventory, as P(egress.ai_gateway.provider_keys#filter) returns them.
    type: dict
    required: true
  secrets:
    description: The Secrets of the gateway's namespace, as the API server returns them.
    type: list
    elements: dict
    required: true
  record:
    description: Name of the Secret that records replaced keys, in its key C(replaced).
    type: str
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Name the providers whose keys are replaced
  ansible.builtin.debug:
    msg: "{{ ai_gateway_catalog.providers | egress.ai_gateway.replaced_keys(keys, secrets.resources, 'key-rotation') | list }}"
"""

RETURN = r"""
_value:
  description: Lists of keys by the providers' names, the recorded ones first, each once.
  type: dict
"""


class FilterModule:
    """Filters of keys."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"replaced_keys": replaced_keys}
