# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.secrets import missing_secrets

DOCUMENTATION = r"""
name: missing_secrets
short_description: Tell which Secrets of a catalogue are not on the cluster
version_added: 1.0.0
description:
  - Compares the Secrets that a catalogue names and nobody here makes, its C(secrets), with those of the cluster.
  - Returns a line for each that is missing, lacks a key or has an empty one. It names who needs the Secret, and the command that mends it.
  - No line holds a value.
options:
  _input:
    description: The Secrets of the catalogue, each with C(name), C(namespace), C(keys) and C(users).
    type: list
    elements: dict
    required: true
  found:
    description: The Secrets of their namespaces, as the API server gives them.
    type: list
    elements: dict
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Read the Secrets beside the gateway
  kubernetes.core.k8s_info:
    kind: Secret
    namespace: ai-gateway
  register: secrets
  no_log: true

- name: Show what is missing
  ansible.builtin.debug:
    msg: "{{ ai_gateway_catalog.secrets | egress.ai_gateway.missing_secrets(secrets.resources) }}"
"""

RETURN = r"""
_value:
  description: What is missing, one line each. Empty where nothing is.
  type: list
  elements: str
"""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"missing_secrets": missing_secrets}
