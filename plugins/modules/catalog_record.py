#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The work is done by the action plugin of the same name, on the controller; this file documents it.

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_record
short_description: Describe in ConfigMaps what the inventory says of an AI gateway
version_added: 1.0.0
description:
  - Returns ConfigMaps that hold the variables of this collection's roles which differ from their defaults. Role
    P(egress.ai_gateway.providers#role) applies them with its set, and playbook C(egress.ai_gateway.dump) makes an
    inventory of them.
  - In place of each key of a provider, an MCP server or a listener, the record names the Secret that holds it. Nothing
    of a key is in it, no hash either.
  - Variables that say how a run is done, such as O(egress.ai_gateway.catalog#role:main:ai_gateway_kubeconfig), are not
    part of it.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
attributes:
  check_mode:
    support: full
options:
  catalog:
    description: The catalogue that was built of the variables, as M(egress.ai_gateway.catalog) returns it.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Describe what the inventory says
  egress.ai_gateway.catalog_record:
    catalog: "{{ ai_gateway_catalog }}"
  register: record

- name: Keep it beside the gateway
  egress.ai_gateway.apply_set:
    name: record
    namespace: "{{ ai_gateway_catalog.namespace }}"
    manifests: "{{ record.manifests }}"
"""

RETURN = r"""
manifests:
  description: The ConfigMaps, one or, for a large inventory, more.
  returned: success
  type: list
  elements: dict
variables:
  description: Names of the variables that the record has.
  returned: success
  type: list
  elements: str
  sample: [ai_gateway_platform, ai_gateway_providers]
unrecorded:
  description: Names of the variables that it leaves out, as they hold keys in places of their own.
  returned: success
  type: list
  elements: str
  sample: [simulators_certificates]
"""
