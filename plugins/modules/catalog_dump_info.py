#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_dump_info
short_description: Describe an existing AI gateway, or a LiteLLM proxy, as variables of this collection
version_added: 1.0.0
description:
  - Returns a file of variables with which playbook C(egress.ai_gateway.site) makes the gateway, and a note for
    everything that the file does not say.
  - A gateway that C(site) made has a record of what its inventory said, which is returned again. Of another gateway
    the objects of Envoy AI Gateway are read. The configuration of a LiteLLM proxy is read from its file.
  - No key is read or returned. In its place the file has a lookup.
  - A string in which Ansible would find a template is written as C(!unsafe), and is never templated.
  - It changes nothing.
options:
  source:
    description:
      - What is described. V(record) is the record of the gateway, V(objects) its objects, and V(litellm) the file
        O(litellm_config).
      - V(auto) is the file where one is named, else the record where there is one, else the objects.
    type: str
    choices: [auto, record, objects, litellm]
    default: auto
  namespace:
    description: Namespace of the Gateway.
    type: str
    default: ai-gateway
  name:
    description: Name of the Gateway.
    type: str
    default: ai-gateway
  keys:
    description:
      - From where the file of a record shall read keys. V(environment) are variables of the environment of
        C(ansible-playbook), named after the provider. V(cluster) are the Secrets that the gateway has now.
    type: str
    choices: [environment, cluster]
    default: environment
  litellm_config:
    description: The C(config.yaml) of a LiteLLM proxy, of at most 2 MiB.
    type: path
  roles_directory:
    description: >-
      Directory of this collection's roles, whose variables alone a record may have. With it RV(comparison) is returned
      for a record. Needed for a record where the module does not run in Ansible's own process.
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
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Describe the gateway
  egress.ai_gateway.catalog_dump_info:
    namespace: ai-gateway
    name: ai-gateway
  register: dump

- name: Keep the description
  ansible.builtin.copy:
    content: "{{ dump.content }}"
    dest: inventory/group_vars/all/ai_gateway.yml
    mode: "0600"

- name: Describe what a LiteLLM proxy serves
  egress.ai_gateway.catalog_dump_info:
    litellm_config: config.yaml
  register: dump
"""

RETURN = r"""
source:
  description: What was described, V(record), V(objects) or V(litellm).
  returned: success
  type: str
content:
  description: The file.
  returned: success
  type: str
variables:
  description: Names of the variables in it.
  returned: success
  type: list
  elements: str
  sample: [ai_gateway_platform, ai_gateway_providers]
notes:
  description: What the file does not say, and why.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: Where it is in what was read.
      type: str
      sample: general_settings.master_key
    reason:
      description: Why it has no counterpart, and what to do.
      type: str
environment:
  description: Names of the variables of the environment that the file reads.
  returned: success
  type: list
  elements: str
  sample: [OPENAI_API_KEY]
comparison:
  description: >-
    The same variables, and the defaults of all others, with the keys from the fact C(__dump_secrets). With them the
    roles render what stands if the record is true. Empty where there is no record.
  returned: success
  type: str
unrecorded:
  description: Names of variables that the record leaves out.
  returned: success
  type: list
  elements: str
"""

import os
import typing as t
from pathlib import Path

from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.dumped import (
    of_litellm,
    of_objects,
    of_record,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.litellm import LiteLlmError
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.objects import KINDS
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.record import (
    KIND,
    LABEL,
    ROLES,
    read_record,
    recorded_names,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.yaml_input import SIZE, YamlInputError, read_yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.module import (
    read_objects,
    run_module,
    with_api,
)
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

try:
    import yaml
except ImportError:  # The kubernetes client brings it.
    yaml = None  # type: ignore[assignment]

__all__ = ["arguments", "hidden_values", "perform"]

Result = dict[str, t.Any]
#: The roles of the collection, where the module is run in it.
_ROLES = Path(__file__).parents[2] / "roles"


def arguments() -> dict[str, t.Any]:
    return {
        "argument_spec": {
            **AUTH_ARG_SPEC,
            "source": {"type": "str", "choices": ["auto", "record", "objects", "litellm"], "default": "auto"},
            "namespace": {"type": "str", "default": "ai-gateway"},
            "name": {"type": "str", "default": "ai-gateway"},
            "keys": {"type": "str", "choices": ["environment", "cluster"], "default": "environment", "no_log": False},
            "litellm_config": {"type": "path"},
            "roles_directory": {"type": "path"},
        },
        "required_if": [("source", "litellm", ["litellm_config"])],
    }


def perform(
    params: dict[str, t.Any], _check_mode: bool, _diff_mode: bool, _say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure."""
    if params["source"] == "litellm" or (params["source"] == "auto" and params["litellm_config"]):
        return _of_file(Path(params["litellm_config"]))
    doing = f"reading Gateway {params['namespace']}/{params['name']}"
    return with_api(params, 1, doing, lambda api: _of_cluster(api, params))


