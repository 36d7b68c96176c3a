#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apply_set_info
short_description: List the members of a set of manifests
version_added: 1.0.0
description:
  - Returns the objects of a set that M(egress.ai_gateway.apply_set) keeps on a cluster. All other objects have other
    owners.
options:
  name:
    description: Name of the set.
    type: str
    required: true
  namespace:
    description: Namespace of the set's parent object.
    type: str
    required: true
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
- name: Read the members of the set
  egress.ai_gateway.apply_set_info:
    name: access-policies
    namespace: ai-gateway
  register: policies

- name: Show the names of its policies
  ansible.builtin.debug:
    msg: "{{ policies.members | selectattr('kind', 'equalto', 'AuthPolicy') | map(attribute='name') }}"
"""

RETURN = r"""
members:
  description: The members by namespace, kind and name. Empty if the set does not exist.
  returned: success
  type: list
  elements: dict
  contains:
    apiVersion:
      description: API version of the object.
      type: str
      sample: kuadrant.io/v1
    kind:
      description: Kind of the object.
      type: str
      sample: AuthPolicy
    namespace:
      description: Namespace of the object, empty for a cluster-scoped one.
      type: str
      sample: openshift-ingress
    name:
      description: Name of the object.
      type: str
      sample: gateway-auth-policy
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import (
    ForeignParentError,
    SetIdentity,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.info import members_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.reading import ApplySetError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import (
    ApiError,
    ConnectionSettingsError,
    connect,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

#: Requests under way at a time.
PARALLEL = 8


def argument_spec() -> dict[str, t.Any]:
    return {
        **AUTH_ARG_SPEC,
        "name": {"type": "str", "required": True},
        "namespace": {"type": "str", "required": True},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = dict(module.params)
    # Ansible would hide each string of an inline kubeconfig wherever it occurs, names of objects among them.
    module.no_log_values = hidden_values(params)
    if isinstance(params["kubeconfig"], dict):
        module.params["kubeconfig"] = "not shown"
    identity = SetIdentity(params["name"], params["namespace"])
    try:
        members = members_of(connect(params, PARALLEL), identity)
    except ImportError as error:
        module.fail_json(msg=f"{missing_required_lib('kubernetes')} ({error})")
    except ConnectionSettingsError as error:
        module.fail_json(msg=str(error))
    except (ForeignParentError, ApplySetError, ApiError) as error:
        remedy = (
            "; check the rights of the credentials in use"
            if isinstance(error, ApiError) and error.status in (401, 403)
            else ""
        )
        module.fail_json(msg=f"set {identity}: {error}{remedy}")
    module.exit_json(changed=False, members=[member.as_dict() for member in members])


if __name__ == "__main__":
    main()
