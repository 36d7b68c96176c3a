# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the table of a report of drift on the terminal after the module has written it."""

from __future__ import annotations

from ansible_collections.egress.ai_gateway.plugins.plugin_utils._report import ReportAction


class ActionModule(ReportAction):
    colours = {
        "none": "COLOR_OK",
        "create": "COLOR_OK",
        "update": "COLOR_CHANGED",
        "delete": "COLOR_ERROR",
        "foreign": "COLOR_WARN",
    }
