# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import pathlib
import typing as t
from collections.abc import Callable

import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._awx import plan as plans
from ansible_collections.egress.ai_gateway.plugins.module_utils._awx.described import Settings, described, options_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import plain

DOCUMENTATION = r"""
name: awx_objects
short_description: The objects of AWX that the data of role awx describes
version_added: 1.0.0
description:
  - Checks the data as a whole, adds the prefix to names and a mark to descriptions, and makes surveys of the argument
    specifications of the collection's roles.
options:
  _input:
    description: What the files in O(egress.ai_gateway.awx#role:main:awx_directory) hold.
    type: dict
    required: true
  name_prefix:
    description: As O(egress.ai_gateway.awx#role:main:awx_name_prefix).
    type: str
    required: true
  organization:
    description: As O(egress.ai_gateway.awx#role:main:awx_organization).
    type: str
    required: true
  execution_environment:
    description: As O(egress.ai_gateway.awx#role:main:awx_execution_environment).
    type: str
    required: true
  key_variables:
    description: As O(egress.ai_gateway.awx#role:main:awx_key_variables).
    type: list
    elements: str
    required: true
  playbook_directory:
    description: As O(egress.ai_gateway.awx#role:main:awx_playbook_directory).
    type: str
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Read the data
  ansible.builtin.set_fact:
    described: >-
      {{ data | egress.ai_gateway.awx_objects(name_prefix='', organization='', execution_environment='AI gateway',
                                              key_variables=['OPENAI_API_KEY'], playbook_directory='playbooks') }}
"""

RETURN = r"""
_value:
  description: >-
    C(faults), a line for each; C(objects), by kind; C(credentials), names by group; C(names), what to look for on AWX
    by endpoint; C(organization), C(execution_environment) and C(mark).
  type: dict
"""


def awx_objects(data: t.Any, **settings: t.Any) -> dict[str, t.Any]:
    roles = pathlib.Path(__file__).parents[2] / "roles"
    specifications = {
        path.parent.parent.name: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted(roles.glob("*/meta/argument_specs.yml"))
    }
    found = described(plain(data), Settings(**plain(settings)), options_of(specifications))
    return {
        **dataclasses.asdict(found),
        "faults": [str(fault) for fault in found.faults],
        "names": plans.names(found),
    }


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"awx_objects": awx_objects}
