#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: maas_models_info
short_description: List the models that a token can use
version_added: 1.0.0
description:
  - Returns the models that an AI gateway, or maas-api behind it, lists for a token.
  - An answer that is not a list of models is an error, with its status as RV(status).
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
  - egress.ai_gateway.gateway_options
attributes:
  check_mode:
    support: full
seealso:
  - module: egress.ai_gateway.gateway_token
"""

EXAMPLES = r"""
- name: List the models
  egress.ai_gateway.maas_models_info:
    url: https://maas.example.com
    token: "{{ jane.token }}"
  register: result

- name: List the models of Models-as-a-Service, in the cluster and at providers, for a token that maas-api issued
  egress.ai_gateway.maas_models_info:
    url: https://maas.apps.example.com
    token: "{{ mine.token }}"
    ca_path: /etc/pki/ingress.pem
  register: result

- name: Show their names
  ansible.builtin.debug:
    msg: "{{ result.models | map(attribute='id') }}"
"""

RETURN = r"""
models:
  description: The models, in the order of the gateway.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The name to use in requests.
      type: str
      sample: gpt-4
    owned_by:
      description: Owner of the model.
      type: str
      sample: openai
    created:
      description: >-
        Time of its creation or registration, in seconds since the epoch. Null if the gateway does not report it.
      type: int
    url:
      description: URL of the model. maas-api reports it for models in the cluster and not for those of providers.
      returned: when the gateway reports it
      type: str
      sample: https://maas.apps.example.com/llm/facebook-opt-125m-simulated
    ready:
      description: Whether the model is ready. maas-api always reports models of providers as ready.
      returned: when the gateway reports it
      type: bool
status:
  description: HTTP status of the answer.
  returned: when there was an answer
  type: int
  sample: 200
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.findings import shortened
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.http_client import (
    GATEWAY_ARGUMENT_SPEC,
    Answer,
    Gateway,
    GatewayError,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.inference import OPERATIONS

REMEDIES = {
    401: "the gateway does not accept the token; issue a new one with egress.ai_gateway.gateway_token for its audience",
    403: "the token belongs to no tier of this gateway; issue one with egress.ai_gateway.gateway_token",
    404: "nothing serves the list of models there; check the url, and that the gateway has a route",
    429: "the limit of the user's tier is reached; try again in its next window",
}


def models_of(answer: Answer) -> list[dict[str, t.Any]]:
    """The models of an answer; raises GatewayError that says what is wrong where it lists none."""
    if answer.status != 200:
        remedy = REMEDIES.get(
            answer.status, "see the logs of the gateway's proxy, and of maas-api where that lists the models"
        )
        raise GatewayError(f"status {answer.status}: {remedy}. The answer: {shortened(answer.text) or 'empty'}")
    document = answer.json()
    listed = document.get("data") if isinstance(document, dict) else None
    if listed is None and isinstance(document, dict) and document.get("object") == "list":
        # So maas-api says that there are none.
        listed = []
    if not isinstance(listed, list) or not all(isinstance(item, dict) and "id" in item for item in listed):
        raise GatewayError(
            "the answer is no list of models of the OpenAI API; check the url. "
            f"The answer: {shortened(answer.text) or 'empty'}"
        )
    return [
        {
            "id": item["id"],
            "owned_by": item.get("owned_by", ""),
            "created": item.get("created"),
            **{name: item[name] for name in ("url", "ready") if item.get(name) is not None},
        }
        for item in listed
    ]


def main() -> t.NoReturn:
    module = AnsibleModule(argument_spec=GATEWAY_ARGUMENT_SPEC, supports_check_mode=True)
    status: dict[str, t.Any] = {}
    try:
        operation = OPERATIONS["models"]
        answer = Gateway.from_params(module.params).send(operation.method, operation.path, token=module.params["token"])
        status = {"status": answer.status}
        models = models_of(answer)
    except (GatewayError, ValueError) as error:
        module.fail_json(msg=str(error), **status)
    module.exit_json(changed=False, models=models, **status)


if __name__ == "__main__":
    main()
