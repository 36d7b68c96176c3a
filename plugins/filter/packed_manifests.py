# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._upgrade.found import packed

DOCUMENTATION = r"""
name: packed_manifests
short_description: Manifests as a short string
version_added: 1.0.0
description:
  - Compresses manifests for a ConfigMap, as module M(egress.ai_gateway.gateway_upgrade_info) reads them.
options:
  _input:
    description: The manifests.
    type: list
    elements: dict
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show how long it is
  ansible.builtin.debug:
    msg: "{{ found.manifests | egress.ai_gateway.packed_manifests | length }}"
"""

RETURN = r"""
_value:
  description: The string.
  type: str
"""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"packed_manifests": packed}
