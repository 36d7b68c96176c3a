# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.external_models import external_models

DOCUMENTATION = r"""
name: external_models
short_description: The external models that maas-api lists
version_added: 1.0.0
description:
  - Accepts the models of a catalogue and returns the entries of maas-api's registry, one for each model that a provider
    serves.
  - Models on the premises are left out, as maas-api finds them by itself.
  - The entry of a model with several providers names the provider that is called first.
options:
  _input:
    description: The models of the catalogue.
    type: list
    elements: dict
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the external models
  ansible.builtin.debug:
    msg: "{{ ai_gateway_catalog.models | egress.ai_gateway.external_models }}"
"""

RETURN = r"""
_value:
  description: The entries, in the order of the models.
  type: list
  elements: dict
  contains:
    id:
      description: The public name of the model.
      type: str
    provider:
      description: The name of its provider.
      type: str
    backend:
      description: The name of the provider's backend object.
      type: str
"""


class FilterModule:
    """Filters of models."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"external_models": external_models}
