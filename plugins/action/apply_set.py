# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the templates of M(egress.ai_gateway.apply_set), runs it inside of Ansible where that comes to the same, and
shows what it writes and waits for.
"""

from __future__ import annotations

import datetime
import importlib.util
import json
import os
import sys
import typing as t

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.common.validation import check_type_list
from ansible.module_utils.datatag import native_type_name
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.task import (
    argument_spec,
    perform,
    shown_params,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.egress.ai_gateway.plugins.module_utils._progress import Progress
from ansible_collections.egress.ai_gateway.plugins.plugin_utils._progress import ProgressAction


class ActionModule(ProgressAction):
    """Runs the task here, or the module of the same name with live progress lines."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        self._task.args = self._with_rendered(dict(self._task.args), task_vars or {})
        if not self._comes_to_the_same_here(task_vars or {}):
            return super().run(tmp, task_vars)
        result: dict[str, t.Any] = ActionBase.run(self, tmp, task_vars)
        # Plain data, as a module gets it: no templates, vaults or dates.
        arguments = json.loads(json.dumps(self._task.args, default=_plain))
        validation = ArgumentSpecValidator(argument_spec()).validate(arguments)
        if validation.error_messages:
            result.update(failed=True, msg=", ".join(validation.error_messages))
            return result
        params = validation.validated_parameters
        returned = perform(params, self._task.check_mode, self._task.diff, Progress(self._say).say)
        returned["invocation"] = {"module_args": shown_params(params)}
        result.update(remove_values(returned, hidden_values(params)))
        return result

    def _with_rendered(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """The options with the rendered templates of ``template`` among the manifests.

        A mapping stays where it is, to be refused like any wrong option.
        """
        try:
            names = check_type_list(arguments.get("template") or [])
        except TypeError:
            return arguments
        arguments.pop("template", None)
        if names and arguments.get("state") != "absent":
            manifests = arguments.get("manifests") or []
            rendered = [self._rendered(name, task_vars) for name in names]
            arguments["manifests"] = [*(manifests if isinstance(manifests, list) else [manifests]), *rendered]
        return arguments

    def _rendered(self, name: str, task_vars: dict[str, t.Any]) -> t.Any:
        """The content that a template renders to.

        The template lookup would copy all variables deeply first, which takes longer than most templates.
        """
        if not isinstance(name, str):
            raise AnsibleActionFail(
                f"template has an item of type {native_type_name(name)}; write the path of a template"
            )
        path = self._find_needle("templates", name)
        directories = [os.path.dirname(path), *task_vars.get("ansible_search_path", ())]
        searchpath = [place for directory in directories for place in (os.path.join(directory, "templates"), directory)]
        templar = self._templar.copy_with_new_env(searchpath=searchpath, available_variables=task_vars)
        return templar.template(
            trust_as_template(self._loader.get_text_file_contents(path)),
            escape_backslashes=False,
            overrides={"trim_blocks": True},
        )

    def _comes_to_the_same_here(self, task_vars: dict[str, t.Any]) -> bool:
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
