# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._fleet.outcomes import failure_of

DOCUMENTATION = r"""
name: task_failure
short_description: What a failed task said
version_added: 1.0.0
description:
  - For the rescue section of a block. Accepts C(ansible_failed_task) and returns the name of the task with its message.
  - Of a loop it is the message of the first item that failed. Nothing is shown of a task with C(no_log).
options:
  _input:
    description: The variable C(ansible_failed_task).
    type: dict
    required: true
  result:
    description: The variable C(ansible_failed_result).
    type: dict
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Keep what the task said
  ansible.builtin.set_fact:
    failure: "{{ ansible_failed_task | egress.ai_gateway.task_failure(ansible_failed_result) }}"
"""

RETURN = r"""
_value:
  description: The name of the task and its message.
  type: str
  sample: "Apply the Gateway: Gateway ai-gateway/ai-gateway is not Programmed"
"""


class FilterModule:
    """Filters of failures."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"task_failure": failure_of}
