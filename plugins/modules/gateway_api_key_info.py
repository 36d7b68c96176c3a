#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_api_key_info
short_description: List the API keys of an AI gateway
version_added: 1.0.0
description:
  - Lists the keys that M(egress.ai_gateway.gateway_api_key) has issued, with owner, tier and times.
  - Reads neither keys, which the cluster does not have, nor their SHA-256.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
options:
  gateway:
    description: Name of the gateway.
    type: str
    default: ai-gateway
  namespace:
    description: Namespace of Authorino, where the Secrets of the keys are. C(ai_gateway_authorino_namespace) sets it.
    type: str
    default: ai-gateway-authorino
  name:
    description: Name of the key. By default all keys.
    type: str
  owner:
    description: Owner of the keys. By default those of all.
    type: str
  tier:
    description: Tier of the keys. By default those of all.
    type: str
  expired:
    description: Whether the keys have ended. By default both.
    type: bool
requirements:
  - kubernetes >= 24.2.0
seealso:
  - module: egress.ai_gateway.gateway_api_key
"""

EXAMPLES = r"""
- name: List the keys of an owner
  egress.ai_gateway.gateway_api_key_info:
    owner: jane@example.com
  register: of_jane
"""

RETURN = r"""
api_keys:
  description: The keys, by name.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Name of the key., type: str, returned: always, sample: nightly-build}
    owner: {description: User or program that the key is for., type: str, returned: always, sample: jane@example.com}
    tier: {description: Tier of the owner., type: str, returned: always, sample: premium}
    id: {description: The eight characters of the key after its prefix., type: str, returned: always, sample: 4fT9xQ2a}
    created: {description: Time of the issue., type: str, returned: always, sample: "2026-01-01T12:00:00Z"}
    expires: {description: Time at which the key ends., type: str, returned: always, sample: "2026-04-01T12:00:00Z"}
    expired: {description: Whether the key has ended., type: bool, returned: always, sample: false}
    description: {description: What the key is for., type: str, returned: always, sample: ""}
"""

import time
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._api_keys import (
    SELECTION_ARGUMENT_SPEC,
    ApiKeyError,
    ApiKeys,
    Selection,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.module import run_module, with_api
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

__all__ = ["arguments", "hidden_values", "perform"]


def arguments() -> dict[str, t.Any]:
    return {"argument_spec": {**AUTH_ARG_SPEC, **SELECTION_ARGUMENT_SPEC}}


def perform(
    params: dict[str, t.Any], _check_mode: bool, _diff_mode: bool, _say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure."""
    try:
        selection = Selection.from_params(params)
    except ApiKeyError as error:
        return {"changed": False, "failed": True, "msg": str(error)}
    now = time.time()

    def listed(api: Api) -> dict[str, t.Any]:
        found = ApiKeys(api, params["gateway"], params["namespace"]).find(selection, now)
        return {"api_keys": sorted((kept.key.as_dict(now) for kept in found), key=lambda key: key["name"])}

    return with_api(params, 1, f"reading the API keys in namespace {params['namespace']}", listed)


def main() -> None:
    run_module(arguments(), perform)


if __name__ == "__main__":
    main()
