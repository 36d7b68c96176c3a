# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.keys import stored_keys

DOCUMENTATION = r"""
name: stored_keys
short_description: The keys of providers in the Secrets of a cluster
version_added: 1.0.0
description:
  - Accepts the providers of a catalogue and returns the keys that their Secrets hold, by the providers' names.
  - A provider is left out if its Secret does not exist or has no key or an empty one. White space around a key is
    removed.
  - The result holds secrets. Use it in templates of Secrets, and set C(no_log=true) on tasks that show its values.
options:
  _input:
    description: The providers of the catalogue, each with C(name), C(credential.secret) and C(credential.key).
    type: list
    elements: dict
    required: true
  secrets:
    description: The Secrets of the gateway's namespace, as the API server returns them.
    type: list
    elements: dict
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
seealso:
  - plugin: egress.ai_gateway.provider_keys
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read the Secrets beside the gateway
  kubernetes.core.k8s_info:
    kind: Secret
    namespace: ai-gateway
  register: secrets
  no_log: true

- name: Name the providers whose keys are in Secrets
  ansible.builtin.debug:
    msg: "{{ ai_gateway_catalog.providers | egress.ai_gateway.stored_keys(secrets.resources) | list }}"
"""

RETURN = r"""
_value:
  description: The keys by the providers' names.
  type: dict
"""


class FilterModule:
    """Filters of keys."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"stored_keys": stored_keys}
