#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: reversible_patch
short_description: Change single fields of an object of another owner, and restore them exactly
version_added: 1.0.0
description:
  - Records the values of single fields of an object on a cluster, writes the fields, and restores them later.
  - The record is a ConfigMap, written before the object. It has the previous value of each field, or notes that the
    field and which of its parents did not exist. A mapping that was created with a field is removed with it.
  - One request writes all fields. The API server accepts it only while the object is the one that was read. If others
    write the object at the same time, the module reads it again.
  - The next run completes a run that was interrupted at any point, with either O(state).
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
      - The object whose fields are written. Required with O(state=present). With O(state=absent) the record names it.
      - Secrets are refused, as the record would show their data.
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
        description: Namespace of the object. Required if its kind is namespaced.
        type: str
  fields:
    description:
      - The fields, in the order in which they are written. They are restored in the reverse order.
      - A field that an earlier run wrote and that is no longer listed is restored.
      - A value that is neither the written nor the recorded one is recorded. So an owner that wrote another value in
        the meantime gets that value back, and a warning reports it.
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
          - Missing mappings on the path are created. Missing items of lists are an error.
          - Fields of C(metadata) other than labels and annotations are refused, and so is C(status).
        type: list
        elements: raw
        required: true
      value:
        description: The value, in the form in which the API server stores it. Otherwise the module fails.
        type: raw
        required: true
  state:
    description:
      - With V(present), each of the O(fields) has its value.
      - With V(absent), each field that still has the written value gets its previous value, and the record is deleted.
        A field that another owner has changed stays, and a warning names it. If the object does not exist, only the
        record is deleted.
    type: str
    choices: [present, absent]
    default: present
  wait:
    description:
      - Wait until the object is ready, if its kind reports readiness, such as until a Deployment is rolled out.
      - With O(state=absent), only if a field was restored.
    type: bool
    default: true
  wait_timeout:
    description: Longest wait, in seconds. At least 1.
    type: int
    default: 300
  settle_seconds:
    description:
      - Least time, in seconds, between the write and a second read of the fields. The second read also waits until the
        object is ready.
      - If a field lost its value, such as because an operator restored its own, the module fails and names a remedy.
    type: int
    default: 0
  collect_in:
    description:
      - Directory on the machine of the task into which the fields are written as they would be, in place of a cluster,
        which is not called. Module M(egress.ai_gateway.drift_info) compares them with the cluster.
      - Also written in check mode. The task reports no change and no RV(fields).
    type: path
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
      - Shows only the fields.
  idempotent:
    support: full
notes:
  - C(metadata.managedFields) names C(egress.ai_gateway) for a written field, also after it was restored.
seealso:
  - module: egress.ai_gateway.apply_set
  - module: kubernetes.core.k8s_json_patch
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Run another image of maas-api that its operator does not revert
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
        value: registry.example.com/maas-api:external-models
    settle_seconds: 10

- name: Show the fields as they would be restored
  egress.ai_gateway.reversible_patch:
    name: maas-api-deployment
    namespace: ai-gateway
    state: absent
  check_mode: true
  register: before

- name: Restore the fields
  egress.ai_gateway.reversible_patch:
    name: maas-api-deployment
    namespace: ai-gateway
    state: absent
"""

RETURN = r"""
fields:
  description:
    - The fields, restored ones first. With O(state=absent), those of the record, the last written first.
    - Empty if there is no record or the object does not exist.
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
        V(written), V(restored), V(unchanged) if it had the right value, or V(left) if it was to be restored and another
        owner has changed it.
      type: str
      sample: written
    before:
      description: Its value before the run. Missing if the field did not exist.
      type: raw
      sample: "true"
    after:
      description: Its value after the run. Missing if the field does not exist.
      type: raw
      sample: "false"
diff:
  description: The fields before and after.
  returned: in diff mode, when a field changed
  type: dict
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.collecting import collect_patch
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
        "collect_in": {"type": "path"},
    }


def api_of(module: AnsibleModule) -> Api:
    """The API server of the options.

    Afterwards an inline kubeconfig is no longer among the parameters, which Ansible returns.
    """
    try:
        return connect(module.params, parallel=1)
    finally:
        hide_kubeconfig(module)


def hide_kubeconfig(module: AnsibleModule) -> None:
    # Ansible would hide each string of an inline kubeconfig wherever it occurs, names of objects among them.
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
        if params["collect_in"]:
            collect_patch(Path(params["collect_in"]), params)
            hide_kubeconfig(module)
            module.exit_json(changed=False, fields=[])
        api = api_of(module)
    except ImportError as error:
        module.fail_json(msg=f"{missing_required_lib('kubernetes')} ({error})")
    except (FieldError, ConnectionSettingsError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}; collect_in must be a directory")
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
