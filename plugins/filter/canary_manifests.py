# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.egress.ai_gateway.plugins.module_utils._upgrade.manifests import ManifestsError, canary

DOCUMENTATION = r"""
name: canary_manifests
short_description: The manifests of a canary of Envoy Gateway and its proxy
version_added: 1.0.0
description:
  - Accepts the manifests of the charts of a release of Envoy Gateway, and returns those of a controller beside the
    present one that reads what it reads and writes nothing, and of one more proxy, which it configures.
  - No client reaches that proxy, as no Service selects it.
options:
  _input:
    description: The manifests of the charts.
    type: list
    elements: dict
    required: true
  proxies:
    description: The Deployment of the proxies of the Gateway.
    type: dict
    required: true
  namespace:
    description: Namespace of Envoy Gateway.
    type: str
    required: true
  proxy_image:
    description: Image of Envoy.
    type: str
    required: true
  name:
    description: Name of the objects of the canary.
    type: str
    default: envoy-gateway-canary
  release_configures:
    description: Whether Envoy Gateway itself configures the proxy of the canary.
    type: bool
    default: false
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Start the canary
  egress.ai_gateway.apply_set:
    name: upgrade
    namespace: ai-gateway
    manifests: "{{ release | egress.ai_gateway.canary_manifests(found.proxies, 'ai-gateway-envoy-gateway', image) }}"
"""

RETURN = r"""
_value:
  description: The manifests.
  type: list
  elements: dict
"""


def _canary(*arguments: t.Any, **options: t.Any) -> list[dict[str, t.Any]]:
    try:
        return canary(*arguments, **options)
    except ManifestsError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"canary_manifests": _canary}
