# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module that a task names and shows its progress; meta/runtime.yml says for which modules."""

from __future__ import annotations

from ansible_collections.egress.ai_gateway.plugins.plugin_utils._progress import ProgressAction


class ActionModule(ProgressAction):
    """The module does the work; this shows how far it is."""
