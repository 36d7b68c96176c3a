# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import keys

DOCUMENTATION = r"""
name: provider_keys
short_description: The keys of providers in an inventory
version_added: 1.0.0
description:
  - Accepts the providers of an inventory and returns their keys by the providers' names.
  - Providers whose key is in a Secret are left out.
  - The result holds secrets. Use it in templates of Secrets, and set C(no_log=true) on tasks that show its values.
  - An entry without a name is an error, and so is a key that is empty or not a string. The error names the field and
    holds no key.
options:
  _input:
    description: >-
      The value of C(ai_gateway_providers) or C(ai_gateway_mcp_servers), as the role P(egress.ai_gateway.catalog#role)
      checks it.
    type: list
    elements: dict
    required: true
  variable:
    description: The variable that errors name, V(ai_gateway_providers) or V(ai_gateway_mcp_servers).
    type: str
    default: ai_gateway_providers
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
seealso:
  - plugin: egress.ai_gateway.stored_keys
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Name the providers whose keys the inventory has
  ansible.builtin.debug:
    msg: "{{ ai_gateway_providers | egress.ai_gateway.provider_keys | list }}"
"""

RETURN = r"""
_value:
  description: The keys by the providers' names.
  type: dict
"""


def provider_keys(providers: t.Any, variable: str = "ai_gateway_providers") -> dict[str, str]:
    try:
        return keys.provider_keys(providers, variable)
    except keys.ProviderKeyError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """Filters of keys."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"provider_keys": provider_keys}
