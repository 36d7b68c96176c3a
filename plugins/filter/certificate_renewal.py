# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.egress.ai_gateway.plugins.module_utils._gateway.certificates import (
    authority_renewal,
    renewal,
)

DOCUMENTATION = r"""
name: certificate_renewal
short_description: Why a certificate of an own certification authority is to be renewed
version_added: 1.0.0
description:
  - A certificate of a server is renewed when less than a third of its time is left, when it is for other hosts, and
    when it is of another certification authority.
  - A certification authority is replaced when it would end before a certificate that it signs now.
options:
  _input:
    description: The certificate, as M(community.crypto.x509_certificate_info) returns it.
    type: dict
    required: true
  hosts:
    description: >-
      The host names and IP addresses that it is for. Without it the certificate is that of a certification authority.
    type: list
    elements: str
  authority:
    description: >-
      The certificate of the certification authority, as M(community.crypto.x509_certificate_info) returns it.
    type: dict
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show why a certificate is to be renewed
  ansible.builtin.debug:
    msg: >-
      {{ certificate | community.crypto.x509_certificate_info
         | egress.ai_gateway.certificate_renewal(['ai.example.com'], authority | community.crypto.x509_certificate_info)
      }}
  vars:
    certificate: "{{ lookup('ansible.builtin.file', 'ai.example.com.crt') }}"
    authority: "{{ lookup('ansible.builtin.file', 'ca.crt') }}"
"""

RETURN = r"""
_value:
  description: The reason. Empty if the certificate is not to be renewed.
  type: str
"""


def certificate_renewal(
    certificate: Mapping[str, t.Any],
    hosts: Sequence[str] | None = None,
    authority: Mapping[str, t.Any] | None = None,
) -> str:
    now = datetime.datetime.now(datetime.UTC)
    if hosts is None:
        return authority_renewal(certificate, now)
    return renewal(certificate, hosts, authority or {}, now)


class FilterModule:
    """Filters of certificates."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"certificate_renewal": certificate_renewal}
