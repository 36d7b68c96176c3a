#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_info
short_description: Identify a cluster, and read which versions run on it
version_added: 1.0.0
description:
  - Returns what a cluster is identified by, so that two hosts of an inventory that are the same cluster can be found.
  - With a local connection it runs inside of Ansible, which takes a few hundredths of a second.
options:
  versions:
    description: Whether the versions of Kubernetes and of the controllers are read too.
    type: bool
    default: true
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
  - module: egress.ai_gateway.cluster_preflight_info
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Read which cluster it is
  egress.ai_gateway.cluster_info:
    versions: false
  register: cluster
"""

RETURN = r"""
identity:
  description:
    - The uid of namespace C(kube-system), which no other cluster has.
    - The URL of the API server where the user may not read that namespace.
  returned: success
  type: str
  sample: 3f0f2f0e-5d5c-4f0b-9d0c-1a2b3c4d5e6f
server:
  description: URL of the API server.
  returned: success
  type: str
  sample: https://10.245.0.2:6443
versions:
  description:
    - Versions by product, C(Kubernetes) first, then the controllers that run on the cluster.
    - Empty with O(versions=false). Controllers are missing where the user may not list Deployments.
  returned: success
  type: dict
  sample: {Kubernetes: v1.33.1, Envoy Gateway: v1.7.0, Envoy AI Gateway: v0.9.1}
"""

import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.module import run_module, with_api
from ansible_collections.egress.ai_gateway.plugins.module_utils._preflight.readings import read_versions
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

__all__ = ["arguments", "hidden_values", "perform"]

_NAMESPACE = "/api/v1/namespaces/kube-system"


def arguments() -> dict[str, t.Any]:
    return {"argument_spec": {**AUTH_ARG_SPEC, "versions": {"type": "bool", "default": True}}}


def perform(
    params: dict[str, t.Any], _check_mode: bool, _diff_mode: bool, _say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure."""

    def result(api: Api) -> dict[str, t.Any]:
        return {
            "identity": identity_of(api),
            "server": api.host,
            "versions": read_versions(api) if params["versions"] else {},
        }

    return with_api(params, 1, "asking which cluster it is", result)


def identity_of(api: Api) -> str:
    """The uid of namespace kube-system, or the API server's URL where the user may not read it."""
    try:
        namespace = api.get(_NAMESPACE)
    except ApiError as error:
        if error.status != 403:
            raise
        namespace = None
    return str((namespace or {}).get("metadata", {}).get("uid") or api.host)


def main() -> None:
    run_module(arguments(), perform)


if __name__ == "__main__":
    main()
