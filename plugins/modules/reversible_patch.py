#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: reversible_patch
short_description: Change single fields of an object that somebody else owns, and restore them exactly
version_added: 1.0.0
description:
  - Writes single fields of an object on a cluster, having recorded what was there, and gives the object back as it was.
  - The record is a ConfigMap. It is written before the object is, and tells what each field was, or that there was
    none, and which of its parents did not exist either, so that a mapping that came with a field goes with it again.
  - All fields are written by one request, which the API server takes only while the object is the one that was read.
    Where others write it at the same time it is read anew.
  - A run that was cut off anywhere is completed by the next one, whichever O(state) that has.
options:
  name:
    description: Name of the record.
    type: str
    required: true
  namespace:
    description: Namespace of the record, which must exist.
    type: str
    required: true
  target:
    description:
      - The object whose fields are written. Required with O(state=present); with O(state=absent) the record knows it.
      - Secrets are refused, as the record would show what was in them.
    type: dict
    suboptions:
      api_version:
        description: API version of the object.
        type: str
        required: true
      kind:
        description: Kind of the object.
        type: str
        required: true
      name:
        description: Name of the object.
        type: str
        required: true
      namespace:
        description: Namespace of the object, where its kind has one.
        type: str
  fields:
    description:
      - The fields, in the order in which they are written. They are restored in the reverse order.
      - A field that an earlier run wrote and that is not listed any more is restored.
      - What stands in a field is recorded whenever it is neither what was written nor what is recorded. An owner that
        wrote something else meanwhile gets that back, and a warning says so.
      - Two records must not name the same field of one object.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description:
          - >-
            The steps that lead to the field. Each is the key of a mapping, or a mapping of one key and its value that
            selects the item of a list, such as C({name: maas-api}).
          - Mappings that are missing on the way are made. Items of lists are not.
          - Labels and annotations may be written, and everything outside of C(metadata) and C(status).
        type: list
        elements: raw
        required: true
      value:
        description: The value, in the form in which the API server stores it.
        type: raw
        required: true
  state:
    description:
      - With V(present), each of the O(fields) has its value.
      - With V(absent), each field that still has the value that was written is what it was before, and the record is
        gone. A field that somebody else has changed is left, and named in a warning. Where the object is gone, only the
        record goes.
    type: str
    choices: [present, absent]
    default: present
  wait:
    description:
      - Wait until the object is ready, as far as its kind says so, such as until a Deployment has been rolled out.
      - When absent, only where something was restored.
    type: bool
    default: true
  wait_timeout:
    description: Longest wait, in seconds.
    type: int
    default: 300
  settle_seconds:
    description:
      - The fields are read again after they were written and the object is ready, and no earlier than so many seconds
        after the write.
      - Where a field does not have its value any more, such as because an operator put its own back, the module fails
        and says what to do.
    type: int
    default: 0
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - kubernetes.core.k8s_auth_options
requirements:
  - kubernetes >= 24.2.0
attributes:
  check_mode:
    support: full
    details:
      - The API server validates and admits the change in a dry run.
  diff_mode:
    support: full
    details:
      - Shows the fields alone.
  idempotent:
    support: full
notes:
  - C(metadata.managedFields) names C(egress.ai_gateway) for a field that was written, after it was restored too.
seealso:
  - module: egress.ai_gateway.apply_set
  - module: kubernetes.core.k8s_json_patch
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Run another image of maas-api, which its operator is to leave alone
  egress.ai_gateway.reversible_patch:
    name: maas-api-deployment
    namespace: ai-gateway
    target:
      api_version: apps/v1
      kind: Deployment
      name: maas-api
      namespace: opendatahub
    fields:
      - path: [metadata, annotations, opendatahub.io/managed]
        value: "false"
      - path: [spec, template, spec, containers, {name: maas-api}, image]
        value: ghcr.io/nerdalert/maas-api:external-models
    settle_seconds: 10

- name: See what it would be without that
  egress.ai_gateway.reversible_patch:
    name: maas-api-deployment
    namespace: ai-gateway
    state: absent
  check_mode: true
  register: before

