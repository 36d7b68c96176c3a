# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the templates of M(egress.ai_gateway.apply_set), runs it inside of Ansible where that comes to the same, and
shows what it writes and waits for.
"""

from __future__ import annotations

import os
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.validation import check_type_list
from ansible.module_utils.datatag import native_type_name
from ansible.template import trust_as_template
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.task import shown_params
from ansible_collections.egress.ai_gateway.plugins.plugin_utils._in_process import InProcessAction


class ActionModule(InProcessAction):
    """Renders the templates, then runs the task."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        self._task.args = self._with_rendered(dict(self._task.args), task_vars or {})
        return super().run(tmp, task_vars)

    def shown(self, params: dict[str, t.Any]) -> dict[str, t.Any]:
        return shown_params(params)

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
