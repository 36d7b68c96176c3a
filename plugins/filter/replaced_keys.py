# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.keys import replaced_keys

DOCUMENTATION = r"""
name: replaced_keys
short_description: The keys of a gateway that an inventory replaces
version_added: 1.0.0
description:
  - Accepts the providers of a catalogue and returns the keys that are replaced, by the providers' names.
  - These are the keys in the Secrets of the gateway for which the inventory has others, and the keys that an
    interrupted rotation recorded.
  - A provider is left out if its key stays or the inventory has no key for it.
  - The result holds secrets. Set C(no_log=true) on tasks that show it.
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
    msg: >-
      {{ ai_gateway_catalog.providers
      | egress.ai_gateway.replaced_keys(keys, secrets.resources, 'key-rotation') | list }}
"""

RETURN = r"""
_value:
  description: Lists of keys by the providers' names. Recorded keys come first, and each key is listed once.
  type: dict
"""


class FilterModule:
    """Filters of keys."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"replaced_keys": replaced_keys}
