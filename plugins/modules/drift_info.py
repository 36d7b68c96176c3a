#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drift_info
short_description: Compare sets of manifests with a cluster
version_added: 1.0.0
description:
  - Compares the sets that M(egress.ai_gateway.apply_set) and the fields that M(egress.ai_gateway.reversible_patch)
    collected in a directory with a cluster, all at once, and returns which objects differ.
  - Nothing is written. Of objects that seem to differ, the API server says in a dry run what they would become, so that
    its defaults and its forms of values are no differences.
  - Only submitted fields are compared. Fields that others own and the manifests do not have are no differences, nor are
    replicas that an autoscaler has set.
options:
  collected_in:
    description:
      - Directory of the collected sets and fields. It exists, and is on the machine of the task.
    type: path
    required: true
  parallel:
    description: Number of concurrent requests to the API server. At least 1.
    type: int
    default: 8
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
  - kubernetes.core.k8s_auth_options
requirements:
  - kubernetes >= 24.2.0
attributes:
  check_mode:
    support: full
notes:
  - Of a Secret, and of fields that are marked as secret, only the name of a field is returned and whether it differs.
    No value of them is returned, and no hash.
  - A user who may only read objects can run it. Then it is a guess which differences are of form alone, and a warning
    reports that.
  - Foreign objects are looked for among the kinds that the sets have.
seealso:
  - module: egress.ai_gateway.apply_set
  - module: egress.ai_gateway.reversible_patch
  - module: egress.ai_gateway.drift_report
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Collect what a set would be
  egress.ai_gateway.apply_set:
    name: providers
    namespace: ai-gateway
    template: providers.yaml.j2
    collect_in: "{{ directory.path }}"

- name: Compare it with the cluster
  egress.ai_gateway.drift_info:
    collected_in: "{{ directory.path }}"
  register: drift
"""

RETURN = r"""
differences:
  description: The objects that differ.
  returned: success
  type: list
  elements: dict
  contains:
    set:
      description: Namespace and name of the set, or of the record of the fields.
      type: str
      sample: ai-gateway/providers
    action:
      description:
        - What M(egress.ai_gateway.apply_set) would do. V(create), V(update) or V(delete).
        - V(foreign) is an object that it leaves as it is, or because of which it fails. Such an object has the label of
          the set and was made by another field manager, or it has the name of an object of the set and belongs to
          another set or to none.
      type: str
      sample: update
    apiVersion:
      description: API version of the object.
      type: str
      sample: apps/v1
    kind:
      description: Kind of the object.
      type: str
      sample: Deployment
    namespace:
      description: Namespace of the object, empty for a cluster-scoped one.
      type: str
      sample: ai-gateway
    name:
      description: Name of the object.
      type: str
      sample: openai-simulator
    fields:
      description: The fields that differ.
      type: list
      elements: dict
      contains:
        path:
          description: Path of the field.
          type: str
          sample: spec.template.spec.containers[name=simulator].image
        wanted:
          description: Value that the manifest has. Missing where it has none, and where the value is secret.
          type: raw
        found:
          description: Value that the object has. Missing where it has none, and where the value is secret.
          type: raw
        state:
          description: >-
            V(changed), V(missing) where the object does not have the field, or V(unwanted) where the manifest does not
            have it any more.
          type: str
          sample: changed
        secret:
          description: Whether the value is secret.
          type: bool
        manager:
          description: >-
            The field manager that wrote the value, by C(metadata.managedFields). Empty where nobody manages the field.
            With C(egress.ai_gateway), the catalogue has changed since.
          type: str
          sample: kubectl-edit
        time:
          description: When the field manager wrote last, in RFC 3339.
          type: str
          sample: "2026-02-17T04:05:16Z"
    reason:
      description: What else is to be known, or empty.
      type: str
sets:
  description: What was compared.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Namespace and name of the set, or of the record of the fields.
      type: str
      sample: ai-gateway/providers
    objects:
      description: Number of objects that the catalogue has for it, its parent object among them.
      type: int
      sample: 12
    differences:
      description: Number of objects that differ.
      type: int
      sample: 1
    exists:
      description: Whether the cluster has it.
      type: bool
counts:
  description: Number of differences for each action.
  returned: success
  type: dict
  sample: {create: 1, update: 3, delete: 1, foreign: 1}
objects:
  description: Number of objects that the sets have.
  returned: success
  type: int
  sample: 243
summary:
  description: The same in one sentence.
  returned: success
  type: str
  sample: "6 objects differ: 1 to create, 3 to update, 1 to delete, 1 foreign"
seconds:
  description: Time that the comparison took.
  returned: success
  type: float
  sample: 0.8
"""

import time
import typing as t
from pathlib import Path

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.collecting import (
    collected_patches,
    collected_sets,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._drift.compare import compare
from ansible_collections.egress.ai_gateway.plugins.module_utils._drift.differences import counted, summary_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.module import run_module, with_api
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

__all__ = ["arguments", "hidden_values", "perform"]


def arguments() -> dict[str, t.Any]:
    options = {"collected_in": {"type": "path", "required": True}, "parallel": {"type": "int", "default": 8}}
    return {"argument_spec": {**AUTH_ARG_SPEC, **options}}


def perform(
    params: dict[str, t.Any], _check_mode: bool, _diff_mode: bool, say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure."""
    if params["parallel"] < 1:
        return {"failed": True, "msg": f"parallel is {params['parallel']}; give a number of at least 1"}
    directory = Path(params["collected_in"])
    sets, patches = collected_sets(directory), collected_patches(directory)
    if not sets:
        return {
            "failed": True,
            "msg": f"collected_in has no sets: {directory}; run apply_set with collect_in before, on the same machine",
        }

    def use(api: Api) -> dict[str, t.Any]:
        started = time.monotonic()
        api.say = say
        comparison = compare(api, sets, patches, say)
        counts = counted(one.action for one in comparison.differences)
        return {
            "differences": [one.as_dict() for one in comparison.differences],
            "sets": [one.as_dict() for one in comparison.sets],
            "counts": counts,
            "objects": comparison.objects,
            "summary": summary_of(counts, comparison.objects),
            "seconds": round(time.monotonic() - started, 3),
            "warnings": list(comparison.warnings),
        }

    return with_api(params, params["parallel"], "comparing with the cluster", use)


def main() -> None:
    run_module(arguments(), perform)


if __name__ == "__main__":
    main()
