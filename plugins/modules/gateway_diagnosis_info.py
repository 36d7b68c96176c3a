#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_diagnosis_info
short_description: Find what is wrong with an AI gateway and why
version_added: 1.0.0
description:
  - Reads statuses, events and versions of a gateway's objects, and the configuration, counters and logs of its proxies
    and controllers, and returns what is wrong with it. The root cause comes first, with what follows from it beneath.
  - All is read through the API server. Envoy's administration, which listens inside of the proxies' pods alone, is
    reached by port forwarding.
  - What is read becomes a snapshot without values of Secrets. With O(snapshot_to) it is kept in a file, and with
    O(snapshot_file) such a file is diagnosed, without a cluster.
  - C(docs/diagnosis.md) has a section for each code.
  - Writes nothing to the cluster.
options:
  gateways:
    description: The Gateways to diagnose. By default all whose class is one of Envoy Gateway's.
    type: list
    elements: dict
    default: []
    suboptions:
      namespace:
        description: Namespace of the Gateway.
        type: str
        required: true
      name:
        description: Name of the Gateway.
        type: str
        required: true
  window:
    description: For how many seconds before now logs are read and restarts count.
    type: int
    default: 600
  snapshot_file:
    description: File with a snapshot to diagnose. The cluster is then not asked.
    type: path
  snapshot_to:
    description:
      - File to write the snapshot to, which only its owner may read. Its directory is created if it does not exist.
      - Nothing is written in check mode.
    type: path
  title:
    description: First line of RV(lines).
    type: str
    default: Diagnosis
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
  - kubernetes.core.k8s_auth_options
requirements:
  - kubernetes >= 24.2.0
  - cryptography
attributes:
  check_mode:
    support: full
notes:
  - Needs the rights C(get) and C(list) on the kinds of a gateway, C(get) on C(pods/log), and C(get) and C(create) on
    C(pods/portforward). What may not be read is a finding of level Warning.
seealso:
  - module: egress.ai_gateway.validation_report
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Diagnose a gateway
  egress.ai_gateway.gateway_diagnosis_info:
    gateways:
      - {namespace: ai-gateway, name: ai-gateway}
    snapshot_to: reports/production/snapshot.json
  register: diagnosis

- name: Fail if something is wrong
  ansible.builtin.assert:
    that: diagnosis.counts.Error == 0
    fail_msg: "{{ diagnosis.findings | map(attribute='message') | join('; ') }}"

- name: Diagnose what somebody else has captured
  egress.ai_gateway.gateway_diagnosis_info:
    snapshot_file: snapshot.json
"""

RETURN = r"""
findings:
  description: The root causes, the gravest first. Empty if nothing is wrong.
  returned: success
  type: list
  elements: dict
  contains:
    code:
      description: Code of the message, with a section in C(docs/diagnosis.md).
      type: str
      sample: AIG0106
    name:
      description: Name of the message.
      type: str
      sample: SidecarMissing
    level:
      description: V(Error), V(Warning) or V(Info).
      type: str
    message:
      description: What is wrong.
      type: str
      sample: Proxy envoy-gateway-system/envoy-0 has no container ai-gateway-extproc
    evidence:
      description: What was seen.
      type: list
      elements: str
    cause:
      description: Why it is so.
      type: str
    cure:
      description: What helps.
      type: str
    command:
      description: The next command.
      type: str
    reference:
      description: A page about it.
      type: str
    consequences:
      description: Findings that follow from this one, in the same form.
      type: list
      elements: dict
counts:
  description: Number of root causes by level.
  returned: success
  type: dict
  sample: {Error: 1, Warning: 0, Info: 0}
level:
  description: The gravest level found. Empty if nothing is wrong.
  returned: success
  type: str
  sample: Error
summary:
  description: How much was found, as a sentence.
  returned: success
  type: str
  sample: 1 Error; 3 more follow from these.
lines:
  description: The findings as lines for a terminal, each with the level that selects its colour.
  returned: success
  type: list
  elements: list
checks:
  description: The findings as O(egress.ai_gateway.validation_report#module:checks).
  returned: success
  type: list
  elements: dict
gateways:
  description: The Gateways that were diagnosed.
  returned: success
  type: list
  elements: dict
"""

import json
import os
import tempfile
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.collect import collect
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.diagnose import diagnose
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.findings import counts_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.output import (
    checks_of,
    lines_of,
    summary_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.snapshot import Snapshot, SnapshotError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.module import run_module, with_api
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.port_forward import PortForward
from ansible_collections.egress.ai_gateway.plugins.module_utils._reports.files import write_whole
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

__all__ = ["arguments", "hidden_values", "perform"]

#: Requests under way at a time.
PARALLEL = 8


def arguments() -> dict[str, t.Any]:
    gateway = {"namespace": {"type": "str", "required": True}, "name": {"type": "str", "required": True}}
    spec = {
        **AUTH_ARG_SPEC,
        "gateways": {"type": "list", "elements": "dict", "default": [], "options": gateway},
        "window": {"type": "int", "default": 600},
        "snapshot_file": {"type": "path"},
        "snapshot_to": {"type": "path"},
        "title": {"type": "str", "default": "Diagnosis"},
    }
    return {"argument_spec": spec}


def perform(
    params: dict[str, t.Any], check_mode: bool, _diff_mode: bool, _say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure."""
    if params["window"] < 1:
        return _failed(f"window: {params['window']} is not from 1; write a number of seconds")
    if params["snapshot_file"]:
        path = os.path.abspath(params["snapshot_file"])
        try:
            with open(path, encoding="utf-8") as stream:
                data = json.load(stream)
        except OSError as error:
            return _failed(f"snapshot_file: cannot read {path}: {error.strerror}; write one with snapshot_to")
        except ValueError as error:
            return _failed(f"snapshot_file: {path} is no JSON: {error}; write one with snapshot_to")
        return _result(data, params, f"snapshot_file: {path}")

    return with_api(params, PARALLEL, "diagnosing", lambda api: _of_cluster(api, params, check_mode))


def _of_cluster(api: t.Any, params: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    with tempfile.TemporaryDirectory(prefix="ai-gateway-") as directory:
        data = collect(api, PortForward(params, directory), params["gateways"], params["window"])
    if params["snapshot_to"] and not check_mode:
        path = os.path.abspath(params["snapshot_to"])
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            # Names of hosts and models are for its owner alone.
            write_whole(path, json.dumps(data, indent=1, sort_keys=True) + "\n", 0o600)
        except OSError as error:
            return _failed(f"snapshot_to: cannot write {path}: {error.strerror}; name another file")
    return _result(data, params, "the cluster")


def _result(data: t.Any, params: dict[str, t.Any], source: str) -> dict[str, t.Any]:
    try:
        roots = diagnose(Snapshot(data))
    except SnapshotError as error:
        return _failed(f"{source}: {error}")
    except (AttributeError, KeyError, TypeError) as error:
        if source == "the cluster":
            raise
        return _failed(f"{source}: it is no snapshot of this version: {type(error).__name__}: {error}")
    return {
        "changed": False,
        "findings": [root.as_dict() for root in roots],
        "counts": counts_of(roots),
        "level": roots[0].level if roots else "",
        "summary": summary_of(roots),
        "lines": lines_of(roots, params["title"]),
        "checks": checks_of(roots),
        "gateways": data.get("gateways") or [],
    }


def _failed(message: str) -> dict[str, t.Any]:
    return {"changed": False, "failed": True, "msg": message}


def main() -> None:
    run_module(arguments(), perform)


if __name__ == "__main__":
    main()
