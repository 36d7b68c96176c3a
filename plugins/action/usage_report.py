# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows a report of usage on the terminal after the module has written it."""

from __future__ import annotations

import typing as t

from ansible import constants
from ansible.utils.color import stringc
from ansible.utils.display import Display
from ansible_collections.egress.ai_gateway.plugins.plugin_utils._in_process import InProcessAction

display = Display()

COLOURS = {
    kind: constants.config.get_config_value(setting)
    for kind, setting in {"head": "COLOR_HIGHLIGHT", "caution": "COLOR_WARN", "total": "COLOR_OK"}.items()
}


class ActionModule(InProcessAction):
    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        lines = [stringc(line, COLOURS[kind]) if kind else line for line, kind in result.pop("table", [])]
        if lines:
            # In one piece, as the tables of several clusters may be shown at the same time.
            display.display("\n".join(["", *lines, ""]))
        return result

    def shown(self, params: dict[str, t.Any]) -> dict[str, t.Any]:
        return {**super().shown(params), "prometheus_password": "not shown"}
