#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: validation_report
short_description: Write checks as JSON, JUnit XML and HTML, and show them as a table
version_added: 1.0.0
description:
  - Writes a report of checks into a directory, as C(<name>.json), C(<name>.xml) for CI and C(<name>.html) for people,
    and shows it as a table on the terminal.
  - Either all three files are written or none. The JSON holds C(cluster), C(gateway_url), C(finished), C(counts) and
    C(checks).
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
  title:
    description: Title of the report.
    type: str
    default: Validation
  name:
    description: Name of the files without extension.
    type: str
    default: validation
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  gateway_url:
    description: URL of the gateway.
    type: str
    default: ""
  directory:
    description: >-
      Directory of the files. A relative path begins at the working directory of C(ansible-playbook). The directory is
      created if it does not exist.
    type: path
    required: true
  checks:
    description: The checks, as the probe modules of this collection return them.
    type: list
    elements: dict
    required: true
    suboptions:
      id:
        description: Identifies the check. It must be unique in the list.
        type: str
        required: true
      name:
        description: Description of the check.
        type: str
        required: true
      status:
        description: The outcome.
        type: str
        choices: [passed, failed, skipped]
        required: true
      expected:
        description: The expectation.
        type: str
        default: ""
      observed:
        description: The observation. For a skipped check, the reason.
        type: str
        default: ""
      seconds:
        description: Duration of the check, in seconds.
        type: float
        default: 0
      hint:
        description: Hint for the user when the check failed.
        type: str
        default: ""
  diagnosis:
    description:
      - What was found, as RV(egress.ai_gateway.gateway_diagnosis_info#module:findings). It is a section of its own in
        the HTML, and C(diagnosis) in the JSON.
    type: list
    elements: dict
    default: []
  loads:
    description:
      - What module M(egress.ai_gateway.gateway_load) measured, each with a C(name), its C(figures), its C(faults), and
        the bound C(p99) in seconds. They are bars in the HTML, and C(loads) in the JSON. The checks then keep their
        order in the HTML.
    type: list
    elements: dict
    default: []
  show:
    description: Whether the table is shown on the terminal.
    type: bool
    default: true
requirements:
  - junit-xml
  - Jinja2
seealso:
  - module: egress.ai_gateway.inference_probe
  - module: egress.ai_gateway.rate_limit_probe
  - module: egress.ai_gateway.gateway_diagnosis_info
"""

EXAMPLES = r"""
- name: Report two checks
  egress.ai_gateway.validation_report:
    cluster: "{{ inventory_hostname }}"
    gateway_url: "{{ gateway_url }}"
    directory: reports/{{ inventory_hostname }}
    checks:
      - id: gateway
        name: The Gateway is programmed
        status: passed
        expected: Programmed=True
        observed: Programmed=True
        seconds: 0.4
      - id: no-token
        name: No token is refused
        status: failed
        expected: status 401
        observed: status 200
        seconds: 0.02
        hint: See the SecurityPolicy of the Gateway.
  register: report

- name: Fail if a check failed
  ansible.builtin.assert:
    that: report.counts.failed == 0
"""

RETURN = r"""
files:
  description: The files, as absolute paths.
  returned: success
  type: dict
  sample:
    json: /home/jane/gateways/reports/production/validation.json
    xml: /home/jane/gateways/reports/production/validation.xml
    html: /home/jane/gateways/reports/production/validation.html
counts:
  description: Number of checks with each status.
  returned: success
  type: dict
  sample: {passed: 20, failed: 0, skipped: 1}
summary:
  description: The same as a string.
  returned: success
  type: str
  sample: "21 checks: 20 passed, 0 failed, 1 skipped"
failed_checks:
  description: The ids of the failed checks.
  returned: success
  type: list
  elements: str
table:
  description: The lines of the table, each with the status that selects its colour.
  returned: success
  type: list
  elements: list
"""

import datetime
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.findings import STATUSES, Check
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.report import Report, report_faults
from ansible_collections.egress.ai_gateway.plugins.module_utils._reports.files import ReportError, written


def arguments() -> dict[str, t.Any]:
    check_options = {
        "id": {"type": "str", "required": True},
        "name": {"type": "str", "required": True},
        "status": {"type": "str", "choices": list(STATUSES), "required": True},
        "expected": {"type": "str", "default": ""},
        "observed": {"type": "str", "default": ""},
        "seconds": {"type": "float", "default": 0},
        "hint": {"type": "str", "default": ""},
    }
    spec = {
        "title": {"type": "str", "default": "Validation"},
        "name": {"type": "str", "default": "validation"},
        "cluster": {"type": "str", "required": True},
        "gateway_url": {"type": "str", "default": ""},
        "directory": {"type": "path", "required": True},
        "checks": {"type": "list", "elements": "dict", "required": True, "options": check_options},
        "diagnosis": {"type": "list", "elements": "dict", "default": []},
        "loads": {"type": "list", "elements": "dict", "default": []},
        "show": {"type": "bool", "default": True},
    }
    return {"argument_spec": spec}


def perform(
    params: dict[str, t.Any], check_mode: bool, _diff_mode: bool, _say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure."""
    checks = tuple(Check.from_mapping({**check, "seconds": round(check["seconds"], 3)}) for check in params["checks"])
    faults = report_faults(checks)
    if faults:
        return {"failed": True, "msg": "\n".join(faults)}
    finished = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    findings = tuple(params["diagnosis"])
    loads = tuple(params["loads"])
    report = Report(params["title"], params["cluster"], params["gateway_url"], finished, checks, findings, loads)
    try:
        files = written(report, params["directory"], params["name"], check_mode)
    except ReportError as error:
        return {"failed": True, "msg": str(error)}
    return {
        "changed": False,
        "files": files,
        "counts": report.counts,
        "summary": report.summary,
        "failed_checks": [check.id for check in report.failed],
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
