# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows a report of usage on the terminal after the module has written it."""

from __future__ import annotations

import typing as t

from ansible_collections.egress.ai_gateway.plugins.plugin_utils._in_process import InProcessAction
from ansible_collections.egress.ai_gateway.plugins.plugin_utils._report import show

COLOURS = {"head": "COLOR_HIGHLIGHT", "caution": "COLOR_WARN", "total": "COLOR_OK"}


class ActionModule(InProcessAction):
    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        show(result.pop("table", []), COLOURS)
        return result

    def shown(self, params: dict[str, t.Any]) -> dict[str, t.Any]:
        return {**super().shown(params), "prometheus_password": "not shown"}
