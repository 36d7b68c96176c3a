# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.secrets import missing_secrets

DOCUMENTATION = r"""
name: missing_secrets
short_description: List the Secrets of a catalogue that a cluster lacks
version_added: 1.0.0
description:
  - Compares the Secrets in C(secrets) of a catalogue, which users of the collection create themselves, with those of
    the cluster.
  - Returns a line for each Secret that is missing, lacks a key or has an empty one. The line names the users of the
    Secret and the command that creates or completes it.
  - No line holds a value of a Secret.
options:
  _input:
    description: The Secrets of the catalogue, each with C(name), C(namespace), C(keys) and C(users).
    type: list
    elements: dict
    required: true
  found:
    description: The Secrets of their namespaces, as the API server returns them.
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
  description: The missing Secrets and keys, one line each. Empty if nothing is missing.
  type: list
  elements: str
"""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"missing_secrets": missing_secrets}