- name: Give it back
  egress.ai_gateway.reversible_patch:
    name: maas-api-deployment
    namespace: ai-gateway
    state: absent
"""

RETURN = r"""
fields:
  description:
    - The fields, restored ones first. With O(state=absent), those of the record, the last written first.
    - Empty where there is no record, or where the object is gone.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The steps that lead to the field, as in O(fields[].path).
      type: list
      elements: raw
      sample: [metadata, annotations, opendatahub.io/managed]
    action:
      description: >-
        V(written), V(restored), V(unchanged) where it was as it should be, or V(left) where it should be restored and
        somebody else has changed it.
      type: str
      sample: written
    before:
      description: Its value before the run. Missing where there was none.
      type: raw
      sample: "true"
    after:
      description: Its value after the run. Missing where there is none.
      type: raw
      sample: "false"
diff:
  description: The fields before and after.
  returned: in diff mode, where a field changed
  type: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch.fields import FieldError, fields_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch.patch import (
    Options,
    PatchError,
    RecordedPatch,
    has_changes,
    outcome_as_dict,
    target_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import (
    Api,
    ApiError,
    ConnectionSettingsError,
    connect,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.wait import WaitError
from ansible_collections.egress.ai_gateway.plugins.module_utils._progress import Progress
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC


def argument_spec() -> dict[str, t.Any]:
    return {
        **AUTH_ARG_SPEC,
        "name": {"type": "str", "required": True},
        "namespace": {"type": "str", "required": True},
        "target": {
            "type": "dict",
            "options": {
                "api_version": {"type": "str", "required": True},
                "kind": {"type": "str", "required": True},
                "name": {"type": "str", "required": True},
                "namespace": {"type": "str"},
            },
        },
        "fields": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "path": {"type": "list", "elements": "raw", "required": True},
                "value": {"type": "raw", "required": True},
            },
        },
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "wait": {"type": "bool", "default": True},
        "wait_timeout": {"type": "int", "default": 300},
        "settle_seconds": {"type": "int", "default": 0},
    }


def api_of(module: AnsibleModule) -> Api:
    """The API server of the options.

    Afterwards an inline kubeconfig is no longer among the parameters, which Ansible returns.
    """
    try:
        return connect(module.params, parallel=1)
    finally:
        # Ansible would hide each text of an inline kubeconfig wherever it occurs, names of objects among them.
        module.no_log_values = hidden_values(module.params)
        if isinstance(module.params["kubeconfig"], dict):
            module.params["kubeconfig"] = "not shown"


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    if params["state"] == "present" and not params["target"]:
        module.fail_json(
            msg="target is missing; name the object whose fields are written by api_version, kind, name and namespace"
        )
    for option, least in (("wait_timeout", 1), ("settle_seconds", 0)):
        if params[option] < least:
            module.fail_json(msg=f"{option} is {params[option]}; give a number of at least {least}")
    options = Options(params["wait"], params["wait_timeout"], params["settle_seconds"], module.check_mode)
    try:
        fields = fields_of(params["fields"])
        api = api_of(module)
    except ImportError as error:
        module.fail_json(msg=f"{missing_required_lib('kubernetes')} ({error})")
    except (FieldError, ConnectionSettingsError) as error:
        module.fail_json(msg=str(error))
    progress = Progress()
    patch = RecordedPatch(api, params["name"], params["namespace"], options, progress.say)
    api.say = progress.say
    failure = ""
    try:
        if params["state"] == "present":
            patch.present(target_of(params["target"]), fields)
        else:
            patch.absent()
    except (PatchError, WaitError) as error:
        failure = str(error)
    except ApiError as error:
        remedy = "; check the rights of the credentials in use" if error.status in (401, 403) else ""
        failure = (
            f"{patch.outcome.target or 'record ' + params['namespace'] + '/' + params['name']}: {error.message}{remedy}"
        )
    result = outcome_as_dict(patch.outcome)
    if module._diff and has_changes(patch.outcome):
        result["diff"] = patch.outcome.diff()
    for warning in patch.outcome.warnings:
        module.warn(warning)
    if failure:
        module.fail_json(msg=failure, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
