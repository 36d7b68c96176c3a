#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_upgrade_info
short_description: Read what an upgrade of Envoy Gateway and its proxies has to know of a cluster
version_added: 1.0.0
description:
  - Reads the images, the versions and the manifests of Envoy Gateway, the Deployment of the Gateway's proxies, the
    releases of the CRDs, and the record of an earlier upgrade.
  - The manifests are those that this collection applied, by the fields that it owns, without Secrets and Jobs. They are
    what a way back applies.
  - A record is refused that has objects which no chart of Envoy Gateway makes, or gives rights to others.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
options:
  namespace:
    description: Namespace of Envoy Gateway and of the proxies.
    type: str
    required: true
  ai_gateway_namespace:
    description: Namespace of Envoy AI Gateway's controller.
    type: str
    required: true
  gateway:
    description: Name of the Gateway and of its EnvoyProxy.
    type: str
    required: true
  gateway_namespace:
    description: Namespace of the Gateway.
    type: str
    required: true
  gateway_url:
    description: URL of the Gateway, by which the port of a proxy is found.
    type: str
    default: ""
  record:
    description: Name of the ConfigMap beside the Gateway with the record of an earlier upgrade.
    type: str
    required: true
requirements:
  - kubernetes
"""

EXAMPLES = r"""
- name: Read what runs
  egress.ai_gateway.gateway_upgrade_info:
    namespace: ai-gateway-envoy-gateway
    ai_gateway_namespace: ai-gateway-envoy-ai-gateway
    gateway: ai-gateway
    gateway_namespace: ai-gateway
    record: ai-gateway.upgrade
  register: found

- name: Print the version of Envoy Gateway
  ansible.builtin.debug:
    var: found.versions.envoy_gateway
"""

RETURN = r"""
images:
  description: Images of C(envoy_gateway), C(envoy_ai_gateway) and C(envoy). Empty where one does not run.
  returned: success
  type: dict
versions:
  description: The versions in the tags of these images. Empty where a tag has none.
  returned: success
  type: dict
  sample: {envoy_gateway: 1.7.2, envoy_ai_gateway: 0.6.0, envoy: 1.37.1}
proxies:
  description: The Deployment of the proxies, empty where there is none.
  returned: success
  type: dict
proxy_port:
  description: Port of a proxy's container behind O(gateway_url). V(0) where it is unknown.
  returned: success
  type: int
crds:
  description: Release of the CRDs of C(envoy_gateway) and C(gateway_api). Empty where it is not written in them.
  returned: success
  type: dict
  sample: {envoy_gateway: v1.7.2, gateway_api: v1.4.1}
manifests:
  description: The manifests of Envoy Gateway.
  returned: success
  type: list
  elements: dict
record:
  description: The record of an earlier upgrade with its manifests, empty where there is none.
  returned: success
  type: dict
"""

import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.module import run_module, with_api
from ansible_collections.egress.ai_gateway.plugins.module_utils._upgrade.found import proxy_port, read
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

__all__ = ["arguments", "hidden_values", "perform"]


def arguments() -> dict[str, t.Any]:
    required = {"type": "str", "required": True}
    spec = {
        **AUTH_ARG_SPEC,
        "namespace": required,
        "ai_gateway_namespace": required,
        "gateway": required,
        "gateway_namespace": required,
        "gateway_url": {"type": "str", "default": ""},
        "record": required,
    }
    return {"argument_spec": spec}


def perform(
    params: dict[str, t.Any], _check_mode: bool, _diff_mode: bool, _say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure."""

    def use(api: t.Any) -> dict[str, t.Any]:
        found = read(
            api,
            params["namespace"],
            params["gateway"],
            params["gateway_namespace"],
            params["ai_gateway_namespace"],
            params["record"],
        )
        return {**found, "proxy_port": proxy_port(found.pop("proxy_ports"), params["gateway_url"])}

    try:
        return with_api(params, 1, "reading what runs", use)
    except ValueError as error:
        place = f"{params['gateway_namespace']}/{params['record']}"
        remedy = f"delete it with: kubectl delete configmap --namespace {place.replace('/', ' ')}"
        return {"changed": False, "failed": True, "msg": f"ConfigMap {place}: {error}; {remedy}"}


def main() -> None:
    run_module(arguments(), perform)


if __name__ == "__main__":
    main()
