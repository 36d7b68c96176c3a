# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.found_models import with_found
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import plain

DOCUMENTATION = r"""
name: found_models
short_description: The semantic router with the models that a cluster has besides
version_added: 1.0.0
description:
  - Returns the semantic router of a catalogue with each LLMInferenceService of the cluster whose annotation
    C(egress.ai-gateway/semantic-router) is C(true). Those of the catalogue are not added again.
  - Keywords in the annotation C(egress.ai-gateway/keywords), with commas between them, lead to its model, for tiers
    that may use all models. The decisions of the catalogue go first.
options:
  _input:
    description: The C(semantic_router) of the catalogue.
    type: dict
    required: true
  tiers:
    description: The C(tiers) of the catalogue.
    type: list
    elements: dict
    required: true
  services:
    description: The LLMInferenceServices, as module M(egress.ai_gateway.objects_info) returns them.
    type: list
    elements: dict
    required: true
  namespaces:
    description: The namespaces whose LLMInferenceServices count. V(*) is any.
    type: list
    elements: str
    required: true
  models:
    description: The names of all models of the catalogue.
    type: list
    elements: str
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the models of the router
  ansible.builtin.debug:
    msg: >-
      {{ ai_gateway_catalog.semantic_router
         | egress.ai_gateway.found_models(ai_gateway_catalog.tiers, services, ['llm'],
                                          ai_gateway_catalog.models | map(attribute='name')) }}
"""

RETURN = r"""
_value:
  description: The router, and in C(faults) a sentence for each LLMInferenceService that is left out.
  type: dict
"""


def found_models(router: t.Any, tiers: t.Any, services: t.Any, namespaces: t.Any, models: t.Any) -> dict[str, t.Any]:
    return with_found(plain(router), plain(tiers), plain(services), plain(namespaces), plain(list(models)))


class FilterModule:
    """Filters of the semantic router."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"found_models": found_models}
