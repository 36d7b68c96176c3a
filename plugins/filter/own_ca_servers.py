# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import plain
from ansible_collections.egress.ai_gateway.plugins.module_utils._gateway.certificates import servers

DOCUMENTATION = r"""
name: own_ca_servers
short_description: The servers whose certificates an own certification authority issues
version_added: 1.0.0
description:
  - Accepts the Secrets of listeners, as filter P(egress.ai_gateway.gateway_listeners#filter) returns them, and returns
    the servers as role P(egress.ai_gateway.certificates#role) accepts them, each with its existing certificate and key.
  - The result holds private keys.
options:
  _input:
    description: >-
      The Secrets, with C(secret), C(kind) and C(hostnames). Those of another kind than V(own_ca) are left out.
    type: list
    elements: dict
    required: true
  kept:
    description: The existing Secrets, as the API server returns them.
    type: list
    elements: dict
    required: true
  addresses:
    description: What a certificate is for where a listener has no host name.
    type: list
    elements: str
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show for which hosts there are certificates
  ansible.builtin.debug:
    msg: "{{ secrets | egress.ai_gateway.own_ca_servers([], ['10.245.0.2']) | map(attribute='hosts') }}"
  vars:
    secrets: [{secret: ai-gateway-tls, kind: own_ca, hostnames: []}]
"""

RETURN = r"""
_value:
  description: The servers, with C(name), C(hosts), C(certificate) and C(key).
  type: list
  elements: dict
"""


def own_ca_servers(
    secrets: Sequence[Mapping[str, t.Any]], kept: Sequence[Mapping[str, t.Any]], addresses: Sequence[str]
) -> list[dict[str, t.Any]]:
    # Lists and dictionaries of a play are templated lazily, and its strings carry marks.
    return servers(plain(list(secrets)), plain(list(kept)), plain(list(addresses)))


class FilterModule:
    """Filters of certificates."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"own_ca_servers": own_ca_servers}
