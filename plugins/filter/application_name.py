# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._rendering import argocd

DOCUMENTATION = r"""
name: application_name
short_description: The name of the Applications of a gateway
version_added: 1.0.0
description:
  - Argo CD has an Application for each directory of a rendered tree. Returns what their names begin with, a DNS label.
  - Two hosts never have the same. A digest is part of the name where that of the host has to be changed or cut.
options:
  _input:
    description: The name of the host in the inventory.
    type: str
    required: true
  gateway:
    description: The name of the Gateway.
    type: str
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show what the names of the Applications begin with
  ansible.builtin.debug:
    msg: "{{ inventory_hostname | egress.ai_gateway.application_name('ai-gateway') }}"
"""

RETURN = r"""
_value:
  description: The name.
  type: str
  sample: production-ai-gateway
"""


def application_name(host: str, gateway: str) -> str:
    return argocd.application_name(str(host), str(gateway))


class FilterModule:
    """Filters of Argo CD."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"application_name": application_name}
