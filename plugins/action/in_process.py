# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module that a task names inside of Ansible; meta/runtime.yml says for which modules."""

from __future__ import annotations

from ansible_collections.egress.ai_gateway.plugins.plugin_utils._in_process import InProcessAction


class ActionModule(InProcessAction):
    """The functions of the module do the work."""
