# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: drift_status
type: aggregate
short_description: Distinguish an error from drift by the exit status
version_added: 1.0.0
description:
  - With this callback, C(egress.ai_gateway.drift) ends with status 0 where nothing differs, with 2 where
    something differs, and with 1 where a cluster could not be compared, such as because it does not answer.
  - Without it, C(ansible-playbook) ends with 2 in the last case too, as with every failed task.
  - Of several clusters, one that could not be compared gives 1.
  - It does nothing in runs of other playbooks.
requirements:
  - enabled in C(callbacks_enabled) of C(ansible.cfg), or in the environment variable E(ANSIBLE_CALLBACKS_ENABLED)
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

import os
import typing as t

from ansible.plugins.callback import CallbackBase

#: The statistic that role drift sets, by host.
STATISTIC = "ai_gateway_drift"
ERROR = 1


def has_error(failed: t.Iterable[str], custom: t.Mapping[str, t.Mapping[str, t.Any]]) -> bool:
    """Whether one of the hosts that failed did so for another reason than drift.

    :param custom: the statistics that tasks have set, as Ansible has them.
    """
    reported: dict[str, t.Any] = {}
    for statistics in custom.values():
        reported.update(statistics.get(STATISTIC) or {})
    return any(not (reported.get(host) or {}).get("drift") for host in failed)


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "egress.ai_gateway.drift_status"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._is_drift = False

    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        self._is_drift = os.path.basename(playbook._file_name) == "drift.yml"

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        failed = {*stats.failures, *stats.dark}
        if self._is_drift and failed and has_error(failed, stats.custom):
            # No return value of a callback is looked at. Ansible catches exceptions of callbacks, but not this one, and
            # cleans up on its way.
            raise SystemExit(ERROR)
