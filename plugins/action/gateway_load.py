# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the load, with its progress where the task waits for it, and in silence where it is asynchronous."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.egress.ai_gateway.plugins.plugin_utils._progress import ProgressAction


class ActionModule(ProgressAction):
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        if not self._task.async_val:
            return super().run(tmp, task_vars)
        result: dict[str, t.Any] = ActionBase.run(self, tmp, task_vars)
        result.update(self._execute_module(task_vars=task_vars, wrap_async=not self._connection.has_native_async))
        return result
