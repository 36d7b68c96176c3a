# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.egress.ai_gateway.plugins.module_utils._upgrade.versions import (
    Pairs,
    judge,
    plan_of,
    version_of,
)

DOCUMENTATION = r"""
name: upgrade_plan
short_description: What an upgrade of Envoy Gateway and its proxies changes, and whether the versions go together
version_added: 1.0.0
description:
  - Compares the images that run with those that are to run, and judges the versions in the tags of the latter.
    An image with a digest alone has an unknown version, which nobody has tried.
options:
  _input:
    description: The result of module M(egress.ai_gateway.gateway_upgrade_info).
    type: dict
    required: true
  wanted:
    description: The images that are to run, of C(envoy_gateway), C(envoy) and C(envoy_ai_gateway).
    type: dict
    required: true
  tested:
    description: Versions that were tried together, each entry a condition for each component.
    type: list
    elements: dict
    required: true
  bad:
    description: Versions that do not work together, each entry with a condition for each component and a C(reason).
    type: list
    elements: dict
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Find what changes
  ansible.builtin.set_fact:
    plan: "{{ found | egress.ai_gateway.upgrade_plan(images, versions_tested_together, versions_known_bad) }}"
"""

RETURN = r"""
_value:
  description: >-
    C(changes), by component the images C(from) and C(to); C(needed); C(resumed), whether an earlier upgrade was cut
    off while it replaced; C(versions), by component; C(bad) and C(untried), lists of sentences.
  type: dict
"""


def _plan(
    found: Mapping[str, t.Any],
    wanted: Mapping[str, str],
    tested: Sequence[Mapping[str, str]],
    bad: Sequence[Mapping[str, str]],
) -> dict[str, t.Any]:
    versions = {name: version_of(image) for name, image in wanted.items()}
    try:
        faults, untried = judge(versions, Pairs(tuple(tested), tuple(bad)))
    except ValueError as error:
        raise AnsibleFilterError(f"versions that go together: {error}") from error
    changed = {name: image for name, image in wanted.items() if name != "envoy_ai_gateway"}
    plan = plan_of(found["images"], changed, found["record"])
    return {**plan, "versions": versions, "bad": faults, "untried": untried}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"upgrade_plan": _plan}