def _of_file(path: Path) -> Result:
    try:
        with path.open("rb") as file:
            content = file.read(SIZE + 1)
        return {"changed": False, **of_litellm(read_yaml(content), path.name, os.environ.get).as_dict()}
    except (YamlInputError, LiteLlmError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return {"changed": False, "failed": True, "msg": f"{path}: {reason}"}


def _of_cluster(api: Api, params: dict[str, t.Any]) -> Result:
    namespace, name = params["namespace"], params["name"]
    if params["source"] != "objects":
        bodies = _objects(api, "v1", "ConfigMap", namespace, f"{LABEL}={KIND}")
        try:
            found = _of_record(bodies, params) if bodies else None
        except (ValueError, OSError) as error:
            return {"failed": True, "msg": str(error)}
        if found is not None:
            return found
        if params["source"] == "record":
            return {"failed": True, "msg": f"Gateway {namespace}/{name} has no record. {_others(api, namespace)}"}
    objects = {kind: _objects(api, version, kind, namespace) for kind, version in KINDS.items()}
    if not any(body["metadata"]["name"] == name for body in objects["Gateway"]):
        return {"failed": True, "msg": f"There is no Gateway {namespace}/{name}. {_others(api, namespace)}"}
    return of_objects(objects, namespace, name).as_dict()


def _of_record(bodies: list[dict[str, t.Any]], params: dict[str, t.Any]) -> Result | None:
    """What the record comes to; None where these are records of other Gateways."""
    namespace, name = params["namespace"], params["name"]
    roles = Path(params["roles_directory"] or _ROLES)
    record = read_record(bodies, namespace, name, _recorded(roles))
    if record is None:
        return None
    defaults = _defaults(roles) if params["roles_directory"] else []
    return of_record(record, namespace, name, params["keys"], defaults).as_dict()


def _objects(api: Api, version: str, kind: str, namespace: str, label: str = "") -> list[dict[str, t.Any]]:
    selectors = [label] if label else []
    described = {"api_version": version, "kind": kind, "namespace": namespace, "name": ""}
    found = read_objects(api, {**described, "label_selectors": selectors, "field_selectors": []})
    return [{"apiVersion": version, "kind": kind, **body} for body in found]


def _others(api: Api, namespace: str) -> str:
    """Which Gateways there are, and what names one."""
    found = [
        f"{body['metadata']['namespace']}/{body['metadata']['name']}"
        for body in _objects(api, KINDS["Gateway"], "Gateway", "")
    ]
    remedy = "Write its place into ai_gateway_namespace and ai_gateway_name, or provision it with playbook site"
    return f"The cluster has {', '.join(sorted(found)) or 'no Gateway'}. {remedy}."


def _recorded(directory: Path) -> set[str]:
    """The variables that a record has."""
    paths = [directory / role / "defaults/main.yml" for role in ROLES]
    return {name for path in paths for name in recorded_names(yaml.safe_load(path.read_text(encoding="utf-8")) or {})}


def _defaults(directory: Path) -> list[str]:
    """The files with the defaults of the roles."""
    return [path.read_text(encoding="utf-8") for path in sorted(directory.glob("*/defaults/main.yml"))]


def main() -> None:
    run_module(arguments(), perform)


if __name__ == "__main__":
    main()
