# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows what M(egress.ai_gateway.apply_set) writes and waits for while it does."""

from __future__ import annotations

from ansible_collections.egress.ai_gateway.plugins.plugin_utils._progress import ProgressAction


class ActionModule(ProgressAction):
    """Runs the module of the same name with live progress lines."""
