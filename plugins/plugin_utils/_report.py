# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the table of a report on the terminal after a module has written it."""

from __future__ import annotations

import typing as t

from ansible import constants
from ansible.utils.color import stringc
from ansible.utils.display import Display
from ansible_collections.egress.ai_gateway.plugins.plugin_utils._in_process import InProcessAction

display = Display()


def show(table: t.Iterable[tuple[str, str]], colours: t.Mapping[str, str], *more: str) -> None:
    """Show lines in their colours, and more lines below them.

    :param table: pairs of a line and what selects its colour; an empty string selects none.
    :param colours: settings of Ansible by what selects a colour.
    """
    lines = [stringc(line, constants.config.get_config_value(colours[kind])) if kind else line for line, kind in table]
    if lines:
        # In one piece, as the tables of several clusters may be shown at the same time.
        display.display("\n".join(["", *lines, *more, ""]))


class ReportAction(InProcessAction):
    """Runs the module, and shows what it returns as ``table``: pairs of a line and what selects its colour."""

    #: Settings of Ansible by what selects a colour.
    colours: t.ClassVar[dict[str, str]] = {}

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        show(result.get("table", []), self.colours)
        return result
