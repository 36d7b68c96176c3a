# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection, Mapping, Sequence

from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.paid import bounded, is_paid

DOCUMENTATION = r"""
name: bounded_probes
short_description: Probes of which no more than so many are paid
version_added: 1.0.0
description:
  - Takes probes as M(egress.ai_gateway.inference_probe) does, and returns them. Of those that reach one of the given models and would be answered, no more than
    the limit are left; the others get O(_input[].skip) with the reason.
  - The first probe of each model goes before its others.
options:
  _input:
    description: The probes.
    type: list
    elements: dict
    required: true
  models:
    description: Names of the models that cost something.
    type: list
    elements: str
    required: true
  limit:
    description: How many probes may reach them.
    type: int
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Ask what ten requests can tell
  egress.ai_gateway.inference_probe:
    url: "{{ gateway_url }}"
    probes: "{{ probes | egress.ai_gateway.bounded_probes(['gpt-4'], 10) }}"
"""

RETURN = r"""
_value:
  description: The probes.
  type: list
  elements: dict
"""

Probes = Sequence[Mapping[str, t.Any]]


def bounded_probes(probes: Probes, models: Collection[str], limit: int) -> list[dict[str, t.Any]]:
    return bounded(probes, models, int(limit))


def paid_probes(probes: Probes, models: Collection[str]) -> list[Mapping[str, t.Any]]:
    return [probe for probe in probes if is_paid(probe, models)]


class FilterModule:
    """Filters of probes."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"bounded_probes": bounded_probes, "paid_probes": paid_probes}
