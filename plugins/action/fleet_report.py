# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what became of a host, and writes the page of all hosts, on the controller; no connection is needed."""

from __future__ import annotations

import json
import os
import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.egress.ai_gateway.plugins.module_utils._fleet.outcomes import (
    Document,
    Run,
    begun,
    ended,
    first_line,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._fleet.report import updated
from ansible_collections.egress.ai_gateway.plugins.module_utils._reports.files import ReportError
from ansible_collections.egress.ai_gateway.plugins.plugin_utils._report import show

_NAMES = {"type": "list", "elements": "str", "required": True}
SPEC: dict[str, dict[str, t.Any]] = {
    "state": {"type": "str", "choices": ["started", "finished"], "required": True},
    "playbook": {"type": "str", "required": True},
    "inventory": _NAMES,
    "hosts": _NAMES,
    "live": _NAMES,
    "directory": {"type": "path", "required": True},
    "host_directory": {"type": "path", "required": True},
    "failure": {"type": "str", "default": ""},
    "reachable": {"type": "bool"},
    "gateway_url": {"type": "str", "default": ""},
    "versions": {"type": "dict", "default": {}},
}
_COLOURS = {"passed": "COLOR_OK", "failed": "COLOR_ERROR", "skipped": "COLOR_SKIP"}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset(SPEC)

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        result["changed"] = False
        # Plain data: what is written must not carry tags or templates.
        validation = ArgumentSpecValidator(SPEC).validate(json.loads(json.dumps(self._task.args, default=str)))
        if validation.error_messages:
            result.update(failed=True, msg=", ".join(validation.error_messages))
            return result
        params = validation.validated_parameters
        if self._task.check_mode:
            result.update(files={}, cluster={}, summary="")
            return result
        try:
            result.update(self.reported(params, str((task_vars or {})["inventory_hostname"])))
        except ReportError as error:
            result.update(failed=True, msg=str(error))
        return result

    def reported(self, params: dict[str, t.Any], host: str) -> dict[str, t.Any]:
        """Write the report, and show it where this host is the last. Raises ReportError."""
        run = Run(
            self.run_id(),
            params["playbook"],
            *(tuple(map(str, params[name])) for name in ("inventory", "hosts", "live")),
        )
        own = os.path.abspath(params["host_directory"])

        def change(document: Document) -> Document:
            if params["state"] == "started":
                return begun(document, run, host, own)
            seen = {key: params[key] for key in ("reachable", "gateway_url", "versions")}
            return ended(document, run, host, own, {"reason": first_line(params["failure"]), **seen})

        report, files = updated(os.path.abspath(params["directory"]), run, change)
        if params["state"] == "finished" and report.is_complete:
            show(report.to_table(), _COLOURS, f"The page of all clusters is {files['html']}")
        (cluster,) = [one for one in report.clusters if one.name == host]
        return {"files": files, "cluster": cluster.as_dict(), "summary": report.summary}

    def run_id(self) -> str:
        """What all hosts of a run of ansible-playbook have in common, and no other run has.

        Each task has an id that begins with random digits of the process that has read the playbook, which forks a
        process for each host.
        """
        return f"{self._task._uuid.rpartition('-')[0]}-{os.getppid()}"
