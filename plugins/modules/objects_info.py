#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: objects_info
short_description: Read objects of a cluster
version_added: 1.0.0
description:
  - Returns objects of one kind, as M(kubernetes.core.k8s_info) does.
  - With a local connection it runs inside of Ansible, which takes a few hundredths of a second. So a run that finds
    nothing to change ends soon.
options:
  api_version:
    description: API version of the objects.
    type: str
    required: true
  kind:
    description: Kind of the objects.
    type: str
    required: true
  namespace:
    description: Namespace of the objects. By default all namespaces.
    type: str
    default: ""
  name:
    description: Name of the object. By default all objects.
    type: str
    default: ""
  label_selectors:
    description: Label selectors of the objects.
    type: list
    elements: str
    default: []
  field_selectors:
    description: Field selectors of the objects.
    type: list
    elements: str
    default: []
  rendered_in:
    description:
      - Directory into which M(egress.ai_gateway.apply_set) has rendered sets. The objects are read there, in place of a
        cluster, which is not called.
      - Selectors of fields are then ignored, and those of labels must be of the form C(name=value).
    type: path
  collected_in:
    description:
      - Directory in which M(egress.ai_gateway.apply_set) has collected sets. Their objects take the place of those of
        the cluster, so that each object is what it would be after the sets were applied.
      - Selectors of fields then select among the objects of the cluster alone, and those of labels must be of the form
        C(name=value).
    type: path
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
  - module: kubernetes.core.k8s_info
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Read the Gateway
  egress.ai_gateway.objects_info:
    api_version: gateway.networking.k8s.io/v1
    kind: Gateway
    namespace: ai-gateway
    name: ai-gateway
  register: gateways
"""

RETURN = r"""
resources:
  description: The objects. Empty if none exists or the cluster does not serve the kind.
  returned: success
  type: list
  elements: dict
"""

import typing as t
from pathlib import Path

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.collecting import overlaid
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.manifests import ManifestError
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.staging import staged_objects
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.module import (
    OBJECTS_ARGUMENT_SPEC,
    read_objects,
    run_module,
    with_api,
)
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

__all__ = ["arguments", "hidden_values", "perform"]


def arguments() -> dict[str, t.Any]:
    directories = {"rendered_in": {"type": "path"}, "collected_in": {"type": "path"}}
    return {"argument_spec": {**AUTH_ARG_SPEC, **OBJECTS_ARGUMENT_SPEC, **directories}}


def perform(
    params: dict[str, t.Any], _check_mode: bool, _diff_mode: bool, _say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure."""
    doing = f"reading {params['kind']} {params['namespace']}/{params['name']}".rstrip("/ ")
    if params["rendered_in"]:
        try:
            return {"changed": False, "resources": staged_objects(Path(params["rendered_in"]), params)}
        except (ManifestError, OSError) as error:
            return {"changed": False, "failed": True, "msg": f"{doing} in {params['rendered_in']}: {error}"}
    result = with_api(params, 1, doing, lambda api: {"resources": read_objects(api, params)})
    if params["collected_in"] and not result.get("failed"):
        result["resources"] = overlaid(Path(params["collected_in"]), params, result["resources"])
    return result


def main() -> None:
    run_module(arguments(), perform)


if __name__ == "__main__":
    main()
