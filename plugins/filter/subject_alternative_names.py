# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._gateway.hostnames import subject_alternative_names

DOCUMENTATION = r"""
name: subject_alternative_names
short_description: Hosts as subjectAltNames of a signing request
version_added: 1.0.0
description:
  - Returns host names with C(DNS:) and IP addresses with C(IP:) before them, sorted and each once, as
    M(community.crypto.openssl_csr_pipe) accepts them.
options:
  _input:
    description: Host names and IP addresses.
    type: list
    elements: str
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show DNS:ai.example.com and IP:10.245.0.2
  ansible.builtin.debug:
    msg: "{{ ['ai.example.com', '10.245.0.2'] | egress.ai_gateway.subject_alternative_names }}"
"""

RETURN = r"""
_value:
  description: The subjectAltNames.
  type: list
  elements: str
"""


class FilterModule:
    """Filters of host names."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"subject_alternative_names": subject_alternative_names}
