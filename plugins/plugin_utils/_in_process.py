# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module of this collection inside of Ansible where that comes to the same, which saves half a second a task.

Such a module has the functions ``arguments``, with the arguments of ArgumentSpecValidator, and ``perform``, from its
parameters to its result. What its result must not show are the values of its options with no_log, or, where it has a
function ``hidden_values``, what that returns.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import importlib.util
import json
import os
import sys
import typing as t

from ansible import constants
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase
from ansible_collections.egress.ai_gateway.plugins.module_utils._progress import Progress
from ansible_collections.egress.ai_gateway.plugins.plugin_utils._progress import ProgressAction

with contextlib.suppress(ImportError):
    # Ansible's own process loads this once, and each of its workers begins as a copy of it.
    importlib.import_module("kubernetes.client.rest")

_MODULES = "ansible_collections.egress.ai_gateway.plugins.modules."


class InProcessAction(ProgressAction):
    """Runs the task here, or the module of the same name with live progress lines."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        self._name_host(task_vars)
        if not self.comes_to_the_same_here(task_vars or {}):
            return super().run(tmp, task_vars)
        result: dict[str, t.Any] = ActionBase.run(self, tmp, task_vars)
        module = importlib.import_module(_MODULES + self._task.action.rpartition(".")[2])
        # Plain data, as a module gets it: no templates, vaults or dates.
        arguments = json.loads(json.dumps(self._task.args, default=_plain))
        validation = ArgumentSpecValidator(**module.arguments()).validate(arguments)
        if validation.error_messages:
            result.update(failed=True, msg=", ".join(validation.error_messages))
            return result
        params = validation.validated_parameters
        # As AnsibleModule has it.
        hidden = module.hidden_values(params) if hasattr(module, "hidden_values") else validation._no_log_values
        returned = module.perform(dict(params), self._task.check_mode, self._task.diff, Progress(self._say).say)
        returned["invocation"] = {"module_args": self.shown(params)}
        result.update(remove_values(returned, hidden))
        return result

    def shown(self, params: dict[str, t.Any]) -> dict[str, t.Any]:
        """The options as they may be shown."""
        return {**params, "kubeconfig": "not shown"} if isinstance(params.get("kubeconfig"), dict) else params

    def comes_to_the_same_here(self, task_vars: dict[str, t.Any]) -> bool:
        """Whether a module would run on this machine, by this Python, as this user and with this environment."""
        task = self._task
        if (
            self._connection.transport != "local"
            or self._connection.become
            or task.delegate_to
            or any(task.environment or ())
        ):
            return False
        interpreter = str(
            self._templar.template(constants.config.get_config_value("INTERPRETER_PYTHON", variables=task_vars))
        )
        is_ours = interpreter.startswith("auto") or os.path.abspath(interpreter) == os.path.abspath(sys.executable)
        return is_ours and importlib.util.find_spec("kubernetes") is not None


def _plain(value: t.Any) -> str:
    return value.isoformat() if isinstance(value, (datetime.date, datetime.datetime)) else str(value)
