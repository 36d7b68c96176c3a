# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the findings on the terminal after the module has returned them."""

from __future__ import annotations

import typing as t

from ansible import constants
from ansible.utils.color import stringc
from ansible.utils.display import Display
from ansible_collections.egress.ai_gateway.plugins.plugin_utils._in_process import InProcessAction

display = Display()

COLOURS = {
    level: constants.config.get_config_value(setting)
    for level, setting in {
        "ok": "COLOR_OK",
        "Error": "COLOR_ERROR",
        "Warning": "COLOR_WARN",
        "Info": "COLOR_VERBOSE",
    }.items()
}


class ActionModule(InProcessAction):
    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        lines = [stringc(line, COLOURS[level]) if level else line for line, level in result.get("lines", [])]
        if lines:
            # In one piece, as the findings of several clusters may be shown at the same time.
            display.display("\n".join(["", *lines, ""]))
        return result
