# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.identity import digest

DOCUMENTATION = r"""
name: identity_digest
short_description: The pseudonym of a tier or of one of its users
version_added: 1.0.0
description:
  - After the gateway's first filters, the headers C(x-ai-gateway-tier) and C(x-ai-gateway-user) hold values that
    distinguish callers and name nobody.
  - Returns such a value, as the gateway's proxies compute it.
options:
  _input:
    description: The name of the tier.
    type: str
    required: true
  key:
    description: The key of the installation, from the Secret that C(identity_key) of the catalogue names.
    type: str
    required: true
  user:
    description: The name of the user, to return the user's value. Empty for the value of the tier.
    type: str
    default: ""
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the pseudonym of user alice of tier free
  ansible.builtin.debug:
    msg: "{{ 'free' | egress.ai_gateway.identity_digest(key, user='alice') }}"
"""

RETURN = r"""
_value:
  description: 32 hexadecimal digits.
  type: str
"""


def identity_digest(tier: str, key: str, user: str = "") -> str:
    return digest(str(key), str(tier), str(user))


class FilterModule:
    """Filters of callers."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"identity_digest": identity_digest}
