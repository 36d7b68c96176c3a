#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_preflight_info
short_description: Find what stands in the way of an AI gateway on a cluster
version_added: 1.0.0
description:
  - Reads the version of Kubernetes, the rights of the user, the controllers of others and the Secrets that the gateway
    needs, and returns what has to change before a gateway can be provisioned.
  - Writes nothing.
options:
  namespace:
    description: Namespace of the clients' Gateway and of its sets.
    type: str
    required: true
  kubernetes_version:
    description: The oldest Kubernetes that the controllers support, such as V(1.33).
    type: str
    required: true
  controllers:
    description:
      - The namespaces that the run installs controllers into, by the name of the product, such as V(Envoy Gateway),
        V(Envoy AI Gateway) and V(Authorino). Empty where it installs none.
    type: dict
    default: {}
  controller_name:
    description: Controller name by which Envoy Gateway is to claim GatewayClasses.
    type: str
    default: ""
  load_balancer:
    description: Whether a Service of type V(LoadBalancer) is needed.
    type: bool
    default: false
  secrets:
    description: The Secrets that have to exist, each with C(name), C(namespace), C(keys) and C(users).
    type: list
    elements: dict
    default: []
  sets:
    description: Names of the sets of M(egress.ai_gateway.apply_set) that a provisioned gateway has.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
  - kubernetes.core.k8s_auth_options
requirements:
  - kubernetes >= 24.2.0
attributes:
  check_mode:
    support: full
seealso:
  - module: egress.ai_gateway.apply_set
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Ask the cluster
  egress.ai_gateway.cluster_preflight_info:
    namespace: ai-gateway
    kubernetes_version: "1.33"
    controllers:
      Envoy Gateway: ai-gateway-envoy-gateway
      Envoy AI Gateway: ai-gateway-envoy-ai-gateway
  register: preflight

- name: Fail where a gateway cannot be provisioned
  ansible.builtin.assert:
    that: preflight.faults | length == 0
    fail_msg: "{{ preflight.faults | join('\n') }}"
"""

RETURN = r"""
faults:
  description: What stands in the way, one line each with its remedy. Empty if nothing does.
  returned: success
  type: list
  elements: str
missing_rights:
  description: Rights that the user needs and does not have.
  returned: success
  type: list
  elements: str
  sample: [create namespaces]
version:
  description: Version of Kubernetes.
  returned: success
  type: str
  sample: v1.33.2
controllers:
  description: Controllers found on the cluster, with product, version and namespace, those of this gateway left out.
  returned: success
  type: list
  elements: str
  sample: [Envoy Gateway v1.8.1 in namespace envoy-gateway-system]
provisioned:
  description: Whether all O(sets) exist.
  returned: success
  type: bool
"""

import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import ID_LABEL
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.secrets import missing_secrets
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.module import run_module, with_api
from ansible_collections.egress.ai_gateway.plugins.module_utils._preflight.readings import read
from ansible_collections.egress.ai_gateway.plugins.module_utils._preflight.rules import (
    Needs,
    faults_of,
    rights_of,
    warnings_of,
)
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

__all__ = ["arguments", "hidden_values", "perform"]

#: Requests under way at a time.
PARALLEL = 8
_SECRETS = ResourceType("v1", "Secret", "secrets", True, frozenset())


def arguments() -> dict[str, t.Any]:
    spec = {
        **AUTH_ARG_SPEC,
        "namespace": {"type": "str", "required": True},
        "kubernetes_version": {"type": "str", "required": True},
        "controllers": {"type": "dict", "default": {}},
        "controller_name": {"type": "str", "default": ""},
        "load_balancer": {"type": "bool", "default": False},
        # Their names alone.
        "secrets": {"type": "list", "elements": "dict", "default": [], "no_log": False},
        "sets": {"type": "list", "elements": "str", "default": []},
    }
    return {"argument_spec": spec}


def perform(
    params: dict[str, t.Any], _check_mode: bool, _diff_mode: bool, _say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure, ``warnings`` are for the user."""
    return with_api(params, PARALLEL, "asking the cluster", lambda api: result_of(api, params))


def result_of(api: Api, params: dict[str, t.Any]) -> dict[str, t.Any]:
    """What the module returns, with its ``warnings``."""
    needs = Needs(
        version=params["kubernetes_version"],
        controllers=params["controllers"],
        controller_name=params["controller_name"],
        namespace=params["namespace"],
        load_balancer=params["load_balancer"],
    )
    found = read(api, needs.namespace, rights_of(needs), needs.load_balancer, ID_LABEL)
    places = sorted({(secret["namespace"], secret["name"]) for secret in params["secrets"]})
    secrets = [body for body in api.each(lambda place: api.get(_SECRETS.path(*place)), places) if body]
    missing = missing_secrets(params["secrets"], secrets)
    if missing:
        missing = [
            "The cluster lacks Secrets that the inventory names. Each FILE holds what belongs under its key. Create a "
            "missing namespace first, with: kubectl create namespace NAME\n"
            + "\n".join(f"  {line}" for line in missing)
        ]
    return {
        "faults": faults_of(found, needs) + missing,
        "missing_rights": list(map(str, found.missing_rights)),
        "version": found.version,
        "controllers": [
            str(controller)
            for controller in found.controllers
            if needs.controllers.get(controller.product) != controller.namespace
        ],
        "provisioned": set(params["sets"]) <= set(found.sets),
        "warnings": warnings_of(found, needs),
    }


def main() -> None:
    run_module(arguments(), perform)


if __name__ == "__main__":
    main()
