# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._awx import plan as plans
from ansible_collections.egress.ai_gateway.plugins.module_utils._awx.described import Described
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import plain

DOCUMENTATION = r"""
name: awx_plan
short_description: What is to be made, changed and removed on AWX
version_added: 1.0.0
description:
  - Compares what filter P(egress.ai_gateway.awx_objects#filter) returned with what AWX has.
options:
  _input:
    description: The described objects.
    type: dict
    required: true
  found:
    description: By endpoint, the objects of AWX as lookup P(awx.awx.controller_api#lookup) returns them.
    type: dict
    required: true
  state:
    description: Whether the objects are to be there.
    type: str
    choices: [present, absent]
    required: true
  adopt:
    description: Whether objects that others made are taken over.
    type: bool
    default: false
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Compare
  ansible.builtin.set_fact:
    plan: "{{ described | egress.ai_gateway.awx_plan(found, state='present') }}"
"""

RETURN = r"""
_value:
  description: >-
    C(faults), sentences; C(apply) and C(remove), objects by kind; C(new), a line for each object that check mode cannot
    compare yet; C(held), by the name of an organization to remove, what it holds besides.
  type: dict
"""


def awx_plan(described: t.Any, found: t.Any, state: str, adopt: bool = False) -> dict[str, t.Any]:
    has = plain(found)
    if state == "present":
        fields = {key: value for key, value in plain(described).items() if key != "names"}
        return plans.present(Described(**fields), has, adopt)
    plan = plans.absent(plain(described)["mark"], has)
    held = {one["name"]: plans.held(one["id"], plan["remove"], has) for one in plan["remove"]["organizations"]}
    return {**plan, "held": held}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"awx_plan": awx_plan}
