#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drift_report
short_description: Write differences of a cluster as JSON, JUnit XML and HTML, and show them as a table
version_added: 1.0.0
description:
  - Writes a report of what M(egress.ai_gateway.drift_info) returned into a directory, as C(<name>.json), C(<name>.xml)
    for CI and C(<name>.html) for people, and shows it as a table on the terminal.
  - Either all three files are written or none.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
attributes:
  check_mode:
    support: full
    details:
      - Shows the table and writes nothing in check mode.
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - A report is a record of a run and not a state, so the module reports no change.
options:
  name:
    description: Name of the files without extension.
    type: str
    default: drift
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  directory:
    description: >-
      Directory of the files. A relative path begins at the working directory of C(ansible-playbook). The directory is
      created if it does not exist.
    type: path
    required: true
  drift:
    description: What M(egress.ai_gateway.drift_info) returned.
    type: dict
    required: true
  show:
    description: Whether the table is shown on the terminal.
    type: bool
    default: true
requirements:
  - junit-xml
  - Jinja2
seealso:
  - module: egress.ai_gateway.drift_info
  - module: egress.ai_gateway.validation_report
"""

EXAMPLES = r"""
- name: Compare sets with the cluster
  egress.ai_gateway.drift_info:
    collected_in: "{{ directory.path }}"
  register: drift

- name: Report what differs
  egress.ai_gateway.drift_report:
    cluster: "{{ inventory_hostname }}"
    directory: reports/{{ inventory_hostname }}
    drift: "{{ drift }}"
"""

RETURN = r"""
files:
  description: The files, as absolute paths.
  returned: success
  type: dict
  sample:
    json: /home/jane/gateways/reports/production/drift.json
    xml: /home/jane/gateways/reports/production/drift.xml
    html: /home/jane/gateways/reports/production/drift.html
counts:
  description: Number of objects for each action.
  returned: success
  type: dict
  sample: {create: 1, update: 3, delete: 1, foreign: 1}
summary:
  description: The same in one sentence.
  returned: success
  type: str
  sample: "6 objects differ: 1 to create, 3 to update, 1 to delete, 1 foreign"
objects:
  description: The objects that differ, in a line each.
  returned: success
  type: list
  elements: str
  sample: [update Deployment ai-gateway/openai-simulator]
table:
  description: The lines of the table, each with the action that selects its colour.
  returned: success
  type: list
  elements: list
"""

import datetime
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._drift.report import DriftReport, title_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._reports.files import ReportError, written


def arguments() -> dict[str, t.Any]:
    spec = {
        "name": {"type": "str", "default": "drift"},
        "cluster": {"type": "str", "required": True},
        "directory": {"type": "path", "required": True},
        "drift": {"type": "dict", "required": True},
        "show": {"type": "bool", "default": True},
    }
    return {"argument_spec": spec}


def perform(
    params: dict[str, t.Any], check_mode: bool, _diff_mode: bool, _say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure."""
    drift = params["drift"]
    missing = [key for key in ("differences", "sets") if not isinstance(drift.get(key), list)]
    if missing:
        return {"failed": True, "msg": f"drift has no {' and no '.join(missing)}; give what drift_info returned"}
    finished = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    report = DriftReport(
        params["cluster"],
        finished,
        tuple(drift["differences"]),
        tuple(drift["sets"]),
        float(drift.get("seconds") or 0),
        tuple(drift.get("warnings") or ()),
    )
    try:
        files = written(report, params["directory"], params["name"], check_mode)
    except ReportError as error:
        return {"failed": True, "msg": str(error)}
    return {
        "changed": False,
        "files": files,
        "counts": report.counts,
        "summary": report.summary,
        "objects": [f"{one['action']} {title_of(one)}" for one in report.differences],
        "table": report.to_table() if params["show"] else [],
    }


def main() -> None:
    module = AnsibleModule(**arguments(), supports_check_mode=True)
    result = perform(module.params, module.check_mode, module._diff, lambda line: None)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
