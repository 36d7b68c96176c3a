# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes import gateway_url as url

DOCUMENTATION = r"""
name: gateway_url
short_description: The URL at which clients reach a Gateway
version_added: 1.0.0
description:
  - Accepts a Gateway and the Service of its proxies, as the API server returns them, and returns the URL without a
    path.
  - The host is the host name if it has no wildcard, and the first address in the status of the Gateway otherwise.
  - An IPv6 address is written in brackets.
  - The URL has a port only if the Service has type V(NodePort). It is that of the listener's port.
options:
  _input:
    description: A list with the Gateway. Empty if it does not exist.
    type: list
    elements: dict
    required: true
  services:
    description: A list with the Service of the proxies. Empty if it does not exist.
    type: list
    elements: dict
    default: []
  hostname:
    description: The host name to call. Empty for the host name of the listener.
    type: str
    default: ""
  https:
    description:
      - Whether the URL begins with C(https).
      - By default the protocol of the listener decides. Of several listeners the first for HTTPS counts, one without a
        wildcard before the others.
    type: bool
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Read the Gateway
  kubernetes.core.k8s_info:
    api_version: gateway.networking.k8s.io/v1
    kind: Gateway
    namespace: ai-gateway
    name: ai-gateway
  register: gateways

- name: Show its URL
  ansible.builtin.debug:
    msg: "{{ gateways.resources | egress.ai_gateway.gateway_url }}"
"""

RETURN = r"""
_value:
  description: The URL. An empty string while the Gateway has no address and no host name.
  type: str
"""

Bodies = t.Sequence[t.Mapping[str, t.Any]]


def gateway_url(gateways: Bodies, services: Bodies = (), hostname: str = "", https: bool | None = None) -> str:
    return url.gateway_url(next(iter(gateways), None), next(iter(services), None), hostname, https)


class FilterModule:
    """Filters of Gateways."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"gateway_url": gateway_url}
